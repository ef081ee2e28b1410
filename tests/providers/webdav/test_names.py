"""From hrefs to names: each spelling of the same place is understood, whatever leads elsewhere is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cftool.core.errors import ListingError
from cftool.core.paths import component_problem
from cftool.http.urls import quote_path
from cftool_providers.webdav._names import Collection

AT = Collection("/dav/a%20b/")


@pytest.mark.parametrize(
    ("href", "name"),
    [
        ("/dav/a%20b/", ""),
        ("/dav/a%20b", ""),
        ("/dav/%61%20b/", ""),
        ("https://any.test/dav/a%20b/", ""),
        ("/dav/a%20b/x", "x"),
        ("/dav/a%20b/x/", "x"),
        ("/dav/a b/x", "x"),
        ("/dav/a%20b/x%20y%25", "x y%"),
        ("/dav/a%20b/%E4%BD%A0", "你"),
        ("/dav/a%20b/你", "你"),
        ("/dav/a%20b/%FF", "\udcff"),
        ("/dav/a%20b/x+y", "x+y"),
        ("/dav/a%20b/x%3Fy%23z", "x?y#z"),
        ("HTTP://any.test:81/dav/a%20b/x", "x"),
        ("/dav/a%20b/x/y/z", "x/y/z"),
        ("/dav/a%20b/..hidden", "..hidden"),
        ("/dav/a%20b/%252e%252e", "%2e%2e"),
    ],
)
def test_names_below(href, name):
    assert AT.below(href) == name


@pytest.mark.parametrize(
    "href",
    [
        "/",
        "/dav/",
        "/dav/a%20bc",
        "/dav/a%20c/x",
        "/other/a%20b/x",
        "x",
        "",
        "./x",
        "//any.test/dav/a%20b/x",
        "/dav/a%20b/..",
        "/dav/a%20b/.",
        "/dav/a%20b/%2e%2e/x",
        "/dav/a%20b/x/../y",
        "/dav/a%20b/x%2Fy",
        "/dav/a%20b/%2F",
        "/dav/a%20b//x",
        "/dav/a%20b/x//",
        "/dav/a%20b/x%00",
        "/dav/a%20b/x?y",
        "/dav/a%20b/x#y",
        "ftp://h/dav/a%20b/x",
        "http:///dav/a%20b/x",
        "http://",
        "javascript:alert(1)",
        "/dav/a%20b/../../etc/passwd",
        "/dav/a%20b" + "/d" * 2000,
    ],
)
def test_what_leads_elsewhere_is_refused(href):
    with pytest.raises(ListingError):
        AT.below(href)


def test_the_top_of_a_server_is_a_collection_too():
    top = Collection("/")
    assert (top.below("/"), top.below("/x"), top.below("http://h.test/x%20y/")) == ("", "x", "x y")


@given(st.text(min_size=1, max_size=20))
def test_what_we_quote_comes_back(name):
    if component_problem(name) is None and not any("\ud800" <= char <= "\udfff" for char in name):
        assert AT.below("/dav/a%20b/" + quote_path(name)) == name


@given(st.text(alphabet="/.%2eEfF~x?#:h\x00", max_size=30))
def test_no_href_gives_a_name_that_climbs(text):
    try:
        name = AT.below("/dav/a%20b/" + text)
    except ListingError:
        return
    assert all(component_problem(part) is None for part in name.split("/")) or name == ""
