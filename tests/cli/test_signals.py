"""Ctrl-C in the real process: the first lets the command clean up, the second ends it. Output says when to send it."""

import os
import signal
import subprocess
import sys

import pytest

from tests.cli.test_environment import CFTOOL

SCRIPT = """
import signal, sys, time
from cftool.cli import run
from cftool.cli.options import Common
from cftool.cli.session import Session
from cftool.transfer.events import Summary

def step(around, emit):
    print("ready", flush=True)
    while not around.cancelled():
        signal.sigtimedwait([], 0.01)
    print("cancelled", flush=True)
    while STUBBORN:
        signal.sigtimedwait([], 10)
    return Summary(copied=3, stopped="interrupted")

def command(session):
    try:
        return run.execute(session, [step, step])
    finally:
        print("cleaned up", flush=True)

sys.exit(Session.run(Common(), command))
"""


def start(script):
    return subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_ends_the_run_in_order(here, number):
    heard = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # whoever runs the tests may ignore it
    process = start(heard + SCRIPT.replace("STUBBORN", "False"))
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b"cancelled\ncleaned up\n"
    assert b"again to stop at once" in err
    assert b"copied 3 files" in err
    assert b"stopped: interrupted" in err


def test_the_second_signal_ends_it_at_once(here):
    process = start(SCRIPT.replace("STUBBORN", "True"))
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b"cancelled\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


def test_an_interrupted_stream_leaves_nothing(here):
    process = subprocess.Popen(
        [CFTOOL, "cp", "-", "new"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # More than is held in memory and than a pipe holds: where this returns, the file is being written.
    process.stdin.write(bytes(10_000_000))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"cftool: interrupted\n")
    assert os.listdir(here) == []


def test_what_ignores_signals_goes_on_ignoring_them(here):
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + SCRIPT.replace("STUBBORN", "False")
    process = start(script)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"cancelled\ncleaned up\n")


def test_handlers_are_put_back(run):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    run("ls", ".")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_outside_the_main_thread_signals_are_left_alone(run):
    import threading

    codes = []
    thread = threading.Thread(target=lambda: codes.append(run("ls", ".").code))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.parametrize("module", ["cftool.cli.app", "typer", "cftool.cli.cmd_ls"])
def test_a_signal_before_a_command_has_begun_is_no_traceback(here, module):
    """Start-up is most of what a small command does, and so where Ctrl-C meets it."""
    script = f"""
import os, signal, sys
class Meeting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Meeting())
sys.argv = ["cftool", "ls"]
from cftool.cli.main import main
main()
"""
    process = start(script)
    assert (process.communicate(timeout=60), process.returncode) == ((b"", b""), 130)
