"""Editing the configuration: what the user wrote stays, the file is private, and a bad change changes nothing."""

import fcntl
import os
import stat

import pytest

from cftool.config import edit
from cftool.config.file import load
from cftool.core.errors import ConfigError, Locked, StoreError

TEXT = """\
# my remotes

[remotes.old]   # keep me
type = "s3"
region = "eu"   # and me

[remotes.old.stack]
metadata_cache = 60
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "deep" / "config.toml")


def text(path):
    with open(path) as file:
        return file.read()


def prepared(path, content=TEXT, mode=0o600):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(content)
    os.chmod(path, mode)


def test_the_first_remote_makes_the_file_and_its_directory_private(path):
    edit.create(path, "work", "s3", {"region": "eu", "retries": 3, "anonymous": True, "key": {"env": "X"}})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    work = load(path, {}).remotes["work"]
    assert (work.type, work.values) == ("s3", {"region": "eu", "retries": 3, "anonymous": True, "key": {"env": "X"}})
    assert text(path) == (
        '[remotes.work]\ntype = "s3"\nregion = "eu"\nretries = 3\nanonymous = true\nkey = {env = "X"}\n'
    )


def test_what_the_user_wrote_stays(path):
    prepared(path)
    edit.create(path, "new", "memory", {})
    assert text(path).startswith(TEXT)
    assert list(load(path, {}).remotes) == ["old", "new"]


def test_a_file_that_others_could_read_is_private_afterwards(path):
    prepared(path, mode=0o644)
    edit.create(path, "new", "s3", {"key": "hunter2"})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_remote_that_is_there_is_replaced_only_on_demand(path):
    prepared(path)
    with pytest.raises(ConfigError, match="the remote 'old' is there already"):
        edit.create(path, "old", "memory", {})
    assert text(path) == TEXT
    edit.create(path, "old", "memory", {}, replace=True)
    assert load(path, {}).remotes["old"].type == "memory"


@pytest.mark.parametrize("name", ["a b", "", "-x", "a:b", "é", "\x1b"])
def test_a_name_that_no_address_could_hold_is_refused(path, name):
    with pytest.raises(ConfigError, match="a remote cannot be called"):
        edit.create(path, name, "s3", {})
    assert not os.path.exists(path)


@pytest.mark.parametrize("value", ['say "hi"', "a\nb", "\x01", "é", "#", "\\"])
def test_any_text_is_kept(path, value):
    edit.create(path, "x.y", "s3", {"region": value})
    assert load(path, {}).remotes["x.y"].values == {"region": value}


def test_a_remote_goes_with_its_stack(path):
    prepared(path)
    edit.create(path, "new", "memory", {})
    edit.remove(path, "old")
    assert list(load(path, {}).remotes) == ["new"]
    assert "metadata_cache" not in text(path)
    edit.remove(path, "new")
    assert load(path, {}).remotes == {}
    edit.create(path, "again", "memory", {})
    assert list(load(path, {}).remotes) == ["again"]


def test_a_remote_that_is_not_there_cannot_go(path):
    for content in ("", TEXT):
        prepared(path, content)
        with pytest.raises(ConfigError, match="there is no remote 'x'"):
            edit.remove(path, "x")
    os.unlink(path)
    with pytest.raises(ConfigError, match="there is no remote 'x'"):
        edit.remove(path, "x")


def test_a_file_with_a_mistake_is_not_edited(path):
    prepared(path, "[remotes.x\n")
    with pytest.raises(ConfigError, match=r"config\.toml:1:11: "):
        edit.create(path, "new", "s3", {})
    assert text(path) == "[remotes.x\n"


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        edit.create(str(tmp_path), "new", "s3", {})


def test_a_change_waits_for_the_one_before_and_keeps_it(path, monkeypatch):
    prepared(path)
    other = os.open(os.path.dirname(path), os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)

    def finish(_seconds):
        prepared(path, TEXT.replace("old", "other"))
        fcntl.flock(other, fcntl.LOCK_UN)

    monkeypatch.setattr(edit.time, "sleep", finish)
    edit.create(path, "new", "memory", {})
    edit.remove(path, "new")  # nothing is held any more
    edit.create(path, "new", "memory", {})
    os.close(other)
    assert list(load(path, {}).remotes) == ["other", "new"]


def test_a_change_that_never_gets_its_turn_is_told(path, monkeypatch):
    prepared(path)
    other = os.open(os.path.dirname(path), os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    monkeypatch.setattr(edit, "_PATIENCE", -1.0)
    with pytest.raises(Locked, match=r"another program is changing .*config\.toml; try again"):
        edit.create(path, "new", "memory", {})
    os.close(other)
    assert text(path) == TEXT


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        edit.create(str(tmp_path / "file" / "config.toml"), "new", "s3", {})


def test_dotted_keys_are_not_torn_apart(path):
    content = 'remotes.a.type = "local"\nremotes.a.root = "/srv"\n'
    prepared(path, content)
    with pytest.raises(ConfigError, match="nothing was changed: edit it by hand"):
        edit.create(path, "new", "memory", {})
    assert text(path) == content


def test_a_byte_order_mark_is_no_mistake(path):
    prepared(path, "\ufeff" + TEXT)
    edit.create(path, "new", "memory", {})
    assert list(load(path, {}).remotes) == ["old", "new"]
