"""--links keep: links as files that rclone knows, links again at home, and nothing ever done through one."""

import os
from pathlib import Path

import pytest

from cftool.core.errors import IntegrityError, InvalidName, NotFound, PreconditionFailed, SourceChanged, Unsupported
from cftool.core.sources import BytesSource
from cftool.core.types import Entry, Kind
from cftool.disk import links as disk_links
from cftool.disk import temps
from cftool.disk.root import Root
from cftool.transfer import api
from cftool.transfer.events import Failed
from cftool.transfer.links import KeepingStore, LinkTarget
from cftool.transfer.options import Links, Options
from cftool_providers.local.store import LocalStore
from tests.transfer.kit import T0, held, make, put

KEEP = {"links": Links.KEEP}


def here(side) -> Path:
    return Path(side.local_root)


def link(path: Path, target: str | bytes, modified_ns: int = T0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(target, os.fsencode(path) if isinstance(target, bytes) else path)
    os.utime(path, ns=(modified_ns, modified_ns), follow_symlinks=False)


def links(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): os.readlink(path) for path in root.rglob("*") if path.is_symlink()}


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "src"
    make(root, {"f": b"0", "d/g": b"1"})
    link(root / "rel", "d/g")
    link(root / "d" / "abs", "/etc/passwd")
    link(root / "dangling", "nowhere at\nall")
    link(root / "dir", "d")
    return root


WANTED = {"rel": "d/g", "d/abs": "/etc/passwd", "dangling": "nowhere at\nall", "dir": "d"}


def test_a_store_gets_files_and_a_second_run_finds_nothing_to_do(up, source):
    summary = up.sync(**KEEP)
    assert held(up.dst.store) == {
        "f": b"0", "d/g": b"1", **{f"{name}.rclonelink": text.encode() for name, text in WANTED.items()},
    }  # fmt: skip
    assert (summary.copied, summary.skipped) == (6, {})
    again = up.sync(**KEEP)
    assert (again.copied, again.deleted, dict(again.compared_by)) == (0, 0, {"state": 6})


def test_they_come_back_as_links_with_their_times(down, source):
    for name, text in WANTED.items():
        put(down.src.store, f"{name}.rclonelink", text.encode())
    put(down.src.store, "d/g", b"1")
    assert down.sync(**KEEP).errors == {}
    root = here(down.dst)
    assert links(root) == WANTED
    assert (root / "rel").lstat().st_mtime_ns == T0
    assert down.sync(**KEEP).copied == 0


def test_local_to_local_they_stay_links(across, source):
    assert across.sync(**KEEP).errors == {}
    assert links(here(across.dst)) == WANTED
    assert across.check(**KEEP).differences == 0
    assert across.sync(**KEEP).copied == 0
    os.unlink(source / "rel")
    link(source / "rel", "f", T0 + 1)
    os.unlink(source / "dir")
    assert (across.sync(**KEEP).deleted, links(here(across.dst))["rel"]) == (1, "f")
    assert "dir" not in links(here(across.dst))


def test_a_file_becomes_a_link_and_a_link_a_file(across, source):
    across.sync(**KEEP)
    os.unlink(source / "f")
    link(source / "f", "d/g")
    os.unlink(source / "rel")
    make(source, {"rel": b"plain"})
    assert across.sync(**KEEP).errors == {}
    root = here(across.dst)
    assert os.readlink(root / "f") == "d/g"
    assert (root / "rel").read_bytes() == b"plain"
    assert not (root / "rel").is_symlink()
    assert across.check(**KEEP).differences == 0


def test_without_the_flag_text_files_stay_text_files(down):
    put(down.src.store, "a.rclonelink", b"/etc/passwd")
    down.sync()
    assert not (here(down.dst) / "a.rclonelink").is_symlink()
    assert links(here(down.dst)) == {}


# ---- hostile and odd


def test_nothing_is_written_through_a_link_that_the_source_plants(down, tmp_path):
    outside = tmp_path / "outside"
    make(outside, {"victim": b"mine"})
    put(down.src.store, "d.rclonelink", os.fsencode(outside))
    put(down.src.store, "d/victim", b"theirs")
    put(down.src.store, "d/new", b"theirs")
    for _ in range(2):
        summary = down.sync(**KEEP)
        assert sum(summary.errors.values()) >= 1
        assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"victim": b"mine"}


@pytest.mark.parametrize("name", ["../x", "a/../../x"])
def test_no_name_leads_out_of_the_destination(tmp_path, name):
    store = KeepingStore(LocalStore(str(tmp_path / "dst")), str(tmp_path / "dst"))
    with pytest.raises(InvalidName):
        store.write(f"{name}.rclonelink", BytesSource(b"t"))
    assert not (tmp_path / "x").is_symlink()


@pytest.mark.parametrize("data", [b"", b"a\0b", b"x" * 5000])
def test_what_no_link_can_hold_is_an_error_by_name(down, data):
    put(down.src.store, "bad.rclonelink", data)
    put(down.src.store, "good.rclonelink", b"t")
    summary = down.sync(**KEEP)
    assert [event.path for event in down.told(Failed)] == ["bad.rclonelink"]
    assert summary.errors == {"invalid_name": 1}
    assert links(here(down.dst)) == {"good": "t"}


def test_a_directory_in_the_way_is_an_error_and_stays(down):
    make(here(down.dst), {"d/f": b"1"})
    put(down.src.store, "d.rclonelink", b"t")
    assert down.copy(**KEEP).errors == {"is_a_directory": 1}
    assert (here(down.dst) / "d" / "f").read_bytes() == b"1"
    assert [name for name in os.listdir(here(down.dst)) if name != "d"] == []


def test_a_plain_file_that_is_called_like_a_links_file_is_left_out_and_counted(up):
    make(here(up.src), {"a.rclonelink": b"text", "b.rclonelink": b"text"})
    link(here(up.src) / "b", "t")
    summary = up.sync(**KEEP)
    assert held(up.dst.store) == {"b.rclonelink": b"t"}
    assert summary.skipped == {"special": 1}


def test_a_link_whose_target_is_no_utf8_comes_over_as_its_bytes(across):
    link(here(across.src) / "odd", b"\xff/\xfe")
    across.sync(**KEEP)
    assert os.readlink(os.fsencode(here(across.dst) / "odd")) == b"\xff/\xfe"


def test_a_single_link_to_one_destination(up, source):
    options = Options(links=Links.KEEP)
    summary = api.copy_file(up.src, "rel.rclonelink", up.dst, "x.rclonelink", options, up.around(), up.events.append)
    assert (summary.copied, held(up.dst.store)) == (1, {"x.rclonelink": b"d/g"})


# ---- the store itself


@pytest.fixture
def store(source):
    return KeepingStore(LocalStore(str(source)), str(source))


def test_a_link_has_the_name_of_its_file_only(store):
    assert store.stat("rel.rclonelink").size == 3
    for name in ("rel", "f.rclonelink", "nothing.rclonelink"):
        with pytest.raises(NotFound):
            store.stat(name)
    assert {entry.path for entry in store.scan("")} == {
        "f", "d", "rel.rclonelink", "dangling.rclonelink", "dir.rclonelink",
    }  # fmt: skip


def test_reading_gives_the_target_of_the_listed_version(store, source):
    entry = store.stat("rel.rclonelink")
    with store.read("rel.rclonelink", if_version=entry.version) as download:
        assert download.read() == b"d/g"
    with store.read("f") as download:
        assert download.read() == b"0"
    held_source = store.source(entry)
    os.unlink(source / "rel")
    link(source / "rel", "elsewhere", T0 + 5)
    with pytest.raises(PreconditionFailed):
        store.read("rel.rclonelink", if_version=entry.version)
    with pytest.raises(SourceChanged):
        held_source.load()
    os.unlink(source / "rel")
    with pytest.raises(SourceChanged):
        held_source.load()
    with pytest.raises(SourceChanged):
        held_source.check()


def test_deleting_needs_the_name_under_which_it_is_shown(store, source):
    with pytest.raises(NotFound):
        store.delete("rel")
    assert (source / "rel").is_symlink()
    store.delete("rel.rclonelink")
    assert not (source / "rel").is_symlink()
    store.delete("f")
    assert not (source / "f").exists()


def test_times_are_the_links_own(store, source):
    assert store.set_modified("rel.rclonelink", T0 + 7).modified_ns == T0 + 7
    assert (source / "d" / "g").stat().st_mtime_ns == T0
    assert store.set_modified("f", T0 + 8).modified_ns == T0 + 8


def test_what_a_link_gives_must_be_as_long_as_listed(store, monkeypatch):
    from cftool.transfer import links as module

    entry = store.stat("rel.rclonelink")
    monkeypatch.setattr(module.disk_links, "read", lambda root, path: b"other than listed")
    with pytest.raises(SourceChanged):
        store.source(entry).load()


def test_a_source_that_is_too_long_for_a_link_is_not_even_read(store):
    with pytest.raises(InvalidName, match="longer"):
        store.write("new.rclonelink", BytesSource(b"x" * 5000))


def test_a_link_that_vanishes_while_it_is_listed_is_left_out(store, source, monkeypatch):
    fine = store.inner.scan

    def scan(path):
        for entry in list(fine(path)):
            if entry.path == "rel":
                os.unlink(source / "rel")
            yield entry

    monkeypatch.setattr(store.inner, "scan", scan)
    assert "rel.rclonelink" not in {entry.path for entry in store.scan("")}


def test_what_cannot_be_asked_is_no_link(store, monkeypatch):
    from cftool.core.errors import PermissionDenied

    def refuse(path):
        raise PermissionDenied("no", path=path)

    monkeypatch.setattr(store.inner, "stat", refuse)
    assert not store._stands_for_link("rel.rclonelink")


def test_batches_answer_for_links_and_files_alike(store, source):
    from cftool.core.types import WriteItem

    os.mkdir(source / "dir2")
    items = [
        WriteItem("new.rclonelink", BytesSource(b"t"), T0),
        WriteItem("plain", BytesSource(b"1"), T0),
        WriteItem("dir2.rclonelink", BytesSource(b"t"), T0),
    ]
    results = {result.path: result for result in store.write_many(items)}
    assert {path: type(result.error).__name__ for path, result in results.items()} == {
        "new.rclonelink": "NoneType", "plain": "NoneType", "dir2.rclonelink": "IsADirectory",
    }  # fmt: skip
    assert results["new.rclonelink"].entry.modified_ns == T0
    assert os.readlink(source / "new") == "t"
    assert store.write("also", BytesSource(b"2")).size == 1
    store.close()
    with Root(str(source)) as root:
        disk_links.place(root, "timeless", b"t", None)
    assert os.readlink(source / "timeless") == "t"


def test_moving_is_not_supported(store):
    with pytest.raises(Unsupported):
        store.move("rel.rclonelink", "x")


def test_a_download_of_another_length_or_hash_makes_no_link(store, source):
    root = Root(str(source))
    target = LinkTarget(store, root, "new.rclonelink")
    for entry in (
        Entry("new.rclonelink", Kind.FILE, 5),
        Entry("new.rclonelink", Kind.FILE, 1, hashes={"md5": "0" * 32}),
    ):
        with pytest.raises(IntegrityError):
            target.save(b"t", entry)
    with pytest.raises(InvalidName):
        target.begin(Entry("new.rclonelink", Kind.FILE, 1 << 30))
    assert not (source / "new").is_symlink()
    root.close()
    store.close()


def test_a_replacement_that_fails_leaves_no_temp(source, monkeypatch):
    with Root(str(source)) as root:

        def fail(*args, **more):
            raise OSError(5, "input/output error")

        monkeypatch.setattr(os, "rename", fail)
        with pytest.raises(Exception, match="input/output"):
            disk_links.place(root, "rel", b"new", T0)
    assert os.readlink(source / "rel") == "d/g"
    assert not [name for name in os.listdir(source) if temps.is_temp(name)]


def test_the_temp_of_a_killed_replacement_is_swept_an_hour_later(source, monkeypatch):
    with Root(str(source)) as root:
        name = temps.link(root.directory("").fd, root.run_id, b"t")
        assert temps.sweep(root) == []
        monkeypatch.setattr(temps.time, "time", lambda: os.lstat(source / name).st_ctime + 3601)
        assert temps.sweep(root) == [name]
