"""Listings that may be wrong are refused, whatever is wrong with them, and `sync` deletes nothing by them."""

import json

import pytest

from cftool.core.errors import ListingError, NotADirectory, NotFound, ProtocolError, StoreError, TemporaryError
from cftool.testing.fake_dropbox import Habits
from cftool.testing.http_fake import FakeResponse, Wire

JSON = (("Content-Type", "application/json"),)


def _last(change):
    """Change the last entry of a page: the first of a recursive listing is the directory itself."""

    def mutate(page):
        change(page["entries"][-1])

    return mutate


MUTATIONS = {
    "no entries": lambda page: page.pop("entries"),
    "entries that are no list": lambda page: page.update(entries={}),
    "entries null": lambda page: page.update(entries=None),
    "no cursor": lambda page: page.pop("cursor"),
    "an empty cursor": lambda page: page.update(cursor=""),
    "a cursor that is a number": lambda page: page.update(cursor=1),
    "no has_more": lambda page: page.pop("has_more"),
    "has_more as text": lambda page: page.update(has_more="false"),
    "has_more null": lambda page: page.update(has_more=None),
    "an entry null": lambda page: page["entries"].append(None),
    "an entry that is a text": lambda page: page["entries"].append("file"),
    "an entry twice": lambda page: page["entries"].append(dict(page["entries"][-1])),
    "an entry that goes after it came": lambda page: page["entries"].append({**page["entries"][-1], ".tag": "deleted"}),
    "no tag": _last(lambda entry: entry.pop(".tag")),
    "another tag": _last(lambda entry: entry.update({".tag": "link"})),
    "a tag that is no text": _last(lambda entry: entry.update({".tag": 1})),
    "no name": _last(lambda entry: entry.pop("name")),
    "a name null": _last(lambda entry: entry.update(name=None)),
    "an empty name": _last(lambda entry: entry.update(name="")),
    "a name with a slash": _last(lambda entry: entry.update(name="a/b")),
    "the name ..": _last(lambda entry: entry.update(name="..")),
    "the name .": _last(lambda entry: entry.update(name=".")),
    "a name with NUL": _last(lambda entry: entry.update(name="a\0b")),
    "a name that is no Unicode": _last(lambda entry: entry.update(name="a\ud800")),
    "another name than the path's": _last(lambda entry: entry.update(name="other")),
    "no path": _last(lambda entry: entry.pop("path_lower")),
    "a path null": _last(lambda entry: entry.update(path_lower=None)),
    "a path without a slash": _last(lambda entry: entry.update(path_lower=entry["path_lower"][1:])),
    "a path elsewhere": _last(lambda entry: entry.update(path_lower="/elsewhere/" + entry["name"].lower())),
    "a path above": _last(lambda entry: entry.update(path_lower="/" + entry["name"].lower())),
    "a path with an empty component": _last(lambda entry: entry.update(path_lower="/dst//" + entry["name"].lower())),
    "a file without size": _last(lambda entry: entry.pop("size")),
    "a negative size": _last(lambda entry: entry.update(size=-1)),
    "a size as text": _last(lambda entry: entry.update(size="7")),
    "a size that is true": _last(lambda entry: entry.update(size=True)),
    "no revision": _last(lambda entry: entry.pop("rev")),
    "a revision that is none": _last(lambda entry: entry.update(rev="xyz")),
    "a hash that is none": _last(lambda entry: entry.update(content_hash="abc")),
    "a time that is none": _last(lambda entry: entry.update(client_modified="yesterday")),
    "a month 13": _last(lambda entry: entry.update(client_modified="2020-13-01T00:00:00Z")),
    "no id": _last(lambda entry: entry.pop("id")),
}
ANSWERS = {
    "an empty body": FakeResponse(200, JSON, b""),
    "no JSON": FakeResponse(200, JSON, b'{"entries": ['),
    "a list": FakeResponse(200, JSON, b"[]"),
    "null": FakeResponse(200, JSON, b"null"),
    "an empty object": FakeResponse(200, JSON, b"{}"),
    "HTML": FakeResponse(200, (("Content-Type", "text/html"),), b"<html>log in</html>"),
    "no content type": FakeResponse(200, (), b'{"entries": [], "cursor": "c", "has_more": false}'),
    "204": FakeResponse(204),
    "302": FakeResponse(302, (("Location", "https://portal.test/"),)),
    "400": FakeResponse(400, (), b"Error in call"),
    "403": FakeResponse(403),
    "an unknown refusal": FakeResponse(409, JSON, b'{"error": {".tag": "odd"}}'),
    "a refusal without JSON": FakeResponse(409, (), b"conflict"),
}


def _filled(lab):
    for name in ("a", "b", "c", "d"):
        lab.fake.put(f"dst/{name}", name.encode())
    return lab.open()


def _mutated(lab, mutate, route="list_folder"):
    def change(request, answer):
        if request.path != f"/2/files/{route}":
            return answer
        page = json.loads(answer.body)
        mutate(page)
        return FakeResponse(200, JSON, json.dumps(page).encode())

    lab.change = change


@pytest.mark.parametrize("route", ["list_folder", "list_folder/continue"])
@pytest.mark.parametrize("way", ["scan", "walk"])
@pytest.mark.parametrize("what", MUTATIONS)
def test_a_page_that_may_be_wrong_is_refused(new_lab, what, way, route):
    lab = new_lab(Habits(page=2, children_first=True))
    store = _filled(lab)
    _mutated(lab, MUTATIONS[what], route)
    with pytest.raises((ListingError, NotADirectory)):
        list(getattr(store, way)("dst"))


@pytest.mark.parametrize("way", ["scan", "walk"])
@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_that_is_no_page_is_refused(quick, what, way):
    store = _filled(quick)
    quick.fake.plan("files/list_folder", ANSWERS[what])
    with pytest.raises(StoreError) as caught:
        list(getattr(store, way)("dst"))
    assert not isinstance(caught.value, NotFound | TemporaryError)


@pytest.mark.parametrize("what", [*MUTATIONS, *ANSWERS])
def test_sync_from_a_listing_that_may_be_wrong_deletes_nothing(cli, what):
    local = cli.here / "local"
    local.mkdir()
    for name in ("a", "b", "mine"):
        (local / name).write_bytes(name.encode())
    _filled(cli.lab)
    if what in MUTATIONS:
        _mutated(cli.lab, MUTATIONS[what])
    else:
        cli.fake.plan("files/list_folder", *[ANSWERS[what]] * 5)
    cli.run("sync", "box:dst", local, "--retries", "0", code=None)
    assert cli.local(local).items() >= {"a": b"a", "b": b"b", "mine": b"mine"}.items()


def test_a_cursor_that_comes_back_is_refused(new_lab):
    lab = new_lab(Habits(page=2))
    store = _filled(lab)
    _mutated(lab, lambda page: page.update(cursor="same", has_more=True, entries=[]), "list_folder")
    lab.fake._cursors["same"] = ("/dst", False, ("/dst/a",), 99, 500)
    answer = {"entries": [], "cursor": "same", "has_more": True}
    lab.fake.plan("files/list_folder/continue", FakeResponse(200, JSON, json.dumps(answer).encode()))
    with pytest.raises(ListingError, match="comes back"):
        list(store.scan("dst"))


@pytest.mark.parametrize("way", ["scan", "walk"])
def test_a_listing_that_is_reset_is_not_a_shorter_one(new_lab, way):
    lab = new_lab(Habits(page=2))
    store = _filled(lab)
    entries = getattr(store, way)("dst")
    next(entries)
    lab.fake.forget_cursors()
    with pytest.raises(ListingError, match="begin again"):
        list(entries)


def test_a_tree_without_the_parents_entry_is_refused(new_lab):
    lab = new_lab()
    lab.fake.put("dst/sub/file", b"x")
    _mutated(lab, lambda page: page.update(entries=[e for e in page["entries"] if e["name"] != "sub"]))
    with pytest.raises(ListingError, match="does not hold"):
        list(lab.open().walk("dst"))


@pytest.mark.parametrize("way", ["scan", "walk"])
def test_what_changes_while_it_is_listed(new_lab, way):
    """New entries come with the pages that follow; what came and changed then makes the listing invalid."""
    lab = new_lab(Habits(page=2))
    store = _filled(lab)
    entries = getattr(store, way)("dst")
    first = [next(entries).path]
    lab.fake.put("dst/new", b"new")
    lab.fake.remove("dst/d")  # not listed yet
    assert {*first, *(entry.path for entry in entries)} == {"dst/a", "dst/b", "dst/c", "dst/new"}
    entries = getattr(store, way)("dst")
    next(entries)
    lab.fake.put("dst/a", b"changed")
    with pytest.raises(ListingError, match="changed while"):
        list(entries)


@pytest.mark.parametrize("wire", [Wire.SHORT_BODY, Wire.RESET_BODY, Wire.CLOSE, Wire.RESET])
def test_a_page_that_breaks_off_is_asked_for_again(lab, wire):
    store = _filled(lab)
    lab.fake.plan("files/list_folder", wire, wire)
    assert [entry.path for entry in store.scan("dst")] == ["dst/a", "dst/b", "dst/c", "dst/d"]


def test_what_a_stat_tells_is_decoded_as_strictly(quick):
    store = _filled(quick)

    def change(request, answer):
        found = json.loads(answer.body)
        found["rev"] = None
        return FakeResponse(200, JSON, json.dumps(found).encode())

    quick.change = lambda request, answer: change(request, answer) if "get_metadata" in request.path else answer
    with pytest.raises(ProtocolError):
        store.stat("dst/a")
