"""The options: which addresses are understood, which combinations are refused, and what the address alone tells."""

import pytest

from cftool.core.errors import ConfigError
from cftool.core.provider import Secret
from cftool_providers.webdav._settings import settings


@pytest.mark.parametrize(
    ("url", "origin", "base"),
    [
        ("https://dav.test", "https://dav.test", "/"),
        ("https://dav.test/", "https://dav.test", "/"),
        ("https://DAV.test:443/a/b", "https://dav.test", "/a/b/"),
        ("http://dav.test:8080/a//b/", "http://dav.test:8080", "/a/b/"),
        ("https://dav.test/Meine Dateien/ä", "https://dav.test", "/Meine%20Dateien/%C3%A4/"),
        ("https://dav.test/a%2fb/100%25", "https://dav.test", "/a%2Fb/100%25/"),
        ("webdavs://dav.test/x", "https://dav.test", "/x/"),
        ("dav://dav.test/x", "http://dav.test", "/x/"),
        ("http://[::1]:81/x", "http://[::1]:81", "/x/"),
        ("  https://dav.test/x \n", "https://dav.test", "/x/"),
    ],
)
def test_addresses_are_understood_as_people_paste_them(url, origin, base):
    found = settings({"url": url})
    assert (found.origin, found.base) == (origin, base)


@pytest.mark.parametrize(
    "url",
    [
        "", "dav.test/x", "ftp://dav.test", "https://", "https:///x", "https://me:pass@dav.test/", "https://dav.test/?x",
        "https://dav.test/#x", "https://dav.test/a/../b", "https://dav.test/./b", "https://d v.test/", "https://dä.test/",
    ],
)  # fmt: skip
def test_others_are_refused_without_repeating_a_password(url):
    with pytest.raises(ConfigError) as caught:
        settings({"url": url})
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"bearer_token": Secret("t"), "user": "me"},
        {"bearer_token": Secret("t"), "password": Secret("p")},
        {"password": Secret("p")},
        {"user": "a:b", "password": Secret("p")},
    ],
)
def test_logins_that_contradict_each_other_are_refused(values):
    with pytest.raises(ConfigError):
        settings({"url": "https://dav.test", **values})


def test_an_empty_secret_is_none():
    assert settings({"url": "https://dav.test", "user": "me", "password": Secret("")}).password is None


def test_the_identity_tells_servers_accounts_and_folders_apart():
    urls = ["https://a.test/x", "https://a.test/y", "https://b.test/x", "https://a.test:81/x"]
    found = {settings({"url": url, "user": user}).identity for url in urls for user in ("", "me", "m e")}
    assert len(found) == 12
    assert settings({"url": "https://A.test:443/x/"}).identity == settings({"url": "https://a.test/x"}).identity


@pytest.mark.parametrize(
    ("path", "uploads", "installation"),
    [
        ("/remote.php/dav/files/me", "/remote.php/dav/uploads/me/", "/"),
        ("/cloud/remote.php/dav/files/m%20e/sub", "/cloud/remote.php/dav/uploads/m%20e/", "/cloud/"),
        ("/remote.php/webdav", None, "/"),
        ("/public.php/dav/files/TOKEN", "/public.php/dav/uploads/TOKEN/", "/"),
        ("/dav/files/me", None, None),
    ],
)
def test_the_address_of_a_nextcloud_tells_where_the_rest_is(path, uploads, installation):
    found = settings({"url": "https://cloud.test" + path})
    origin = "https://cloud.test"
    assert found.uploads == (None if uploads is None else origin + uploads)
    assert found.installation == (None if installation is None else origin + installation)


def test_a_secret_is_not_in_the_repr():
    found = settings({"url": "https://dav.test", "user": "me", "password": Secret("hidden")})
    assert "hidden" not in repr(found)
