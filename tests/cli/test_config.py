"""`cftool config`: remotes are made, shown without their secrets, and removed."""

import io
import os
import stat

import pytest

SECRET = "s3cr3t-k3y"


@pytest.fixture
def config(here):
    return here.parent / "home/XDG_CONFIG_HOME/cftool/config.toml"


def test_a_remote_is_created_listed_shown_and_removed(run, config):
    run("config", "create", "work", "s3", "region=eu-west-1", "endpoint_url=http://localhost:1", "create_bucket=false")
    assert stat.S_IMODE(os.stat(config).st_mode) == 0o600
    assert run("config", "list").lines == ["work:  s3"]
    assert run("ls").lines == ["work:"]
    assert run("ls", "-l").lines == ["work:  s3"]
    shown = run("config", "show", "work").lines
    assert shown[:2] == ["[remotes.work]", 'type = "s3"']
    assert {'region = "eu-west-1"', "create_bucket = false"} <= set(shown)
    run("config", "remove", "work")
    assert run("config", "list").out == b""


def test_changes_as_json(run, config):
    created = run("config", "create", "work", "s3", "--json").events
    assert created == [{"v": 1, "event": "config", "action": "created", "name": "work", "path": str(config)}]
    assert run("ls", "--json").events == [{"v": 1, "event": "remote", "name": "work", "type": "s3"}]
    assert run("ls", "-0").out == b"work:\0"
    assert "did you mean 'work'?" in run("tree", "wrok:", code=2).err
    removed = run("config", "remove", "work", "--json").events
    assert [(event["action"], event["name"]) for event in removed] == [("removed", "work")]


def test_a_secret_is_never_shown(run, config):
    ran = run("config", "create", "work", "s3", "access_key_id=AK", f"secret_access_key={SECRET}")
    assert "plain text" in ran.err
    for words in (("config", "show"), ("config", "show", "work", "--json"), ("config", "list", "-vv"), ("ls", "-l")):
        shown = run(*words)
        assert SECRET not in shown.out.decode() + shown.err
    assert 'secret_access_key = "(hidden)"' in run("config", "show").lines
    assert SECRET in config.read_text()


@pytest.mark.parametrize(
    "reference", ['{ command = "pass show s3" }', '{ env = "X" }', '{ file = "/f" }', '{ keyring = "service/user" }']
)
def test_a_secret_may_be_a_reference(run, reference):
    ran = run("config", "create", "work", "s3", f"secret_access_key={reference}")
    assert "plain text" not in ran.err
    assert f"secret_access_key = {reference}" in run("config", "show").lines


def test_a_secret_is_asked_for_on_a_terminal(run, config, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: SECRET)
    run("config", "create", "work", "s3", "secret_access_key=-")
    assert SECRET in config.read_text()
    monkeypatch.setattr("getpass.getpass", lambda prompt: "")
    assert "nothing was entered" in run("config", "create", "other", "s3", "secret_access_key=-", code=2).err


def test_a_secret_comes_from_a_pipe_where_there_is_one(run, config, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    with open(tmp_path / "secret") as piped:
        monkeypatch.setattr("sys.stdin", piped)
        ran = run("config", "create", "work", "s3", "secret_access_key=-")
        assert SECRET in config.read_text()
        assert "Warning" not in ran.err
        said = run("config", "create", "other", "s3", "secret_access_key=-", code=2).err  # it was read up
        assert "the input ended" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["work", "s33"], "did you mean 's3'?"),
        (["work", "s3", "endpont_url=x"], "did you mean 'endpoint_url'?"),
        (["work", "s3", "region"], "region=VALUE"),
        (["work", "s3", "create_bucket=perhaps"], "create_bucket"),
        (["work", "s3", "addressing_style=sideways"], "addressing_style"),
        (["work", "s3", "secret_access_key={ nothing }"], "secret_access_key"),
        (["wo rk", "s3"], "wo rk"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_a_remote_is_refused(run, config, words, said):
    assert said in run("config", "create", *words, code=2).err
    assert not config.exists()


def test_a_remote_is_not_replaced(run, config):
    run("config", "create", "work", "s3", "region=a")
    before = config.read_bytes()
    assert "there already" in run("config", "create", "work", "s3", "region=b", code=2).err
    assert config.read_bytes() == before


def test_an_unknown_remote_is_named_with_the_nearest(run):
    run("config", "create", "work", "s3")
    assert "did you mean 'work'?" in run("config", "show", "wrok", code=2).err
    run("config", "remove", "wrok", code=2)


def test_the_stack_is_configured_with_the_remote(run, config):
    run("config", "create", "work:", "s3", "region=eu", "archive=true", "metadata_cache=10m", "cache_size=5 GB")
    assert config.read_text() == (
        '[remotes.work]\ntype = "s3"\nregion = "eu"\n\n'
        '[remotes.work.stack]\narchive = true\nmetadata_cache = "10m"\ncache_size = "5 GB"\n'
    )
    assert "takes true or false, not 'ja'" in run("config", "create", "x", "s3", "archive=ja", code=2).err
    assert "did you mean 'archive'?" in run("config", "create", "x", "s3", "archiv=true", code=2).err
    below = run("config", "create", "x", "s3", "hard_cache_size_limit=1G", "cache_size=2G", code=2).err
    assert below.startswith("cftool: hard_cache_size_limit is below cache_size")
    assert run("config", "show", "work:").lines[0] == "[remotes.work]"
    run("config", "remove", "work:")
    assert config.read_text() == ""


def test_a_remote_that_cannot_be_opened_is_told_with_its_place(run, here, monkeypatch):
    (here / "c.toml").write_text('[remotes.a]\ntype = "s4"\n[remotes.b]\ntype = "webdav"\nurl = "ftp://x"\n')
    assert run("ls", "a:", "--config", "c.toml", code=2).err.startswith("cftool: c.toml:2: unknown provider 's4'")
    assert run("ls", "b:", "--config", "c.toml", code=2).err == (
        "cftool: c.toml:3: url must begin with https:// or http://\n"
    )
    monkeypatch.setenv("CFTOOL_X_TYPE", "webdav")
    monkeypatch.setenv("CFTOOL_X_URL", "ftp://x")
    assert run("ls", "x:", code=2).err == "cftool: remote 'x': url must begin with https:// or http://\n"


def test_the_path_is_the_one_that_would_be_used(run, config, here, monkeypatch):
    assert run("config", "path").lines == [str(config)]
    assert run("config", "path", "--config", "x.toml").lines == ["x.toml"]
    assert run("--json", "config", "path").events == [{"v": 1, "event": "config", "path": str(config)}]


def test_remotes_as_json(run):
    run("config", "create", "work", "s3", f"secret_access_key={SECRET}", "region=eu")
    assert run("config", "list", "--json").events == [{"v": 1, "event": "remote", "name": "work", "type": "s3"}]
    assert run("ls", "--json").events == run("config", "list", "--json").events
    (event,) = run("config", "show", "--json").events
    assert event["options"] == {"region": "eu", "secret_access_key": "(hidden)"}


def test_a_file_that_cannot_be_read_is_told(run, here):
    (here / "bad.toml").write_text("[remotes\n")
    assert "bad.toml:1" in run("config", "list", "--config", "bad.toml", code=2).err
    run("ls", "--config", "missing.toml", code=2)


def test_stack_options_are_shown(run, here):
    (here / "c.toml").write_text('[remotes.m]\ntype = "memory"\n[remotes.m.stack]\nmetadata_cache = 120\n')
    assert run("config", "show", "--config", "c.toml").lines[-3:-1] == ["[remotes.m.stack]", "metadata_cache = 120.0"]
