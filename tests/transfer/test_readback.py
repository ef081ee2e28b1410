"""--verify readback: what was written is read again, and what is wrong does not stay under its name."""

from pathlib import Path

import pytest

from cftool.core.errors import ConnectionFailed, IntegrityError, PermissionDenied
from cftool.core.sources import BytesSource
from cftool.core.types import Cap
from cftool.transfer import api
from cftool.transfer.events import Copied, Failed
from cftool.transfer.options import Options, Verify
from tests.transfer.kit import T0, Fitted, held, make, put, tree


def here(side) -> Path:
    return Path(side.local_root)


def flipping(store, *, path="bad", times=99):
    """Writes to `path` store something else, and say so in the entry that they return."""
    inner = store.inner
    write = inner.write
    left = [times]

    def flipped(to, source, **how):
        if to == path and left[0]:
            left[0] -= 1
            return write(to, BytesSource(b"?" * source.size), **how)
        return write(to, source, **how)

    inner.write = flipped


def messages(bench):
    return [event.message for event in bench.told(Failed)]


@pytest.mark.parametrize("which", ["up", "between"])
def test_a_bad_copy_is_removed(which, request):
    bench = request.getfixturevalue(which)
    for path in ("good", "bad"):
        if bench.src.local_root is None:
            put(bench.src.store, path, b"12")
        else:
            make(here(bench.src), {path: b"12"})
    flipping(bench.dst.store)
    summary = bench.copy(verify=Verify.READBACK)
    assert (summary.errors, held(bench.dst.store)) == ({"integrity_error": 1}, {"good": b"12"})
    assert [event.path for event in bench.told(Copied)] == ["good"]
    assert messages(bench) == ["read back, it is not what was written; the bad copy was removed"]


def test_without_it_only_what_the_service_says_counts(up):
    make(here(up.src), {"bad": b"12"})
    flipping(up.dst.store)
    assert up.copy().errors == {}


def test_a_second_attempt_may_be_good(up):
    make(here(up.src), {"bad": b"12"})
    flipping(up.dst.store, times=1)
    summary = up.copy(verify=Verify.READBACK)
    assert (summary.copied, summary.errors, held(up.dst.store)) == (1, {}, {"bad": b"12"})


def test_the_source_is_not_read_again_where_its_hash_is_known(between):
    put(between.src.store, "f", b"12")
    assert between.copy(verify=Verify.READBACK).copied == 1
    assert (between.src.store.calls["read"], between.dst.store.calls["read"]) == (1, 1)
    between.src.store.listed = lambda entry: entry._replace(hashes={"crc32": "0"})  # 32 bits prove nothing
    put(between.src.store, "g", b"12")
    assert between.copy(verify=Verify.READBACK).copied == 1
    assert (between.src.store.calls["read"], between.dst.store.calls["read"]) == (3, 2)


def test_what_reads_as_damaged_is_removed_too(up):
    make(here(up.src), {"bad": b"12"})

    def rotten(op, path):
        if op == "read":
            raise IntegrityError("the hash differs")

    up.dst.store.before = rotten
    assert up.copy(verify=Verify.READBACK, retries=1).errors == {"integrity_error": 1}
    assert held(up.dst.store) == {}
    assert messages(up) == ["the hash differs; the bad copy was removed"]


@pytest.mark.parametrize(
    ("meanwhile", "message", "left"),
    [
        ("replaced", "another version is there by now, and stays", {"bad": b"!!"}),
        ("gone", "it is gone by now", {}),
        ("forbidden", "the bad copy is still there (no)", {"bad": b"??"}),
    ],
)
def test_only_our_own_bad_copy_is_removed(up, meanwhile, message, left):
    make(here(up.src), {"bad": b"12"})
    flipping(up.dst.store)
    store = up.dst.store

    def act(op, path):
        if op == "stat" and path == "bad" and held(store):
            if meanwhile == "replaced":
                store.inner.space.put("bad", b"!!", T0, None, False)
            elif meanwhile == "gone":
                store.inner.delete("bad")
        if op == "delete" and meanwhile == "forbidden":
            raise PermissionDenied("no")

    store.before = act
    assert up.copy(verify=Verify.READBACK, retries=1).errors == {"integrity_error": 1}
    assert (messages(up), held(store)) == ([f"read back, it is not what was written; {message}"], left)


def test_what_cannot_be_read_back_is_an_error_and_stays(up):
    make(here(up.src), {"f": b"12"})

    def away(op, path):
        if op == "read":
            raise ConnectionFailed("away")

    up.dst.store.before = away
    assert up.copy(verify=Verify.READBACK).errors == {"connection_failed": 1}
    assert held(up.dst.store) == {"f": b"12"}


def test_what_could_not_be_written_is_not_read(up):
    make(here(up.src), {"f": b"12"})

    def refuse(op, path):
        if op == "write":
            raise PermissionDenied("no")

    up.dst.store.before = refuse
    assert up.copy(verify=Verify.READBACK).errors == {"permission_denied": 1}
    assert up.dst.store.calls["read"] == 0


def test_local_copies_and_server_side_ones(across, tmp_path):
    make(here(across.src), {"a/f": b"12"})
    assert across.copy(verify=Verify.READBACK).copied == 1
    assert tree(here(across.dst)) == {"a/f": b"12"}
    make(here(across.src), {"a/g": b"34"})
    summary = api.copy_file(
        across.src,
        "a/g",
        across.dst,
        "g",
        Options(verify=Verify.READBACK),
        across.around(),
        across.events.append,
    )
    assert summary.copied == 1


def test_with_a_trash_the_old_version_is_still_there(up):
    put(up.dst.store, "bad", b"older")
    make(here(up.src), {"bad": b"12"})
    flipping(up.dst.store)
    up.dst.store._features = __import__("dataclasses").replace(
        up.dst.store.features, caps=up.dst.store.features.caps | Cap.COPY
    )
    assert up.copy(verify=Verify.READBACK, trash=".cftool-trash").errors == {"integrity_error": 1}
    assert held(up.dst.store) == {".cftool-trash/1970-01-01T00-16-40Z/bad": b"older"}


def test_an_inspection_that_breaks_is_the_outcome():
    from cftool.transfer.actions import Action
    from cftool.transfer.execute import Outcome
    from cftool.transfer.stages import After, Before

    class Inner:
        reads = True

        def run(self, actions):
            for action in actions:
                yield Outcome(action)

        def close(self):
            pass

    def broken(_):
        raise ConnectionFailed("away")

    store = Fitted()
    put(store, "f")
    action = Action(b"f", store.stat("f"), None)
    for stage in (After(Inner(), broken, threads=1), Before(Inner(), broken, threads=1)):
        assert [type(outcome.error) for outcome in stage.run([action])] == [ConnectionFailed]
        assert stage.reads
