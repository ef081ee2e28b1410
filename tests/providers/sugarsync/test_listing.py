"""Listings that may be wrong are errors, never shorter listings; and pages that move while they are read."""

import re
from dataclasses import replace

import pytest

from cftool.core.errors import ListingError, StoreError, TemporaryError
from cftool.testing.fake_sugarsync import BASE, Habits
from cftool.testing.http_fake import FakeResponse, Fault, Wire
from tests.providers.sugarsync.conftest import hasten
from tests.transfer.kit import Bench, local, make, remote, tree

NAMES = ["one", "two", "three"]


def body(old: str, new: str, count: int = 1):
    """Change the text of a page."""

    def act(_request, answer):
        text = answer.body.decode()
        assert old in text, old
        return replace(answer, body=text.replace(old, new, count).encode())

    return act


def header(name: str, value: str | None):
    def act(_request, answer):
        kept = tuple(pair for pair in answer.headers if pair[0].lower() != name.lower())
        return replace(answer, headers=kept if value is None else (*kept, (name, value)))

    return act


def whole(**fields):
    return lambda _request, answer: replace(answer, **fields)


def last_file(text: str) -> str:
    return re.findall(r"<file>.*?</file>", text)[-1]


def without_last(_request, answer):
    text = answer.body.decode()
    return replace(answer, body=text.replace(last_file(text), "").encode())


def with_last_twice(_request, answer):
    text = answer.body.decode().replace('end="3"', 'end="4"')
    return replace(answer, body=text.replace(last_file(text), last_file(text) * 2).encode())


PAGE = FakeResponse(200, (("Content-Type", "text/html"),), b"<html><body>Please log in</body></html>")
MUTATIONS = {
    "a web page with 200": lambda _q, _a: PAGE,
    "an empty body": whole(body=b""),
    "no body with 204": whole(status=204, body=b""),
    "another success status": whole(status=206),
    "a redirect": whole(status=302, headers=(("Location", f"{BASE}/elsewhere"),), body=b""),
    "no content type": header("content-type", None),
    "another content type": header("content-type", "text/plain"),
    "another root": body("collectionContents", "albumContents", 2),
    "the root of a file": lambda _q, a: replace(a, body=b"<file/>"),
    "cut in the middle of an element": lambda _q, a: replace(a, body=a.body[: len(a.body) // 2]),
    "cut before the end": lambda _q, a: replace(a, body=a.body.removesuffix(b"</collectionContents>")),
    "something behind the end": lambda _q, a: replace(a, body=a.body + b"<more/>"),
    "a DTD": body("<collectionContents", '<!DOCTYPE x [<!ENTITY e "x">]><collectionContents'),
    "an unknown encoding": body("UTF-8", "KOI-9"),
    "bytes that are no UTF-8": lambda _q, a: replace(a, body=a.body.replace(b"Name>two", b"Name>\xfftwo")),
    "a namespace": body("<collectionContents", '<collectionContents xmlns="http://example.org/"'),
    "no hasMore": body('hasMore="false" ', ""),
    "an odd hasMore": body('hasMore="false"', 'hasMore="no"'),
    "more, and then nothing": body('hasMore="false"', 'hasMore="true"'),
    "no start": body('start="0" ', ""),
    "another start": body('start="0"', 'start="1"'),
    "no end": body(' end="3"', ""),
    "an end that says more": body('end="3"', 'end="4"'),
    "an end that says less": body('end="3"', 'end="2"'),
    "an end that is no number": body('end="3"', 'end="three"'),
    "an entry left out": without_last,
    "an entry twice": with_last_twice,
    "an unknown element": body("<file>", "<album/><file>"),
    "a name with a slash": body("<displayName>two", "<displayName>a/two"),
    "the name ..": body("<displayName>two<", "<displayName>..<"),
    "the name .": body("<displayName>two<", "<displayName>.<"),
    "an empty name": body("<displayName>two<", "<displayName><"),
    "no name": body("<displayName>two</displayName>", ""),
    "two names": body("<displayName>two</displayName>", "<displayName>a</displayName><displayName>b</displayName>"),
    "a link elsewhere": body(f"<ref>{BASE}/file", "<ref>https://evil.example/file"),
    "a link to a folder for a file": body(f"<ref>{BASE}/file", f"<ref>{BASE}/folder"),
    "a link that climbs": body("<ref>" + BASE + "/file/:sc:", "<ref>" + BASE + "/file/../:sc:"),
    "no link": lambda _q, a: replace(a, body=re.sub(rb"<file>(.*?)<ref>[^<]*</ref>", rb"<file>\1", a.body, count=1)),
    "no size": lambda _q, a: replace(a, body=re.sub(rb"<size>[^<]*</size>", b"", a.body, count=1)),
    "a size that is no number": body("<size>1<", "<size>1e3<"),
    "a size below zero": body("<size>1<", "<size>-1<"),
    "no time": lambda _q, a: replace(a, body=re.sub(rb"<lastModified>[^<]*</lastModified>", b"", a.body, count=1)),
    "a time without an offset": body("-08:00<", "<"),
    "a time that is none": body("-01-1", "-13-1"),
    "no presentOnServer": body("<presentOnServer>true</presentOnServer>", ""),
    "an odd presentOnServer": body("<presentOnServer>true<", "<presentOnServer>yes<"),
    "a collection of another type": body('type="folder"', 'type="album"'),
    "the contents of another folder": body("/contents</contents>", "9/contents</contents>"),
    "a refusal": lambda _q, _a: FakeResponse(400, (("Content-Type", "text/html"),), b"<h3>No</h3>"),
}  # fmt: skip


@pytest.fixture
def served(quick):
    for name in NAMES:
        quick.fake.put(f"Top/{name}")
    quick.fake.folder("Top/sub")
    return quick


@pytest.mark.parametrize("what", MUTATIONS)
def test_a_listing_that_may_be_wrong_is_an_error(served, what):
    served.fake.change("GET contents", MUTATIONS[what], name="Top", times=100)
    store = served.open()
    for listing in (store.scan, store.walk):
        with pytest.raises(StoreError) as caught:
            list(listing("Top"))
        assert isinstance(caught.value, ListingError) or what in {"a refusal", "a redirect", "no body with 204"}


@pytest.mark.parametrize("what", MUTATIONS)
def test_a_listing_that_may_be_wrong_deletes_nothing(served, tmp_path, what):
    for name in NAMES:
        served.fake.put(f"Top/sub/{name}")
    served.fake.change("GET contents", MUTATIONS[what], name="Top", times=100)
    make(tmp_path / "local", {"mine": b"kept", **dict.fromkeys(NAMES, b"kept")})
    source = remote(served.open(), "sugarsync:566494")
    bench = Bench(source, local(tmp_path / "local"), str(tmp_path / "state"))
    summary = bench.sync()
    assert summary.failures
    assert summary.deleted == 0
    kept = tree(tmp_path / "local")
    assert {name: kept[name] for name in ("mine", *NAMES)} == dict.fromkeys(("mine", *NAMES), b"kept")


def test_a_listing_that_is_cut_on_the_wire_is_read_again_and_then_an_error(lab):
    lab.fake.put("Top/one")
    lab.fake.change("GET contents", whole(fault=Fault(Wire.SHORT_BODY, at=50)), name="Top", times=2)
    assert [entry.path for entry in lab.open().scan("Top")] == ["Top/one"]


def test_an_empty_folder_is_empty_whatever_its_end_says(served):
    for end in ("-1", "0"):
        served.fake.change("GET contents", body('end="-1"', f'end="{end}"'), name="sub")
        assert list(served.open().scan("Top/sub")) == []


# ---- pages


@pytest.fixture
def paged(new_lab):
    lab = new_lab(Habits(page=10))
    for n in range(35):
        lab.fake.put(f"Top/file{n:02}")
    return lab


def listed(lab) -> list[str]:
    return sorted(entry.path for entry in lab.open().scan("Top"))


def test_pages_overlap_by_one_entry_so_that_a_shift_is_seen(paged):
    assert listed(paged) == [f"Top/file{n:02}" for n in range(35)]
    assert paged.fake.ops["GET contents"] == 1 + 4


def test_a_file_deleted_between_two_pages_hides_no_other(paged):
    first = next(iter(paged.fake.files))

    def act(_request, answer):
        paged.fake.files.pop(first, None)
        return answer

    paged.fake.change("GET contents", act, name="Top")
    assert listed(paged) == [f"Top/file{n:02}" for n in range(1, 35)]


def test_a_file_made_between_two_pages_shows_none_twice(paged):
    def act(_request, answer):
        number = paged.fake.put("Top/new")
        paged.fake.files = {number: paged.fake.files[number], **paged.fake.files}
        return answer

    paged.fake.change("GET contents", act, name="Top")
    assert listed(paged) == [*(f"Top/file{n:02}" for n in range(35)), "Top/new"]


def test_a_folder_that_never_holds_still_is_an_error(paged):
    def act(_request, answer):
        paged.fake.files.pop(next(iter(paged.fake.files)))
        return answer

    paged.fake.change("GET contents", act, name="Top", times=20)
    with pytest.raises(ListingError, match="changes faster"):
        listed(paged)


def test_a_page_that_promises_more_for_ever_ends(paged):
    paged.fake.change("GET contents", body('hasMore="false"', 'hasMore="true"'), name="Top", skip=3, times=9)
    with pytest.raises(StoreError):
        listed(paged)


def test_folders_that_lead_in_a_circle_are_an_error(served):
    inner = served.fake.folder("Top/sub/inner")
    top = served.fake.folder("Top/sub")
    served.fake.change("GET contents", body(served.fake.link(inner), served.fake.link(top), 2), name="sub", times=9)
    with pytest.raises(ListingError, match="circle"):
        list(served.open().walk("Top"))


def test_a_storm_of_503_ends_as_a_temporary_error(served):
    served.fake.fail("GET contents", (503, "Busy"), name="Top", times=1000)
    store = served.open()
    hasten(store)
    with pytest.raises(TemporaryError):
        list(store.scan("Top"))
