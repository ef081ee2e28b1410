"""The conformance suite over `gs` in the stack that commands use, opened by an address, against the fake service."""

import pytest

from cftool.config.address import parse
from cftool.config.file import Config
from cftool.stack import OpenContext, open_address, rooted
from cftool.testing.contract import StoreContract
from cftool.testing.fake_gs import ACCESS_KEY, SECRET_KEY, FakeGS
from cftool.testing.http_fake import FakeServer


class GsStack(StoreContract):
    many = 1_050
    cache: float = 0
    xml = False

    @pytest.fixture
    def store(self, tmp_path):
        fake = FakeGS()
        fake.public = True
        fake.make("bucket")
        with FakeServer(fake.handle) as server:
            env = {
                "CFTOOL_WORK_TYPE": "gs",
                "STORAGE_EMULATOR_HOST": server.url,
                "CFTOOL_WORK_ROOT": "bucket/backups",
            }
            if self.xml:
                env |= {"CFTOOL_WORK_ACCESS_KEY_ID": ACCESS_KEY, "CFTOOL_WORK_SECRET_ACCESS_KEY": SECRET_KEY}
            config = Config("", env)
            address = parse("work:/a b/ü", remotes=config.known())
            context = OpenContext(env, state_dir=str(tmp_path / "state"), metadata_cache=self.cache)
            opened = open_address(address, config, context=context)
            self.learn_conditions(opened.store)
            yield rooted(opened)
            opened.store.close()

    @staticmethod
    def learn_conditions(store):
        """What a first conditional write finds out: see `probe` of the store."""
        while hasattr(store, "inner"):
            store = store.inner
        store.probe("bucket")


class TestStack(GsStack):
    pass


class TestStackWithCache(GsStack):
    cache = 3600


class TestStackOverXml(GsStack):
    xml = True
