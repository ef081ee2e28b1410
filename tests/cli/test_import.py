"""`cftool config import-rclone`: what is taken over, what is named instead; passwords as rclone obscures them."""

import os
import subprocess

import pytest

from cftool.config import obscured
from tests.servers import tool

CONF = """\
# a comment
[work]
type = s3
provider = Minio
env_auth = false
access_key_id = AK
secret_access_key = s3cr3t
endpoint = http://localhost:9000
force_path_style = true
chunk_size = 5Mi

[box]
type = dropbox
client_id = mine
token = {"access_token":"old","token_type":"bearer","refresh_token":"r-s3cr3t","expiry":"2020-01-01T00:00:00Z"}

[shared]
type = dropbox
token = {"access_token":"a","refresh_token":"of-rclone"}

[DEFAULT]
type = memory

[odd]
type = crypt
remote = work:x

[there]
type = s3
"""


@pytest.fixture
def conf(here):
    path = here / "rclone.conf"
    path.write_text(CONF)
    return path


def test_remotes_are_taken_over_and_the_rest_is_named(run, conf, here):
    run("config", "create", "there", "memory")
    ran = run("config", "import-rclone", conf, code=1)
    assert "odd: not taken over: cftool has no provider of the type 'crypt'" in ran.err
    assert "there: not taken over: there is a remote of that name already" in ran.err
    assert "work: these settings are not taken over: chunk_size" in ran.err
    assert "shared: its login was rclone's own; it needs app_key" in ran.err
    assert "s3cr3t" not in ran.err
    assert run("config", "list").lines == [
        "DEFAULT:  memory", "box:  dropbox", "shared:  dropbox", "there:  memory", "work:  s3",
    ]  # fmt: skip
    assert run("config", "show", "work").lines[:-1] == [
        "[remotes.work]", 'type = "s3"', 'access_key_id = "AK"', 'secret_access_key = "(hidden)"',
        'endpoint_url = "http://localhost:9000"', 'addressing_style = "path"',
    ]  # fmt: skip
    assert run("config", "show", "box").lines[2:-1] == ['app_key = "mine"', 'refresh_token = "(hidden)"']
    assert run("config", "show", "shared").lines[2:-1] == []
    assert conf.read_text() == CONF


def test_a_configuration_that_is_not_there_yet_is_made(run, conf, here, monkeypatch):
    run("--config", here / "new.toml", "config", "import-rclone", conf, code=1)
    assert run("--config", here / "new.toml", "ls").lines == ["DEFAULT:", "box:", "shared:", "there:", "work:"]
    monkeypatch.setenv("CFTOOL_CONFIG", str(here / "other.toml"))
    run("config", "import-rclone", conf, code=1)
    assert "work:" in run("ls").lines


def test_rclones_own_place_is_the_default(run, conf, here, monkeypatch):
    place = here.parent / "home/XDG_CONFIG_HOME/rclone"
    place.mkdir(parents=True)
    (place / "rclone.conf").write_text("[mem]\ntype = memory\n")
    ran = run("config", "import-rclone", "--json")
    assert ran.events == [{"v": 1, "event": "config", "action": "imported", "name": "mem", "type": "memory"}]
    monkeypatch.setenv("RCLONE_CONFIG", str(here / "none"))
    assert "cannot be read" in run("config", "import-rclone", code=2).err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nAAAA", "is encrypted"),
        ("type = s3\n", "bad.conf:1: neither [NAME] nor KEY = VALUE"),
        ("[work]\nwhat\n", "bad.conf:2: neither [NAME] nor KEY = VALUE"),
        ("\n", "bad.conf has no remotes"),
        ("\xff", "bad.conf is no UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(run, here, text, said):
    (here / "bad.conf").write_text(text, encoding="latin-1")
    assert said in run("config", "import-rclone", here / "bad.conf", code=2).err
    assert run("config", "list").out == b""


def test_a_setting_that_cannot_be_used_is_that_remotes_failure(run, here):
    (here / "c.conf").write_text("[a]\ntype = s3\nstorage_class = X\nrequester_pays = perhaps\n\n[b]\ntype = memory\n")
    ran = run("config", "import-rclone", here / "c.conf", code=1)
    assert "a: not taken over: option 'requester_pays' takes true or false" in ran.err
    assert run("config", "list").lines == ["b:  memory"]


def test_the_cipher_is_that_of_the_standard():
    """FIPS 197, appendix C."""
    plain = bytes.fromhex("00112233445566778899aabbccddeeff")
    for size, expected in (
        (16, "69c4e0d86a7b0430d8cdb78070b4c55a"),
        (24, "dda97ca4864cdfe06eaf70a0ec0d7191"),
        (32, "8ea2b7ca516745bfeafc49904b496089"),
    ):
        assert obscured._encrypt(obscured._schedule(bytes(range(size))), plain).hex() == expected


@pytest.mark.real
@pytest.mark.parametrize("password", ["x", "a password", "ü" * 40, "0123456789abcdef"])
def test_what_rclone_obscures_is_revealed(password):
    done = subprocess.run(
        [tool("rclone"), "obscure", "-"], input=password, capture_output=True, text=True, check=True, timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "RCLONE_CONFIG": ""},
    )  # fmt: skip
    assert obscured.reveal(done.stdout.strip()) == password


@pytest.mark.parametrize("text", ["", "secret", "!!", "AAAA"])
def test_what_is_not_obscured_is_refused(text):
    with pytest.raises(ValueError, match="is not obscured"):
        obscured.reveal(text)
