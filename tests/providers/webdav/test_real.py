"""The conformance suite, and what else only a server of somebody else's making can show."""

import os

import pytest

from cftool.core import paths
from cftool.core.errors import InvalidName
from cftool.core.provider import Context
from cftool.testing.contract import StoreContract
from cftool_providers.webdav import PROVIDER
from tests.dav_servers import new_folder

pytestmark = pytest.mark.real


class Remember:
    """The memory of a process."""

    def __init__(self):
        self.known = {}

    def get(self, key):
        return self.known.get(key)

    def set(self, key, value):
        self.known[key] = value


MEMORY = {}


def opened(server, path="", **context):
    memory = MEMORY.setdefault(server.url, Remember())
    url = server.url.rstrip("/") + "/" + path
    return PROVIDER.open(
        {"url": url, "vendor": "auto"}, Context(remote="dav", env=os.environ, memory=memory, **context)
    )


def fresh(server, **context):
    """A store over a new directory of the server, probed."""
    name = new_folder()
    top = opened(server)
    top.mkdir(name)
    top.close()
    first = opened(server, name)
    first.probe()
    first.close()
    return opened(server, name, **context)  # which knows from the start what the server is


class RealContract(StoreContract):
    many = 300
    sizes = (0, 1, 4096, 65_537, 600_001)


class TestRclone(RealContract):
    @pytest.fixture
    def store(self, dav_server_of):
        store = fresh(dav_server_of("rclone"))
        yield store
        store.close()


class TestWsgidav(RealContract):
    def test_each_name_allowed_is_kept_as_a_file(self, store):
        """Or refused by name: what wsgidav loses from a Destination is never moved to."""
        from cftool.testing.cases.names import NAMES  # after the contract, which has its assertions rewritten

        kept = []
        for name in NAMES:
            if paths.problem(name, store.features.names) is not None:
                continue
            try:
                self.put(store, name, name.encode())
            except InvalidName:
                assert set(name) & set("?;\t\n\r"), name
            else:
                kept.append(name)
                assert self.get(store, name) == name.encode()
        assert self.listing(store).keys() == set(kept)
        assert len(kept) > 50

    @pytest.mark.skip(reason="wsgidav loses some characters from a Destination; see the case above")
    def test_each_name_allowed_is_kept_as_a_directory(self):
        pass

    @pytest.mark.skip(reason="wsgidav loses some characters from a Destination; see the case above")
    def test_names_are_walked_in_order(self):
        pass

    @pytest.mark.skip(reason="wsgidav loses some characters from a Destination; see the case above")
    def test_each_name_allowed_can_be_deleted_alone(self):
        pass

    @pytest.mark.skip(reason="wsgidav loses some characters from a Destination; see the case above")
    def test_copy_of_odd_names(self):
        pass

    @pytest.fixture
    def store(self, dav_server_of):
        store = fresh(dav_server_of("wsgidav"))
        yield store
        store.close()


class TestApache(RealContract):
    @pytest.fixture
    def store(self, dav_server_of):
        store = fresh(dav_server_of("apache"))
        yield store
        store.close()


class TestApacheOverRequests(RealContract):
    many = 50

    @pytest.fixture
    def store(self, dav_server_of):
        store = fresh(dav_server_of("apache"), transport="requests")
        yield store
        store.close()
