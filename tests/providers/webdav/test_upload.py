"""write and write_many: where a file goes first, what is verified before it shows, what a failure leaves (nothing)."""

import hashlib
from dataclasses import replace

import pytest

from cftool.core.errors import (
    AlreadyExists,
    IntegrityError,
    InvalidName,
    IsADirectory,
    LoginRequired,
    NotADirectory,
    PermissionDenied,
    PreconditionFailed,
    QuotaExceeded,
    SourceChanged,
    StoreError,
    TooLarge,
    Unsupported,
)
from cftool.core.sources import BytesSource
from cftool.core.types import Cap, WriteItem
from cftool.disk.source import LocalSource
from cftool.testing.cases.base import OddSource
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from cftool_providers.webdav._upload import WHOLE

WHEN = 1_700_000_000
SIZES = [0, 5, WHOLE, WHOLE + 1]


def content(size: int, seed: int = 1) -> bytes:
    import random

    return random.Random(seed).randbytes(size)


class Stream(BytesSource):
    """Of unknown size."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.size = None


def probed(lab, **options):
    store = lab.open(**options)
    store.probe()
    lab.forget()
    return store


def temps(lab):
    return [path for path in lab.fake.nodes if ".cftool-" in path]


class TestBesideAndMoved:
    """Of servers that show a PUT while it arrives."""

    def test_a_large_file_tells_each_byte_once(self, lab):
        store = probed(lab)
        told = []
        [result] = store.write_many([WriteItem("big", BytesSource(content(WHOLE * 3)), progress=told.append)])
        assert result.error is None
        assert sum(told) == WHOLE * 3

    @pytest.mark.parametrize("size", SIZES)
    def test_a_file_goes_to_a_temporary_name_first(self, lab, size):
        store = probed(lab)
        lab.fake.mkdir("d")
        data = content(size)
        entry = store.write("d/f", BytesSource(data))
        assert lab.fake.nodes["d/f"].data == data
        assert (entry.size, entry.version) == (size, lab.fake.nodes["d/f"].etag)
        assert entry == store.stat("d/f")
        puts = [line for line in lab.fake.log if line.startswith("PUT")]
        assert len(puts) == 1
        assert "/dav/d/.cftool-" in puts[0]
        assert temps(lab) == []

    def test_a_new_file_costs_three_requests(self, lab):
        store = probed(lab)
        store.write("a", BytesSource(b"x"))
        assert lab.fake.requests == {"PUT": 1, "PROPFIND": 1, "MOVE": 1}

    def test_a_replaced_one_costs_three_more(self, lab):
        store = probed(lab)
        store.write("a", BytesSource(b"x"))
        lab.forget()
        store.write("a", BytesSource(b"y"))
        assert lab.fake.requests == {"PUT": 1, "PROPFIND": 3, "MOVE": 2}

    @pytest.mark.parametrize("status", [412, 403])
    def test_a_move_that_was_done_before_its_second_copy_was_refused_is_done(self, new_lab, status):
        """libcurl sends again, without a word, what was lost with a kept connection."""
        lab = new_lab()
        store = probed(lab)
        lab.fake.rule("MOVE", act=lambda request, answer: FakeResponse(status))
        entry = store.write("a", BytesSource(b"x"))
        assert (lab.fake.files(), entry.size, lab.fake.requests["MOVE"]) == ({"a": b"x"}, 1, 1)

    def test_only_a_move_that_replaces_nothing_travels_on_a_kept_connection(self, lab, monkeypatch):
        store = probed(lab)
        made, api = [], store._api
        usual = api.request

        def request(method, path, **options):
            one = usual(method, path, **options)
            if method == "MOVE":
                made.append((dict(one.headers)["overwrite"], one.replayable, one.idempotent))
            return one

        monkeypatch.setattr(api, "request", request)
        store.write("a", BytesSource(b"x"))
        store.write("a", BytesSource(b"y"))
        assert made == [("F", True, False), ("F", True, False), ("T", False, False)]

    @pytest.mark.parametrize("wire", [Wire.RESET, Wire.CLOSE])
    def test_a_put_whose_answer_is_lost_is_sent_again(self, new_lab, wire):
        lab = new_lab()
        store = probed(lab)
        lab.fake.rule("PUT", act=lambda request, answer: replace(answer, fault=Fault(wire)))
        store.write("a", BytesSource(b"x"))
        assert lab.fake.files() == {"a": b"x"}

    def test_a_move_whose_answer_is_lost_is_found_done(self, new_lab):
        lab = new_lab()
        store = probed(lab)
        lab.fake.rule("MOVE", act=lambda request, answer: replace(answer, fault=Fault(Wire.CLOSE)))
        entry = store.write("a", BytesSource(b"x"))
        assert (lab.fake.files(), entry.size) == ({"a": b"x"}, 1)

    def test_a_move_that_replaces_is_never_sent_twice_behind_our_back(self, new_lab):
        lab = new_lab()
        store = probed(lab)
        store.write("a", BytesSource(b"old"))
        lab.forget()
        lab.fake.rule("MOVE", act=lambda request, answer: answer)  # the one that is refused, for something is there
        lab.fake.rule("MOVE", act=lambda request, answer: replace(answer, fault=Fault(Wire.CLOSE)))
        store.write("a", BytesSource(b"new"))
        assert (lab.fake.files(), lab.fake.requests["MOVE"]) == ({"a": b"new"}, 2)

    def test_a_move_that_got_lost_before_it_was_done_is_done_again(self, new_lab):
        lab = new_lab()
        store = probed(lab)
        lab.fake.rule("MOVE", instead=FakeResponse(fault=Fault(Wire.CLOSE)))
        store.write("a", BytesSource(b"x"))
        assert lab.fake.files() == {"a": b"x"}

    def test_what_arrived_short_never_takes_the_place(self, lab):
        store = probed(lab)
        store.write("a", BytesSource(b"the old one"))

        def cut(request, answer):
            for path in temps(lab):
                lab.fake.nodes[path].data = b"shor"
            return answer

        lab.fake.rule("PUT", act=cut)
        with pytest.raises(IntegrityError):
            store.write("a", BytesSource(b"the new one"))
        assert lab.fake.files() == {"a": b"the old one"}

    @pytest.mark.parametrize("status", [403, 409, 500, 502, 507])
    def test_where_the_move_is_refused_the_old_file_stays_and_nothing_else(self, new_lab, status):
        lab = new_lab()
        store = probed(lab)
        store.write("a", BytesSource(b"old"))
        lab.fake.rule("MOVE", times=99, instead=FakeResponse(status))
        with pytest.raises(StoreError):
            store.write("a", BytesSource(b"new"))
        assert lab.fake.files() == {"a": b"old"}

    def test_what_cannot_be_removed_again_is_remembered(self, new_lab):
        lab = new_lab()
        store = probed(lab)
        lab.fake.rule("MOVE", times=99, instead=FakeResponse(403))
        lab.fake.rule("DELETE", times=99, instead=FakeResponse(403))
        with pytest.raises(PermissionDenied):
            store.write("a", BytesSource(b"new"))
        store.close()
        lab.fake._rules.clear()
        [leftover] = lab.open().leftovers("")
        assert [leftover.path] == temps(lab)

    @pytest.mark.parametrize("parents", [404, 409, 403])
    def test_missing_directories_are_made_once(self, new_lab, parents):
        lab = new_lab(missing_parent=parents)
        store = probed(lab)
        results = list(store.write_many(WriteItem(f"a/b/c/{n}", BytesSource(b"x")) for n in range(20)))
        assert [result.error for result in results] == [None] * 20
        assert len(lab.fake.files()) == 20
        assert lab.fake.requests["MKCOL"] <= 6
        assert lab.fake.requests["PUT"] == 21

    def test_a_time_is_set_by_header_or_by_proppatch_or_is_not_promised(self, new_lab):
        for habits, requests in (({"header_time": True}, 0), ({"patch_time": "lastmodified"}, 1), ({}, 0)):
            lab = new_lab(**habits, state_dir=None)
            store = probed(lab)
            entry = store.write("a", BytesSource(b"x"), modified_ns=WHEN * 10**9 + 5)
            keeps = bool(habits)
            assert (lab.fake.nodes["a"].when == WHEN) == keeps
            assert entry.modified_ns == (WHEN * 10**9 if keeps else None)
            assert store.features.listed_time == keeps
            assert lab.fake.requests["PROPPATCH"] == requests

    def test_a_property_that_is_stored_without_effect_is_no_time(self, new_lab):
        lab = new_lab(stores_patches=True)
        store = probed(lab)
        assert (store.features.time_precision_ns, Cap.SET_MODIFIED in store.features.caps) == (None, False)

    def test_a_character_that_the_server_loses_is_refused_by_name(self, lab):
        store = probed(lab)
        store._api.learn(replace(store._api.profile, confused="?;"))
        for name in ("a?b", "a;b"):
            with pytest.raises(InvalidName):
                store.write(name, BytesSource(b"x"))
        assert lab.fake.files() == {}


class TestPublishedAtCompletion:
    """Nextcloud, ownCloud and mod_dav."""

    @pytest.mark.parametrize("vendor", ["nextcloud", "owncloud"])
    @pytest.mark.parametrize("size", SIZES)
    def test_is_one_put_with_time_and_checksum(self, new_lab, vendor, size):
        lab = new_lab(vendor=vendor)
        store = probed(lab)
        data = content(size)
        entry = store.write("f", BytesSource(data), modified_ns=WHEN * 10**9)
        digest = hashlib.sha1(data).hexdigest()
        node = lab.fake.nodes["f"]
        assert (node.data, node.when, node.checksums) == (data, WHEN, f"SHA1:{digest}")
        assert (entry.size, entry.modified_ns, entry.hashes["sha1"]) == (size, WHEN * 10**9, digest)
        assert entry == store.stat("f")
        assert lab.fake.requests["PUT"] == 1
        assert lab.fake.requests["MOVE"] == 0

    def test_small_files_cost_one_request_each(self, new_lab):
        lab = new_lab(vendor="nextcloud")
        store = probed(lab)
        lab.fake.mkdir("d")
        items = [WriteItem(f"d/{n}", BytesSource(b"x"), modified_ns=WHEN * 10**9) for n in range(200)]
        assert not any(result.error for result in store.write_many(items))
        assert lab.fake.requests == {"PUT": 200}

    def test_owncloud_refuses_what_arrived_damaged(self, new_lab):
        lab = new_lab(vendor="owncloud")
        store = probed(lab)
        act = lab.fake._store
        lab.fake._store = lambda request, path, data: act(request, path, data[:-1] + b"?")
        with pytest.raises(IntegrityError):
            store.write("f", BytesSource(b"content"))
        assert lab.fake.files() == {}

    def test_apache_is_looked_at_after_the_put(self, new_lab):
        lab = new_lab(vendor="apache", infinity="refused")
        store = probed(lab)
        store.write("f", BytesSource(b"x"))
        assert lab.fake.requests == {"PUT": 1, "PROPFIND": 1}

    @pytest.mark.parametrize("seconds", [0, 5, 86_400])
    def test_a_time_that_nextcloud_refuses_is_not_sent(self, new_lab, seconds):
        lab = new_lab(vendor="nextcloud")
        probed(lab).write("f", BytesSource(b"x"), modified_ns=seconds * 10**9)
        assert lab.fake.files() == {"f": b"x"}


@pytest.mark.parametrize("vendor", ["plain", "nextcloud", "apache"])
class TestOnAny:
    def lab(self, new_lab, vendor, **habits):
        return new_lab(vendor=vendor, **habits)

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, LoginRequired),
            (403, PermissionDenied),
            (413, TooLarge),
            (507, QuotaExceeded),
            (402, QuotaExceeded),
            (414, InvalidName),
        ],
    )
    def test_a_refusal_is_told_as_what_it_is(self, new_lab, vendor, status, error):
        lab = self.lab(new_lab, vendor)
        store = probed(lab)
        lab.fake.rule("PUT", times=9, instead=FakeResponse(status))
        with pytest.raises(error):
            store.write("f", BytesSource(b"x"))
        assert lab.fake.files() == {}

    def test_a_directory_is_never_replaced(self, new_lab, vendor):
        lab = self.lab(new_lab, vendor)
        store = probed(lab)
        lab.fake.put("d/inside")
        with pytest.raises(IsADirectory):
            store.write("d", BytesSource(b"x"))
        assert lab.fake.files() == {"d/inside": b"content"}

    def test_below_a_file_there_is_no_room(self, new_lab, vendor):
        lab = self.lab(new_lab, vendor)
        store = probed(lab)
        lab.fake.put("f", b"file")
        with pytest.raises(NotADirectory):
            store.write("f/x/y", BytesSource(b"x"))
        assert lab.fake.files() == {"f": b"file"}

    @pytest.mark.parametrize("size", [100, WHOLE + 100])
    @pytest.mark.parametrize("real", [-1, 1])
    def test_a_source_of_another_size_than_it_says_leaves_nothing(self, new_lab, vendor, size, real):
        lab = self.lab(new_lab, vendor)
        store = probed(lab)
        with pytest.raises(SourceChanged):
            store.write("f", OddSource(content(size + real), size=size))
        assert lab.fake.files() == {}

    @pytest.mark.parametrize("size", [0, 10, WHOLE + 1])
    def test_a_source_of_unknown_size_is_spooled(self, new_lab, vendor, size):
        lab = self.lab(new_lab, vendor)
        data = content(size)
        probed(lab).write("f", Stream(data))
        assert lab.fake.files() == {"f": data}

    def test_a_source_that_changes_meanwhile_is_not_published(self, new_lab, vendor, tmp_path):
        lab = self.lab(new_lab, vendor)
        store = probed(lab)
        path = tmp_path / "file"
        path.write_bytes(content(WHOLE + 1))
        source = LocalSource(str(path))
        path.write_bytes(content(WHOLE + 1, seed=2))
        with pytest.raises(SourceChanged):
            store.write("f", source)
        assert lab.fake.files() == {}

    def test_a_failed_file_does_not_stop_the_others(self, new_lab, vendor):
        lab = self.lab(new_lab, vendor)
        store = probed(lab)
        lab.fake.put("taken/x")
        items = [WriteItem(name, BytesSource(b"x"), tag=name) for name in ("a", "taken", "b", "")]
        results = {result.tag: type(result.error) for result in store.write_many(items)}
        assert results == {"a": type(None), "b": type(None), "taken": IsADirectory, "": IsADirectory}

    def test_a_caller_that_leaves_early_leaves_no_temporary_files(self, new_lab, vendor):
        lab = self.lab(new_lab, vendor)
        store = probed(lab)
        results = store.write_many(WriteItem(f"f{n}", BytesSource(b"x")) for n in range(100))
        next(results)
        results.close()
        assert temps(lab) == []

    def test_a_lock_that_passes_is_waited_for(self, new_lab, vendor):
        lab = self.lab(new_lab, vendor)
        store = probed(lab)
        lab.fake.rule("PUT" if vendor != "plain" else "MOVE", times=3, instead=FakeResponse(423))
        store.write("f", BytesSource(b"x"))
        assert lab.fake.files() == {"f": b"x"}


class TestConditions:
    @pytest.mark.parametrize("vendor", ["plain", "nextcloud"])
    def test_absent_and_version_are_obeyed_where_they_were_seen_to_be(self, new_lab, vendor):
        lab = new_lab(vendor=vendor)
        store = probed(lab)
        assert store.features.caps & (Cap.IF_ABSENT | Cap.IF_VERSION) == Cap.IF_ABSENT | Cap.IF_VERSION
        first = store.write("f", BytesSource(b"1"), if_absent=True)
        with pytest.raises(AlreadyExists):
            store.write("f", BytesSource(b"2"), if_absent=True)
        second = store.write("f", BytesSource(b"3"), if_version=first.version)
        with pytest.raises(PreconditionFailed):
            store.write("f", BytesSource(b"4"), if_version=first.version)
        assert (lab.fake.files(), second.version) == ({"f": b"3"}, store.stat("f").version)

    def test_a_version_of_what_is_gone_is_no_reason_to_write(self, new_lab):
        for vendor in ("plain", "nextcloud"):
            store = probed(new_lab(vendor=vendor, state_dir=None))
            with pytest.raises(PreconditionFailed):
                store.write("f", BytesSource(b"4"), if_version="etag-1")

    @pytest.mark.parametrize("habits", [{"conditions": False, "overwrite_f": False}, {"vendor": "apache"}])
    def test_where_none_was_obeyed_none_is_promised(self, new_lab, habits):
        lab = new_lab(**habits)
        store = probed(lab)
        assert Cap.IF_VERSION not in store.features.caps
        with pytest.raises(Unsupported):
            store.write("f", BytesSource(b"4"), if_version="etag-1")
        assert lab.fake.requests == {}


def test_set_modified_tells_where_the_server_takes_no_times(new_lab):
    lab = new_lab()
    store = probed(lab)
    store.write("f", BytesSource(b"x"))
    with pytest.raises(Unsupported):
        store.set_modified("f", WHEN * 10**9)
    lab = new_lab(vendor="nextcloud", state_dir=None)
    store = probed(lab)
    store.write("f", BytesSource(b"x"))
    assert store.set_modified("f", WHEN * 10**9).modified_ns == WHEN * 10**9
    assert lab.fake.nodes["f"].when == WHEN


class TestLookedAtTogether:
    """Many files of one directory, where an answer to a PUT proves nothing."""

    COUNT = 100

    def write(self, lab, *, count=COUNT, store=None):
        store = store or probed(lab)
        items = [WriteItem(f"d/{number}", BytesSource(b"%d" % number), tag=number) for number in range(count)]
        return {result.tag: result for result in store.write_many(items)}

    def expected(self, count=COUNT):
        return {f"d/{number}": b"%d" % number for number in range(count)}

    def test_costs_two_requests_a_file_and_a_few_listings(self, lab):
        lab.fake.mkdir("d")
        store = probed(lab)
        results = self.write(lab, store=store)
        assert lab.fake.files() == self.expected()
        assert (lab.fake.requests["PUT"], lab.fake.requests["MOVE"]) == (self.COUNT, self.COUNT)
        assert lab.fake.requests["PROPFIND"] <= 6
        assert {one.path: one.entry for one in results.values()} == {entry.path: entry for entry in store.scan("d")}

    def test_where_a_put_is_atomic_it_costs_one_request_a_file_and_a_few_listings(self, new_lab):
        lab = new_lab(vendor="apache", infinity="refused")
        lab.fake.mkdir("d")
        store = probed(lab)
        results = self.write(lab, store=store)
        assert lab.fake.files() == self.expected()
        assert (lab.fake.requests["PUT"], lab.fake.requests["MOVE"]) == (self.COUNT, 0)
        assert lab.fake.requests["PROPFIND"] <= 6
        assert {one.path: one.entry for one in results.values()} == {entry.path: entry for entry in store.scan("d")}

    def test_replacing_costs_no_request_more(self, lab):
        lab.fake.mkdir("d")
        store = probed(lab)
        for number in range(self.COUNT):
            lab.fake.put(f"d/{number}", b"old")
        assert not any(one.error for one in self.write(lab, store=store).values())
        assert lab.fake.files() == self.expected()
        assert (lab.fake.requests["PUT"], lab.fake.requests["MOVE"]) == (self.COUNT, self.COUNT)
        assert lab.fake.requests["PROPFIND"] <= 6

    def test_a_directory_of_that_name_is_not_replaced(self, lab):
        store = probed(lab)
        for number in range(4):
            lab.fake.put(f"d/{number}/kept")
        results = self.write(lab, count=4, store=store)
        assert {type(one.error) for one in results.values()} == {IsADirectory}
        assert lab.fake.files() == {f"d/{number}/kept": b"content" for number in range(4)}

    @pytest.mark.parametrize("transport", ["curl", "requests"])
    def test_times_are_those_that_were_set(self, new_lab, transport):
        lab = new_lab(transport=transport, patch_time="lastmodified")
        store = probed(lab)
        items = [
            WriteItem(f"d/{number}", BytesSource(b"x"), modified_ns=(WHEN + number) * 10**9) for number in range(30)
        ]
        found = {result.path: result.entry.modified_ns for result in store.write_many(items)}
        assert found == {f"d/{number}": (WHEN + number) * 10**9 for number in range(30)}

    def test_one_that_arrived_short_fails_alone(self, lab):
        store = probed(lab)

        def cut(request, answer):
            if request.body == b"7":
                lab.fake.nodes[request.decoded_path.removeprefix("/dav/")].data = b""
            return answer

        lab.fake.rule("PUT", times=999, act=cut)
        failed = {tag: type(one.error) for tag, one in self.write(lab, store=store).items() if one.error}
        assert failed == {7: IntegrityError}
        assert lab.fake.files() == {path: data for path, data in self.expected().items() if path != "d/7"}

    def test_one_that_is_refused_holds_up_nobody(self, new_lab):
        lab = new_lab()
        store = probed(lab)

        def refuse(request, answer):
            if not request.body.endswith(b"3"):
                return answer
            del lab.fake.nodes[request.decoded_path.removeprefix("/dav/")]
            return FakeResponse(507)

        lab.fake.mkdir("d")
        lab.fake.rule("PUT", times=999, act=refuse)
        failed = {tag for tag, one in self.write(lab, store=store).items() if isinstance(one.error, QuotaExceeded)}
        assert failed == {number for number in range(self.COUNT) if number % 10 == 3}
        assert len(lab.fake.files()) == self.COUNT - len(failed)

    @pytest.mark.parametrize(
        "answer",
        [
            FakeResponse(403),
            FakeResponse(500),
            FakeResponse(200, (("Content-Type", "text/html"),), b"<html>"),
            FakeResponse(207, (("Content-Type", "text/xml"),), b'<d:multistatus xmlns:d="DAV:">'),
            FakeResponse(207, (("Content-Type", "text/xml"),), b'<d:multistatus xmlns:d="DAV:"/>'),
            FakeResponse(207, (("Content-Type", "text/xml"),), b" " * (2 << 20)),
        ],
        ids=["refused", "broken", "a page", "cut", "hidden names", "too long"],
    )
    def test_where_a_listing_tells_nothing_each_is_looked_at_by_itself(self, new_lab, answer):
        lab = new_lab()
        store = probed(lab)
        lab.fake.mkdir("d")
        lab.fake.rule("PROPFIND", "d", times=999, instead=answer)
        assert not any(one.error for one in self.write(lab, store=store).values())
        assert lab.fake.files() == self.expected()
        assert lab.fake.requests["PROPFIND"] >= self.COUNT

    def test_a_full_directory_is_not_listed_again_and_again(self, new_lab):
        lab = new_lab()
        store = probed(lab)
        for number in range(1000):
            lab.fake.put(f"d/old-{number}")
        listings = []
        lab.fake.rule(
            "PROPFIND", "d", times=999, act=lambda r, a: listings.append(a) or a if r.header("depth") == "1" else a
        )
        assert not any(one.error for one in self.write(lab, count=150, store=store).values())
        assert len(listings) == 1
        assert len(lab.fake.files()) == 1150

    def test_of_two_or_fewer_none_is_made(self, lab):
        lab.fake.mkdir("d")
        store = probed(lab)
        self.write(lab, count=2, store=store)
        assert lab.fake.requests == {"PUT": 2, "PROPFIND": 2, "MOVE": 2}
