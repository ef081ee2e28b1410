"""delete, mkdir, copy, move: never more than was asked for, for the protocol's own methods take whole trees."""

from dataclasses import replace

import pytest

from cftool.core.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    PermissionDenied,
    StoreError,
    Unsupported,
)
from cftool.core.types import Entry, Kind
from cftool.testing.http_fake import FakeResponse, Fault, Wire

HABITS = [{}, {"vendor": "nextcloud"}, {"vendor": "apache"}, {"overwrite_f": False, "conditions": False}]


def tree(lab):
    return {path: node.data for path, node in lab.fake.nodes.items() if path}


def ready(lab, *paths):
    for path in paths:
        lab.fake.put(path, path.encode())
    store = lab.open()
    store.probe()
    lab.forget()
    return store


@pytest.fixture(params=range(len(HABITS)), ids=["plain", "nextcloud", "apache", "simple"])
def any_lab(request, new_lab):
    return new_lab(**HABITS[request.param])


class TestDelete:
    def test_a_file_and_only_a_file(self, any_lab):
        store = ready(any_lab, "a", "d/b")
        store.delete("a")
        for path, error in (
            ("d", IsADirectory),
            ("", IsADirectory),
            ("a", NotFound),
            ("d/b/c", (NotFound, NotADirectory)),
        ):
            with pytest.raises(error):
                store.delete(path)
        assert tree(any_lab) == {"d": None, "d/b": b"d/b"}

    def test_a_directory_only_where_it_is_empty(self, any_lab):
        store = ready(any_lab, "a", "d/b")
        any_lab.fake.mkdir("e")
        for path, error in (("d", DirectoryNotEmpty), ("", InvalidName), ("a", NotADirectory), ("x", NotFound)):
            with pytest.raises(error):
                store.rmdir(path)
        store.rmdir("e")
        assert tree(any_lab) == {"a": b"a", "d": None, "d/b": b"d/b"}

    def test_a_directory_with_a_temporary_file_of_somebody_is_not_empty(self, any_lab):
        store = ready(any_lab, "d/.cftool-0123456789ab-1.tmp")
        with pytest.raises(DirectoryNotEmpty):
            store.rmdir("d")

    def test_a_listing_in_doubt_deletes_no_directory(self, any_lab):
        store = ready(any_lab)
        any_lab.fake.mkdir("d")
        any_lab.fake.rule("PROPFIND", "d", times=9, instead=FakeResponse(207, (("Content-Type", "text/xml"),), b""))
        with pytest.raises(StoreError):
            store.rmdir("d")
        assert tree(any_lab) == {"d": None}

    def test_many_go_files_first_and_the_deepest_directories_before_their_parents(self, any_lab):
        store = ready(any_lab, "a/b/c/1", "a/b/2", "a/3", "4")
        entries = [*store.walk("")]
        results = list(store.delete_many(entries))
        assert {result.path: result.error for result in results} == {entry.path: None for entry in entries}
        assert tree(any_lab) == {}

    def test_what_became_a_directory_meanwhile_stays(self, any_lab):
        store = ready(any_lab, "a", "b")
        entries = list(store.walk(""))
        del any_lab.fake.nodes["a"]
        any_lab.fake.put("a/precious")
        errors = {result.path: type(result.error) for result in store.delete_many(entries)}
        assert errors == {"a": IsADirectory, "b": type(None)}
        assert tree(any_lab) == {"a": None, "a/precious": b"content"}

    def test_what_became_a_file_meanwhile_stays(self, any_lab):
        store = ready(any_lab)
        any_lab.fake.mkdir("d")
        entries = list(store.walk(""))
        del any_lab.fake.nodes["d"]
        any_lab.fake.put("d", b"precious")
        [result] = store.delete_many(entries)
        assert isinstance(result.error, NotADirectory)
        assert tree(any_lab) == {"d": b"precious"}

    def test_what_is_gone_already_is_no_error(self, any_lab):
        store = ready(any_lab, "a", "d/b")
        entries = list(store.walk(""))
        any_lab.fake.nodes = {"": any_lab.fake.nodes[""]}
        assert not any(result.error for result in store.delete_many(entries))

    def test_a_refusal_is_that_entrys_alone(self, any_lab):
        store = ready(any_lab, "a", "b")
        any_lab.fake.rule("DELETE", "a", times=9, instead=FakeResponse(403))
        errors = {result.path: type(result.error) for result in store.delete_many(list(store.walk("")))}
        assert errors == {"a": PermissionDenied, "b": type(None)}

    def test_the_root_is_never_deleted(self, any_lab):
        store = ready(any_lab, "a")
        for kind in (Kind.FILE, Kind.DIRECTORY):
            [result] = store.delete_many([Entry("", kind)])
            assert isinstance(result.error, StoreError)
        assert tree(any_lab) == {"a": b"a"}

    def test_a_multistatus_means_that_something_stayed(self, any_lab):
        store = ready(any_lab, "a")
        any_lab.fake.rule("DELETE", "a", times=9, instead=FakeResponse(207, (), b"<x/>"))
        with pytest.raises(StoreError, match="could not remove"):
            store.delete("a")

    def test_kinds_are_asked_for_together(self, any_lab):
        names = [f"d/{number}" for number in range(20)]
        store = ready(any_lab, *names, "e/1", "e/2")
        any_lab.forget()
        results = list(store.delete_many([Entry(name, Kind.FILE) for name in (*names, "e/1", "e/2")]))
        assert not any(result.error for result in results)
        assert tree(any_lab) == {"d": None, "e": None}
        assert (any_lab.fake.requests["DELETE"], any_lab.fake.requests["PROPFIND"]) == (22, 3)

    def test_where_that_listing_fails_each_is_asked_for(self, any_lab):
        names = [f"d/{number}" for number in range(5)]
        store = ready(any_lab, *names)
        any_lab.fake.rule("PROPFIND", "d", times=9, instead=FakeResponse(207, (("Content-Type", "text/xml"),), b""))
        assert not any(result.error for result in store.delete_many([Entry(name, Kind.FILE) for name in names]))
        assert tree(any_lab) == {"d": None}

    def test_what_a_listing_said_long_ago_does_not_count(self, new_lab):
        lab = new_lab()
        store = ready(lab, "a", "b", "c")
        now = iter(range(0, 10**6, 10))
        clock = store._api.client.clock
        store._api.client.clock = replace(clock, monotonic=lambda: float(next(now)))
        lab.forget()
        assert not any(one.error for one in store.delete_many([Entry(name, Kind.FILE) for name in "abc"]))
        assert (tree(lab), lab.fake.requests["PROPFIND"]) == ({}, 4)


class TestDeleteDir:
    def test_costs_a_look_and_one_request(self, any_lab):
        store = ready(any_lab, *(f"d/{number}/f" for number in range(20)))
        any_lab.forget()
        store.delete_dir("d")
        assert tree(any_lab) == {}
        looks = 2 if any_lab.fake.habits.vendor == "apache" else 1  # which asks for the slash first
        assert (any_lab.fake.requests["DELETE"], any_lab.fake.requests["PROPFIND"]) == (1, looks)

    @pytest.mark.parametrize("status", [403, 405, 409])
    def test_a_server_that_keeps_what_is_not_empty_is_no_error(self, any_lab, status):
        store = ready(any_lab, "d/f")
        any_lab.fake.rule("DELETE", "d", times=9, instead=FakeResponse(status))
        with pytest.raises(Unsupported):
            store.delete_dir("d")
        assert tree(any_lab) == {"d": None, "d/f": b"d/f"}

    def test_what_takes_the_server_too_long_goes_in_pieces(self, new_lab):
        lab = new_lab()
        store = ready(lab, "d/a/1", "d/a/2", "d/b")
        attempts = store._api.client.policy.attempts
        lab.fake.rule("DELETE", "d", times=attempts, instead=FakeResponse(504))
        store.delete_dir("d")
        assert tree(lab) == {}

    def test_what_stayed_is_named(self, any_lab):
        store = ready(any_lab, "d/f")
        body = (
            b'<d:multistatus xmlns:d="DAV:"><d:response><d:href>/dav/d/f</d:href>'
            b"<d:status>HTTP/1.1 423 Locked</d:status></d:response></d:multistatus>"
        )
        any_lab.fake.rule("DELETE", "d", times=9, instead=FakeResponse(207, (), body))
        with pytest.raises(StoreError, match=r"/dav/d/f \(423\)"):
            store.delete_dir("d")


class TestMkdir:
    def test_with_all_above_and_again(self, any_lab):
        store = ready(any_lab)
        assert store.mkdir("a/b/c").is_dir
        assert store.mkdir("a/b/c").is_dir
        assert store.mkdir("").is_dir
        assert tree(any_lab) == {"a": None, "a/b": None, "a/b/c": None}

    def test_not_over_or_below_a_file(self, any_lab):
        store = ready(any_lab, "f")
        with pytest.raises(AlreadyExists):
            store.mkdir("f")
        with pytest.raises(NotADirectory):
            store.mkdir("f/g")
        assert tree(any_lab) == {"f": b"f"}

    def test_a_refusal_is_told(self, any_lab):
        store = ready(any_lab)
        any_lab.fake.rule("MKCOL", times=9, instead=FakeResponse(403))
        with pytest.raises(PermissionDenied):
            store.mkdir("a")


class TestMoveAndCopy:
    def test_onto_nothing_and_into_new_directories(self, any_lab):
        store = ready(any_lab, "a", "d/b")
        assert store.copy("a", "x/y/a").size == 1
        assert store.move("a", "z/a").size == 1
        assert store.move("d", "e/d").is_dir
        assert {path for path, data in tree(any_lab).items() if data is not None} == {"x/y/a", "z/a", "e/d/b"}

    def test_over_a_file(self, any_lab):
        store = ready(any_lab, "a", "b", "c")
        store.copy("a", "b")
        store.move("a", "c")
        assert tree(any_lab) == {"b": b"a", "c": b"a"}

    @pytest.mark.parametrize("method", ["copy", "move"])
    def test_a_file_never_replaces_a_directory(self, any_lab, method):
        store = ready(any_lab, "a", "d/precious")
        with pytest.raises(IsADirectory):
            getattr(store, method)("a", "d")
        assert tree(any_lab) == {"a": b"a", "d": None, "d/precious": b"d/precious"}

    def test_a_directory_never_replaces_a_full_one_or_a_file(self, any_lab):
        store = ready(any_lab, "a/1", "d/precious", "f")
        any_lab.fake.mkdir("empty")
        with pytest.raises(DirectoryNotEmpty):
            store.move("a", "d")
        with pytest.raises(NotADirectory):
            store.move("a", "f")
        store.move("a", "empty")
        assert tree(any_lab) == {"empty": None, "empty/1": b"a/1", "d": None, "d/precious": b"d/precious", "f": b"f"}

    def test_nothing_moves_from_nowhere_or_onto_the_root(self, any_lab):
        store = ready(any_lab, "a")
        for src, dst in (("nothing", "b"), ("", "b"), ("a", "")):
            with pytest.raises(StoreError):
                store.move(src, dst)
        assert tree(any_lab) == {"a": b"a"}

    def test_onto_itself_it_stays(self, any_lab):
        store = ready(any_lab, "a")
        assert store.move("a", "a").size == 1
        assert tree(any_lab) == {"a": b"a"}

    def test_an_answer_that_is_lost_is_found_done(self, any_lab):
        store = ready(any_lab, "a")
        any_lab.fake.rule("MOVE", act=lambda request, answer: replace(answer, fault=Fault(Wire.CLOSE)))
        assert store.move("a", "b").size == 1
        assert tree(any_lab) == {"b": b"a"}

    def test_a_directory_is_not_copied(self, any_lab):
        store = ready(any_lab, "d/x")
        with pytest.raises(IsADirectory):
            store.copy("d", "e")
        assert tree(any_lab) == {"d": None, "d/x": b"d/x"}
