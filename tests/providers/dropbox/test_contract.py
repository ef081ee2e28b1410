"""The conformance suite over Dropbox: the fake service on both transports, with other limits, and through the stack."""

import pytest

from cftool import stack
from cftool.core.types import Cap
from cftool.testing.contract import StoreContract
from cftool.testing.fake_dropbox import Habits

MIB = 1024 * 1024


class DropboxContract(StoreContract):
    transport = "curl"
    habits = Habits(page=400)
    sizes = (0, 1, 4096, 65_537, 4 * MIB, 4 * MIB + 1, 8 * MIB, 8 * MIB + 1, 16 * MIB, 17 * MIB + 3)

    @pytest.fixture
    def store(self, new_lab):
        lab = new_lab(self.habits, transport=self.transport)
        return lab.open()

    def test_time_changes_when_the_same_content_is_written_with_another(self, store):
        """Dropbox does not write what is there already: the old time stays, and the entry says so."""
        self.put(store, "file", b"x", modified_ns=1_600_000_000_000_000_000)
        entry = self.put(store, "file", b"x", modified_ns=1_500_000_000_000_000_000)
        assert entry == store.stat("file")
        assert entry.modified_ns == 1_600_000_000_000_000_000

    def test_time_of_the_file_is_kept_to_the_precision_promised(self, store):
        """With other content each time, for the reason above."""
        for when in (0, 1, 1_000_000_000, 1_234_567_890_123_456_789, 4_102_444_800_999_999_999):
            self.put(store, "file", str(when).encode(), modified_ns=when)
            assert store.stat("file").modified_ns == when // 1_000_000_000 * 1_000_000_000


class TestOverLibcurl(DropboxContract):
    pass


class TestOverRequests(DropboxContract):
    transport = "requests"
    habits = Habits(page=7, children_first=True, wrong_case=True, polls=0, header=3000)
    many = 410
    big = 10_000_017
    sizes = (0, 1, 8 * MIB + 1)


class TestThroughTheStack(DropboxContract):
    transport = "requests"
    habits = Habits(polls=3, header=1200, header_status=400)
    sizes = (0, 1, 4 * MIB)
    many = 120

    @pytest.fixture
    def store(self, new_lab):
        lab = new_lab(self.habits, transport=self.transport)
        lab.fake.put("My Folder/sub", None)
        return stack.build(lab.open(), root="My Folder/sub", metadata=stack.Metadata(60))


def test_what_is_declared(quick):
    features = quick.open().features
    assert Cap.SET_MODIFIED not in features.caps
    assert (features.hashes, features.time_precision_ns, features.listed_time) == ({"dropbox"}, 10**9, True)
    assert not features.names.case_sensitive
