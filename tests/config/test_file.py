"""The configuration file: what is read, and that each mistake is told with file and line."""

import os

import pytest

from cftool.config.file import Config, StackOptions, env_name, load, typed_value
from cftool.core.errors import ConfigError

GOOD = """\
# a comment = 1
[remotes.work]
type = "s3"
endpoint_url = "https://s3.example.org"   # trailing
secret_access_key = { command = "pass show s3" }
root = "bucket/backups"

[remotes.work.stack]
metadata_cache = 120
archive = true
cache = "1h30m"
cache_size = "5 GB"
hard_cache_size_limit = 10_000_000_000
cache_id = "work"
read_only = false

[remotes."my.host"]
type = "local"

[remotes]
short = { type = "memory" }
"""


@pytest.fixture
def config(tmp_path):
    def written(text, env=None, mode=0o600):
        path = tmp_path / "config.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return load(str(path), env or {})

    return written


def test_remotes_are_read_as_they_were_written(config, tmp_path):
    path = str(tmp_path / "config.toml")
    found = config(GOOD)
    assert found.path == path
    assert list(found.remotes) == ["work", "my.host", "short"]
    work = found.remotes["work"]
    assert (work.name, work.type) == ("work", "s3")
    assert work.values == {
        "endpoint_url": "https://s3.example.org",
        "secret_access_key": {"command": "pass show s3"},
        "root": "bucket/backups",
    }
    assert work.stack == StackOptions(120.0, True, 5400.0, 5 * 10**9, 10**10, "work", False)
    assert (found.remotes["short"].type, found.remotes["short"].stack) == ("memory", StackOptions())
    assert work.where("endpoint_url") == f"{path}:4"
    assert work.where("unheard_of") == work.where() == f"{path}:2"
    assert found.remotes["my.host"].where("type") == f"{path}:18"


def test_a_remote_without_a_line_of_its_own_is_told_by_its_file(config, tmp_path):
    found = config('remotes = { x = { type = "memory", root = "a" } }')
    assert found.remotes["x"].where("root") == f"{tmp_path}/config.toml"


def test_an_empty_file_is_an_empty_configuration(config):
    assert config("").remotes == {}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("\n[remote.x]\n", 2, "unknown section 'remote'; did you mean 'remotes'"),
        ("debug = 1\n", 1, "unknown section 'debug'"),
        ("remotes = 5\n", 1, "remotes is a table"),
        ("[remotes]\n\nx = 5\n", 3, "the remote 'x' is a table"),
        ('[remotes."a b"]\ntype = "s3"\n', 1, "a remote cannot be called 'a b'"),
        ("[remotes.x]\nroot = 'a'\n", 1, "the remote 'x' has no type"),
        ("[remotes.x]\n\ntype = 5\n", 3, "type of the remote 'x' is a text"),
        ('[remotes.x]\ntype = "s3"\nstack = 1\n', 3, "stack of the remote 'x' is a table"),
        ('[remotes.x]\ntype = "s3"\n[remotes.x.stack]\ncahce = 1\n', 4, "did you mean 'cache'"),
        ('[remotes.x]\ntype = "s3"\n[remotes.x.stack]\narchive = "yes"\n', 4, "takes true or false"),
        ('[remotes.x]\ntype = "s3"\n[remotes.x.stack]\ncache_size = "many"\n', 4, "is no size"),
        ('[remotes.x]\ntype = "s3"\nstack = { cache = -1 }\n', 1, "out of range"),
        (
            '[remotes.x]\ntype = "s3"\n[remotes.x.stack]\ncache_size = "5 GB"\nhard_cache_size_limit = "4 GB"\n',
            5,
            "hard_cache_size_limit is below cache_size",
        ),
    ],
)
def test_a_mistake_is_told_with_file_and_line(config, tmp_path, text, line, message):
    with pytest.raises(ConfigError) as caught:
        config(text)
    assert str(caught.value).startswith(f"{tmp_path}/config.toml:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[remotes.a\n", "1:11: Expected ']' at the end of a table declaration"),
        ("[remotes.a]\ntype = s3\n", '2:8: Invalid value (a text stands in quotes: "…")'),
        ('[remotes.a]\ntype = "s3\n', "2:11: the line ends before its text does"),
        ('[remotes.a]\ntype = "s3"\ntype = "s3"\n', "3:12: the key of this line stands there twice"),
        ('[remotes.a]\ntype = "s3"\n[remotes.a]\n', "3:11: [remotes.a] stands there twice"),
        ('a = """', " Unterminated string (at end of document)"),
    ],
)
def test_broken_toml_is_told_with_line_and_column(config, tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        config(text)
    assert str(caught.value) == f"{tmp_path}/config.toml:{message}"


def test_a_file_that_is_no_text_is_told(config):
    with pytest.raises(ConfigError, match="no UTF-8 text"):
        config(b"\xff\xfe")


def test_a_file_nested_without_end_is_told(config):
    with pytest.raises(ConfigError, match="nested too deeply"):
        config("x = " + "[" * 5000)


def test_a_file_that_is_no_configuration_by_its_size_is_told(config, monkeypatch):
    monkeypatch.setattr("cftool.config.file._LARGEST", 10)
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        config("# a long comment")


def test_the_default_file_need_not_exist(tmp_path):
    assert load(None, {"HOME": str(tmp_path)}).remotes == {}


@pytest.mark.parametrize(("flag", "env"), [("/no/such.toml", {}), (None, {"CFTOOL_CONFIG": "/no/such.toml"})])
def test_a_file_that_was_asked_for_must_exist(flag, env):
    with pytest.raises(ConfigError, match=r"'/no/such\.toml' does not exist"):
        load(flag, env)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(str(tmp_path), {})


@pytest.mark.parametrize(
    ("mode", "exposed"), [(0o600, False), (0o400, False), (0o620, False), (0o640, True), (0o644, True)]
)
def test_whether_others_can_read_it_is_noted(config, mode, exposed):
    assert config('[remotes.x]\ntype = "s3"\n', mode=mode).remotes["x"].exposed is exposed


# ---- the environment


def test_a_remote_may_be_defined_by_the_environment_alone(config):
    found = config("", {"CFTOOL_WORK_TYPE": "s3", "CFTOOL_WORK_REGION": "eu", "CFTOOL_CONFIG": "x"})
    assert {name: r.type for name, r in found.remotes.items()} == {"work": "s3"}
    assert found.remotes["work"].where("region") == "remote 'work'"


def test_a_remote_of_the_environment_is_known_under_each_spelling(config):
    found = config("", {"CFTOOL_MY_WORK_TYPE": "s3"})
    names = found.known(["memory"])
    for name in ("my_work", "my-work", "My.Work", "memory"):
        assert name in names
    assert "mywork" not in names
    assert 5 not in names
    assert list(names) == ["my_work", "memory"]
    assert len(names) == 2
    assert found.remote("my-work").type == "s3"
    assert found.remote("memory") is None


def test_the_environment_overrides_the_type_and_keeps_the_rest(config):
    found = config(GOOD, {"CFTOOL_MY_HOST_TYPE": "memory"})
    assert found.remotes["my.host"].type == "memory"
    assert found.remotes["my.host"].where("type").endswith(":18")
    assert "my_host" not in found.remotes


def test_a_variable_that_can_be_no_remote_is_left_alone(config):
    assert config("", {"CFTOOL__TYPE": "s3", "CFTOOL_TYPE": "s3", "XCFTOOL_A_TYPE": "s3"}).remotes.keys() <= {"_"}


def test_names_in_the_environment():
    assert env_name("work", "region") == "CFTOOL_WORK_REGION"
    assert env_name("my-work.2", "endpoint_url") == "CFTOOL_MY_WORK_2_ENDPOINT_URL"


def test_a_configuration_may_be_made_by_hand():
    assert Config("x", {}).remote("work") is None


# ---- types


@pytest.mark.parametrize(
    ("value", "kind", "typed"),
    [
        ("a", "str", "a"),
        (True, "bool", True),
        (5, "int", 5),
        (-5, "int", -5),
        (5, "size", 5),
        ("5K", "size", 5120),
        (5, "duration", 5.0),
        (0.5, "duration", 0.5),
        ("1m", "duration", 60.0),
    ],
)
def test_a_value_of_the_right_type(value, kind, typed):
    assert typed_value(value, kind) == typed
    assert type(typed_value(value, kind)) is type(typed)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (5, "str"),
        (True, "str"),
        ({}, "str"),
        ("true", "bool"),
        (1, "bool"),
        ("5", "int"),
        (5.5, "int"),
        (True, "int"),
        (5.5, "size"),
        (-1, "size"),
        (1 << 70, "size"),
        ("x", "size"),
        ([], "duration"),
        (-1, "duration"),
        (10**400, "duration"),
        (float("nan"), "duration"),
        (float("inf"), "duration"),
        (False, "duration"),
    ],
)
def test_a_value_of_another_type_is_refused(value, kind):
    with pytest.raises(ValueError, match=r"takes|out of range|is no"):
        typed_value(value, kind)


def test_nothing_of_a_file_is_in_a_message_but_names(config):
    with pytest.raises(ConfigError) as caught:
        config('[remotes.x]\ntype = "s3"\nsecret_access_key = "hunter2\n')
    assert "hunter2" not in str(caught.value)
    assert os.linesep not in str(caught.value)
