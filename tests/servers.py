"""Real S3 servers of somebody else's making, for tests, benchmarks and the demonstration.

`rclone_s3` serves a directory with `rclone serve s3`, `moto_s3` keeps objects in memory; both are child processes that
listen on a free port of the loopback, are ready when the context is entered and are gone when it is left. For tests the
fixtures `rclone_server` and `moto_server` (tests/conftest.py) give one of each per session, per worker under xdist: a
test takes a bucket of its own with `new_bucket`, never the whole server. No pytest here: `make demo` runs without it.
"""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY = "lab-access-key"
SECRET_KEY = "lab-secret-key"
REGION = "us-east-1"
START_SECONDS = 60  # moto imports for seconds on a loaded machine
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server: where it listens, with which keys, and (rclone only) the directory that it serves."""

    kind: str  # "rclone", "moto", or what a user started himself
    url: str
    directory: Path | None = None
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    def aws_environment(self) -> dict[str, str]:
        """What boto3, s5cmd and `s3:` of cftool read."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def cftool_environment(self, remote: str = "lab") -> dict[str, str]:
        """A remote of cftool that the environment alone defines."""
        prefix = f"CFTOOL_{remote.upper()}_"
        return {
            prefix + "TYPE": "s3",
            prefix + "ENDPOINT_URL": self.url,
            prefix + "ACCESS_KEY_ID": self.access_key,
            prefix + "SECRET_ACCESS_KEY": self.secret_key,
            prefix + "REGION": REGION,
        }

    def rclone_environment(self, remote: str = "lab") -> dict[str, str]:
        """The same remote for rclone."""
        prefix = f"RCLONE_CONFIG_{remote.upper()}_"
        return {
            "RCLONE_CONFIG": os.devnull,
            prefix + "TYPE": "s3",
            prefix + "PROVIDER": "Rclone" if self.kind == "rclone" else "Other",
            prefix + "ENDPOINT": self.url,
            prefix + "ACCESS_KEY_ID": self.access_key,
            prefix + "SECRET_ACCESS_KEY": self.secret_key,
            prefix + "REGION": REGION,
        }


def tool(name: str) -> str:
    """A program of this virtual environment, else of PATH; s5cmd's binary itself and not its Python launcher."""
    if name == "s5cmd":
        from importlib.metadata import distribution

        for file in distribution("s5cmd").files or ():
            if file.name == "s5cmd" and file.parent.name == "bin" and "s5cmd/bin" in str(file):
                return str(file.locate())
    beside = BIN / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: pip install 'cftool[test]'")
    return found


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the port accepts a connection; raise with the server's own words where it ended or is too slow."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"server {process.args!r} is not ready: {log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def running(
    command: list[str], port: int, *, env: dict[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process with its own process group, killed at the end together with its children.

    What it says goes to `log`.
    """
    with tempfile.TemporaryDirectory(prefix="server-") as scratch:
        log = log or Path(scratch) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        try:
            wait_until_listening(port, process, log)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def rclone_s3(directory: Path | str, *flags: str) -> Iterator[S3Server]:
    """`rclone serve s3` over a directory: its sub-directories are the buckets.

    It differs from Amazon's in what it leaves out: no KeyCount where a page is empty, no namespace on most roots,
    listed ETags without quotes, MaxKeys ignored, no IsTruncated in listings of uploads and parts; and LastModified is
    the file's own time. Parts of an upload must be sent more or less in order, and conditions on a write are accepted
    and ignored.
    """
    port = free_port()
    command = [tool("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    # It caches listings of its directory for minutes (without that, it comes to a stop under a few dozen uploads at
    # once): nobody else may write there.
    command += ["--config", os.devnull, *flags, str(directory)]
    with running(command, port):
        yield S3Server("rclone", f"http://127.0.0.1:{port}", Path(directory))


@contextlib.contextmanager
def moto_s3() -> Iterator[S3Server]:
    """moto's server: S3 in memory, empty at the start."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    with running(command, port, env=env):
        yield S3Server("moto", f"http://127.0.0.1:{port}")


_numbers = itertools.count(1)


def new_bucket(server: S3Server, *, create: bool = False) -> str:
    """A bucket name that no other test uses; with `create` it exists afterwards."""
    name = f"t{os.getpid()}-{next(_numbers)}"
    if create:
        boto3_client(server).create_bucket(Bucket=name)
    return name


def boto3_client(server: S3Server):
    """boto3's S3 client for the server: the independent reader of what cftool wrote."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=REGION,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
    )
