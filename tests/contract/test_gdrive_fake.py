"""The conformance suite over `gdrive` in the stack that commands use, opened by an address, against the fake."""

import re

import pytest

from cftool.config.address import parse
from cftool.config.file import Config
from cftool.stack import OpenContext, open_address, rooted
from cftool.testing.contract import StoreContract
from cftool.testing.fake_gdrive import API, CLIENT_ID, CLIENT_SECRET, LOGIN, REFRESH, FakeGDrive
from cftool.testing.http_fake import mocked


class GDriveStack(StoreContract):
    many = 1_020
    big = 5_100_011  # more than goes in one request
    cache: float

    @pytest.fixture
    def store(self, tmp_path):
        fake = FakeGDrive()
        fake.folder("backups/a b/ü")
        with mocked(fake.handle, re.compile(rf"https://({re.escape(API)}|{re.escape(LOGIN)})/")):
            env = {
                "CFTOOL_WORK_TYPE": "gdrive",
                "CFTOOL_WORK_CLIENT_ID": CLIENT_ID,
                "CFTOOL_WORK_CLIENT_SECRET": CLIENT_SECRET,
                "CFTOOL_WORK_REFRESH_TOKEN": REFRESH,
                "CFTOOL_WORK_ROOT": "backups",
            }
            config = Config("", env)
            address = parse("work:/a b/ü", remotes=config.known())
            context = OpenContext(
                env, state_dir=str(tmp_path / "state"), metadata_cache=self.cache, transport="requests"
            )
            opened = open_address(address, config, context=context)
            yield rooted(opened)
            opened.store.close()
        assert fake.complaints == []


class TestStack(GDriveStack):
    cache = 0


class TestStackWithCache(GDriveStack):
    cache = 3600
