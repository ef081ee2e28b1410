"""Standard output and standard error: what is written, and what happens where nobody reads."""

import io
import json
import sys

import pytest

from cftool.cli.messages import Messages, explain
from cftool.cli.output import Output, OutputError
from cftool.core import errors


class Stream(io.BytesIO):
    """A binary standard output that may be a terminal, or broken."""

    def __init__(self, error=None):
        super().__init__()
        self.error = error

    def write(self, data):
        if self.error is not None:
            raise self.error
        return super().write(data)


@pytest.fixture
def stdout(monkeypatch):
    def install(*, terminal=False, error=None):
        stream = Stream(error)
        text = io.TextIOWrapper(stream, "utf-8")
        text.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stdout", text)
        return stream

    return install


ODD = "a\x1b[31m\nb\udcff"


def test_names_are_escaped_on_a_terminal_only(stdout):
    stdout(terminal=True)
    assert Output().name(ODD) == "a\\x1b[31m\\nb\\xff"
    stdout(terminal=False)
    assert Output().name(ODD) == ODD


def test_names_that_are_no_utf8_leave_as_their_bytes(stdout):
    stream = stdout()
    out = Output()
    out.line("x\udcff", "\0")
    out.flush()
    assert stream.getvalue() == b"x\xff\0"


def test_half_a_character_in_a_name_is_no_traceback(stdout):
    stream = stdout()
    out = Output()
    out.line("a\ud800b")
    out.flush()
    assert stream.getvalue() == b"a\xed\xa0\x80b\n"


def test_json_lines_are_ascii_and_whole(stdout):
    stream = stdout()
    out = Output(json=True)
    out.event("entry", {"path": ODD})
    out.flush()
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    assert json.loads(line) == {"v": 1, "event": "entry", "path": ODD}


def test_a_json_line_is_what_the_encoder_of_the_library_makes_of_it(stdout):
    stream = stdout()
    out = Output(json=True)
    fields = {
        "path": ODD + '"\\\u2028é',
        "bytes": 2**70,
        "yes": True,
        "no": False,
        "none": None,
        "part": 0.5,
        "by": {"a": 1},
    }
    out.event("copy", fields)
    out.flush()
    expected = json.dumps({"v": 1, "event": "copy", **fields}, separators=(",", ":"))
    assert stream.getvalue().decode("ascii") == expected + "\n"


def test_a_terminal_sees_each_line_at_once(stdout):
    stream = stdout(terminal=True)
    Output().line("now")
    assert stream.getvalue() == b"now\n"


def test_many_lines_are_not_kept_in_memory(stdout):
    stream = stdout()
    out = Output()
    for _ in range(70_000):
        out.line("x")
    assert len(stream.getvalue()) >= 65_536


def test_data_comes_after_the_lines_before_it(stdout):
    stream = stdout()
    out = Output()
    out.line("first")
    out.data(b"second")
    assert stream.getvalue() == b"first\nsecond"


def test_a_full_disk_is_an_error_and_a_gone_reader_a_broken_pipe(stdout):
    stdout(error=OSError(28, "No space left on device"))
    with pytest.raises(OutputError, match="No space left"):
        Output().data(b"x")
    stdout(error=BrokenPipeError(32, "Broken pipe"))
    with pytest.raises(BrokenPipeError):
        Output().data(b"x")


def test_without_a_standard_output_writing_fails_and_nothing_else(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    out = Output()
    out.flush()
    with pytest.raises(OutputError, match="closed"):
        out.data(b"x")
    out.abandon()


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0, ["cftool: bad"]),
        (1, ["cftool: bad", "cftool: beware", "done"]),
        (2, ["cftool: bad", "cftool: beware", "done", "each"]),
    ],
)
def test_messages_by_level(capsys, level, expected):
    messages = Messages(level)
    messages.error("bad")
    messages.warn("beware")
    messages.info("done")
    messages.detail("each")
    assert capsys.readouterr().err.splitlines() == expected


def test_messages_are_escaped(capsys):
    Messages().error(ODD)
    assert capsys.readouterr().err == "cftool: a\\x1b[31m\\nb\\xff\n"


def test_a_closed_standard_error_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    Messages().error("x")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    Messages().error("x")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.NotFound("not found", path="a/b", store="work"), "work:a/b: not found"),
        (errors.NotFound("there is no a/b", path="a/b", store="work"), "work: there is no a/b"),
        (errors.NotFound("work: gone", path="", store="work"), "work: gone"),
        (errors.NotFound("", path="x"), "x: not found"),
        (
            errors.LoginRequired("the key is not known", path="b", store="work"),
            "work:b: the key is not known; check the credentials (cftool config test work)",
        ),
        (
            errors.LoginRequired("there is no login yet; run cftool config login work", store="work"),
            "work: there is no login yet; run cftool config login work",
        ),
        (errors.LoginRequired("no keys: set them", store="work"), "work: no keys: set them"),
        (errors.RateLimited("slow down", store="work"), "work: slow down; try again later"),
        (errors.ConfigError("nonsense"), "nonsense"),
        (FileNotFoundError(2, "No such file or directory", "x"), "x: No such file or directory"),
        (FileNotFoundError(2, "No such file or directory", b"x\xff"), "x\udcff: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("x"), "ValueError: x"),
        (ValueError(), "ValueError"),
    ],
    ids=str,
)
def test_an_error_says_where_what_and_what_to_do(error, expected):
    assert explain(error) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.NotFound("not found", path="", store="work"), "work:a/b: not found"),
        (errors.NotFound("not found", path="a/b", store="work"), "work:a/b: not found"),
        (errors.PermissionDenied("permission denied", path="c/d", store="work"), "work:a/b: c/d: permission denied"),
        (OSError(28, "No space left on device"), "work:a/b: No space left on device"),
    ],
)
def test_an_error_is_placed_by_the_address_that_was_typed(error, expected):
    assert explain(error, "work:a/b") == expected


def test_the_root_of_a_remote_has_one_colon():
    error = errors.PermissionDenied("permission denied", path="/state/archive", store="work")
    assert explain(error, "work:") == "work: /state/archive: permission denied"
