"""--metrics-file: the figures of a run in Prometheus' text format, for the textfile collector of its node exporter.

https://prometheus.io/docs/instrumenting/exposition_formats/. The file is replaced whole, at the start, at each interval
of --stats and at the end; the time of the last success is taken over from the file of the run before. All series carry
the file's own name as `task`, so that those of several jobs can be collected side by side.
"""

import os
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cftool.core.errors import ConfigError, StoreError
from cftool.core.paths import printable
from cftool.disk import atomic

if TYPE_CHECKING:
    from cftool.transfer.events import Summary

_LAST = "cftool_run_last_success_timestamp_seconds"
_HELP = {
    "cftool_run_entries": "Entries by what was done with them.",
    "cftool_run_bytes": "Bytes of the files that were copied.",
    "cftool_run_requests": "Requests by the call of the provider.",
    "cftool_run_errors": "Entries that failed, by the kind of error.",
    "cftool_run_skipped": "Entries left out on purpose, by the reason.",
    "cftool_run_compared": "Files compared, by what decided.",
    "cftool_run_deletions_withheld": "Deletions that were planned and not done.",
    "cftool_run_seconds": "Time since the start of the run.",
    "cftool_run_start_timestamp_seconds": "When the run began.",
    "cftool_run_in_progress": "1 while the run goes on.",
    "cftool_run_exit_code": "Exit code of the run.",
    _LAST: "When a run of this task last ended with exit code 0.",
}


class Metrics:
    """The metrics file of one run."""

    def __init__(self, path: str, command: str) -> None:
        self._path = path
        self._task = os.path.basename(path).rpartition(".")[0] or os.path.basename(path)
        self._command = command
        self._began = time.time()
        self._last = _last_success(path)

    def write(self, summary: "Summary", requests: Mapping[str, int], *, code: int | None) -> None:
        """Replace the file; `code` None: the run goes on. Raises ConfigError."""
        if code == 0:
            self._last = time.time()
        lines = [line for name, series in self._all(summary, requests, code) for line in self._lines(name, series)]
        try:
            atomic.write_file(self._path, ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"), 0o644)
        except StoreError as error:
            raise ConfigError(f"--metrics-file {printable(self._path)}: {error.message}") from error

    def _all(
        self, summary: "Summary", requests: Mapping[str, int], code: int | None
    ) -> "list[tuple[str, list[tuple[dict[str, str], float]]]]":
        def by(label: str, counts: Mapping[str, int]) -> list[tuple[dict[str, str], float]]:
            return [({label: name}, count) for name, count in sorted(counts.items())]

        done = {
            "copied": summary.copied,
            "deleted": summary.deleted,
            "moved": summary.moved,
            "directories_made": summary.made_directories,
            "checked": summary.checked,
            "skipped": sum(summary.skipped.values()),
            "failed": sum(summary.errors.values()),
            "different": summary.differences,
        }
        found: list[tuple[str, list[tuple[dict[str, str], float]]]] = [
            ("cftool_run_entries", by("event", done)),
            ("cftool_run_bytes", [({}, summary.bytes)]),
            ("cftool_run_requests", by("call", requests)),
            ("cftool_run_errors", by("kind", summary.errors)),
            ("cftool_run_skipped", by("reason", summary.skipped)),
            ("cftool_run_compared", by("by", summary.compared_by)),
            ("cftool_run_deletions_withheld", [({}, summary.withheld)]),
            ("cftool_run_seconds", [({}, round(time.time() - self._began, 3))]),
            ("cftool_run_start_timestamp_seconds", [({}, round(self._began, 3))]),
            ("cftool_run_in_progress", [({}, int(code is None))]),
        ]
        if code is not None:
            found.append(("cftool_run_exit_code", [({}, code)]))
        if self._last is not None:
            found.append((_LAST, [({}, round(self._last, 3))]))
        return [(name, series) for name, series in found if series]

    def _lines(self, name: str, series: "list[tuple[dict[str, str], float]]") -> list[str]:
        lines = [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} gauge"]
        for labels, value in series:
            pairs = {"task": self._task, "command": self._command, **labels}
            text = ",".join(f'{label}="{_escaped(of)}"' for label, of in pairs.items())
            lines.append(f"{name}{{{text}}} {value}")
        return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _last_success(path: str) -> float | None:
    if not os.path.isfile(path):  # the writing refuses a FIFO, the reading would wait for ever
        return None
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 20)
    except OSError:
        return None
    found = re.search(rf"^{_LAST}{{[^\n]*}} ([0-9.]+)$", text, re.MULTILINE)
    return None if found is None else float(found[1])
