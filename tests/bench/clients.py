"""The programs that are compared, and the command line of each for each piece of work, at its best flags."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.lab import Lab
from tests.bench.measure import run
from tests.dav_servers import DavServer
from tests.gs_servers import GsServer
from tests.servers import tool

RCLONE_FAST = ("--transfers", "32", "--checkers", "32", "--fast-list")
RCLONE_NO_HASH = (*RCLONE_FAST, "--s3-disable-checksum", "--ignore-checksum", "--s3-no-head")
RCLONE_32 = ("--transfers", "32", "--checkers", "32")  # and all else as it comes
BEST = "rclone, best flags"
RCLONE_BEST = {
    "WebDAV": (*RCLONE_32, "--webdav-pacer-min-sleep", "0"),  # without its 10 ms before every call
    "GCS": (*RCLONE_FAST, "--ignore-checksum", "--gcs-no-check-bucket"),
}
RCLONE_LARGE = (
    *("--s3-chunk-size", "16M", "--s3-upload-concurrency", "8", "--multi-thread-streams", "8"),
    "--s3-disable-checksum",
)


@dataclass(frozen=True, slots=True)
class Client:
    """A program as one user has it: `home` holds its state, and is new for every table."""

    name: str
    lab: Lab
    home: Path

    def environment(self) -> dict[str, str]:
        """The server as this program's settings."""
        server, certificate = self.lab.server, self.lab.certificate
        if self.name == "cftool":
            folders = {name: str(self.home / name) for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
            trust = {"CFTOOL_LAB_CA_BUNDLE": certificate} if certificate else {}
            return {**folders, **server.cftool_environment(), **trust}
        if self.name == "s5cmd":
            return {**server.aws_environment(), "S3_ENDPOINT_URL": server.url}
        return {**server.rclone_environment(), **({"RCLONE_CA_CERT": certificate} if certificate else {})}

    def command(self, work: str, local: Path, remote: str) -> list[str] | None:
        """The command for `work` between the file or directory `local` and `remote` (bucket/prefix), if it has one."""
        table: Mapping[str, list[str] | None]
        if self.name == "cftool":
            table = self._cftool(str(local), f"lab:{remote}")
        elif self.name == "s5cmd":
            table = self._s5cmd(str(local), f"s3://{remote}")
        else:
            table = self._rclone(str(local), f"lab:{remote}")
        return table.get(work)

    def _cftool(self, local: str, remote: str) -> dict[str, list[str] | None]:
        cftool = tool("cftool")
        return {
            "upload": [cftool, "cp", "-r", "--json", local, remote],
            "download": [cftool, "cp", "-r", "--json", remote, local],
            "list": [cftool, "ls", "-R", remote],
            "no-op": [cftool, "sync", "--json", local, remote],
            "delete": [cftool, "rm", "-r", remote],
            "delete one by one": [cftool, "rm", "-r", "--include", "*", remote],
            "upload large": [cftool, "cp", local, remote],
            "download large": [cftool, "cp", remote, local],
            "version": [cftool, "--version"],
            "list local": [cftool, "ls", "."],
        }

    def _rclone(self, local: str, remote: str) -> dict[str, list[str] | None]:
        rclone = tool("rclone")
        usual, tree = RCLONE_FAST, "delete"
        if isinstance(self.lab.server, DavServer):
            usual, tree = RCLONE_BEST["WebDAV"] if self.name == BEST else RCLONE_32, "purge"
        elif isinstance(self.lab.server, GsServer):
            usual = RCLONE_BEST["GCS"] if self.name == BEST else RCLONE_32
        flags = RCLONE_NO_HASH if self.name == "rclone, no hashes" else usual
        return {
            "upload": [rclone, "copy", local, remote, *flags],
            "download": [rclone, "copy", remote, local, *flags],
            "list": [rclone, "lsf", "-R", "--files-only", remote, *usual],
            "no-op": [rclone, "sync", local, remote, *usual, *self._rclone_compare()],
            "delete": [rclone, tree, remote, *usual],
            "delete one by one": [rclone, "delete", remote, *usual],
            "upload large": [rclone, "copyto", local, remote, *RCLONE_LARGE],
            "download large": [rclone, "copyto", remote, local, *RCLONE_LARGE],
            "version": [rclone, "version"],
            "list local": [rclone, "lsf", "."],
        }

    def _rclone_compare(self) -> list[str]:
        return ["--size-only"] if self.name == "rclone, size only" else []

    def _s5cmd(self, local: str, remote: str) -> dict[str, list[str] | None]:
        s5cmd = [tool("s5cmd"), *(["--no-verify-ssl"] if self.lab.certificate else [])]
        return {
            "upload": [*s5cmd, "cp", f"{local}/", f"{remote}/"],
            "download": [*s5cmd, "cp", f"{remote}/*", f"{local}/"],
            "list": [*s5cmd, "ls", f"{remote}/*"],
            "no-op": [*s5cmd, "sync", f"{local}/", f"{remote}/"],
            "delete": [*s5cmd, "rm", f"{remote}/*"],
            "upload large": [*s5cmd, "cp", local, remote],
            "download large": [*s5cmd, "cp", remote, local],
            "version": [*s5cmd, "version"],
            "list local": None,
        }

    def version(self) -> str:
        """The first line of its version."""
        program, word = tool(self.name.partition(",")[0]), "--version" if self.name == "cftool" else "version"
        return run([program, word], self.environment(), keep_output=True).out.decode().splitlines()[0]
