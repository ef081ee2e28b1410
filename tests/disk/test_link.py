"""Second names of files, and renames between names of one file."""

import errno
import os

import pytest

from cftool.core.errors import AlreadyExists, InvalidName, Unsupported
from cftool.disk.root import Root


@pytest.fixture
def root(tmp_path):
    with Root(str(tmp_path)) as opened:
        yield opened


def test_a_file_has_two_names(root, tmp_path):
    (tmp_path / "f").write_text("1")
    root.link("f", "deep/er/g")
    assert os.path.samefile(tmp_path / "f", tmp_path / "deep/er/g")
    with pytest.raises(AlreadyExists):
        root.link("f", "deep/er/g")
    with pytest.raises(InvalidName):
        root.link("f", ".cftool-0123456789ab-1.tmp")


@pytest.mark.parametrize("error", [errno.EPERM, errno.EXDEV, errno.EMLINK])
def test_where_there_are_no_links(root, tmp_path, monkeypatch, error):
    (tmp_path / "f").write_text("1")

    def refuse(*args, **how):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(Unsupported):
        root.link("f", "g")


def test_a_rename_between_two_names_of_one_file_leaves_one(root, tmp_path):
    (tmp_path / "f").write_text("1")
    os.link(tmp_path / "f", tmp_path / "g")
    root.rename("f", "g")
    assert os.listdir(tmp_path) == ["g"]


def test_a_file_system_that_folds_case_keeps_a_file_whose_case_is_changed(root, tmp_path, monkeypatch):
    """There the old name leads to the file after the rename as well; removing "it" would remove the file."""
    (tmp_path / "readme").write_text("1")
    os.link(tmp_path / "readme", tmp_path / "other")
    stat = os.stat

    def folding(path, **how):
        return stat("README" if path == "readme" and not os.path.exists(tmp_path / "readme") else path, **how)

    monkeypatch.setattr(os, "stat", folding)
    root.rename("readme", "README")
    assert sorted(os.listdir(tmp_path)) == ["README", "other"]
