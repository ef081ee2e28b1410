"""What was learnt about endpoints survives the process, and its loss harms nobody."""

import os
import stat

import pytest

from cftool.config.memory import FileMemory


def test_it_survives_the_process(tmp_path):
    FileMemory(str(tmp_path / "state"), "s3").set("https://a conditions", "yes")
    assert FileMemory(str(tmp_path / "state"), "s3").get("https://a conditions") == "yes"
    assert FileMemory(str(tmp_path / "state"), "s3").get("https://b conditions") is None
    assert FileMemory(str(tmp_path / "state"), "gs").get("https://a conditions") is None


def test_it_is_private(tmp_path):
    FileMemory(str(tmp_path), "s3").set("key", "value")
    assert stat.S_IMODE(os.stat(tmp_path / "learnt").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "learnt/s3.json").st_mode) == 0o600


def test_two_runs_keep_what_both_learnt(tmp_path):
    one, two = FileMemory(str(tmp_path), "s3"), FileMemory(str(tmp_path), "s3")
    assert one.get("a") is two.get("b") is None
    one.set("a", "1")
    two.set("b", "2")
    assert (FileMemory(str(tmp_path), "s3").get("a"), FileMemory(str(tmp_path), "s3").get("b")) == ("1", "2")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": 5}', b"\xff", b'"key"'])
def test_a_damaged_file_is_an_empty_one(tmp_path, content):
    (tmp_path / "learnt").mkdir()
    (tmp_path / "learnt/s3.json").write_bytes(content)
    memory = FileMemory(str(tmp_path), "s3")
    assert memory.get("key") is None
    memory.set("key", "value")
    assert FileMemory(str(tmp_path), "s3").get("key") == "value"


def test_a_place_that_cannot_be_written_to_is_no_error(tmp_path):
    (tmp_path / "state").write_text("a file in the way")
    memory = FileMemory(str(tmp_path / "state"), "s3")
    memory.set("key", "value")
    assert memory.get("key") == "value"
