"""Typing of options from every layer: which one wins, what is refused, and what is never evaluated."""

import pytest

from cftool.config import values
from cftool.config.file import load
from cftool.config.values import Layers, assignment, from_text, settings
from cftool.core.errors import ConfigError
from cftool.core.provider import Option, Provider, Secret

OPTIONS = (
    Option("region", "where"),
    Option("key", "the key", secret=True),
    Option("style", "how", choices=("path", "virtual")),
    Option("part_size", "bytes", type="size", default="8M"),
    Option("timeout", "seconds", type="duration"),
    Option("retries", "times", type="int"),
    Option("anonymous", "no keys", type="bool"),
    Option("account", "an id"),
)
PROVIDER = Provider("svc", "", "", OPTIONS, lambda values, context: None)
STRICT = Provider("strict", "", "", (Option("url", "the server's URL", required=True),), lambda values, context: None)
CONFINED = Provider("confined", "", "", (Option("root", "its own"),), lambda values, context: None)


@pytest.fixture
def opened(tmp_path):
    def do(body="", *, env=None, address=None, flags=None, provider=PROVIDER, mode=0o600, more="", name="work"):
        path = tmp_path / "config.toml"
        path.write_text(f'[remotes.{name}]\ntype = "svc"\n{body}\n{more}\n')
        path.chmod(mode)
        config = load(str(path), env or {})
        return settings(provider, config.remotes[name], Layers(env or {}, address or {}, flags or {}), config)

    return do


def test_what_nobody_set_is_none_so_that_the_provider_can_look_elsewhere(opened):
    assert opened().values == dict.fromkeys([o.name for o in OPTIONS])
    assert opened().root == ""


def test_values_of_the_file_have_the_types_of_their_options(opened):
    found = opened(
        'region = "eu"\nkey = "hunter2"\nstyle = "path"\n'
        'part_size = "5M"\ntimeout = "1m"\nretries = 3\nanonymous = true'
    ).values
    assert found == {
        "region": "eu",
        "key": Secret("hunter2"),
        "style": "path",
        "part_size": 5 << 20,
        "timeout": 60.0,
        "retries": 3,
        "anonymous": True,
        "account": None,
    }


def test_values_of_texts_have_the_types_of_their_options(opened):
    env = {
        "CFTOOL_WORK_REGION": "eu",
        "CFTOOL_WORK_KEY": "hunter2",
        "CFTOOL_WORK_STYLE": "virtual",
        "CFTOOL_WORK_PART_SIZE": "5M",
        "CFTOOL_WORK_TIMEOUT": "90",
        "CFTOOL_WORK_RETRIES": "3",
        "CFTOOL_WORK_ANONYMOUS": "no",
        "CFTOOL_WORK_TYPE": "svc",
    }
    assert opened(env=env).values == {
        "region": "eu",
        "key": Secret("hunter2"),
        "style": "virtual",
        "part_size": 5 << 20,
        "timeout": 90.0,
        "retries": 3,
        "anonymous": False,
        "account": None,
    }


def test_address_over_flag_over_environment_over_file(opened):
    layers = {"address": {"region": "address"}, "flags": {"region": "flag"}, "env": {"CFTOOL_WORK_REGION": "env"}}
    for winner in ("address", "flag", "env", "file"):
        assert opened('region = "file"', **layers).values["region"] == winner
        layers.pop({"flag": "flags"}.get(winner, winner), None)
    assert opened().values["region"] is None


def test_an_empty_variable_sets_nothing(opened):
    assert opened('region = "file"', env={"CFTOOL_WORK_REGION": ""}).values["region"] == "file"


def test_an_empty_secret_is_none(opened):
    assert opened('key = ""').values["key"] is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('regoin = "x"', "3: unknown option of svc 'regoin'; did you mean 'region'"),
        ("region = 5", "3: option 'region' takes a text"),
        ('style = "host"', "3: option 'style': unknown value 'host': known are path, virtual"),
        ('retries = "3"', "3: option 'retries' takes a whole number"),
        ("key = 5", "3: option 'key': a secret is a string or one of"),
        ('key = { envv = "X" }', "did you mean 'env'"),
        ('key = { env = "NOT_SET" }', "3: option 'key': the secret from env 'NOT_SET' is empty"),
        ('retries = { env = "X" }', "3: option 'retries' takes a whole number"),
        ("root = 5", "option 'root' takes a text"),
        ("archive = true", "3: 'archive' is no option of svc: it stands in the table [remotes.work.stack]"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line(opened, tmp_path, body, message):
    with pytest.raises(ConfigError) as caught:
        opened(body)
    assert str(caught.value).startswith(f"{tmp_path}/config.toml:3: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"address": {"regoin": "x"}}, "address: unknown option of svc 'regoin'; did you mean 'region'"),
        ({"flags": {"regoin": "x"}}, "command line: unknown option of svc 'regoin'"),
        ({"env": {"CFTOOL_WORK_REGOIN": "x"}}, r"\$CFTOOL_WORK_REGOIN: unknown option of the remote 'work' 'regoin'"),
        ({"address": {"retries": "x"}}, "address: option 'retries' takes a whole number, not 'x'"),
        ({"flags": {"part_size": "x"}}, "command line: option 'part_size' 'x' is no size"),
        ({"env": {"CFTOOL_WORK_ANONYMOUS": "x"}}, r"\$CFTOOL_WORK_ANONYMOUS takes true or false, not 'x'"),
        ({"address": {"style": "x"}}, "address: option 'style': unknown value 'x'"),
    ],
)
def test_a_mistake_elsewhere_is_told_with_its_place(opened, layers, message):
    with pytest.raises(ConfigError, match=message):
        opened(**layers)


def test_variables_of_a_remote_with_a_longer_name_are_its_own(opened):
    more = '[remotes.work-two]\ntype = "svc"'
    env = {"CFTOOL_WORK_TWO_REGION": "theirs", "CFTOOL_WORK_REGION": "ours"}
    assert opened(more=more, env=env).values["region"] == "ours"
    with pytest.raises(ConfigError, match="CFTOOL_WORK_TWO_REGION"):
        opened(env=env)


def test_a_remote_without_a_file_is_checked_alike():
    from cftool.config.file import RemoteConfig

    remote = RemoteConfig("svc", "svc")
    assert settings(PROVIDER, remote, Layers({"CFTOOL_SVC_REGION": "eu"})).values["region"] == "eu"
    with pytest.raises(ConfigError, match="CFTOOL_SVC_X"):
        settings(PROVIDER, remote, Layers({"CFTOOL_SVC_X": "eu"}))


def test_a_required_option_that_is_missing_is_told(opened):
    with pytest.raises(ConfigError, match=r"remote 'work': the option 'url' is missing \(the server's URL\)"):
        opened(provider=STRICT)
    assert opened('url = "x"', provider=STRICT).values == {"url": "x"}


def test_root_is_for_every_provider_and_goes_to_one_that_confines_itself(opened):
    assert opened('root = "a/b"').root == "a/b"
    assert "root" not in opened('root = "a/b"').values
    assert opened('root = "/a"', provider=CONFINED) == values.Settings({"root": "/a"}, "")


# ---- secrets


def test_references_are_resolved(opened, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("from the file\n")
    secret.chmod(0o600)
    assert opened('key = { file = "secret" }').values["key"].reveal() == "from the file"
    assert opened('key = { command = "echo ran" }', env={"PATH": "/bin"}).values["key"].reveal() == "ran"


def test_an_option_that_is_no_secret_may_be_a_reference_too(opened):
    assert opened('account = { env = "X" }', env={"X": "mine"}).values["account"] == "mine"
    with pytest.raises(ConfigError, match="unknown value 'odd'"):
        opened('style = { env = "X" }', env={"X": "odd"})


def test_a_command_does_not_run_where_another_layer_wins(opened, tmp_path):
    body = f'key = {{ command = "touch {tmp_path}/ran" }}'
    assert opened(body, address={"key": "hunter2"}).values["key"] == Secret("hunter2")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_plain_secret_in_a_file_that_others_can_read_is_refused(opened, tmp_path, mode):
    with pytest.raises(ConfigError) as caught:
        opened('key = "hunter2"', mode=mode)
    assert str(caught.value).endswith(f"chmod 600 {tmp_path}/config.toml")
    assert "hunter2" not in str(caught.value)
    # It is read by others all the same where it is not used this time.
    with pytest.raises(ConfigError, match="chmod 600"):
        opened('key = "hunter2"', mode=mode, address={"key": "other"})


@pytest.mark.parametrize("body", ['key = { env = "X" }', 'region = "eu"', 'key = ""'])
def test_a_file_without_a_plain_secret_may_be_read_by_others(opened, body):
    opened(body, mode=0o644, env={"X": "set"})


# ---- texts


@pytest.mark.parametrize("text", ["true", "True", "1", "yes", "ON", " on "])
def test_true(text):
    assert from_text(Option("x", "", type="bool"), text) is True


@pytest.mark.parametrize("text", ["false", "0", "No", "off"])
def test_false(text):
    assert from_text(Option("x", "", type="bool"), text) is False


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("region=eu=1", ("region", "eu=1")),
        ("region=", ("region", "")),
        ("part_size=5M", ("part_size", "5M")),
        ("timeout=1h", ("timeout", "1h")),
        ("retries=3", ("retries", 3)),
        ("anonymous=yes", ("anonymous", True)),
        ("root=a/b", ("root", "a/b")),
        ("key=hunter2", ("key", "hunter2")),
        ('key={ env = "X" }', ("key", {"env": "X"})),
        ('key={command=["a","b"]}', ("key", {"command": ["a", "b"]})),
    ],
)
def test_an_assignment_of_config_create(text, written):
    assert assignment(PROVIDER, text) == written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("regoin=eu", "did you mean 'region'"),
        ("region", "write region=VALUE"),
        ("retries=x", "option 'retries' takes a whole number"),
        ("style=x", "unknown value 'x'"),
        ("part_size=x", "is no size"),
        ("key={env=X}", "a reference is written"),
        ("key={}", "a secret is a string or one of"),
        ('key={envv="X"}', "did you mean 'env'"),
    ],
)
def test_an_assignment_that_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        assignment(PROVIDER, text)
