"""Fixtures that every test may use: the real servers, and an environment without the user's own settings."""

import contextlib
import gc
import mmap
import os
import signal
from collections.abc import Callable, Iterator

import hypothesis
import pytest

from tests import dav_servers
from tests.dav_servers import DavServer
from tests.servers import S3Server, moto_s3, rclone_s3

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As shells start what runs in the background; the programs under test would inherit it and obey it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that has other work takes its time: how long an example takes says nothing.
hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.load_profile("busy")

GROWTH = 128 << 20  # bytes of memory: see Housekeeping
FOREIGN = ("AWS_", "CFTOOL_", "RCLONE_", "S3_")
FOLDERS = {
    "XDG_CONFIG_HOME": ".config",
    "XDG_STATE_HOME": ".local/state",
    "XDG_CACHE_HOME": ".cache",
    "XDG_DATA_HOME": ".local/share",
}


@pytest.fixture(scope="session")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """`rclone serve s3` over a fresh directory."""
    with rclone_s3(tmp_path_factory.mktemp("rclone-s3")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """moto's S3 server."""
    with moto_s3() as server:
        yield server


@pytest.fixture(scope="session")
def dav_server_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], DavServer]]:
    """Gives the session's WebDAV server of a kind, started when it is asked for first; skips where it cannot be had."""
    started: dict[str, DavServer] = {}
    with contextlib.ExitStack() as stack:

        def of(kind: str) -> DavServer:
            reason = dav_servers.missing_apache() if kind == "apache" else None
            if reason is not None:
                pytest.skip(reason)
            if kind not in started:
                place = tmp_path_factory.mktemp(f"dav-{kind}")
                started[kind] = stack.enter_context(dav_servers.KINDS[kind](place))
            return started[kind]

        yield of


@pytest.fixture(params=list(dav_servers.KINDS))
def dav_server(request: pytest.FixtureRequest, dav_server_of: Callable[[str], DavServer]) -> DavServer:
    """Each of the WebDAV servers, in a test of its own."""
    return dav_server_of(request.param)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads the settings, the credentials or the state of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    for variable, folder in FOLDERS.items():
        monkeypatch.setenv(variable, str(home / folder))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def pytest_runtest_teardown() -> None:
    """A command freezes what start-up made, for it ends soon; a test process would never free anything."""
    gc.unfreeze()


class Housekeeping:
    """Looks for garbage once a test process has grown.

    A fake service and its stores refer to each other, and hold all that was uploaded. Python looks through everything
    only when the number of objects has grown by a quarter: a few large ones wait for that a long time.
    """

    def __init__(self) -> None:
        self._size = resident()

    def pytest_runtest_logfinish(self) -> None:
        """After a test and all that it used."""
        if resident() > self._size + GROWTH:
            gc.collect()
            self._size = resident()


def resident() -> int:
    """Bytes of memory that this process takes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


def pytest_configure(config: pytest.Config) -> None:
    """Each process of the tests keeps its own house."""
    config.pluginmanager.register(Housekeeping())
