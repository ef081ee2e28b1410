"""The conformance suite over `sugarsync` in the stack that commands use, opened by an address, against the fake."""

import pytest

from cftool.config.address import parse
from cftool.config.file import Config
from cftool.stack import OpenContext, open_address, rooted
from cftool.testing.contract import StoreContract
from cftool.testing.fake_sugarsync import ACCESS_KEY, APP_ID, BASE, PRIVATE_KEY, REFRESH, FakeSugarSync
from cftool.testing.http_fake import mocked


class SugarSyncStack(StoreContract):
    many = 1_010
    sizes = (0, 1, 4096, 65_537, 1024 * 1024, 1024 * 1024 + 1)
    big = 5_000_011
    cache: float

    @pytest.fixture
    def store(self, tmp_path):
        fake = FakeSugarSync()
        fake.folder("Top/backups/a b/ü")
        with mocked(fake.handle, BASE):
            env = {
                "CFTOOL_WORK_TYPE": "sugarsync",
                "CFTOOL_WORK_APP_ID": APP_ID,
                "CFTOOL_WORK_ACCESS_KEY_ID": ACCESS_KEY,
                "CFTOOL_WORK_PRIVATE_ACCESS_KEY": PRIVATE_KEY,
                "CFTOOL_WORK_REFRESH_TOKEN": REFRESH,
                "CFTOOL_WORK_ROOT": "Top/backups",
            }
            config = Config("", env)
            address = parse("work:/a b/ü", remotes=config.known())
            context = OpenContext(
                env, state_dir=str(tmp_path / "state"), metadata_cache=self.cache, transport="requests"
            )
            opened = open_address(address, config, context=context)
            yield rooted(opened)
            opened.store.close()


class TestStack(SugarSyncStack):
    cache = 0


class TestStackWithCache(SugarSyncStack):
    cache = 3600
