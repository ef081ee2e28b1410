"""The conformance suite over Drive: the fake service on both transports, in My Drive, a folder and a shared drive."""

from typing import ClassVar

import pytest

from cftool.testing.contract import StoreContract
from cftool.testing.fake_gdrive import FakeGDrive
from cftool.wrap.prefix import PrefixStore


class GDriveContract(StoreContract):
    transport = "requests"
    many = 1_010
    big = 5_300_001  # more than goes in one request
    sizes = (0, 1, 4096, 65_537, 262_144, 5_000_000, 5_000_001)
    options: ClassVar[dict[str, object]] = {}

    @pytest.fixture
    def store(self, new_lab):
        lab = new_lab(FakeGDrive(), transport=self.transport)
        yield lab.open(**self.options)
        assert [one for one in lab.fake.sessions.values() if one.done is None] == [], "an upload was left behind"


class TestOverLibcurl(GDriveContract):
    transport = "curl"


class TestOverRequests(GDriveContract):
    pass


class TestBelowAFolderOfASharedDrive(GDriveContract):
    @pytest.fixture
    def store(self, new_lab):
        fake = FakeGDrive(shared_drive="0AFakeSharedDrive", page=100)
        fake.folder("a/b")
        return PrefixStore(new_lab(fake).open(use_trash=False, deletes=True), "a/b")
