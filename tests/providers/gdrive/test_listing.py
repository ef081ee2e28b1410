"""Wrong answers to a listing: each looks like a success, none is believed, and no sync deletes for one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cftool.core.errors import ListingError, ProtocolError, StoreError
from cftool.testing.fake_gdrive import FakeGDrive, error
from cftool.testing.http_fake import FakeResponse
from cftool.transfer import api
from cftool.transfer.options import MaxDelete, Options

HTML = b"<!DOCTYPE html><html><head><title>Login</title></head><body>Welcome to the WiFi</body></html>"
JSON = (("Content-Type", "application/json; charset=UTF-8"),)

Page = dict[str, Any]


def _set(**fields: object) -> Callable[[Page], object]:
    return lambda page: {**page, **fields}


def _without(name: str) -> Callable[[Page], object]:
    return lambda page: {key: value for key, value in page.items() if key != name}


def _first(**fields: object) -> Callable[[Page], object]:
    """The first file with other fields; None takes one away."""

    def change(page: Page) -> Page:
        one = {key: value for key, value in (page["files"][0] | fields).items() if value is not None}
        return {**page, "files": [one, *page["files"][1:]]}

    return change


def _raw(body: bytes, *, status: int = 200, kind: str | None = "application/json") -> Callable[[Page], object]:
    headers = () if kind is None else (("Content-Type", kind),)
    return lambda _page: FakeResponse(status, headers, body)


def _text(change: Callable[[str], str]) -> Callable[[Page], object]:
    return lambda page: FakeResponse(200, JSON, change(json.dumps(page)).encode())


MUTATIONS: dict[str, Callable[[Page], object]] = {
    "HTML with 200": _raw(HTML, kind="text/html"),
    "HTML that says it is JSON": _raw(HTML),
    "an empty body": _raw(b""),
    "an empty body without a type": _raw(b"", kind=None),
    "JSON without a type": lambda page: FakeResponse(200, (), json.dumps(page).encode()),
    "JSON as text": lambda page: FakeResponse(200, (("Content-Type", "text/plain"),), json.dumps(page).encode()),
    "no content": _raw(b"", status=204),
    "a part": lambda page: FakeResponse(206, JSON, json.dumps(page).encode()),
    "accepted": lambda page: FakeResponse(202, JSON, json.dumps(page).encode()),
    "a redirect": lambda page: FakeResponse(302, (("Location", "https://login.example"),), b""),
    "not modified": _raw(b"", status=304),
    "null": _raw(b"null"),
    "a list": _raw(b"[]"),
    "a text": _raw(b'"files"'),
    "an empty object": _raw(b"{}"),
    "cut in the middle": _text(lambda text: text[: len(text) // 2]),
    "cut at the end": _text(lambda text: text[:-1]),
    "two objects": _text(lambda text: text + text),
    "bytes that are no UTF-8": lambda page: FakeResponse(200, JSON, json.dumps(page).encode() + b"\xff"),
    "nested without end": _raw(b"[" * 100_000),
    "an error with 200": _raw(json.dumps({"error": {"code": 403, "message": "no"}}).encode()),
    "an error beside the files": _set(error={"code": 500}),
    "incompleteSearch": _set(incompleteSearch=True),
    "incompleteSearch as a text": _set(incompleteSearch="true"),
    "incompleteSearch as a number": _set(incompleteSearch=1),
    "no files": _without("files"),
    "files that are null": _set(files=None),
    "files that are an object": _set(files={}),
    "files that are a text": _set(files="none"),
    "a file that is null": lambda page: {**page, "files": [None, *page["files"]]},
    "a file that is a text": lambda page: {**page, "files": ["file", *page["files"]]},
    "a file that is empty": lambda page: {**page, "files": [{}, *page["files"]]},
    "a file without an id": _first(id=None),
    "a file with an empty id": _first(id=""),
    "a file with a number as id": _first(id=17),
    "an id with a slash": _first(id="../about"),
    "an id with a question mark": _first(id="x?alt=media"),
    "an id with a line break": _first(id="x\r\nHost: evil"),
    "a file without a name": _first(name=None),
    "a name that is a number": _first(name=1),
    "a name that is no Unicode": _first(name="half\ud83d"),
    "a file without a type": _first(mimeType=None),
    "an empty type": _first(mimeType=""),
    "a file of another folder": _first(parents=["1another"]),
    "a file without parents": _first(parents=[]),
    "parents that are a text": _first(parents="root"),
    "parents that are numbers": _first(parents=[1]),
    "a file in the trash": _first(trashed=True),
    "a size that is no number": _first(size="big"),
    "a negative size": _first(size="-1"),
    "a size as a fraction": _first(size="1.5"),
    "a size that is a number": _first(size=7),
    "an MD5 that is none": _first(md5Checksum="xyz"),
    "a SHA-256 that is too short": _first(sha256Checksum="00"),
    "a time that is none": _first(modifiedTime="yesterday"),
    "a time that is a number": _first(modifiedTime=1234),
    "a creation that is none": _first(createdTime="once"),
    "an empty page token": _set(nextPageToken=""),
    "a page token that is a number": _set(nextPageToken=2),
    "a page token that the service does not know": _set(nextPageToken="page-77"),
    "one id by two names": lambda page: {**page, "files": [*page["files"], page["files"][0] | {"name": "twin"}]},
}


@pytest.fixture
def spoiled(quick):
    """Ten files in a folder, whose listing can be spoiled."""
    for number in range(10):
        quick.fake.add(f"d/f{number}", b"x")

    def spoil(mutate: Callable[[Page], object]) -> None:
        handle = quick.fake.find("d")[0].id

        def change(query: str, page: Page) -> object:
            return mutate(page) if f"'{handle}' in parents" in query and "name =" not in query else page

        quick.fake.spoil = change

    return spoil


@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.parametrize("how", ["scan", "walk", "grouped walk"])
def test_a_wrong_page_is_an_error(quick, spoiled, name, how):
    store = quick.open(deletes=how == "walk")
    spoiled(MUTATIONS[name])
    with pytest.raises(StoreError) as caught:
        list(store.scan("d") if how == "scan" else store.walk(""))
    if isinstance(caught.value, ProtocolError):
        assert not caught.value.retryable


@pytest.mark.parametrize("name", MUTATIONS)
def test_no_sync_deletes_for_a_wrong_page(quick, spoiled, tmp_path, name):
    for number in range(10):
        (tmp_path / "local").mkdir(exist_ok=True)
        (tmp_path / "local" / f"f{number}").write_bytes(b"old")
    (tmp_path / "local" / "more").write_bytes(b"kept")
    spoiled(MUTATIONS[name])
    options = Options(max_delete=MaxDelete(None, None), allow_empty_source=True, force_delete=True)
    summary = quick.run(api.sync, quick.side("drive:d"), quick.side(str(tmp_path / "local")), options=options)
    assert summary.deleted == 0
    assert summary.errors
    assert (tmp_path / "local" / "more").read_bytes() == b"kept"


def test_a_page_token_that_comes_again_is_an_error(new_lab):
    lab = new_lab(FakeGDrive(page=2))
    for number in range(10):
        lab.fake.add(f"f{number}")
    lab.fake.spoil = lambda _query, page: {**page, "nextPageToken": "page-0"}
    with pytest.raises(ListingError, match="circles"):
        list(lab.open().scan(""))


def test_a_folder_in_itself_is_an_error(quick):
    last, top = quick.fake.folder("a/b/c"), quick.fake.find("a")[0]

    def loop(query: str, page: Page) -> object:
        if f"'{last.id}' in parents" not in query:
            return page
        return {**page, "files": [top.resource() | {"parents": [last.id]}]}

    quick.fake.spoil = loop
    with pytest.raises(ListingError, match="in itself"):
        list(quick.open().walk(""))


def test_a_folder_that_vanishes_while_it_is_listed_is_no_empty_one(quick):
    fake = quick.fake
    for number in range(3):
        fake.add(f"d{number}/f")
    fake.fail("files.list", lambda: error(404, "notFound", "File not found: .", location="fileId"), after=1)
    with pytest.raises(ListingError):
        list(quick.open(deletes=True).walk(""))


def test_pages_that_are_empty_but_not_the_last_are_read_on(quick):
    fake = quick.fake
    for number in range(5):
        fake.add(f"f{number}")
    query = f"('{'root'}' in parents) and trashed = false"
    fake._tokens["page-x"] = (query, [file.id for file in fake.files.values() if file.parents])
    asked = []

    def empty_first(_query: str, page: Page) -> object:
        asked.append(page)
        return {"files": [], "incompleteSearch": False, "nextPageToken": "page-x"} if len(asked) == 1 else page

    fake.spoil = empty_first
    assert len(list(quick.open().scan(""))) == 5


def test_a_listing_that_loses_a_file_is_seen_by_the_second_look(quick, tmp_path):
    """What a listing left out is asked for once more before anything is deleted for it."""
    fake = quick.fake
    local = tmp_path / "local"
    local.mkdir()
    for number in range(10):
        fake.add(f"d/f{number}", b"x")
    quick.run(api.sync, quick.side("drive:d"), quick.side(str(local)))
    asked = []

    def lose(query: str, page: Page) -> object:
        if "name =" in query:
            return page
        asked.append(query)
        return {**page, "files": page["files"][1:]} if len(asked) == 1 else page

    fake.spoil = lose
    summary = quick.run(api.sync, quick.side("drive:d"), quick.side(str(local)))
    assert (summary.deleted, summary.withheld) == (0, 1)
    assert len(list(local.iterdir())) == 10
