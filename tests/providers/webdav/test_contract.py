"""The conformance suite over the fake server: both transports, and servers of different kinds."""

from typing import ClassVar

import pytest

from cftool.testing.contract import StoreContract


class DavContract(StoreContract):
    transport = "curl"
    habits: ClassVar[dict[str, object]] = {}
    probe = True
    many = 300
    sizes = (0, 1, 4096, 65_537, 512 * 1024, 512 * 1024 + 1)

    @pytest.fixture
    def store(self, new_lab):
        lab = new_lab(transport=self.transport, **self.habits)
        store = lab.open()
        if self.probe:
            store.probe()
        yield store
        assert not [path for path in lab.fake.nodes if ".cftool-" in path], "a temporary file was left behind"
        assert lab.fake.uploads == {}, "an upload was left behind"


class TestPlain(DavContract):
    pass


class TestPlainOverRequests(DavContract):
    transport = "requests"
    many = 50


class TestNotProbed(DavContract):
    """The first write finds out what the server does."""

    probe = False


class TestWithoutAnyHelp(DavContract):
    """No conditions, no `Overwrite: F`, no ETags of answers, no ranges, no depth infinity."""

    habits: ClassVar = {
        "conditions": False,
        "overwrite_f": False,
        "get_etags": False,
        "ranges": False,
        "infinity": "refused",
    }


class TestThatCutsInfinity(DavContract):
    habits: ClassVar = {"infinity": "cut", "header_time": True, "missing_parent": 404}


class TestLikeApache(DavContract):
    habits: ClassVar = {"vendor": "apache", "infinity": "refused"}


class TestNextcloud(DavContract):
    habits: ClassVar = {"vendor": "nextcloud"}
    big = 20_000_003  # more than one piece

    @pytest.mark.skip(reason="Nextcloud refuses times before the second day of 1970, the case's first ones")
    def test_time_of_the_file_is_kept_to_the_precision_promised(self):
        pass


class TestOwncloudOverRequests(DavContract):
    transport = "requests"
    habits: ClassVar = {"vendor": "owncloud"}
    many = 50

    @pytest.mark.skip(reason="ownCloud refuses times before the second day of 1970, the case's first ones")
    def test_time_of_the_file_is_kept_to_the_precision_promised(self):
        pass


class TestWithLogin(DavContract):
    many = 50
    habits: ClassVar = {"user": "me", "password": "päss:word", "auth": "digest-sha256"}
