"""`sync --watch` as it is typed."""

import os
import signal

import pytest

from tests.cli.conftest import tree
from tests.command import Cftool


@pytest.mark.parametrize("words", [["-n"], ["--plan", "p"]])
def test_what_does_not_go_with_watch(run, here, words):
    tree(here / "src", f="1")
    run("sync", "src", "dst", "--watch", *words, code=2)
    run("sync", "src", "dst", "--watch=0", code=2)


def test_a_watch_that_cannot_work_ends(run, here):
    (here / "src").mkdir()
    run("sync", "src", "src", "--watch", code=7)


def test_a_change_is_synced_and_ctrl_c_ends_it_with_a_summary(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    source = tree(tmp_path / "src", f="1")
    with Cftool(home).started("sync", "-v", source, tmp_path / "dst", "--watch") as process:
        for line in process.stdout:
            if line.startswith(b"copy f"):
                break
        (tmp_path / "later").write_text("2")
        (tmp_path / "later").rename(source / "later")  # whole at once: half of it would be a file that changes
        for line in process.stdout:
            if line.startswith(b"copy later"):
                break
        os.kill(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 130, rest
    assert b"copied 2 files" in rest
    assert (tmp_path / "dst" / "later").read_text() == "2"
