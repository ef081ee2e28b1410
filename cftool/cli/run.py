"""Runs the engine for a command: its events become JSON lines, dry-run lines, verbose lines or progress.

`Run` is the `emit` of the transfer functions and may be called from any thread. At the end it tells one summary: the
last JSON line, or one line on standard error.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from cftool.cli import exits, formats
from cftool.cli.messages import before, names
from cftool.cli.session import Session
from cftool.cli.totals import Totals
from cftool.core.errors import CftoolError, ConfigError, Interrupted, StoreError, kind_of
from cftool.transfer import events
from cftool.transfer.options import Surroundings

_NAMED = 5  # links that are named without -v

Step = Callable[[Surroundings, events.Emit], events.Summary]


def execute(
    session: Session,
    steps: Iterable[Step],
    *,
    dry_run: bool = False,
    verb: str = "copied",
    failed: Iterable[BaseException] = (),
) -> int:
    """Do all steps, one after the other, as one run with one summary; the exit code.

    `failed`: what was told already and kept a step from being made; it counts in the summary and in the code.
    """
    with Run(session, dry_run=dry_run, verb=verb) as run:
        for error in failed:
            run.count(error)
        for step in steps:
            if session.interrupts.cancelled():
                run.count(KeyboardInterrupt())
                break
            run.step(step)
    return run.finish()


class Run:
    """One run's events and its end."""

    def __init__(self, session: Session, *, dry_run: bool, verb: str) -> None:
        self._session = session
        self._dry_run = dry_run
        self._verb = verb
        self._summary = events.Summary()
        self._codes: list[int] = []
        self._steps = 0
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._show: Callable[[Any], None] = self._show_json if session.out.json else self._show_text
        self._progress: Any = None
        self._totals = Totals()
        self._fields: dict[type[Any], list[str]] = {}  # what a JSON line of this kind tells
        self._metrics: Any = None
        self._linked: list[str] = []  # the first links that were passed over
        self._links = 0
        self._ended = threading.Event()

    def __enter__(self) -> "Run":
        from cftool.cli import progress

        session = self._session
        if session.metrics_file is not None:
            from cftool.cli.metrics import Metrics

            self._metrics = Metrics(session.metrics_file, session.name)
            self._metrics.write(self._totals.summary(), session.requests, code=None)
        if session.stats is not None:
            timer = threading.Thread(target=self._tell_now_and_then, args=(session.stats,), name="stats", daemon=True)
            timer.start()
            self._stack.callback(timer.join)
            self._stack.callback(self._ended.set)
        self._stack.enter_context(self._session.interrupts.graceful())
        if not self._dry_run and progress.wanted(self._session):
            self._progress = self._stack.enter_context(progress.Progress(self._session))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _tell_now_and_then(self, interval: float) -> None:
        while not self._ended.wait(interval):
            self._session.messages.info(self._totals.line())
            self._measure(None)

    def _measure(self, code: int | None) -> bool:
        """Write the metrics file; whether that worked, where there is one."""
        if self._metrics is None:
            return True
        summary = self._totals.summary() if code is None else self._summary
        try:
            self._metrics.write(summary, dict(self._session.requests), code=code)
        except ConfigError as error:
            self._session.messages.error(str(error))
            return False
        return True

    def step(self, step: Step) -> None:
        """One call of the engine; what it raises is told and counted, and the next step goes on."""
        self._steps += 1
        try:
            done = step(self._session.surroundings(), self.emit)
        except Interrupted as error:  # before anything was begun
            self.count(error)
            return
        except (CftoolError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            self._session.report(error)
            self.count(error)
            return
        self._codes.append(exits.of_summary(done, dry_run=self._dry_run))
        self._summary = merge(self._summary, done)

    def count(self, error: BaseException) -> None:
        """An error that was told, and that is no event of the engine."""
        self._codes.append(exits.of_error(error))
        if not isinstance(error, KeyboardInterrupt | Interrupted):
            self._summary = merge(self._summary, events.Summary(errors={kind_of(error): 1}))

    def emit(self, event: events.Event) -> None:
        """What the engine calls."""
        self._totals.update(event)
        if self._progress is not None:
            self._progress.update(event)
        kind = type(event)
        if kind is events.Progress or kind is events.Scanned or kind is events.Started or kind is events.Summary:
            return
        with self._lock:
            self._show(event)

    def finish(self) -> int:
        """Tell the summary; the exit code."""
        code = exits.worst(self._codes)
        self._tell_links()
        if not self._measure(code):
            code = exits.worst((code, exits.FAILED))
        if not self._steps and code and not self._session.out.json:
            return code  # nothing was begun, and why has been told
        tell(self._session, self._summary, code=code, verb=self._verb, dry_run=self._dry_run)
        return code

    def _tell_links(self) -> None:
        """Name what was not copied although most people think it was."""
        if self._links:
            names = ", ".join(self._linked) + (", …" if self._links > len(self._linked) else "")
            self._session.messages.warn(
                f"{formats.plural(self._links, 'symbolic link')} skipped (see --links): {names}"
            )

    # ---- one event

    def _show_json(self, event: Any) -> None:
        out = self._session.out
        if isinstance(event, events.Note):
            self._session.messages.warn(event.message)
            return
        kind = type(event)
        name = _EVENTS[kind]
        names = self._fields.get(kind)
        if names is None:
            names = self._fields[kind] = [
                field.name for field in dataclasses.fields(event) if field.name not in {"error", "dry_run"}
            ]
        fields: dict[str, object] = {field: getattr(event, field) for field in names}
        if self._dry_run and name != "error":
            fields["dry_run"] = True
        out.event(name, fields)
        if isinstance(event, events.Failed):
            self._session.messages.error(_failed_text(event))

    def _show_text(self, event: Any) -> None:
        session = self._session
        if isinstance(event, events.Failed):
            session.messages.error(_failed_text(event))
        elif isinstance(event, events.Note):
            session.messages.warn(event.message)
        elif isinstance(event, events.Differs):
            session.out.line(f"{event.sign} {session.out.name(event.path)}")
        elif isinstance(event, events.Skipped):
            if event.reason == "link":
                self._links += 1
                if len(self._linked) < _NAMED:
                    self._linked.append(event.path)
            session.messages.detail(f"skip {event.path} ({event.reason})")
        elif self._dry_run:
            session.out.line(_action(event, session.out.name))
        else:
            session.messages.detail(_action(event, str))


_EVENTS: dict[type[Any], str] = {
    events.Copied: "copy",
    events.Deleted: "delete",
    events.Moved: "move",
    events.MadeDirectory: "mkdir",
    events.Skipped: "skip",
    events.Differs: "difference",
    events.Failed: "error",
}


def _action(event: Any, name: Callable[[str], str]) -> str:
    if isinstance(event, events.Copied):
        return f"copy {name(event.path)}"
    if isinstance(event, events.Deleted):
        return f"delete {name(event.path)}{'/' if event.is_dir else ''}"
    if isinstance(event, events.Moved):
        return f"move {name(event.path)} -> {name(event.to)}"
    assert isinstance(event, events.MadeDirectory)
    return f"mkdir {name(event.path)}/"


def _failed_text(event: events.Failed) -> str:
    if names(event.message, event.path):
        return event.message
    where = event.path or getattr(event.error, "place", None) or ("." if isinstance(event.error, StoreError) else "")
    return f"{before(where)}{event.message}" if where else event.message


def tell(session: Session, summary: events.Summary, *, code: int, verb: str = "copied", dry_run: bool = False) -> None:
    """The end of a run: the last JSON line, or the summary on standard error."""
    if session.out.json:
        session.out.event("summary", _fields(summary, code, requests=dict(session.requests), dry_run=dry_run))
        return
    session.out.flush()  # what was found stands before what it comes to
    for line in summary_lines(summary, verb=verb, dry_run=dry_run):
        session.messages.info(line)


def _fields(summary: events.Summary, code: int, *, requests: dict[str, int], dry_run: bool) -> dict[str, object]:
    fields: dict[str, object] = {
        "copied": summary.copied,
        "deleted": summary.deleted,
        "moved": summary.moved,
        "made_directories": summary.made_directories,
        "checked": summary.checked,
        "skipped": sum(summary.skipped.values()),
        "skipped_by": dict(summary.skipped),
        "errors": sum(summary.errors.values()),
        "errors_by": dict(summary.errors),
        "bytes": summary.bytes,
        "seconds": round(summary.seconds, 3),
        "requests": requests,
        "compared_by": dict(summary.compared_by),
        "exit": code,
    }
    if summary.differences:
        fields["differences"] = summary.differences
    if summary.withheld or summary.why:
        fields["deletions_withheld"] = summary.withheld
        fields["why"] = summary.why
    if summary.stopped:
        fields["stopped"] = summary.stopped
    if dry_run:
        fields["dry_run"] = True
        fields["to_do"] = summary.to_do
    return fields


def merge(a: events.Summary, b: events.Summary) -> events.Summary:
    """The summary of two runs that followed each other."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(events.Summary):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, str):
            values[field.name] = x or y
        elif isinstance(x, int | float | tuple):
            values[field.name] = x + y
        else:
            values[field.name] = {key: x.get(key, 0) + y.get(key, 0) for key in (*x, *(k for k in y if k not in x))}
    return events.Summary(**values)


def summary_lines(summary: events.Summary, *, verb: str, dry_run: bool) -> list[str]:
    """What is told at the end: one line, and one more for each thing that held the run back."""
    if verb == "checked":
        parts = [f"{formats.plural(summary.differences, 'difference')}, {formats.number(summary.checked)} checked"]
    elif verb == "deleted":
        parts = [f"{'to delete' if dry_run else 'deleted'} {formats.plural(summary.deleted, 'entry')}"]
    elif verb == "moved":
        parts = [f"{'to move' if dry_run else 'moved'} {formats.plural(summary.moved, 'entry')}"]
        if summary.copied:
            parts.append(f"{formats.number(summary.copied)} of them copied ({formats.size(summary.bytes)})")
    else:
        head = _HEADS.get(verb, ("copied", "to copy"))[dry_run]
        parts = [f"{head} {formats.plural(summary.copied, 'file')} ({formats.size(summary.bytes)})"]
        if verb == "synced":
            parts.append(f"{'to delete' if dry_run else 'deleted'} {formats.number(summary.deleted)}")
        if summary.moved:
            parts.append(f"moved {formats.number(summary.moved)}")
        if summary.checked:
            parts.append(f"{formats.number(summary.checked)} checked")
    errors = sum(summary.errors.values())
    if errors:
        parts.append(formats.plural(errors, "error"))
    parts += [f"{formats.number(count)} skipped ({reason})" for reason, count in summary.skipped.items() if count]
    text = f"{', '.join(parts)} in {formats.duration(summary.seconds)}"
    compared = [f"{_BASIS.get(by, by)} {formats.number(count)}" for by, count in summary.compared_by.items() if count]
    if compared:
        text += f"; compared by {', '.join(compared)}"
    lines = [text]
    if summary.withheld or summary.why:
        lines.append(f"deletions withheld: {formats.number(summary.withheld)} ({summary.why})")
    if summary.stopped:
        lines.append(f"stopped: {summary.stopped}")
    return lines


_HEADS = {"restored": ("restored", "to restore")}
_BASIS = {"size_only": "size alone", "request": "one request each"}
