"""The decoder of multistatus answers: what is right reads alike however it is written and cut; the rest is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cftool.core.errors import ListingError
from cftool.testing.fake_webdav import FakeWebDav, Habits
from cftool.testing.http_fake import FakeRequest
from cftool_providers.webdav import _multistatus
from cftool_providers.webdav._multistatus import ETAG, LENGTH, RESOURCETYPE, Row, decode

NAMES = (RESOURCETYPE, LENGTH, _multistatus.MODIFIED, ETAG)


def answer(depth="1", **habits):
    fake = FakeWebDav(Habits(**habits))
    fake.put("d/a", b"12345")
    fake.put("d/b", b"1")
    fake.mkdir("d/sub")
    body = _multistatus.request_body(NAMES)
    return fake.handle(FakeRequest("PROPFIND", "http", "dav.test", "/dav/d/", {"depth": depth}, body))


def wrapped(inner: str) -> bytes:
    return f'<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">{inner}</D:multistatus>'.encode()


def response(props: str, status: str = "HTTP/1.1 200 OK", href: str = "/x") -> str:
    return (
        f"<D:response><D:href>{href}</D:href><D:propstat><D:prop>{props}</D:prop><D:status>{status}</D:status>"
        "</D:propstat></D:response>"
    )


def test_a_good_answer_is_read():
    rows = decode(answer().body)
    assert [(row.href, row.collection, row.found.get(LENGTH)) for row in rows] == [
        ("/dav/d/", True, None),
        ("/dav/d/a", False, "5"),
        ("/dav/d/b", False, "1"),
        ("/dav/d/sub/", True, None),
    ]
    assert rows[0].failed == {LENGTH: 404, ETAG: 404}


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_it_does_not_matter_how_the_bytes_arrive(size):
    body = answer().body
    decoder = _multistatus.Decoder()
    rows = [row for at in range(0, len(body), size) for row in decoder.feed(body[at : at + size])]
    assert rows + decoder.close() == decode(body)


@pytest.mark.parametrize(
    "text",
    [
        wrapped(response("<D:resourcetype/><D:getcontentlength>5</D:getcontentlength>")),
        wrapped(response("\n <D:resourcetype>\n</D:resourcetype>\t<D:getcontentlength>5</D:getcontentlength>")),
        wrapped(response("<D:resourcetype/><D:getcontentlength><![CDATA[5]]></D:getcontentlength>")),
        wrapped("<!-- a comment -->" + response("<D:resourcetype/><D:getcontentlength>5</D:getcontentlength>")),
        wrapped(response("<D:resourcetype/><D:getcontentlength>&#53;</D:getcontentlength>")),
        wrapped(
            response("<D:resourcetype/><lp1:getcontentlength xmlns:lp1='DAV:'>5</lp1:getcontentlength>")
            + "<D:responsedescription>fine</D:responsedescription><D:sync-token>x</D:sync-token>"
        ),
        wrapped(
            "<D:response><D:href>\n  /x\n</D:href>"
            "<D:propstat><D:status>HTTP/1.1 200 OK</D:status><D:prop><D:resourcetype/></D:prop></D:propstat>"
            "<D:propstat><D:prop><D:getcontentlength>5</D:getcontentlength></D:prop>"
            "<D:status>HTTP/2 200</D:status><D:responsedescription>x</D:responsedescription></D:propstat>"
            "<D:error><D:whatever/></D:error></D:response>"
        ),
    ],
    ids=["plain", "blanks", "cdata", "comment", "reference", "prefixes", "order"],
)
def test_what_is_written_in_another_way_says_the_same(text):
    assert decode(text) == [Row("/x", None, False, {RESOURCETYPE: "", LENGTH: "5"}, {})] or decode(text) == [
        Row("/x", None, False, {RESOURCETYPE: "\n", LENGTH: "5"}, {})
    ]


def test_other_characters_than_utf8_are_read_where_they_are_declared():
    body = (
        '<?xml version="1.0" encoding="iso-8859-1"?>' + wrapped(response("<D:resourcetype/>", href="/ä")).decode()[21:]
    )
    assert decode(body.encode("latin-1"))[0].href == "/ä"


def test_a_property_of_another_kind_that_holds_elements_is_no_text():
    [row] = decode(wrapped(response("<D:resourcetype/><D:lockdiscovery>a<D:x>b</D:x>c</D:lockdiscovery>")))
    assert row.collection is False
    assert row.found["DAV: lockdiscovery"] in {"a", "ac"}


def test_a_type_that_is_more_than_a_collection_is_one():
    [row] = decode(wrapped(response("<D:resourcetype><x:cal xmlns:x='urn:x'/><D:collection/></D:resourcetype>")))
    assert row.collection is True


def test_a_type_that_is_something_else_is_none():
    [row] = decode(wrapped(response("<D:resourcetype><D:principal/></D:resourcetype>")))
    assert row.collection is False


def test_a_collection_of_another_namespace_is_none():
    [row] = decode(wrapped(response("<D:resourcetype><x:collection xmlns:x='urn:x'/></D:resourcetype>")))
    assert row.collection is False


def test_checksums_are_taken_out_of_their_element():
    inner = "<o:checksums xmlns:o='http://owncloud.org/ns'><o:checksum>SHA1:ab MD5:cd</o:checksum></o:checksums>"
    [row] = decode(wrapped(response("<D:resourcetype/>" + inner)))
    assert row.found[_multistatus.CHECKSUMS] == "SHA1:ab MD5:cd"


def test_bare_names_are_davs_only_where_that_is_known_of_the_host():
    body = wrapped(response("<D:resourcetype/>")).replace(b"D:", b"").replace(b' xmlns:D="DAV:"', b"")
    body = body.replace(b' xmlns="DAV:"', b"")
    with pytest.raises(ListingError):
        decode(body)
    assert decode(body, bare_names=True)[0].href == "/x"


@pytest.mark.parametrize("number", [200, 204, 299])
def test_success_is_any_of_2xx(number):
    [row] = decode(wrapped(response("<D:resourcetype/>", f"HTTP/1.1 {number} Fine")))
    assert row.collection is False


@pytest.mark.parametrize("status", ["", "200", "HTTP/1.1", "HTTP/1.1 OK", "FTP/1 200 OK", "HTTP/1.1 ２００ OK"])
def test_a_status_must_be_one(status):
    with pytest.raises(ListingError):
        decode(wrapped(response("<D:resourcetype/>", status)))


def test_a_name_in_an_error_is_escaped():
    with pytest.raises(ListingError) as caught:
        decode(b"<x\xc2\x9b31m/>")
    assert "\x9b" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_answer_is_an_error_or_loses_no_entry(data):
    """Cut or flipped anywhere, an answer never turns into a shorter listing that is believed."""
    good = answer().body
    at = data.draw(st.integers(0, len(good) - 1))
    if data.draw(st.booleans()):
        body = good[:at]
    else:
        body = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    try:
        rows = decode(body)
    except ListingError:
        return
    assert len(rows) == 4


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='<>/d:DAV="mulistarepon &;\x00é', max_size=200).map(str.encode))
def test_noise_is_refused(noise):
    with pytest.raises(ListingError):
        decode(noise)


def test_bodies_that_are_sent_are_xml_whatever_is_in_them():
    from xml.etree import ElementTree as ET

    root = ET.fromstring(_multistatus.patch_body("urn:x time", "a<b&c"))
    assert root.findtext(".//{urn:x}time") == "a<b&c"
    root = ET.fromstring(_multistatus.request_body((RESOURCETYPE, _multistatus.CHECKSUMS)))
    assert [prop.tag for prop in root[0]] == ["{DAV:}resourcetype", "{http://owncloud.org/ns}checksums"]
