"""The order in which two files are compared: each rule, what it costs, and what it is counted as."""

import pytest

from cftool.core.types import Entry, Kind
from cftool.transfer.compare import Comparer, Verdict, best_hash, printer
from cftool.transfer.options import Options
from tests.transfer.kit import T0, Fitted, local, make, put, remote

MD5_A = "0cc175b9c0f1b6a831c399e269772661"  # of b"a"
MD5_B = "92eb5ffee6ae2fec3ad71c777531578f"


def file(size=1, modified=None, version=None, stored=None, **hashes):
    return Entry("f", Kind.FILE, size, modified, stored, version, None, hashes)


def comparer(src=None, dst=None, options=None):
    sides = [
        remote(Fitted(**{"remote": True, "listed_time": True, "hashes": frozenset(), **(x or {})})) for x in (src, dst)
    ]
    return Comparer(*sides, Options(**(options or {}))), sides


@pytest.mark.parametrize(
    ("options", "src", "dst", "expected"),
    [
        ({}, file(1), file(2), (Verdict.COPY, "size")),
        ({}, file(1, T0), file(1, T0), (Verdict.EQUAL, "time")),
        ({}, file(1, T0), file(1, T0 + 1), (Verdict.CHECK, "")),
        ({}, file(1, T0), file(1), (Verdict.CHECK, "")),
        ({}, file(None, T0), file(1, T0), (Verdict.EQUAL, "time")),
        ({"size_only": True}, file(1, T0), file(1, T0 + 9), (Verdict.EQUAL, "size_only")),
        ({"size_only": True}, file(2), file(1), (Verdict.COPY, "size")),
        ({"checksum": True}, file(1, T0), file(1, T0), (Verdict.CHECK, "")),
        ({"checksum": True}, file(1), file(2), (Verdict.COPY, "size")),
        ({"ignore_times": True}, file(1, T0), file(1, T0), (Verdict.COPY, "forced")),
        ({"ignore_existing": True}, file(1), file(2), (Verdict.EXISTING, "")),
        ({"update": True}, file(2, T0), file(1, T0 + 1), (Verdict.NEWER, "time")),
        ({"update": True}, file(2, T0 + 1), file(1, T0), (Verdict.COPY, "size")),
        ({"update": True}, file(1, T0), file(1, T0), (Verdict.EQUAL, "time")),
        ({"update": True}, file(1, T0), file(1), (Verdict.CHECK, "")),
    ],
)
def test_what_listings_decide(options, src, dst, expected):
    assert comparer(options=options)[0].quick(src, dst, None) == expected


def test_a_record_counts_only_where_both_sides_are_what_they_were():
    compare, _ = comparer(src={"listed_time": False}, dst={"listed_time": False})
    src, dst = file(1, None, "v1"), file(1, None, "w1")
    row = (b"f", 1, "v1", "w1", 1)
    assert compare.quick(src, dst, row) == (Verdict.EQUAL, "state")
    assert compare.quick(src, file(1, None, "w2"), row)[0] is Verdict.CHECK
    assert compare.quick(file(1, None, "v2"), dst, row)[0] is Verdict.CHECK
    assert compare.quick(file(2, None, "v1"), file(2, None, "w1"), row)[0] is Verdict.CHECK
    assert comparer(options={"checksum": True})[0].quick(src, dst, row)[0] is Verdict.CHECK


def test_a_print_says_version_or_upload_time_and_the_time_that_listings_carry():
    listed = printer(remote(Fitted(remote=True, listed_time=True)))
    other = printer(remote(Fitted(remote=True, listed_time=False)))
    assert listed(file(1, T0, "v")) == f"v/{T0}"
    assert other(file(1, T0, "v")) == "v"
    assert other(file(1, None, None, 7)) == "@7"
    assert (listed(file(1, T0)), other(file())) == (None, None)


@pytest.mark.parametrize(
    ("precision", "apart", "same"), [(1, 0, True), (1, 1, False), (1000, 999, True), (1000, 1000, False)]
)
def test_times_are_compared_within_the_coarser_precision(precision, apart, same):
    compare, _ = comparer(dst={"time_precision_ns": precision})
    assert (compare.quick(file(1, T0 + apart), file(1, T0), None)[0] is Verdict.EQUAL) is same


def test_a_store_without_times_of_files_is_not_compared_by_them():
    compare, _ = comparer(dst={"time_precision_ns": None})
    assert compare.quick(file(1, T0), file(1, T0), None) == (Verdict.CHECK, "")


@pytest.mark.parametrize(
    ("src", "dst", "expected"),
    [
        (file(1, None, md5=MD5_A), file(1, None, md5=MD5_A), (Verdict.EQUAL, "hash", False)),
        (file(1, None, md5=MD5_A), file(1, None, md5=MD5_B), (Verdict.COPY, "hash", False)),
        (file(1, T0, md5=MD5_A), file(1, T0 + 9, md5=MD5_A), (Verdict.EQUAL, "hash", True)),
        (file(1, T0), file(1, T0 + 9), (Verdict.COPY, "time", False)),
        (file(1, T0), file(1, None), (Verdict.EQUAL, "size_only", False)),
        (file(1, T0), file(1, None, None, T0 - 1), (Verdict.COPY, "time", False)),
        (file(1, T0), file(1, None, None, T0 + 1), (Verdict.EQUAL, "size_only", False)),
    ],
)
def test_what_needs_more_than_listings(src, dst, expected):
    finding = comparer(src={"listed_time": True}, dst={"listed_time": True})[0].full(src, dst)
    assert (finding.verdict, finding.by, finding.set_time) == expected


def test_a_listed_hash_is_compared_with_the_local_bytes(tmp_path):
    src = local(tmp_path)
    make(tmp_path, {"f": b"a"})
    dst = remote(Fitted(remote=True, listed_time=False))
    compare = Comparer(src, dst, Options())
    here = src.store.stat("f")
    assert compare.full(here, file(1, None, md5=MD5_A)).by == "hash"
    assert compare.full(here, file(1, None, md5=MD5_A)).verdict is Verdict.EQUAL
    assert compare.full(here, file(1, None, md5=MD5_B)).verdict is Verdict.COPY
    assert Comparer(dst, src, Options()).full(file(1, None, md5=MD5_A), here).verdict is Verdict.EQUAL
    assert dst.store.calls == {}


@pytest.mark.parametrize(("there", "verdict"), [(T0, Verdict.EQUAL), (T0 + 5, Verdict.COPY)])
def test_the_time_that_only_a_request_knows(tmp_path, there, verdict):
    src = local(tmp_path)
    make(tmp_path, {"f": b"a"}, T0)
    store = Fitted(remote=True, listed_time=False, hashes=frozenset())
    store.inner.stat = lambda path: file(1, there, "v")
    finding = Comparer(src, remote(store), Options()).full(src.store.stat("f"), file(1, None, "v"))
    assert (finding.verdict, finding.by) == (verdict, "request")
    assert store.calls == {"stat": 1}
    assert finding.dst.modified_ns == there


def test_a_hash_that_only_a_request_knows(tmp_path):
    src = local(tmp_path)
    make(tmp_path, {"f": b"a"}, T0)
    store = Fitted(remote=True, listed_time=False, hashes=frozenset({"md5"}))
    store.inner.stat = lambda path: file(1, T0 + 9, "v", md5=MD5_A)
    finding = Comparer(src, remote(store), Options()).full(src.store.stat("f"), file(1, None, "v"))
    assert (finding.verdict, finding.by, finding.set_time) == (Verdict.EQUAL, "request", True)


def test_with_checksum_only_content_counts(tmp_path):
    src = local(tmp_path / "a")
    dst = local(tmp_path / "b")
    make(tmp_path / "a", {"f": b"a", "g": b"a"}, T0)
    make(tmp_path / "b", {"f": b"a", "g": b"b"}, T0 + 9)
    compare = Comparer(src, dst, Options(checksum=True))
    same = compare.full(src.store.stat("f"), dst.store.stat("f"))
    assert (same.verdict, same.by, same.set_time) == (Verdict.EQUAL, "hash", False)
    assert compare.full(src.store.stat("g"), dst.store.stat("g")).verdict is Verdict.COPY


def test_with_checksum_and_no_hash_the_fall_back_is_counted_as_size_only():
    compare, _ = comparer(options={"checksum": True})
    finding = compare.full(file(1, T0), file(1, T0))
    assert (finding.verdict, finding.by) == (Verdict.EQUAL, "size_only")


@pytest.mark.parametrize(
    ("more", "there", "expected"),
    [
        ({}, file(1, T0 + 1), (Verdict.NEWER, "time")),
        ({}, file(1, T0), (Verdict.EQUAL, "request")),
        ({}, file(2, T0 - 1), (Verdict.COPY, "size")),
        ({}, file(1, T0 - 1), (Verdict.COPY, "time")),
        ({"size_only": True}, file(1, T0 - 1), (Verdict.EQUAL, "size_only")),
        ({"ignore_times": True}, file(1, T0 - 1), (Verdict.COPY, "forced")),
        ({"checksum": True}, file(1, T0 - 1, md5=MD5_A), (Verdict.EQUAL, "hash")),
    ],
)
def test_update_asks_where_listings_carry_no_time(tmp_path, more, there, expected):
    src = local(tmp_path)
    make(tmp_path, {"f": b"a"}, T0)
    store = Fitted(remote=True, listed_time=False, hashes=frozenset({"md5"}))
    store.inner.stat = lambda path: there
    compare = Comparer(src, remote(store), Options(update=True, **more))
    here = src.store.stat("f")
    assert compare.quick(here, file(1, None), None)[0] is Verdict.CHECK
    finding = compare.full(here, file(1, None))
    assert (finding.verdict, finding.by) == expected


def test_a_hash_of_32_bits_is_the_last_choice():
    assert best_hash(["crc32", "md5"]) == "md5"
    assert best_hash(["crc32"]) == "crc32"
    assert best_hash(["quickxor"]) is None


def test_a_time_that_differs_alone_is_set_and_costs_no_copy(up):
    from pathlib import Path

    make(Path(up.src.local_root), {"f": b"a"}, T0)
    put(up.dst.store, "f", b"a", T0 + 9)
    up.dst.store._features = __import__("dataclasses").replace(up.dst.store.features, listed_time=True)
    up.dst.store.listed = lambda entry: entry
    summary = up.sync()
    assert (summary.copied, summary.compared_by) == (0, {"hash": 1})
    assert up.dst.store.inner.stat("f").modified_ns == T0
    assert up.sync().compared_by == {"state": 1}


def test_files_compared_by_size_alone_are_said_and_counted_in_every_run(tmp_path):
    from cftool.transfer.events import Note
    from tests.transfer.kit import Bench

    def plain(name):
        store = Fitted(remote=True, listed_time=False, time_precision_ns=None, hashes=frozenset())
        store.listed = lambda entry: entry._replace(modified_ns=None, stored_ns=None, hashes={})
        put(store, "f")
        return remote(store, name)

    bench = Bench(plain("a"), plain("b"), str(tmp_path / "state"))
    for _ in range(2):
        assert bench.sync().compared_by == {"size_only": 1}
        assert "1 file was compared by size alone" in bench.told(Note)[0].message
