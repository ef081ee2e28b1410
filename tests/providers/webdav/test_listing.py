"""scan and walk: what a wrong listing does (nothing), how trees are listed on servers of any kind, and the cost."""

from dataclasses import replace

import pytest

from cftool.core.errors import (
    ListingError,
    LoginRequired,
    NotADirectory,
    NotFound,
    PermissionDenied,
    StoreError,
    TemporaryError,
)
from cftool.core.types import Kind
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from cftool_providers.webdav._vendor import Quirks
from tests.transfer.kit import Bench, remote, there, tree

from .mutations import MUTATIONS

TREE = ["a", "b/c", "b/d/e", "f/g/h/i"]


def kinds(entries):
    return {entry.path: entry.kind.value[0] for entry in entries}


def filled(lab, paths=TREE):
    for path in paths:
        lab.fake.put(path, path.encode())
    return lab


def mutated(lab, name, *, times=99):
    """The directory `d`, whose listings are changed from now on; stats of single entries are not."""
    filled(lab, ["d/a", "d/b"])
    lab.fake.mkdir("d/sub")
    mutate = MUTATIONS[name]

    def act(request, answer):
        return mutate(answer) if request.header("depth") == "1" else answer

    store = lab.open()
    store._api.ready()
    lab.fake.rule("PROPFIND", "d", times=times, act=act)
    return store


@pytest.mark.parametrize("name", MUTATIONS)
class TestNoMutationIsBelieved:
    def test_by_scan(self, new_lab, name):
        store = mutated(new_lab(), name)
        expected = NotADirectory if name == "the directory itself is a file" else (ListingError, NotFound)
        with pytest.raises(expected):
            list(store.scan("d"))

    def test_by_walk_level_by_level(self, new_lab, name):
        store = mutated(new_lab(infinity="refused"), name)
        expected = NotADirectory if name == "the directory itself is a file" else (ListingError, NotFound)
        with pytest.raises(expected):
            list(store.walk("d"))

    def test_by_a_sync_onto_a_full_tree(self, new_lab, tmp_path, name):
        """Nothing is deleted and nothing changed, whichever way the tree is listed."""
        lab = filled(new_lab(), ["d/a", "d/b", "top"])
        lab.fake.mkdir("d/sub")
        store = lab.open()
        bench = Bench(remote(store), there(tmp_path / "dst"), str(tmp_path / "sync"))
        assert not bench.sync().errors
        full = tree(tmp_path / "dst")
        assert full == {"d/a": b"d/a", "d/b": b"d/b", "top": b"top", "d/sub": None}
        store._api.context.memory.set(store._lister._key(), "no")
        act = MUTATIONS[name]
        lab.fake.rule("PROPFIND", "d", times=99, act=lambda r, a: act(a) if r.header("depth") == "1" else a)
        summary = bench.sync()
        assert (bool(summary.errors), summary.deleted, tree(tmp_path / "dst")) == (True, 0, full)


@pytest.mark.parametrize("name", ["cut before the end", "an entry twice", "a size that is none", "HTML with 200"])
def test_a_wrong_answer_of_depth_infinity_alone_is_made_good_level_by_level(new_lab, name):
    lab = filled(new_lab(), ["d/a", "d/b"])
    lab.fake.mkdir("d/sub")
    mutate = MUTATIONS[name]
    lab.fake.rule("PROPFIND", "d", times=9, act=lambda r, a: mutate(a) if r.header("depth") == "infinity" else a)
    assert kinds(lab.open().walk("d")) == {"d/a": "f", "d/b": "f", "d/sub": "d"}


class TestScan:
    def test_shows_one_level(self, lab):
        filled(lab)
        assert kinds(lab.open().scan("")) == {"a": "f", "b": "d", "f": "d"}
        assert kinds(lab.open().scan("b")) == {"b/c": "f", "b/d": "d"}

    def test_an_entry_is_what_stat_says(self, lab):
        filled(lab)
        store = lab.open()
        for entry in store.scan("b"):
            assert entry == store.stat(entry.path)

    def test_of_what_is_missing_or_a_file(self, lab):
        filled(lab)
        store = lab.open()
        for call in (store.scan, store.walk):
            with pytest.raises(NotFound):
                list(call("nothing"))
            with pytest.raises(NotADirectory):
                list(call("a"))

    def test_temporary_names_of_ours_are_not_shown(self, lab):
        filled(lab, ["x", ".cftool-0123456789ab-1.tmp", "d/.cftool-0123456789ab-2.tmp"])
        store = lab.open()
        assert kinds(store.scan("")) == {"x": "f", "d": "d"}
        assert kinds(store.walk("")) == {"x": "f", "d": "d"}

    def test_a_large_one_streams(self, lab):
        filled(lab, [f"d/{number:05}" for number in range(3000)])
        assert len(list(lab.open().scan("d"))) == 3000

    @pytest.mark.parametrize(
        "href",
        [
            lambda origin, path: origin + path,
            lambda origin, path: "http://internal:8080" + path,
            lambda origin, path: path.replace("%20", "%20").replace("b", "%62"),
            lambda origin, path: path.replace("%C3%A4", "%c3%a4"),
            lambda origin, path: path.rstrip("/"),
        ],
        ids=["absolute", "another host", "escaped too much", "lower case", "no slash"],
    )
    def test_names_are_understood_however_they_are_written(self, new_lab, href):
        lab = filled(new_lab(href=href), ["b c/ä%&", "b c/d/e"])
        store = lab.open()
        assert kinds(store.scan("b c")) == {"b c/ä%&": "f", "b c/d": "d"}
        assert kinds(store.walk("")) == {"b c": "d", "b c/ä%&": "f", "b c/d": "d", "b c/d/e": "f"}

    def test_names_that_are_no_utf8_keep_their_bytes(self, lab):
        lab.fake.put("d/\udcff")
        assert kinds(lab.open().scan("d")) == {"d/\udcff": "f"}

    def test_a_body_that_breaks_off_is_an_error(self, new_lab):
        lab = filled(new_lab(), [f"d/{number:03}" for number in range(200)])
        store = lab.open()
        store._api.ready()
        broken = Fault(Wire.SHORT_BODY, at=20_000)
        lab.fake.rule("PROPFIND", "d", times=99, act=lambda request, answer: replace(answer, fault=broken))
        with pytest.raises(StoreError):
            list(store.scan("d"))
        with pytest.raises(StoreError):
            list(store.walk("d"))

    @pytest.mark.parametrize(
        ("status", "error"),
        [(401, LoginRequired), (403, PermissionDenied), (404, NotFound), (500, TemporaryError), (423, TemporaryError)],
    )
    def test_an_error_is_never_an_empty_listing(self, new_lab, status, error):
        lab = filled(new_lab())
        store = lab.open()
        store._api.ready()
        for call in (store.scan, store.walk):
            lab.fake.rule("PROPFIND", "f", times=99, instead=FakeResponse(status))
            with pytest.raises(error):
                list(call("f"))

    def test_time_out_of_a_directory_is_told(self, lab):
        filled(lab)
        [entry] = [entry for entry in lab.open().scan("") if entry.kind is Kind.DIRECTORY and entry.path == "b"]
        assert entry.stored_ns == 1_700_000_000 * 10**9


class TestWalk:
    EXPECTED = {"a": "f", "b": "d", "b/c": "f", "b/d": "d", "b/d/e": "f"} | {
        "f": "d", "f/g": "d", "f/g/h": "d", "f/g/h/i": "f", "empty": "d", "b/void": "d",
    }  # fmt: skip

    def lab(self, new_lab, **habits):
        lab = filled(new_lab(**habits))
        lab.fake.mkdir("empty")
        lab.fake.mkdir("b/void")
        return lab

    @pytest.mark.parametrize("infinity", ["yes", "refused", "one", "cut"])
    def test_everything_is_listed_once_whatever_the_server_does_with_infinity(self, new_lab, infinity):
        lab = self.lab(new_lab, infinity=infinity)
        entries = list(lab.open().walk(""))
        assert kinds(entries) == self.EXPECTED
        assert len(entries) == len(self.EXPECTED)

    def test_infinity_is_one_request_and_one_for_each_empty_directory(self, new_lab):
        lab = self.lab(new_lab)
        store = lab.open()
        store._api.ready()
        lab.forget()
        list(store.walk(""))
        assert lab.fake.requests == {"PROPFIND": 3}

    @pytest.mark.parametrize("infinity", ["refused", "one", "cut"])
    def test_where_it_does_not_work_later_runs_do_not_try(self, new_lab, infinity):
        lab = self.lab(new_lab, infinity=infinity)
        list(lab.open().walk(""))
        store = lab.open()
        lab.forget()
        assert kinds(store.walk("")) == self.EXPECTED
        assert lab.fake.requests == {"PROPFIND": 1 + sum(kind == "d" for kind in self.EXPECTED.values())}

    def test_nextcloud_is_never_asked_for_it(self, new_lab):
        lab = self.lab(new_lab, vendor="nextcloud")
        depths = []
        lab.fake.rule(
            "PROPFIND", times=999, act=lambda request, answer: depths.append(request.header("depth")) or answer
        )
        assert kinds(lab.open().walk("")) == self.EXPECTED
        assert "infinity" not in depths

    def test_a_directory_that_goes_away_meanwhile_makes_the_listing_doubtful(self, new_lab):
        lab = self.lab(new_lab, infinity="refused")
        lab.fake.rule("PROPFIND", "b/d", times=9, instead=FakeResponse(404))
        with pytest.raises((ListingError, NotFound)):
            list(lab.open().walk(""))

    def test_an_entry_whose_directory_is_missing_is_doubtful(self, new_lab):
        lab = self.lab(new_lab)

        def without(request, answer):
            if request.header("depth") != "infinity":
                return answer
            rows = answer.body.split(b"<d:response>")
            return replace(answer, body=b"<d:response>".join(row for row in rows if b"/dav/b/d/</d:href>" not in row))

        lab.fake.rule("PROPFIND", "", times=9, act=without)
        assert kinds(lab.open().walk("")) == self.EXPECTED

    def test_a_loop_ends(self, new_lab):
        lab = filled(new_lab(infinity="refused"), ["d/x"])
        path = "/".join(["d"] * 1100)
        store = lab.open()
        store._api.ready()

        def loop(request, answer):
            place = request.path.rstrip("/")
            row = "<d:response><d:href>{}/</d:href><d:propstat><d:prop><d:resourcetype><d:collection/></d:resourcetype>"
            row += "</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
            body = f'<d:multistatus xmlns:d="DAV:">{row.format(place)}{row.format(place + "/d")}</d:multistatus>'
            return FakeResponse(207, (("Content-Type", "text/xml"),), body.encode())

        lab.fake.rule("PROPFIND", times=10_000, act=loop)
        with pytest.raises(ListingError, match="loop"):
            list(store.walk("d"))
        assert lab.fake.requests["PROPFIND"] < len(path)


class TestOfOneEntry:
    @pytest.mark.parametrize("name", sorted(set(MUTATIONS) - {
        "the directory itself left out", "an entry further down", "an entry of another directory",
    }))  # fmt: skip
    def test_stat_believes_no_mutation_either(self, new_lab, name):
        lab = filled(new_lab(), ["d/a", "d/b"])
        lab.fake.mkdir("d/sub")
        store = lab.open()
        store._api.ready()

        def act(request, answer):
            full = lab.fake._answer(replace(request, headers={**request.headers, "depth": "1"}))
            return MUTATIONS[name](full)

        lab.fake.rule("PROPFIND", "d", times=9, act=act)
        with pytest.raises(StoreError):
            store.stat("d")

    def test_two_rows_are_not_one(self, new_lab):
        lab = filled(new_lab(), ["d/a"])
        store = lab.open()
        store._api.ready()
        lab.fake.rule("PROPFIND", "d", act=lambda r, a: replace(a, body=a.body.replace(b"/dav/d/", b"/dav/other/")))
        with pytest.raises(ListingError):
            store.stat("d")

    def test_a_404_inside_of_the_answer_is_not_found(self, lab):
        filled(lab)
        store = lab.open()
        store._api.ready()
        row = b'<d:multistatus xmlns:d="DAV:"><d:response><d:href>/dav/a</d:href><d:status>HTTP/1.1 404 Gone</d:status>'
        body = row + b"</d:response></d:multistatus>"
        lab.fake.rule("PROPFIND", "a", instead=FakeResponse(207, (("Content-Type", "text/xml"),), body))
        with pytest.raises(NotFound):
            store.stat("a")


def test_types_that_are_missing_are_an_error_but_on_the_host_that_leaves_them_out(new_lab):
    lab = filled(new_lab(types=False))
    store = lab.open()
    with pytest.raises(ListingError, match="whether"):
        list(store.scan(""))
    store._api.quirks = Quirks(untyped=True)
    store._api._set_bodies()
    assert kinds(store.scan("")) == {"a": "f", "b": "d", "f": "d"}
