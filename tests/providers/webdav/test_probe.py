"""What a server is and does: how it is told, what counts as seen, what is remembered, and that no probe file stays."""

from dataclasses import replace

import pytest

from cftool.core.errors import PermissionDenied, StoreError
from cftool.core.types import Cap
from cftool.http.types import Response
from cftool.testing.http_fake import FakeResponse
from cftool_providers.webdav import _vendor
from cftool_providers.webdav._probe import http_date
from cftool_providers.webdav._vendor import Profile, detect, of_vendor, quirks_of


def options(dav: str = "1, 2", server: str = "", status: int = 200) -> Response:
    return Response(status, {"dav": dav, "server": server})


def page(body: str, status: int = 200):
    return lambda: Response(status, {}, body.encode())


class TestDetect:
    @pytest.mark.parametrize(
        ("answer", "status_page", "vendor"),
        [
            (options(), page('{"installed":true,"productname":"Nextcloud"}'), "nextcloud"),
            (options(), page('{"installed":true,"productname":"ownCloud"}'), "owncloud"),
            (options(), page('{"installed":true,"productname":"","product":"Infinite Scale"}'), "owncloud"),
            (options(), page('{"installed":true,"product":"OpenCloud"}'), "owncloud"),
            (options("1, 3, nextcloud-checksum-update"), lambda: None, "nextcloud"),
            (options("1, 3, nc-calendar-search"), lambda: None, "nextcloud"),
            (options("1,2, <http://apache.org/dav/propset/fs/1>"), lambda: None, "apache"),
            (options(server="rclone/v1.75.2"), lambda: None, "rclone"),
            (options(server="rclone/v1.66.0"), lambda: None, "rclone"),
            (options(server="rclone/v1.65.2"), lambda: None, "other"),
            (options(server="rclone/v1.66.0"), page("<html>"), "rclone"),
            (options(), page('["installed"]'), "other"),
            (options(), page("[" * 9000), "other"),
            (options(), page('{"productname":"Nextcloud"}'), "other"),
            (options(), page("gone", 404), "other"),
            (options("2, 1, x"), lambda: None, "other"),
        ],
    )
    def test_servers_are_told_apart(self, answer, status_page, vendor):
        found = detect(answer, status_page)
        assert found is not None
        assert found.vendor == vendor

    @pytest.mark.parametrize(
        "answer", [options("calendar-access"), options(""), options(status=401), options(status=404)]
    )
    def test_what_speaks_no_webdav_proves_nothing(self, answer):
        assert detect(answer, lambda: None) is None

    def test_only_those_whose_source_says_so_publish_at_completion(self):
        atomic = {
            vendor for vendor in ("nextcloud", "owncloud", "apache", "rclone", "other") if of_vendor(vendor).atomic
        }
        assert atomic == {"nextcloud", "owncloud", "apache"}

    def test_a_vendor_that_was_named_is_not_asked_for(self, new_lab):
        lab = new_lab(vendor="nextcloud")
        lab.open(vendor="nextcloud")._api.ready()
        assert lab.fake.requests == {}

    def test_other_is_taken_for_what_it_says(self, new_lab):
        lab = new_lab(vendor="nextcloud")
        store = lab.open(vendor="other")
        assert store._api.ready().vendor == "other"

    def test_what_the_server_is_is_asked_once_and_remembered(self, new_lab):
        lab = new_lab(vendor="nextcloud")
        lab.fake.put("a")
        lab.open().stat("a")
        assert lab.fake.requests == {"OPTIONS": 1, "GET": 1, "PROPFIND": 1}
        lab.forget()
        lab.open().stat("a")
        assert lab.fake.requests == {"PROPFIND": 1}

    def test_a_server_that_answers_nothing_useful_is_asked_again_next_time(self, new_lab):
        lab = new_lab()
        lab.fake.put("a")
        lab.fake.rule("OPTIONS", instead=FakeResponse(501))
        assert lab.open().stat("a").size == 7
        lab.forget()
        assert lab.open().stat("a").size == 7
        assert lab.fake.requests["OPTIONS"] == 1

    def test_a_memory_of_another_shape_is_asked_anew(self):
        good = Profile("rclone", header_time=True, probed=True)
        assert Profile.loads(good.dumps()) == good
        for text in ("", "{}", "[]", "[" * 9000, '{"vendor": 1}', good.dumps().replace("true", '"yes"'), "null"):
            assert Profile.loads(text) is None


class TestProbe:
    def seen(self, new_lab, **habits):
        lab = new_lab(**habits, state_dir=None)
        store = lab.open()
        store.probe()
        assert set(lab.fake.nodes) == {""}
        return store._api.profile

    def test_what_works_is_seen(self, new_lab):
        found = self.seen(new_lab, header_time=True, patch_time="lastmodified")
        assert (found.header_time, found.patch_time) == (True, "lastmodified")
        assert (found.refuses_overwrite, found.if_absent, found.if_version, found.move_version) == (
            True,
            True,
            "if",
            True,
        )
        assert (found.keeps_etag, found.confused, found.probed) == (True, "", True)

    def test_what_is_accepted_and_ignored_is_not(self, new_lab):
        found = self.seen(new_lab, conditions=False, overwrite_f=False, stores_patches=True)
        conditions = (found.refuses_overwrite, found.if_absent, found.if_version, found.move_version)
        assert (conditions, found.header_time, found.patch_time) == ((False, False, "", False), False, "")

    def test_nextcloud_obeys_if_match_on_a_put(self, new_lab):
        assert self.seen(new_lab, vendor="nextcloud").if_version == "if-match"

    def test_weak_etags_that_match_nothing_promise_nothing(self, new_lab):
        assert self.seen(new_lab, vendor="nextcloud", weak_etags=True).if_version in {"", "if"}

    def test_apache_lets_two_writers_pass_and_is_not_believed(self, new_lab):
        found = self.seen(new_lab, vendor="apache")
        assert (found.if_absent, found.if_version) == (False, "")

    def test_characters_that_a_move_loses_are_known_afterwards(self, new_lab):
        lab = new_lab()
        real = lab.fake._destination
        lab.fake._destination = lambda request: real(request).partition("?")[0]
        store = lab.open()
        store.probe()
        assert store._api.profile.confused == "?"
        assert set(lab.fake.nodes) == {""}

    def test_happens_once_and_in_the_directory_that_is_written_to(self, new_lab):
        lab = new_lab()
        store = lab.open()
        from cftool.core.sources import BytesSource

        store.write("d/e/f", BytesSource(b"x"))
        assert all("/dav/d/e/" in line for line in lab.fake.log if line.startswith("PUT"))
        lab.forget()
        lab.open().write("d/g", BytesSource(b"x"))
        assert lab.fake.requests == {"PUT": 1, "PROPFIND": 1, "MOVE": 1}

    def test_where_nothing_may_be_written_it_says_so_and_leaves_nothing(self, new_lab):
        lab = new_lab()
        lab.fake.rule("PUT", times=99, instead=FakeResponse(403))
        with pytest.raises(PermissionDenied):
            lab.open().probe()
        assert set(lab.fake.nodes) == {""}

    @pytest.mark.parametrize("fails", range(1, 20))
    def test_a_failure_at_any_point_leaves_no_file(self, new_lab, fails):
        lab = new_lab(vendor="nextcloud", state_dir=None)
        store = lab.open()
        store._api.ready()
        lab.fake.rule("PUT", skip=fails, times=1, instead=FakeResponse(507))
        lab.fake.rule("MOVE", skip=fails, times=1, instead=FakeResponse(507))
        try:
            store.probe()
        except StoreError:
            assert not store._api.profile.probed
        assert set(lab.fake.nodes) == {""}


def test_dates_are_english_whatever_the_locale():
    assert http_date(1_000_000_000) == "Sun, 09 Sep 2001 01:46:40 GMT"


def test_features_follow_what_is_known(new_lab):
    lab = new_lab(vendor="nextcloud")
    store = lab.open()
    assert Cap.USAGE not in store.features.caps
    store.probe()
    wanted = Cap.USAGE | Cap.SET_MODIFIED | Cap.IF_ABSENT | Cap.IF_VERSION | Cap.RESUME
    assert store.features.caps & wanted == wanted
    assert store.features.hashes == {"md5", "sha1"}


def test_hosts_are_told_by_their_names():
    assert quirks_of("webdav.mc.gmx.net").untyped
    assert quirks_of("webdav.magentacloud.t-online.de").usage_tries == 4
    assert quirks_of("dav.box.com").late
    assert quirks_of("webdav.yandex.ru").late
    assert quirks_of("webdav.4shared.com").bare_names
    assert quirks_of("notgmx.net") == quirks_of("gmx.net.evil.test") == _vendor.Quirks()
    assert replace(quirks_of("dav.test")) == _vendor.Quirks()
