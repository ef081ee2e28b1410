"""The progress display, on a real pseudo-terminal of 60 columns, with an engine that is a script."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from cftool.cli import progress, totals
from cftool.cli.options import Common
from cftool.cli.session import Session
from cftool.transfer import events

# A run of the engine that tells each stage and waits until the display has drawn it: no sleep decides anything.
SCRIPT = """
import sys, threading
from cftool.cli import progress, run
from cftool.cli.options import Common
from cftool.cli.session import Session
from cftool.transfer import events as e

progress._DELAY = 0.0
drawn = threading.Event()
render = progress.Progress.render
def noticed(self):
    drawn.set()
    return render(self)
progress.Progress.render = noticed

def shown():
    for _ in range(2):
        drawn.clear()
        assert drawn.wait(30)

def step(around, emit):
    emit(e.Scanned(1200, 10 << 30, 7, 1 << 20, complete=False))
    shown()
    emit(e.Scanned(1200, 10 << 30, 7, 4 << 20, complete=True))
    emit(e.Started("a/very/long/path/" + "x" * 80 + "/the-end-of-it.bin", 2 << 20))
    emit(e.Progress("a/very/long/path/" + "x" * 80 + "/the-end-of-it.bin", 1 << 20))
    shown()
    emit(e.Failed("bad\\x1b]0;title\\x07\\nname", "not_found", "gone"))
    emit(e.Copied("a", 1))
    shown()
    return e.Summary(copied=1, bytes=1 << 20, errors={"not_found": 1})

sys.exit(Session.run(Common(**FLAGS), lambda session: run.execute(session, [step])))
"""


def watch(script: str, *, columns: int = 60, **env: str) -> tuple[int, str]:
    """Run the script with standard error on a pseudo-terminal, and return its exit code and what was drawn."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", **env},
    )
    os.close(slave)
    seen = bytearray()
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # how Linux tells that the other end was closed
            break
        if not data:
            break
        seen += data
    os.close(master)
    return process.wait(), seen.decode()


def texts(drawn: str) -> list[str]:
    """The lines without the control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", drawn).replace("\r", "\n").split("\n")


def script(**flags: object) -> str:
    return SCRIPT.replace("FLAGS", repr(flags))


@pytest.fixture(scope="module")
def drawn() -> tuple[int, str]:
    return watch(script())


def test_the_display_tells_totals_and_what_is_active(drawn):
    code, text = drawn
    assert code == 1
    lines = texts(text)
    assert any("scanning…" in line for line in lines)
    assert any(re.search(r"1\.0 MiB of 4\.0 MiB  25%  .*/s", line) for line in lines)
    assert any("1 of 7 files, 1 error" in line for line in lines)
    assert any(line.endswith("/the-end-of-it.bin") and " 50% …" in line for line in lines)


def test_no_line_is_wider_than_the_terminal(drawn):
    shown = [line for line in texts(drawn[1]) if not line.startswith(("cftool:", "copied"))]
    assert max(map(len, shown)) <= 60


def test_messages_stay_readable_and_harmless(drawn):
    lines = texts(drawn[1])
    assert "cftool: bad\\x1b]0;title\\x07\\nname: gone" in lines
    assert "\x07" not in drawn[1]
    assert any(line.startswith("copied 1 file (1.0 MiB), 1 error in ") for line in lines)


def test_the_cursor_is_shown_again(drawn):
    assert drawn[1].rindex("\x1b[?25h") > drawn[1].rindex("\x1b[?25l")


def test_no_color_means_no_color():
    assert re.search(r"\x1b\[[0-9;]*m", watch(script(), NO_COLOR="1")[1]) is None


@pytest.mark.parametrize(("flags", "env"), [({"quiet": True}, {}), ({}, {"TERM": "dumb"})])
def test_nothing_is_drawn_where_it_is_not_wanted(flags, env):
    quick = script(**flags).replace("assert drawn.wait(30)", "pass")
    code, text = watch(quick, **env)
    assert code == 1
    assert "\x1b" not in text
    assert "gone" in text


@pytest.fixture
def display(monkeypatch):
    monkeypatch.setattr(progress, "_DELAY", 3600.0)
    with progress.Progress(Session(Common())) as made:
        yield made


def test_transfers_that_ended_are_shown_no_more(display):
    for name in "abcdefghij":
        display.update(events.Started(name, 10))
    assert len(display._active) == 10
    display.update(events.Copied("a", 10))
    display.update(events.Failed("b", "x", "y"))
    assert (len(display._active), display._files, display._errors) == (8, 1, 1)


def test_small_files_count_together(display):
    display.update(events.Progress("", 7))
    display.update(events.Progress("unknown", 5))
    assert display._bytes == 12


def test_rate_and_time_left_are_of_the_last_seconds(display, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(totals.time, "monotonic", lambda: now[0])
    display._samples.clear()
    display._samples.append((100.0, 0))
    display.update(events.Scanned(2, 3000 * 1024, 2, 3000 * 1024, complete=True))
    now[0] += 10
    display.update(events.Progress("", 1000 * 1024))
    assert "100.0 KiB/s  20.0 s left" in display._totals()[0]


def test_a_quick_run_never_imports_rich(display):
    assert display._live is None


def test_who_leaves_at_once_shows_the_cursor_as_long_as_it_may_be_hidden(monkeypatch):
    """From before the display hides it until after the display shows it again."""
    from rich import live

    session = Session(Common())
    able = []

    class Display:
        def __init__(self, **how):
            pass

        def start(self):
            able.append(session.on_leave is not None)

        def stop(self):
            able.append(session.on_leave is not None)

    monkeypatch.setattr(live, "Live", Display)
    with progress.Progress(session) as display:
        display._start()
    assert able == [True, True]
    assert session.on_leave is None
