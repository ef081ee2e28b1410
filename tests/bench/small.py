"""Tables of small files on WebDAV and Google Cloud Storage: the same work on every server, beside rclone.

rclone stands in each table twice: as it comes but for 32 transfers, and at its best flags. Where it comes with a pause
before every call it needs minutes, and runs once; that is said in the table's title.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.clients import BEST, Client
from tests.bench.lab import APACHE, FAKE_GCS, RCLONE_WEBDAV, Served, served
from tests.bench.measure import run
from tests.bench.tables import FILES, REMOTE, Bar, Bench
from tests.servers import tool

RCLONE = "rclone"
WEBDAV_NOTE = (
    "`rclone` runs as it comes, but with 32 transfers: it pauses for 10 ms before each call; `rclone, best flags` does",
    "not (`--webdav-pacer-min-sleep 0`). `rclone serve webdav` shows a stump where a PUT is cut: there cftool writes",
    "under a temporary name, looks at what arrived, and moves it, two requests a file; rclone writes under the final",
    "name. Apache shows a file when it is complete, and one request is enough. A tree goes in one request with both",
    "(`rm -r`, `purge`): what is left is the start of the program. One by one, which is what a sync does, cftool asks",
    "before each lot whether they are still files.",
)
GS_NOTE = (
    "`rclone` runs as it comes, but with 32 transfers; `rclone, best flags` adds `--fast-list --ignore-checksum",
    "--gcs-no-check-bucket`. cftool verifies all that it writes and reads.",
)


def webdav(bench: Bench, only: Sequence[str] | None, files: int | None) -> Served:
    """On the server with most to do for it, and on one that people run."""
    for service, usual in ((RCLONE_WEBDAV, FILES), (APACHE, FILES // 5)):
        with served(service, bench.scratch) as lab:
            _Tables(bench, lab, files or usual, once=(RCLONE,)).run(only)
    return lab


def gs(bench: Bench, only: Sequence[str] | None, files: int | None) -> Served:
    """On an emulator, which takes longer for an object than its clients do."""
    with served(FAKE_GCS, bench.scratch) as lab:
        _Tables(bench, lab, files or FILES // 2).run(only)
    return lab


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables of one server."""

    bench: Bench
    lab: Served
    files: int
    once: Sequence[str] = ()

    def run(self, only: Sequence[str] | None) -> None:
        for name in ("upload", "download", "no-op", "delete"):
            if not only or name in only:
                getattr(self, "_" + name.replace("-", "_"))()

    def _compare(self, title: str, work: str, *, half: bool = True, paced: bool = True, **how) -> None:
        bars = [Bar("cpu", 0.5, RCLONE), Bar("cpu", 0.5, BEST)] if half else []
        bars.append(Bar("rss", 80))
        clients = ("cftool", RCLONE, BEST)
        once = self.once if paced else ()
        title = f"{self.lab.name}: {title.format(f'{self.files:,}')}"
        self.bench.compare(title, self.lab, work, clients, bars=bars, once=once, **how)

    def _upload(self) -> None:
        root = self.bench.small_files(self.files)

        def check(client: Client) -> None:
            arrived = self.lab.files()
            if arrived is not None:
                subprocess.run(["diff", "-r", "-x", ".DAV", root, arrived], check=True)
            else:
                self._expect(client, self.files)

        self._compare(
            "upload {} x 4 KiB", "upload", local=root, prepare=lambda client: self.lab.reset(data=True), check=check
        )

    def _download(self) -> None:
        root, target = self.bench.small_files(self.files), self.bench.scratch / "down"
        self.lab.begin(root)

        def prepare(client: Client) -> None:
            shutil.rmtree(target, ignore_errors=True)

        def check(client: Client) -> None:
            subprocess.run(["diff", "-r", root, target], check=True)

        self._compare("download {} x 4 KiB", "download", local=target, prepare=prepare, check=check)

    def _no_op(self) -> None:
        root = self.bench.small_files(self.files)
        self.lab.begin()
        self._do(Client(BEST, self.lab, self.bench.scratch / "filler"), "upload")  # by a client, for the times

        def synced(client: Client) -> None:
            self._do(client, "no-op")

        self._compare("sync of {} with nothing to do", "no-op", half=False, paced=False, local=root, prepare=synced)

    def _delete(self) -> None:
        root = self.bench.small_files(self.files)

        def stocked(client: Client) -> None:
            self.lab.begin(root)

        def gone(client: Client) -> None:
            left = self.lab.files()
            if left is None:
                self._expect(client, 0)
            elif count := sum(name.endswith(".dat") for _, _, names in os.walk(left) for name in names):
                raise SystemExit(f"{client.name}: {count} files were not deleted")

        how = {"local": root, "prepare": stocked, "check": gone}
        self._compare("delete {} one by one", "delete one by one", **how)
        if self.lab.files() is not None:  # where it is one request, and not the same once more
            self._compare("delete a tree of {}", "delete", half=False, paced=False, **how)

    def _do(self, client: Client, work: str) -> None:
        command = client.command(work, self.bench.small_files(self.files), REMOTE)
        assert command is not None
        run(command, client.environment())

    def _expect(self, client: Client, count: int) -> None:
        """That the store holds so many objects, asked of rclone."""
        judge = Client(BEST, self.lab, self.bench.scratch / "judge")
        out = run([tool("rclone"), "size", "--json", f"lab:{REMOTE}"], judge.environment(), keep_output=True).out
        if f'"count":{count},'.encode() not in out:
            raise SystemExit(f"{client.name}: {count} objects expected, found {out.decode()}")
