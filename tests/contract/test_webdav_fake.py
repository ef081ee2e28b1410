"""The conformance suite over `webdav` in the stack that commands use, opened by an address, against the fake server."""

from typing import ClassVar

import pytest

from cftool.config.address import parse
from cftool.config.file import Config
from cftool.stack import OpenContext, open_address, rooted
from cftool.testing.contract import StoreContract
from cftool.testing.fake_webdav import FakeWebDav, Habits
from cftool.testing.http_fake import FakeServer


class DavStack(StoreContract):
    many = 150
    sizes = (0, 1, 65_537, 524_289)
    cache: float
    habits: ClassVar[dict[str, object]] = {}

    @pytest.fixture
    def store(self, tmp_path):
        fake = FakeWebDav(Habits(user="me", password="p", **self.habits))
        with FakeServer(fake.handle) as server:
            env = {
                "CFTOOL_WORK_TYPE": "webdav",
                "CFTOOL_WORK_URL": server.url + fake.habits.base,
                "CFTOOL_WORK_USER": "me",
                "CFTOOL_WORK_PASSWORD": "p",
                "CFTOOL_WORK_ROOT": "some/where",
            }
            config = Config("", env)
            address = parse("work:/a b/ü", remotes=config.known())
            context = OpenContext(env, state_dir=str(tmp_path / "state"), metadata_cache=self.cache)
            opened = open_address(address, config, context=context)
            self.learn(opened.store)
            view = rooted(opened)
            view.mkdir("")
            yield view
            opened.store.close()

    @staticmethod
    def learn(store):
        """What a first write finds out: see `probe` of the WebDAV store."""
        while hasattr(store, "inner"):
            store = store.inner
        store.probe()


class TestStack(DavStack):
    cache = 0


class TestStackWithCache(DavStack):
    cache = 3600


class TestNextcloudWithCache(DavStack):
    cache = 3600
    habits: ClassVar = {"vendor": "nextcloud"}

    @pytest.mark.skip(reason="Nextcloud refuses times before the second day of 1970, the case's first ones")
    def test_time_of_the_file_is_kept_to_the_precision_promised(self):
        pass
