"""The conformance suite over `s3` in the stacks that commands use, opened by an address, against the fake service."""

import pytest

from cftool.config.address import parse
from cftool.config.file import Config, RemoteConfig, StackOptions
from cftool.stack import OpenContext, open_address, rooted
from cftool.testing.contract import StoreContract
from cftool.testing.fake_s3 import ACCESS_KEY, SECRET_KEY, FakeS3
from cftool.testing.http_fake import FakeServer


class S3Stack(StoreContract):
    many = 1_050
    big = 6_000_011  # more than one part
    cache: float
    archive = False

    @pytest.fixture
    def store(self, tmp_path):
        fake = FakeS3()
        fake.make("bucket", {})
        with FakeServer(fake.handle) as server:
            env = {
                "CFTOOL_WORK_TYPE": "s3",
                "CFTOOL_WORK_ENDPOINT_URL": server.url,
                "CFTOOL_WORK_ACCESS_KEY_ID": ACCESS_KEY,
                "CFTOOL_WORK_SECRET_ACCESS_KEY": SECRET_KEY,
                "CFTOOL_WORK_ROOT": "bucket/backups",
                "CFTOOL_WORK_PART_SIZE": "5M",
            }
            config = Config("", env, {"work": RemoteConfig("work", "s3", stack=StackOptions(archive=self.archive))})
            address = parse("work:/a b/ü", remotes=config.known())
            context = OpenContext(env, state_dir=str(tmp_path / "state"), metadata_cache=self.cache)
            opened = open_address(address, config, context=context)
            self.learn_conditions(opened.store)
            if self.archive:
                rooted(opened).mkdir("")  # there directories are things of their own
            yield rooted(opened)
            opened.store.close()

    @staticmethod
    def learn_conditions(store):
        """What a first conditional write finds out: see `probe` of the S3 store."""
        while hasattr(store, "inner"):
            store = store.inner
        store.probe("bucket")


class TestStack(S3Stack):
    cache = 0


class TestStackWithCache(S3Stack):
    cache = 3600


class TestStackWithArchive(S3Stack):
    cache = 3600
    archive = True
    many = 100
