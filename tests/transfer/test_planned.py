"""sync --plan and apply: a plan changes nothing, does what it says where all is as it was, and else deletes nothing."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cftool.core.errors import ConfigError, IntegrityError, NotFound, PermissionDenied, Refused, StoreError
from cftool.core.types import Cap, Entry, Kind
from cftool.transfer import api, plan_file
from cftool.transfer.events import Copied, Deleted, Failed, MadeDirectory, Moved, Note
from cftool.transfer.options import MaxDelete, Options
from cftool.transfer.plan_file import Counts, PlanFile, PlanWriter, place
from tests.transfer.kit import T0, Bench, Fitted, held, local, make, put, remote, tree


def here(side) -> Path:
    return Path(side.local_root)


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "plan.jsonl")


def plan(bench, file, **options):
    bench.events.clear()
    how = Options(dry_run=True, **options)
    return api.plan(bench.src, bench.dst, how, bench.around(), bench.events.append, path=file)


def apply(bench, file, **options):
    bench.events.clear()
    read = api.read_plan(file)
    try:
        return api.apply(read, bench.src, bench.dst, Options(**options), bench.around(), bench.events.append)
    finally:
        read.close()


def lines(file):
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def seen(bench):
    return tree(here(bench.dst)) if bench.dst.local_root is not None else held(bench.dst.store)


def fill(side, files, when=T0):
    if side.local_root is not None:
        make(here(side), files, when)
        return
    for path, data in files.items():
        if data is None:
            side.store.mkdir(path)
        else:
            put(side.store, path, data, when)


@pytest.fixture(params=["up", "down", "across", "between"])
def bench(request):
    """New, changed and equal files, an empty directory, a file and a tree that go, a file against a directory."""
    bench = request.getfixturevalue(request.param)
    if bench.dst.local_root is not None:
        here(bench.dst).mkdir(exist_ok=True)
    fill(bench.src, {"new": b"1", "d/new": b"2", "changed": b"newer", "same": b"s", "empty": None})
    fill(bench.src, {"x": b"file", "y/f": b"1", "y/e": None})
    fill(bench.dst, {"changed": b"old", "gone": b"g", "t/u/gone": b"g", "x/1": b"old", "x/z/2": b"old", "y": b"old"})
    fill(bench.dst, {"same": b"s"})
    return bench


WANTED = {
    "new": b"1",
    "d/new": b"2",
    "changed": b"newer",
    "same": b"s",
    "empty": None,
    "x": b"file",
    "y/f": b"1",
    "y/e": None,
}


def test_a_plan_changes_nothing_and_apply_does_what_sync_does(bench, file):
    before = seen(bench)
    planned = plan(bench, file)
    assert (seen(bench), planned.errors) == (before, {})
    assert planned.to_do > 0
    shown = {(type(event), event.path) for event in bench.events if isinstance(event, Copied | Deleted | MadeDirectory)}
    assert os.stat(file).st_mode & 0o777 == 0o600
    dry = apply(bench, file, dry_run=True)
    assert (seen(bench), dry.to_do, dry.errors) == (before, planned.to_do, {})
    done = apply(bench, file)
    assert (seen(bench), done.errors, done.withheld) == (WANTED, {}, 0)
    assert {(type(e), e.path) for e in bench.events if isinstance(e, Copied | Deleted | MadeDirectory)} == shown
    again = bench.sync()
    assert (again.copied, again.deleted, again.errors) == (0, 0, {})


def test_where_nothing_is_to_do_the_plan_is_empty(bench, file):
    bench.sync()
    assert plan(bench, file).to_do == 0
    assert [line.get("do") for line in lines(file)] == [None, None, None]
    assert apply(bench, file).to_do == 0


def test_the_header_says_what_it_is(up, file):
    make(here(up.src), {"f": b"1"})
    plan(up, file, trash=".cftool-trash", max_delete=MaxDelete(files=3, share=None))
    head = lines(file)[0]
    assert (head["v"], head["plan"], head["created"]) == (1, 1, "1970-01-01T00:16:40Z")
    assert head["src"]["address"] == up.src.local_root
    assert head["dst"] == {"address": "memory/test:", "key": "memory/test", "identity": ""}
    assert head["options"]["trash"] == ".cftool-trash"
    read = api.read_plan(file)
    assert read.options(Options()).max_delete == MaxDelete(files=3, share=None)
    read.close()


# ---- what must still hold


def touch(bench, side, path, data):
    fill(getattr(bench, side), {path: data}, T0 + 99 * 10**9)


@pytest.mark.parametrize(
    ("side", "path", "named"),
    [
        ("src", "new", "new"),
        ("src", "changed", "changed"),
        ("dst", "changed", "changed"),
        ("dst", "new", "new"),
        ("dst", "gone", "gone"),
        ("dst", "t/u/gone", "t/u/gone"),
        ("dst", "y", "y"),
    ],
)
def test_what_changed_is_an_error_that_names_it_and_nothing_is_deleted(bench, file, side, path, named):
    plan(bench, file)
    touch(bench, side, path, b"meanwhile!")
    theirs = {"src": None, "dst": b"meanwhile!"}[side]
    summary = apply(bench, file)
    assert [event.path for event in bench.told(Failed)] == [named]
    assert (summary.deleted, summary.errors) == (0, {"precondition_failed": 1})
    assert summary.withheld > 0
    assert {"gone", "t/u/gone", "x/1", "x/z/2"} <= set(seen(bench))
    if theirs is not None:
        assert seen(bench)[path] == theirs
    if path != "new":
        assert seen(bench)["new"] == b"1"  # all others are done


def test_a_source_that_is_gone_is_an_error(bench, file):
    plan(bench, file)
    if bench.src.local_root is not None:
        (here(bench.src) / "new").unlink()
    else:
        bench.src.store.inner.delete("new")
    summary = apply(bench, file)
    assert (summary.errors, summary.deleted, bench.told(Failed)[0].path) == ({"precondition_failed": 1}, 0, "new")


def test_a_source_that_has_again_what_would_be_deleted_keeps_it(bench, file):
    plan(bench, file)
    touch(bench, "src", "gone", b"again")
    summary = apply(bench, file)
    assert (summary.deleted, "the source has gone" in summary.why) == (0, True)
    assert seen(bench)["gone"] == b"g"


def test_what_is_gone_already_need_not_be_deleted(bench, file):
    plan(bench, file)
    if bench.dst.local_root is not None:
        (here(bench.dst) / "gone").unlink()
    else:
        bench.dst.store.inner.delete("gone")
    assert (apply(bench, file).errors, seen(bench)) == ({}, WANTED)
    assert ["gone already" in note.message for note in bench.told(Note)] == [True]


def test_a_source_that_changes_while_it_is_copied_is_not_copied_as_what_it_is_by_then(between, file):
    put(between.src.store, "f", b"1")
    put(between.dst.store, "gone", b"g")
    plan(between, file)
    between.src.store.before = lambda op, path: put(between.src.store, "f", b"2") if op == "read" else None
    summary = apply(between, file)
    assert (summary.errors, held(between.dst.store)) == ({"precondition_failed": 1}, {"gone": b"g"})


@pytest.mark.parametrize("times", [1, 9])
def test_what_arrives_damaged_is_tried_again(between, file, times):
    put(between.src.store, "f", b"1")
    put(between.dst.store, "gone", b"g")
    plan(between, file)
    left = [times]

    def spoil(op, path):
        if op == "write" and left[0]:
            left[0] -= 1
            raise IntegrityError("flipped")

    between.dst.store.before = spoil
    summary = apply(between, file)
    expected = {"f": b"1"} if times == 1 else {"gone": b"g"}
    assert (held(between.dst.store), summary.errors) == (expected, {} if times == 1 else {"integrity_error": 1})


def test_a_file_that_vanishes_while_it_is_copied_is_an_error_here(between, file):
    put(between.src.store, "f", b"1")
    plan(between, file)

    def vanish(op, path):
        if op == "read":
            raise NotFound("gone")

    between.src.store.before = vanish
    assert apply(between, file).errors == {"precondition_failed": 1}


def test_a_link_that_gives_way_has_to_be_there_still(across, file):
    make(here(across.src), {"f": b"1"})
    os.symlink("nowhere", here(across.dst) / "f")
    plan(across, file)
    os.unlink(here(across.dst) / "f")
    assert apply(across, file).errors == {"precondition_failed": 1}
    os.symlink("nowhere", here(across.dst) / "f")
    assert (apply(across, file).copied, tree(here(across.dst))) == (1, {"f": b"1"})


# ---- the two sides


def test_another_tree_is_refused(bench, file, tmp_path):
    plan(bench, file)
    before = seen(bench)
    for src, dst in ((local(tmp_path / "another"), bench.dst), (bench.src, remote(Fitted(), "memory/another"))):
        read = api.read_plan(file)
        with pytest.raises(Refused):
            api.apply(read, src, dst, Options(), bench.around(), bench.events.append)
        read.close()
    assert seen(bench) == before


def test_another_directory_in_the_place_of_the_source_is_refused(across, file):
    make(here(across.src), {"f": b"1"})
    plan(across, file)
    os.rename(here(across.src), here(across.src).with_name("aside"))
    make(here(across.src), {"f": b"1"})
    across.src = local(here(across.src))
    with pytest.raises(Refused, match="another directory"):
        apply(across, file)


def test_a_destination_that_is_not_there_yet(down, file):
    put(down.src.store, "f", b"1")
    plan(down, file)
    assert not here(down.dst).exists()
    assert (apply(down, file).copied, tree(here(down.dst))) == (1, {"f": b"1"})


def test_apply_holds_the_lock(bench, file):
    from cftool.core.errors import Locked
    from cftool.disk.locks import lock_tree

    plan(bench, file)
    with lock_tree(bench.state_dir, bench.dst.key), pytest.raises(Locked):
        apply(bench, file)


# ---- the gate


@pytest.mark.parametrize(
    "options",
    [{"max_delete": MaxDelete(files=1, share=None)}, {"delete": False}],
)
def test_what_the_plan_may_not_delete_is_not_in_it(across, file, options):
    bench = across
    fill(bench.src, {"new": b"1"})
    fill(bench.dst, {"gone": b"g", "t/u/gone": b"g"})
    summary = plan(bench, file, **options)
    assert [line["do"] for line in lines(file) if line.get("do") in ("delete", "replace")] == []
    assert (summary.withheld > 0) is ("delete" not in options)
    done = apply(bench, file)
    assert (done.deleted, {"gone", "t/u/gone"} <= set(seen(bench))) == (0, True)


def test_the_gate_is_asked_again(bench, file):
    """A plan that was edited, sum and all, still cannot delete more than its own limit allows."""
    plan(bench, file)
    edited = lines(file)
    edited[0]["options"]["max_delete"] = [0, None]
    seal(file, edited)
    summary = apply(bench, file)
    assert (summary.deleted, "--max-delete" in summary.why) == (0, True)


def test_a_plan_of_a_tree_that_could_not_be_read_is_not_written(between, file):
    put(between.src.store, "f", b"1")

    def cut(entries):
        yield from entries
        raise PermissionDenied("no")

    between.src.store.walked = cut
    assert plan(between, file).errors == {"permission_denied": 1}
    assert (os.path.exists(file), os.listdir(os.path.dirname(file))) == (False, ["state"])
    between.src.store.walked = lambda entries: entries
    between.cancelled = lambda: True
    assert plan(between, file).stopped == "interrupted"
    assert not os.path.exists(file)
    with pytest.raises(ConfigError):
        plan(between, file, delete_excluded=True)


def test_a_replacement_waits_for_the_gate_too(bench, file):
    plan(bench, file)
    touch(bench, "src", "y/f", b"changed, and longer")
    summary = apply(bench, file)
    assert summary.errors.get("precondition_failed") == 1
    assert "gone" in seen(bench)
    assert b"old" in seen(bench).values()  # what y was is put back, or kept under the name that is told


# ---- with the other flags


def test_with_a_trash(bench, file):
    plan(bench, file, trash=".cftool-trash")
    assert apply(bench, file).errors == {}
    kept = {path: data for path, data in seen(bench).items() if path.startswith(".cftool-trash")}
    assert sorted(data for data in kept.values() if data is not None) == sorted(
        [b"old", b"g", b"g", b"old", b"old", b"old"]
    )


@pytest.fixture
def renamed(up):
    make(here(up.src), {"a": b"content", "stays": b"s"}, T0 + 7)
    up.sync()
    os.rename(here(up.src) / "a", here(up.src) / "b")
    return up


def test_renames_are_planned_and_done(renamed, file):
    assert plan(renamed, file, track_renames=True).moved == 1
    assert [line["do"] for line in lines(file)[1:-2]] == ["move"]
    assert apply(renamed, file, dry_run=True).moved == 1
    summary = apply(renamed, file)
    assert (summary.moved, summary.errors, held(renamed.dst.store)) == (1, {}, {"b": b"content", "stays": b"s"})
    assert renamed.sync().compared_by == {"state": 2}


@pytest.mark.parametrize("side", ["src", "dst"])
def test_a_rename_of_what_changed_is_an_error(renamed, file, side):
    plan(renamed, file, track_renames=True)
    touch(renamed, side, "b" if side == "src" else "a", b"CONTENT!")
    assert apply(renamed, file).errors == {"precondition_failed": 1}
    assert "a" in held(renamed.dst.store)


def test_where_the_gate_forbids_it_a_rename_is_a_copy(renamed, file):
    make(here(renamed.src), {"new": b"n"})
    plan(renamed, file, track_renames=True)
    touch(renamed, "src", "new", b"changed")
    summary = apply(renamed, file)
    assert (summary.moved, summary.errors) == (0, {"precondition_failed": 1})
    assert held(renamed.dst.store) == {"a": b"content", "b": b"content", "stays": b"s"}


def test_an_interrupted_apply_renames_nothing(renamed, file):
    plan(renamed, file, track_renames=True)
    renamed.cancelled = lambda: True
    assert (apply(renamed, file).stopped, held(renamed.dst.store)["a"]) == ("interrupted", b"content")


# ---- the file


def seal(file, records):
    """Write records as a plan whose sum is right."""
    records = [*records[:-2], {**records[-2], "actions": len(records) - 3}]
    body = b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)
    Path(file).write_bytes(body + json.dumps({"sha256": hashlib.sha256(body).hexdigest()}).encode() + b"\n")


def test_every_cut_is_refused(across, file):
    make(here(across.src), {"f": b"1", "g": b"2"})
    make(here(across.dst), {"gone": b"3"})
    plan(across, file)
    whole = Path(file).read_bytes()
    for size in range(len(whole)):
        Path(file).write_bytes(whole[:size])
        with pytest.raises(ConfigError):
            apply(across, file)
    assert tree(here(across.dst)) == {"gone": b"3"}


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10**6), byte=st.integers(1, 255))
def test_every_flipped_byte_is_refused(at, byte, tmp_path_factory):
    root = tmp_path_factory.mktemp("flip")
    file = str(root / "plan")
    bench = Bench(local(root / "src"), local(root / "dst"), None)
    make(here(bench.src), {"f": b"1"})
    make(here(bench.dst), {"gone": b"3"})
    plan(bench, file)
    data = bytearray(Path(file).read_bytes())
    data[at % len(data)] ^= byte
    Path(file).write_bytes(data)
    with pytest.raises(ConfigError):
        apply(bench, file)
    assert tree(here(bench.dst)) == {"gone": b"3"}


@pytest.mark.parametrize("text", [b"", b"hello\n", b"[]\n", b"{}\n", b'{"plan":2}\n', b'{"plan":1}\n', b"\0\xff\n"])
def test_what_is_no_plan_is_refused(across, file, text):
    Path(file).write_bytes(text)
    with pytest.raises(ConfigError):
        apply(across, file)


def test_a_file_that_is_not_there(across, file):
    with pytest.raises(NotFound):
        apply(across, file)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r[0].pop("src"),
        lambda r: r[0]["src"].update(key=1),
        lambda r: r[0]["src"].update(more="x"),
        lambda r: r[0].update(options=[]),
        lambda r: r[0]["options"].update(delete="yes"),
        lambda r: r[0]["options"].update(trash="/x"),
        lambda r: r[0]["options"].update(links="hard"),
        lambda r: r[0]["options"].update(max_delete=["1", None]),
        lambda r: r[1].update(do="format"),
        lambda r: r[1].pop("do"),
        lambda r: r[1].update(path="/f"),
        lambda r: r[1].update(path=""),
        lambda r: r[1].update(path=7),
        lambda r: r[1].update(replaces=1),
        lambda r: r[1]["src"].update(kind="door"),
        lambda r: r[1]["src"].update(size="1"),
        lambda r: r[1]["src"].update(hashes={"md5": 1}),
        lambda r: r[1]["src"].update(hashes=[]),
        lambda r: r[1].update(dst=[]),
        lambda r: r[1].update({"for": "nobody"}),
        lambda r: r.insert(1, []),
        lambda r: r[-2].update(evidence={"deletions": 1}),
        lambda r: r[-2].update(end=False),
    ],
)
def test_what_cannot_be_is_refused_though_the_sum_is_right(across, file, spoil):
    make(here(across.src), {"f": b"1"})
    plan(across, file)
    records = lines(file)
    seal(file, records)
    api.read_plan(file).close()
    spoil(records)
    seal(file, records)
    with pytest.raises(ConfigError, match="damaged"):
        api.read_plan(file)


def test_a_line_that_is_no_json_though_the_sum_is_right(across, file):
    make(here(across.src), {"f": b"1"})
    plan(across, file)
    first, _, end, _ = Path(file).read_bytes().splitlines(keepends=True)
    body = first + b"not json\n" + end
    Path(file).write_bytes(body + json.dumps({"sha256": hashlib.sha256(body).hexdigest()}).encode() + b"\n")
    with pytest.raises(ConfigError, match="not JSON"):
        api.read_plan(file)


def test_names_that_are_no_text_come_through(across, file):
    (here(across.src) / os.fsdecode(b"\xff\n")).write_bytes(b"1")
    plan(across, file)
    assert apply(across, file).copied == 1
    assert os.listdir(os.fsencode(here(across.dst))) == [b"\xff\n"]


@pytest.mark.parametrize("where", ["open", "write", "rename", "fsync", "close"])
def test_a_plan_that_cannot_be_written_leaves_nothing(across, file, where, monkeypatch):
    make(here(across.src), {"f": b"1"})
    home = Path(file).parent
    if where == "open":
        file = str(Path(file).parent / "nothing" / "plan")
    elif where in {"write", "close"}:
        real = os.fdopen

        class Full:
            def __init__(self, inner):
                self.inner = inner
                self.count = 0

            def write(self, data):
                self.count += 1
                if where == "write" and self.count > 1:
                    raise OSError(28, "No space left on device")
                return self.inner.write(data)

            def flush(self):
                if where == "close":
                    raise OSError(28, "No space left on device")

            def fileno(self):
                return self.inner.fileno()

            def close(self):
                self.inner.close()
                if where == "close":
                    raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fdopen", lambda fd, mode: Full(real(fd, mode)))
    else:

        def refuse(*args, **how):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(plan_file.os, where, refuse)
    try:
        failed = bool(plan(across, file).errors)
    except StoreError:
        failed = True
    monkeypatch.undo()
    assert failed
    assert [name for name in os.listdir(home) if "plan" in name or name.endswith(".tmp")] == []


def test_a_path_that_leads_out_is_refused_by_the_store(across, file):
    make(here(across.src), {"f": b"1"})
    plan(across, file)
    records = lines(file)
    records[1]["path"] = "../f"
    seal(file, records)
    assert apply(across, file).errors == {"invalid_name": 1}
    assert not os.path.exists(here(across.dst).parent / "f")


def test_a_writer_that_is_closed_twice(across, file):
    writer = PlanWriter(
        file, src=place(across.src, "1"), dst=place(across.dst, ""), options=Options(), version="0", created=""
    )
    writer.commit(Counts())
    writer.close()
    writer.close()
    read = PlanFile(file)
    assert (list(read.lines()), read.src.identity, read.counts) == ([], "1", Counts())
    read.close()


ENTRIES = st.builds(
    Entry,
    st.sampled_from(["f", "d/g", "\udcff", "a\nb"]),
    st.sampled_from(Kind),
    st.none() | st.integers(0, 2**63),
    st.none() | st.integers(-(2**63), 2**63),
    st.none() | st.integers(0, 2**63),
    st.none() | st.text(max_size=3),
    st.none() | st.text(max_size=3),
    st.dictionaries(st.sampled_from(["md5", "sha256"]), st.text(max_size=3)),
)


@given(entry=ENTRIES)
def test_entries_come_back_as_they_went(entry):
    assert plan_file._entry_in(json.loads(json.dumps(plan_file._entry_out(entry)))) == entry


def test_events_of_a_plan_with_a_move_only_destination(tmp_path, file):
    bench = Bench(local(tmp_path / "src"), remote(Fitted(remote=True, without=Cap.COPY)), str(tmp_path / "state"))
    make(here(bench.src), {"a": b"newer"})
    put(bench.dst.store, "a", b"old")
    plan(bench, file, suffix="~")
    assert bench.told(Moved) == []
    assert (apply(bench, file).errors, held(bench.dst.store)) == ({}, {"a": b"newer", "a~": b"old"})


def test_the_sides_of_a_plan_are_named_by_their_real_places(across):
    assert place(across.src, "7").address == across.src.local_root
    assert place(replace(across.src, local_root=None), "7").address == across.src.address


def test_a_plan_is_not_written_over_a_directory(across, tmp_path):
    make(here(across.src), {"f": b"1"})
    (tmp_path / "plans").mkdir()
    with pytest.raises(StoreError, match="s a directory"):
        plan(across, str(tmp_path / "plans"))
    assert os.listdir(tmp_path / "plans") == []
