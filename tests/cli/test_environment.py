"""The real command where the surroundings are poor: no environment, closed descriptors, gone readers, full disks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CFTOOL = str(Path(sys.executable).parent / "cftool")


def cftool(*words, env=None, code=0, **more):
    more.setdefault("stdin", subprocess.DEVNULL)
    more.setdefault("stdout", subprocess.PIPE)
    done = subprocess.run([CFTOOL, *words], stderr=subprocess.PIPE, env=env, check=False, timeout=60, **more)
    assert b"Traceback" not in done.stderr
    assert done.returncode == code, done
    return done


@pytest.fixture
def full(here):
    (here / "füll-日本").mkdir()
    (here / "füll-日本/ä").write_text("x")
    return here


def test_an_empty_environment_is_enough(full):
    done = cftool("ls", "-R", ".", env={})
    assert done.stdout.decode() == "füll-日本/\nfüll-日本/ä\n"
    cftool("cp", "füll-日本/ä", "copy", env={"XDG_STATE_HOME": str(full / "state")})
    assert (full / "copy").read_text() == "x"


@pytest.mark.parametrize("settings", [{"LANG": "C"}, {"LC_ALL": "POSIX"}, {"PYTHONIOENCODING": "ascii"}])
def test_names_are_utf8_in_any_locale(full, settings):
    done = cftool("ls", ".", "füll-日本", "missing-ß", env=settings, code=3)
    assert "füll-日本/" in done.stdout.decode()
    assert b"missing-" in done.stderr


def test_standard_input_may_be_closed(full):
    done = cftool("ls", ".", preexec_fn=lambda: os.close(0))
    assert done.stdout.decode() == "füll-日本/\n"


def test_standard_output_that_is_closed_is_an_error(full):
    assert cftool("ls", ".", preexec_fn=lambda: os.close(1), code=1).stderr == b"cftool: standard output is closed\n"
    for words in (("--version",), ("--help",), ("ls", "--help"), ("help",), ("config", "--help")):
        done = cftool(*words, preexec_fn=lambda: os.close(1), code=1)
        assert done.stderr == b"cftool: standard output is closed\n"


def test_standard_error_may_be_closed(full):
    done = cftool("ls", "missing", ".", preexec_fn=lambda: os.close(2), code=3)
    assert "füll-日本/" in done.stdout.decode()
    assert "missing" not in done.stdout.decode()


def test_a_state_directory_that_cannot_be_made_is_named_with_what_helps(full):
    (full / "file").write_text("")
    said = cftool("cp", "file", "copy", env={"XDG_STATE_HOME": str(full / "file")}, code=1).stderr
    assert b"XDG_STATE_HOME names another place" in said


def test_a_full_disk_is_an_error(full):
    with open("/dev/full", "wb") as device:
        assert b"No space left" in cftool("ls", ".", stdout=device, code=1).stderr
        assert b"No space left" in cftool("cat", "füll-日本/ä", stdout=device, code=1).stderr
        assert b"No space left" in cftool("--version", stdout=device, code=1).stderr
        assert b"No space left" in cftool("ls", "--help", stdout=device, code=1).stderr


def test_a_reader_that_went_away_is_no_noise(here):
    for number in range(3000):
        (here / f"a-name-that-is-long-enough-to-fill-a-pipe-{number:06d}").touch()
    process = subprocess.Popen([CFTOOL, "ls", "."], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().endswith(b"000000\n")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


def test_help_to_a_reader_that_went_away(here):
    read, write = os.pipe()
    os.close(read)
    assert cftool("ls", "--help", stdout=write, code=141).stderr == b""
    assert cftool("--version", stdout=write, code=141).stderr == b""
    os.close(write)


def test_a_working_directory_that_is_gone(here, full):
    gone = here / "gone"
    gone.mkdir()
    script = f'cd "{gone}" && rmdir "{gone}" && exec "{CFTOOL}" "$@"'

    def call(*words):
        return subprocess.run(["sh", "-c", script, "sh", *words], capture_output=True, check=False)

    done = call("ls", str(full))
    assert (done.returncode, "füll-日本/" in done.stdout.decode()) == (0, True)
    gone.mkdir()
    done = call("ls", ".")
    assert done.returncode in {2, 3}
    assert b"Traceback" not in done.stderr


class TestInternalErrors:
    @pytest.fixture
    def broken(self, monkeypatch):
        from cftool.cli import cmd_stat

        def raises(*args, **named):
            raise RuntimeError("secret_access_key=hunter2 is odd\x1b[31m")

        monkeypatch.setattr(cmd_stat, "exits", None)
        monkeypatch.setattr("cftool.cli.session.Session.open", raises)

    def test_one_line_that_asks_for_a_report(self, run, broken):
        ran = run("stat", "x", code=1)
        assert ran.err.startswith("cftool: internal error: RuntimeError: secret_access_key=***")
        assert ran.err.count("\n") == 1
        assert "\x1b" not in ran.err
        (event,) = run("stat", "x", "--json", code=1).events
        assert (event["event"], event["kind"]) == ("error", "internal")
        assert "hunter2" not in event["message"]

    def test_the_traceback_is_for_who_asks_and_redacted(self, here, broken, capfd, monkeypatch):
        from cftool.cli.main import main

        assert main(["stat", "x", "-vv"]) == 1
        err = capfd.readouterr().err
        assert "Traceback (most recent call last)" in err
        assert "hunter2" not in err
        monkeypatch.setenv("CFTOOL_TRACEBACK", "1")
        assert main(["stat", "x"]) == 1
        assert "Traceback" in capfd.readouterr().err


class TestLogFile:
    def test_what_is_told_goes_there_too(self, run, here):
        (here / "f").write_text("x")
        run("cp", "f", "g", "--log-file", "log", "-q")
        run("cp", "missing", "g", "--log-file", "log", code=3)
        text = (here / "log").read_text()
        assert "copied 1 file" in text
        assert " ERROR " in text
        assert "missing" in text

    def test_as_json(self, run, here):
        import json

        run("stat", "mis\nsing", "--log-file", "log", "--log-format", "json", code=3)
        (line,) = (here / "log").read_text().splitlines()
        record = json.loads(line)
        assert (record["level"], record["time"][-1]) == ("error", "Z")
        assert "mis\\nsing" in record["message"]

    def test_records_of_the_layers_are_redacted_and_escaped(self, here, capfd):
        import logging

        from cftool.cli.options import Common
        from cftool.cli.session import Session

        def command(session):
            logging.getLogger("cftool.test").warning("password=%s name %s", "hunter2", "a\x1b]0;x\x07")
            logging.getLogger("cftool.test").debug("fine print")

        assert Session.run(Common(log_file="log", verbose=2), command) == 0
        for text in ((here / "log").read_text(), capfd.readouterr().err):
            assert "hunter2" not in text
            assert "\x1b" not in text
            assert "fine print" in text
        assert Session.run(Common(quiet=True), command) == 0
        assert capfd.readouterr().err == ""

    def test_a_log_file_that_cannot_be_written_is_told_before_anything_is_done(self, run, here):
        (here / "f").write_text("x")
        assert "no/such/log" in run("cp", "f", "g", "--log-file", "no/such/log", code=2).err
        assert not (here / "g").exists()
