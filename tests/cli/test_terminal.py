"""The real command on a real terminal, from cron's empty environment, and where nobody can hear it."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import pytest

from tests.cli.conftest import tree
from tests.cli.test_environment import CFTOOL


class Terminal:
    """A child that has a terminal of its own as its controlling one; Ctrl-C is typed, not sent."""

    def __init__(self, *words, columns=60, **env):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

        def own():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        inherited = {name: text for name, text in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            [CFTOOL, *map(str, words)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=own,
            env={**inherited, "TERM": "xterm-256color", **env},
        )
        os.close(slave)
        self.master = master
        self.seen = b""

    def until(self, text):
        deadline = time.monotonic() + 60
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, self.seen
            assert self.more(), self.seen

    def more(self):
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        while self.more():
            pass
        os.close(self.master)
        return self.process.wait(60)

    def lines(self):
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", self.seen.decode(errors="replace"))
        return text.replace("\r", "\n").split("\n")


@pytest.fixture
def big(here):
    (here / "big").mkdir()
    with open(here / "big" / "file.bin", "wb") as file:
        file.write(os.urandom(16 << 20))
    if subprocess.run(["cp", "--reflink=always", "big/file.bin", "clone"], capture_output=True, check=False).returncode:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(here / "clone")
    else:
        pytest.skip("files are cloned here, which no pace can hold back")
    return here


def test_the_first_ctrl_c_ends_a_copy_in_order_and_leaves_nothing_half_done(big):
    terminal = Terminal("cp", "-r", "big", "out", "--bwlimit", "1M")
    terminal.until("file.bin")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert any("again to stop at once" in line for line in terminal.lines())
    assert any(line.startswith("copied 0 files") for line in terminal.lines())
    assert "stopped: interrupted" in terminal.lines()
    assert [name for _, _, files in os.walk(big / "out") for name in files] == []
    assert terminal.seen.rindex(b"\x1b[?25h") > terminal.seen.rindex(b"\x1b[?25l")


def test_the_second_ctrl_c_ends_it_at_once(big):
    terminal = Terminal("cp", "-r", "big", "out", "--bwlimit", "1M")
    terminal.until("file.bin")
    os.kill(terminal.process.pid, signal.SIGSTOP)  # so that it meets both at once, however quick the first one is
    terminal.type("\x03")
    os.kill(terminal.process.pid, signal.SIGCONT)
    terminal.until("again to stop at once")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert b"Traceback" not in terminal.seen
    assert terminal.seen.rindex(b"\x1b[?25h") > terminal.seen.rindex(b"\x1b[?25l")


def test_names_cannot_drive_the_terminal(big):
    odd = "evil\x1b]0;owned\x07\n.bin"
    os.rename(big / "big" / "file.bin", big / "big" / odd)
    terminal = Terminal("cp", "-r", "big", "out", "--bwlimit", "20M", "-v", NO_COLOR="1")
    assert terminal.end() == 0
    assert b"\x07" not in terminal.seen
    assert b"owned\\x07\\n.bin" in terminal.seen
    assert re.search(rb"\x1b\[[0-9;]*m", terminal.seen) is None
    assert max(len(line) for line in terminal.lines() if "copy" not in line and "copied" not in line) <= 60


def test_the_wizard_breaks_its_questions_between_words(here):
    terminal = Terminal("config", "wizard", columns=40)
    for said, answer in (("new remote", "work"), ("number or name", "s3"), ("(endpoint_url):", ""), ("(region):", "")):
        terminal.until(said)
        terminal.type(f"{answer}\n")
    terminal.until("(access_key_id):")
    terminal.type("\x03")
    assert terminal.end() == 130
    lines = [line.rstrip() for line in terminal.lines() if line.strip()]
    first = lines.index("URL of the service; default:")
    assert lines[first : first + 5] == [
        "URL of the service; default:",
        "$AWS_ENDPOINT_URL_S3,",
        "$AWS_ENDPOINT_URL, then Amazon's own",
        "(endpoint_url):",
        "Region; default: $AWS_REGION,",
    ]


def cron(*words, **more):
    state = {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}  # the one thing that must not be the real user's
    return subprocess.run(
        [CFTOOL, *words], env=state, stdin=subprocess.DEVNULL, capture_output=True, check=False, **more
    )


def test_an_empty_environment_is_enough_for_a_sync(here):
    tree(here / "a", x="1", no__y="2")
    done = cron("sync", "a", "b", "--exclude", "no/", "--metrics-file", "m.prom", "--log-file", "log", "--stats", "1h")
    assert b"Traceback" not in done.stderr
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"copied 1 file (1 B)")
    assert os.listdir(here / "b") == ["x"]


def test_a_full_log_disk_fails_no_copy_and_says_so_once(here):
    tree(here / "a", **{f"f{number}": "x" for number in range(20)})
    done = subprocess.run(
        [CFTOOL, "cp", "-r", "a", "b", "--log-file", "/dev/full", "-v"], capture_output=True, text=True, check=False
    )
    assert len(os.listdir(here / "b")) == 20
    assert "Traceback" not in done.stderr
    assert done.stderr.count("No space left") == 1
    assert done.returncode == 1


def test_all_three_descriptors_may_be_closed(here):
    tree(here / "a", x="1")

    def close():
        for number in (0, 1, 2):
            os.close(number)

    done = subprocess.run([CFTOOL, "sync", "a", "b"], preexec_fn=close, check=False)
    assert done.returncode == 0
    assert (here / "b/x").read_text() == "1"
