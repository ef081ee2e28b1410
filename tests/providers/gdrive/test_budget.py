"""How many HTTP requests the engine makes at Drive: tokens not counted, which last an hour."""

import os

import pytest

from cftool.core.types import Kind
from cftool.transfer import api
from cftool.transfer.options import MaxDelete, Options

FOLDERS, FILES = 10, 100


@pytest.fixture
def local(tmp_path):
    """1,000 files of 1 KiB in 10 folders."""
    root = tmp_path / "tree"
    for folder in range(FOLDERS):
        (root / f"d{folder:02}").mkdir(parents=True)
        for number in range(FILES):
            (root / f"d{folder:02}" / f"f{number:03}").write_bytes(os.urandom(1024))
    return root


def fill(fake, folders, files, content=b"x" * 1024):
    for folder in range(folders):
        parent = fake.folder(f"tree/d{folder:03}").id
        for number in range(files):
            fake.add(f"f{number:03}", content, parent=parent)


def test_upload_no_op_download_and_delete(quick, local, tmp_path):
    lab = quick
    summary = lab.run(api.sync, lab.side(str(local)), lab.side("drive:tree"))
    assert (summary.copied, summary.errors) == (1000, {})
    uploaded = lab.counted()
    summary = lab.run(api.sync, lab.side(str(local)), lab.side("drive:tree"))
    assert (summary.copied, summary.checked, summary.compared_by) == (0, 1000, {"state": 1000})
    checked = lab.counted()
    summary = lab.run(api.copy, lab.side("drive:tree", deletes=False), lab.side(str(tmp_path / "back")))
    assert (summary.copied, summary.errors) == (1000, {})
    downloaded = lab.counted()
    assert sum(len(files) for _, _, files in os.walk(tmp_path / "back")) == 1000
    side = lab.side("drive:", deletes=False)
    summary = lab.run(api.remove_tree, side, "tree")
    assert (summary.deleted, summary.errors) == (1, {})
    assert lab.fake.tree() == {}
    removed = lab.counted()
    assert uploaded <= 1020
    assert checked <= 13
    assert downloaded <= 1013
    assert removed <= 3


def test_files_are_deleted_in_fifteen_requests(quick):
    fill(quick.fake, FOLDERS, FILES)
    store = quick.open()
    files = [entry for entry in store.walk("tree") if entry.kind is Kind.FILE]
    assert [result.error for result in store.delete_many(files)] == [None] * 1000
    assert [content for content in quick.fake.tree().values() if content is not None] == []
    assert quick.counted() <= 15


def test_list_of_ten_thousand(quick):
    fill(quick.fake, 100, 100, b"")
    for empty in range(3):
        quick.fake.folder(f"tree/empty{empty}")
    entries = list(quick.open().walk("tree"))
    assert len(entries) == 100 * 100 + 103
    assert quick.counted() <= 19 + 3


def test_a_run_that_may_delete_lists_by_single_parents(quick):
    fill(quick.fake, FOLDERS, 5)
    assert len(list(quick.open(deletes=True).walk("tree"))) == FOLDERS * 6
    assert quick.counted() == 2 + FOLDERS
    assert max(request.query.count("in%20parents") for request in quick.fake.log) == 1


def test_sync_that_deletes_all(quick, tmp_path):
    fill(quick.fake, FOLDERS, FILES)
    (tmp_path / "empty").mkdir()
    options = Options(allow_empty_source=True, max_delete=MaxDelete(None, None))
    summary = quick.run(api.sync, quick.side(str(tmp_path / "empty")), quick.side("drive:tree"), options=options)
    assert (summary.deleted, summary.errors) == (1010, {})
    assert quick.fake.tree() == {"tree": None}
    assert quick.counted() <= 2 + FOLDERS + 10 + 3
