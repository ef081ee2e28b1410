"""The hosts of their own kind, one test each, and redirects to the slash of a directory."""

import pytest

from cftool.core.errors import AlreadyExists, NotFound, ProtocolError, StoreError, Unsupported
from cftool.core.sources import BytesSource
from cftool.core.types import Cap
from cftool.testing.http_fake import FakeResponse


def at(new_lab, host, **habits):
    """A lab whose server has that name."""
    return new_lab(transport="requests", origin=f"https://{host}", **habits)


def kinds(entries):
    return {entry.path: entry.kind.value[0] for entry in entries}


def test_gmx_leaves_out_types_and_its_quota_is_not_believed(new_lab):
    lab = at(new_lab, "webdav.mc.gmx.net", types=False)
    lab.fake.put("d/f")
    store = lab.open()
    assert kinds(store.walk("")) == {"d": "d", "d/f": "f"}
    store._api.ready()
    assert Cap.USAGE not in store.features.caps
    with pytest.raises(Unsupported):
        store.usage()


def test_t_online_is_asked_four_times_for_its_quota(new_lab):
    lab = at(new_lab, "webdav.magentacloud.t-online.de")
    store = lab.open()
    store._api.ready()
    lab.fake.rule("PROPFIND", "", times=3, instead=FakeResponse(400))
    assert (store.usage().used, store.usage().free) == (1_000_000, 5_000)
    lab.fake.rule("PROPFIND", "", times=9, instead=FakeResponse(400))
    lab.forget()
    with pytest.raises(StoreError):
        store.usage()
    assert lab.fake.requests["PROPFIND"] == 4


def test_box_shows_what_was_written_a_little_later(new_lab):
    lab = at(new_lab, "dav.box.com", late=1)
    store = lab.open()
    entry = store.write("d/f", BytesSource(b"x"))
    assert entry.size == 1
    lab.fake.nodes["d/f"].hidden = 1
    assert store.read("d/f").read() == b"x"
    lab.fake.nodes["d/f"].hidden = 1
    assert store.stat("d/f").size == 1
    lab.fake.nodes["d/f"].hidden = 1
    store.delete("d/f")
    assert lab.fake.files() == {}


def test_yandex_does_so_too_and_what_is_missing_is_told_soon(new_lab):
    lab = at(new_lab, "webdav.yandex.ru", late=1)
    store = lab.open()
    store._api.ready()
    lab.fake.put("a")
    lab.fake.nodes["a"].hidden = 1
    assert store.move("a", "b").size == 7
    lab.forget()
    with pytest.raises(NotFound):
        store.stat("nothing")
    assert lab.fake.requests == {"PROPFIND": 2}
    assert sum(lab.slept) < 5


def test_4shared_speaks_without_a_namespace_and_keeps_its_directories(new_lab):
    lab = at(new_lab, "webdav.4shared.com", bare_names=True, mkcol_exists=409, deletes_directories=False)
    store = lab.open()
    lab.fake.put("d/f", b"content")
    assert kinds(store.walk("")) == {"d": "d", "d/f": "f"}
    assert store.mkdir("d").is_dir
    with pytest.raises(AlreadyExists):
        store.mkdir("d/f")
    store.delete("d/f")
    with pytest.raises(Unsupported, match="cannot delete directories"):
        store.rmdir("d")
    assert set(lab.fake.nodes) == {"", "d"}


class TestSlash:
    def test_directories_are_found_behind_a_redirect(self, lab):
        from dataclasses import replace

        lab.fake.habits = replace(lab.fake.habits, slash_redirects=True, mkcol_exists=301)
        lab.fake.put("a b/ü/f")
        store = lab.open()
        assert store.stat("a b").is_dir
        assert kinds(store.walk("")) == {"a b": "d", "a b/ü": "d", "a b/ü/f": "f"}
        assert store.mkdir("a b/ü").is_dir
        store.move("a b/ü", "moved")
        assert lab.fake.files() == {"moved/f": b"content"}
        store.delete("moved/f")
        store.rmdir("moved")
        assert set(lab.fake.nodes) == {"", "a b"}

    @pytest.mark.parametrize(
        "location",
        ["https://elsewhere.test/dav/d/", "/dav/e/", "/dav/d", "ftp://dav.test/dav/d/", "", "//elsewhere.test/dav/d/"],
    )
    def test_no_other_redirect_is_followed(self, new_lab, location):
        lab = new_lab(transport="requests")
        lab.fake.put("d/f")
        store = lab.open()
        store._api.ready()
        lab.forget()
        lab.fake.rule("PROPFIND", "d", times=9, instead=FakeResponse(301, (("Location", location),)))
        with pytest.raises(ProtocolError, match="redirects"):
            store.stat("d")
        assert lab.fake.requests == {"PROPFIND": 1}

    @pytest.mark.parametrize("location", ["/dav/d/", "http://dav.test/dav/d/", "http://dav.test:8080/dav/%64/"])
    def test_a_server_behind_a_proxy_may_not_know_its_own_scheme(self, new_lab, location):
        lab = new_lab(transport="requests")
        lab.fake.put("d/f")
        store = lab.open()
        store._api.ready()
        lab.fake.rule("PROPFIND", "d", times=1, instead=FakeResponse(301, (("Location", location),)))
        assert store.stat("d").is_dir


def test_a_sub_folder_of_the_server_is_all_there_is(new_lab):
    lab = new_lab()
    lab.fake.put("sub/folder/f")
    lab.fake.put("secret")
    store = lab.open(path="/dav/sub/folder")
    assert kinds(store.walk("")) == {"f": "f"}
    store.write("x/y", BytesSource(b"1"))
    store.move("x/y", "z")
    assert set(lab.fake.files()) == {"sub/folder/f", "sub/folder/z", "secret"}


def test_space_is_told_where_the_server_does(new_lab):
    for habits, expected in (
        ({"quota": (100, 40)}, (140, 100, 40)),
        ({"quota": (40, -3)}, (None, 40, None)),
    ):
        store = new_lab(**habits, state_dir=None).open()
        found = store.usage()
        assert (found.total, found.used, found.free) == expected
    store = new_lab(quota=None, state_dir=None).open()
    with pytest.raises(Unsupported):
        store.usage()


@pytest.mark.parametrize("status", [404, 405, 410, 501])
def test_an_address_that_is_not_the_right_one_is_told_so(new_lab, status):
    lab = new_lab()
    for call in (lambda store: store.stat(""), lambda store: list(store.scan("")), lambda store: list(store.walk(""))):
        store = lab.open(path="/elsewhere")
        lab.fake.rule("*", times=99, instead=FakeResponse(status))
        with pytest.raises((NotFound, Unsupported), match="check url"):
            call(store)
