"""The conformance suite over SugarSync: the fake service on both transports, and with other habits."""

import pytest

from cftool.testing.contract import StoreContract
from cftool.testing.fake_sugarsync import Habits
from cftool.wrap.prefix import PrefixStore


class SugarSyncContract(StoreContract):
    transport = "curl"
    habits = Habits()
    many = 1_010
    sizes = (0, 1, 4096, 65_537, 1024 * 1024, 1024 * 1024 + 1)
    big = 5_000_011  # more than what is collected in memory

    @pytest.fixture
    def store(self, new_lab):
        lab = new_lab(self.habits, transport=self.transport)
        lab.fake.folder("Sync Folder/ü")
        yield PrefixStore(lab.open(), "Sync Folder/ü")
        assert lab.fake.placeholders() == [], "an upload was left behind"


class TestOverLibcurl(SugarSyncContract):
    pass


class TestOverRequests(SugarSyncContract):
    transport = "requests"


class TestInTheSyncFolderItself(SugarSyncContract):
    transport = "requests"
    habits = Habits(page=300)

    @pytest.fixture
    def store(self, new_lab):
        lab = new_lab(self.habits, transport=self.transport)
        lab.fake.folder("Top")
        return PrefixStore(lab.open(), "Top")


class TestWithoutDuplicates(SugarSyncContract):
    """A service that refuses a second file of one name: the old one goes first."""

    transport = "requests"
    habits = Habits(duplicates=False)
    many = 510
