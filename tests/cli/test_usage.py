"""What is typed wrongly is told in one line with the nearest right word, and exits with 2."""

import pytest

from cftool import __version__
from cftool.cli import app, elsewhere


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lss"], "'lss'; did you mean 'ls'? (see cftool --help)"),
        (["ls", "--recursve"], "ls: no option --recursve; did you mean --recursive? (see cftool ls --help)"),
        (["config", "shw"], "'shw'; did you mean 'show'? (see cftool config --help)"),
        (["config"], "config: say one of create, list"),
        (["config", "show", "--jsn"], "show: no option --jsn; did you mean --json? (see cftool config show --help)"),
        (["cp"], "cp: missing argument 'SRC... DST' (see cftool cp --help)"),
        (["cp", "one"], "SRC... DST"),
        (["sync", "a", "b", "c"], "sync: got unexpected extra argument(s) (c)"),
        (["ls", "--depth"], "ls: option '--depth' requires an argument: N (see"),
        (["cp", "a", "b", "--links"], "cp: option '--links' requires an argument: skip|follow|keep (see"),
        (["copyto", "a", "b"], "no command 'copyto': cp SRC DST copies to exactly that name (see"),
        (["lsjson", "a"], "no command 'lsjson': ls --json"),
        (["config", "delete", "x"], "config: no command 'delete': config remove NAME removes a remote (see"),
        (["trash", "delete"], "trash: no command 'delete' (see"),
        (["help", "rcat"], "no command 'rcat': put PATH"),
        (["sync", "a", "b", "--delete"], "no option --delete: sync deletes what SRC lacks"),
        (["sync", "a", "b", "-P"], "no option -P: a terminal shows progress by itself"),
        (["sync", "a", "b", "--s3-chunk-size=5M"], "no option --s3-chunk-size: an option of the remote"),
        (["mount", "a:", "b", "--vfs-read-ahead=1M"], "cftool mount --help"),
        (["cp", "a", "b", "--fix-cast"], "no option --fix-cast (see"),
        (["ls", "--depth", "0"], "--depth: '0'"),
        (["ls", "-d", "-f"], "exclude each other"),
        (["ls", "--sort", "colour"], "name, size, time"),
        (["--nonsense"], "no option --nonsense"),
        (["tre", "."], "'tre'; did you mean 'tree'?"),
        (["touhc", "x"], "'touhc'; did you mean 'touch'?"),
        (["rmdir"], "rmdir: missing argument 'PATH...'"),
        (["touch", "x", "--no-creat"], "did you mean --no-create?"),
        (["put"], "put: missing argument 'PATH'"),
        (["put", "a", "b"], "put: got unexpected extra argument(s) (b)"),
        (["df", "--humna"], "did you mean --human?"),
        (["tree", "--depth", "x"], "--depth: 'x'"),
        (["hash"], "hash: missing argument 'TYPE'"),
        (["link", "x", "--expires", "soon"], "--expires"),
        (["completion", "fsh"], "unknown shell 'fsh'; did you mean 'fish'?"),
        (["df", "nosuch:"], "unknown remote 'nosuch'"),
        (["sync", "a", "b", "--max-delete", "many"], "--max-delete"),
        (["sync", "a", "b", "--max-delete", "101%"], "--max-delete"),
        (["sync", "a", "b", "--max-delete", "x%"], "--max-delete"),
        (["cp", "a", "b", "--links", "hard"], "skip, follow, keep"),
        (["cp", "a", "b", "--verify", "maybe"], "auto, readback, none"),
        (["cp", "a", "b", "--transfers", "0"], "--transfers"),
        (["cp", "a", "b", "--bwlimit", "fast"], "--bwlimit"),
        (["cp", "a", "b", "--max-transfer", "lots"], "--max-transfer"),
        (["cp", "a", "b", "--max-duration", "long"], "--max-duration"),
        (["cp", "a", "b", "--size-only", "--checksum"], "exclude each other"),
        (["cp", "a", "b", "--existing", "--ignore-existing"], "select nothing"),
        (["sync", "-", "b"], "sync takes directories"),
        (["ls", "x", "--log-format", "xml", "--log-file", "y"], "text, json"),
        (["cleanup", "x", "--older-than", "old"], "--older-than"),
        (["help", "lss"], "'lss'; did you mean 'ls'?"),
        (["help", "config", "lst"], "did you mean 'list'?"),
        (["help", "ls", "x"], "'x'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_usage_error_is_one_line_and_exits_2(run, words, said):
    ran = run(*words, code=2)
    assert said in ran.err
    assert ran.err.startswith("cftool: ")
    assert ran.err.count("\n") == 1
    assert ran.out == b""


def test_no_hint_stands_in_the_way_of_what_exists():
    assert not elsewhere.COMMANDS.keys() & app.COMMANDS.keys()
    assert not elsewhere.CONFIG.keys() & app.CONFIG.keys()
    group, context = app.root(), None
    every = [group.get_command(context, name) for name in app.COMMANDS if name not in app.GROUPS]
    of_transfers = [command for command in every if command.name in {"cp", "mv", "sync", "check"}]
    assert not {flag for command in of_transfers for param in command.params for flag in param.opts} & (
        elsewhere.FLAGS.keys()
    )
    all_flags = {flag for command in every for param in command.params for flag in param.opts}
    named = {word.strip(",;:.") for text in elsewhere.FLAGS.values() for word in text.split() if word.startswith("--")}
    assert {name.partition("=")[0] for name in named} <= all_flags | {"--help"}


@pytest.mark.parametrize("words", [["-h"], ["cp", "-h"], ["config", "-h"], ["config", "show", "-h"]])
def test_h_is_help_where_it_is_nothing_else(run, words):
    assert run(*words).out.startswith(b"Usage: cftool")


def test_cat_has_no_json(run):
    ran = run("cat", "x", "--json", code=2)
    assert "--json" in ran.err
    assert [(event["event"], event["kind"]) for event in ran.events] == [("error", "config_error")]


@pytest.mark.parametrize("flag", ["--hash-filter", "--ignore-case"])
def test_flags_of_later_versions_are_refused_and_not_ignored(run, flag):
    assert "no option" in run("sync", "a", "b", flag, "x", code=2).err


@pytest.mark.parametrize("words", [["--version"], ["version"], ["-V"]])
def test_the_version_is_one_line(run, words):
    assert run(*words).out == f"cftool {__version__}\n".encode()


def test_version_verbose_tells_what_it_runs_on(run):
    lines = run("version", "-v").lines
    assert lines[0] == f"cftool {__version__}"
    assert any(line.startswith("Python ") for line in lines)


def test_version_as_json(run):
    (event,) = run("--json", "version").events
    assert (event["v"], event["event"], event["cftool"]) == (1, "version", __version__)


def test_help_as_json(run):
    (event,) = run("help", "config", "show", "--json").events
    assert (event["event"], event["command"]) == ("help", "config show")
    assert event["text"].startswith("Usage: cftool config show")


def test_no_command_says_where_the_help_is(run):
    assert "cftool --help" in run(code=2).err


def test_help_lists_every_command_without_importing_one(run):
    text = run("--help").out.decode()
    assert [name for name in app.COMMANDS if f"  {name} " not in text] == []


ALL = [[name] for name in app.COMMANDS if name not in app.GROUPS]
ALL += [[group, name] for group, table in app.GROUPS.items() for name in table]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_help_with_the_common_flags(run, words):
    text = run(*words, "--help").out.decode()
    assert text.startswith(f"Usage: cftool {' '.join(words)} [OPTIONS]")
    for flag in ("--config", "--quiet", "--verbose", "--json", "--log-file", "--log-format"):
        assert flag in text
    assert run("help", *words).out.decode().split("Options:")[1] == text.split("Options:")[1]


@pytest.mark.parametrize(
    ("typed", "parsed"),
    [
        (["-v", "ls", "x"], ["ls", "-v", "x"]),
        (["--config", "f", "-q", "ls", "x"], ["ls", "--config", "f", "-q", "x"]),
        (["--config=f", "config", "-v", "list"], ["config", "list", "--config=f", "-v"]),
        (["ls", "--json", "x"], ["ls", "--json", "x"]),
        (["--json", "ls", "--", "-v"], ["ls", "--json", "--", "-v"]),
        (["--log-file"], ["--log-file"]),
        (["-v"], ["-v"]),
        ([], []),
        (["-v", "nothing"], ["nothing"]),
    ],
)
def test_common_flags_may_stand_before_the_command(typed, parsed):
    assert app._hoist(typed) == parsed


@pytest.mark.parametrize("words", [["sync", "nodir", "b"], ["check", "nodir", "b"], ["sync", "local:/nodir", "b"]])
def test_a_source_that_is_missing_is_named_as_it_was_typed(run, words):
    ran = run(*words, code=3)
    assert ran.err.startswith(f"cftool: {words[1]}: no such file or directory\n")


def test_a_destination_that_cannot_be_made_is_named_as_it_was_typed(run, here):
    (here / "a").mkdir()
    (here / "file").write_text("")
    assert run("sync", "a", "file/b", code=None).err.startswith("cftool: file/b: ")


def test_a_secret_in_an_address_is_not_told(run, here):
    ran = run("--json", "--log-file", "log", "ls", "nosuch,password=hidden:x", code=2)
    told = (ran.out.decode(), ran.err, (here / "log").read_text())
    assert [("hidden" in text, "password=***" in text) for text in told] == [(False, True)] * 3


def test_the_name_of_a_profile_that_is_missing_is_told(run, monkeypatch, here):
    pytest.importorskip("botocore")
    monkeypatch.setenv("AWS_PROFILE", "nosuch")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert "the AWS profile 'nosuch' does not exist" in run("ls", "s3:b", code=2).err


def test_a_forgotten_colon_is_told(run, here, monkeypatch):
    monkeypatch.setenv("CFTOOL_WORK_TYPE", "memory")
    (here / "f").write_text("x")
    assert run("ls", "work/a", code=3).err.endswith("no such file or directory; the remote is written work:a\n")
    assert "work is a path on this machine; the remote is written work:" in run("cp", "f", "work").err
    assert "the remote is" not in run("cp", "f", "work", "--ignore-times").err  # there is such a file by now
    (here / "work").unlink()
    assert "the remote is written work:b" in run("sync", ".", "work/b", "--exclude", "work/**").err
    assert "the remote is" not in run("ls", "./nothing", code=3).err


@pytest.mark.parametrize("words", [("trash", "list"), ("trash", "empty"), ("cleanup",), ("cat",)], ids=" ".join)
def test_a_place_that_is_misspelt_is_told_and_not_believed_to_be_empty(run, here, words):
    assert run(*words, "nodir", code=3).err.startswith("cftool: nodir: no such file or directory\n")


def test_a_file_with_a_slash_is_no_directory(run, here):
    (here / "f").write_text("x")
    assert run("cat", "f/", code=1).err == "cftool: f/: not a directory\n"
    assert run("put", "f/", code=1).err == "cftool: f/: standard input needs the name of a file\n"


def test_what_a_file_of_sums_names_is_told_as_what_was_typed(run, here):
    (here / "sums").write_text(f"{'0' * 32}  gone\n")
    (here / "d").mkdir()
    assert run("hash", "md5", "--check", "sums", "d", code=1).err.startswith("cftool: d/gone: no such file")
    assert run("hash", "md5", "--check", "nosums", code=3).err == "cftool: nosums: no such file or directory\n"


def test_a_destination_that_needs_a_setting_is_no_dot(run, here, monkeypatch):
    (here / "d").mkdir()
    for name in ("GOOGLE_CLOUD_PROJECT", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert run("sync", "d", "gs,anonymous:", code=2).err.startswith("cftool: to list the buckets, set project")


def test_a_check_against_what_is_not_there_says_so(run, here):
    (here / "a").mkdir()
    (here / "a" / "f").write_text("x")
    ran = run("check", "a", "b", code=6)
    assert (ran.lines, ran.err.splitlines()[0]) == (["+ f"], "cftool: b is not there: everything is missing in it")
