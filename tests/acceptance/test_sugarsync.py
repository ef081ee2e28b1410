"""The command over SugarSync: under the real host name, through a proxy, trusting a private authority."""

import json
import os

import pytest

from cftool.testing.fake_sugarsync import ACCESS_KEY, APP_ID, PRIVATE_KEY, REFRESH, FakeSugarSync
from cftool.testing.http_fake import Authority, FakeProxy, FakeServer
from tests.command import Cftool

HOST = "api.sugarsync.com"


@pytest.fixture(scope="module")
def authority():
    with Authority() as ca:
        yield ca


@pytest.fixture
def fake():
    return FakeSugarSync()


@pytest.fixture(params=["curl", "requests"])
def user(request, tmp_path, authority, fake):
    with (
        FakeServer(fake.handle, tls=authority, hosts=(HOST,)) as server,
        FakeProxy(resolve={f"{HOST}:443": ("127.0.0.1", server.port)}) as proxy,
    ):
        settings = {
            "CFTOOL_SUGAR_TYPE": "sugarsync",
            "CFTOOL_SUGAR_APP_ID": APP_ID,
            "CFTOOL_SUGAR_ACCESS_KEY_ID": ACCESS_KEY,
            "CFTOOL_SUGAR_PRIVATE_ACCESS_KEY": PRIVATE_KEY,
            "CFTOOL_SUGAR_REFRESH_TOKEN": REFRESH,
            "CFTOOL_TRANSPORT": request.param,
            "HTTPS_PROXY": proxy.url,
            "SSL_CERT_FILE": authority.bundle,
        }
        (tmp_path / "home").mkdir()
        yield Cftool(tmp_path / "home", settings)
        assert set(proxy.connected) <= {f"{HOST}:443"}


def test_a_tree_goes_there_and_back_and_a_second_run_copies_nothing(user, fake, tmp_path):
    source = tmp_path / "source"
    for name in ("a/one", "a/b/two", "three & <four>"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode())
    assert user.run("sync", source, "sugar:Top/sub", "--json").summary["copied"] == 3
    again = user.run("sync", source, "sugar:Top/sub", "--json").summary
    assert (again["copied"], again["compared_by"]) == (0, {"state": 3})
    assert fake.tree() == {f"Top/sub/{name}": name.encode() for name in ("a/one", "a/b/two", "three & <four>")}
    assert user.run("ls", "-R", "sugar:Top").out.decode().split("\n")[0] == "sub/"
    assert user.run("cat", "sugar:Top/sub/a/one").out == b"a/one"
    user.run("sync", "sugar:Top/sub", tmp_path / "copy")
    assert (tmp_path / "copy/three & <four>").read_bytes() == b"three & <four>"
    (source / "a/one").unlink()
    assert user.run("sync", source, "sugar:Top/sub", "--json").summary["deleted"] == 1
    assert fake.trashed() == ["one"]


def test_link_df_and_rm_of_a_whole_folder(user, fake, tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    user.run("cp", tmp_path / "file", "sugar:Top/sub/file")
    assert user.run("link", "sugar:Top/sub/file").out.startswith(b"https://www.sugarsync.com/pf/")
    assert b"5" in user.run("df", "sugar:").out
    fake.ops.clear()
    user.run("rm", "-r", "sugar:Top/sub")
    assert fake.trashed() == ["sub"]
    assert fake.ops["PUT folder"] == 1


def test_a_file_for_the_root_is_refused_by_name(user, fake, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    done = user.run("cp", tmp_path / "file", "sugar:file", code=1)
    assert "sync folders only" in done.err
    assert fake.tree() == {}


def test_a_revoked_login_is_exit_4_and_says_what_to_do(user, fake):
    fake.refresh_tokens.clear()
    done = user.run("ls", "sugar:", code=4)
    assert "cftool config login sugar" in done.err


def test_a_login_that_is_revoked_later_is_exit_4(user, fake, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    user.run("cp", tmp_path / "file", "sugar:Top/file")
    fake.refresh_tokens.clear()
    fake.expire()
    assert "login" in user.run("ls", "sugar:Top", code=4).err


def test_a_service_that_is_away_is_exit_5(user, tmp_path, authority):
    away = Cftool(user.home, {**user.settings, "HTTPS_PROXY": "http://127.0.0.1:9"})
    assert away.run("ls", "sugar:Top", code=5).out == b""


def test_an_authority_that_is_not_trusted_is_an_error(user):
    settings = {name: value for name, value in user.settings.items() if name != "SSL_CERT_FILE"}
    assert "certificate" in Cftool(user.home, settings).run("ls", "sugar:Top", code=1).err.lower()


def test_no_secret_is_in_any_file_but_the_token_file(user, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    user.run("cp", "-vv", tmp_path / "file", "sugar:Top/file", "--log-file", user.home / "log")
    found = []
    for directory, _, names in os.walk(user.home):
        for name in names:
            with open(os.path.join(directory, name), "rb") as file:
                data = file.read()
            if PRIVATE_KEY.encode() in data or REFRESH.encode() in data:
                found.append(os.path.join(directory, name))
    assert [os.path.basename(os.path.dirname(path)) for path in found] == ["tokens"]
    assert os.stat(found[0]).st_mode & 0o777 == 0o600
    with open(found[0]) as file:
        assert json.load(file)["refresh_token"] == REFRESH
