"""Dropbox under the metadata cache: the cursor confirms what is known, in one request, for the next run too."""

from collections import Counter

import pytest

from cftool.core.errors import NotFound
from cftool.testing.clock import FakeClock
from cftool.testing.contract import StoreContract
from cftool.wrap.metadata.store import MetadataCachingStore
from tests.wrap.metadata.kit import names, put, soon_old


class Runs:
    """Runs one after the other, with what each asked."""

    def __init__(self, lab, directory):
        self.lab = lab
        self.directory = str(directory)
        self.clock = FakeClock(1.0)
        self.store = None

    def next(self, *, later=0.0):
        self.end()
        self.clock.advance(later)
        self.store = MetadataCachingStore(self.lab.open(), ttl=60, directory=self.directory, clock=self.clock)
        return self.store

    def end(self):
        if self.store is not None:
            self.store.close()

    def asked(self):
        found = Counter({route: n for route, n in self.lab.fake.requests.items() if "oauth2" not in route})
        self.lab.fake.requests.clear()
        return dict(found)


@pytest.fixture
def runs(quick, tmp_path):
    for path in ("Dir/a", "Dir/b", "Dir/sub/c", "top"):
        quick.fake.put(path, b"x")
    runs = Runs(quick, tmp_path / "metadata")
    yield runs
    runs.end()


CURSOR, LIST, CHANGES = "files/list_folder/get_latest_cursor", "files/list_folder", "files/list_folder/continue"


def test_a_warm_listing_costs_one_request(runs):
    assert names(runs.next(), "Dir") == ["a", "b", "sub"]
    assert runs.asked() == {CURSOR: 1, LIST: 1}
    assert names(runs.next(later=30), "Dir") == ["a", "b", "sub"]
    assert runs.asked() == {}
    store = runs.next(later=100_000)
    assert names(store, "Dir") == ["a", "b", "sub"]
    assert store.stat("Dir/a").size == 1
    assert runs.asked() == {CHANGES: 1}


def test_what_others_changed_shows_and_the_rest_stays_known(runs):
    store = runs.next()
    for path in ("", "Dir", "Dir/sub"):
        names(store, path)
    runs.lab.fake.put("Dir/new", b"x")
    runs.lab.fake.remove("Dir/a")
    store = runs.next(later=100)
    runs.asked()
    assert names(store, "Dir") == ["b", "new", "sub"]
    assert runs.asked()[CHANGES] == 1
    assert names(store, "Dir/sub") == ["c"]
    assert runs.asked() == {}


def test_a_change_told_in_another_case_is_forgotten_under_every_spelling(runs):
    store = runs.next()
    assert store.stat("dir/A").size == 1
    names(store, "DIR")
    runs.lab.fake.put("Dir/a", b"longer")
    store = runs.next(later=100)
    assert store.stat("dir/A").size == 6
    runs.lab.fake.put("Dir/late", b"x")
    store = runs.next(later=100)
    assert names(store, "DIR") == ["a", "b", "late", "sub"]


def test_a_cursor_that_was_reset_forgets_everything(runs):
    names(runs.next(), "Dir")
    runs.lab.fake.forget_cursors()
    runs.lab.fake.put("Dir/new", b"x")
    store = runs.next(later=100)
    runs.asked()
    assert names(store, "Dir") == ["a", "b", "new", "sub"]
    assert runs.asked() == {CHANGES: 1, CURSOR: 1, LIST: 1}
    assert names(runs.next(later=100), "Dir") == ["a", "b", "new", "sub"]
    assert runs.asked() == {CHANGES: 1}


def test_own_uploads_are_known_and_told_to_a_poll_of_others_only(runs):
    store = runs.next()
    other = MetadataCachingStore(runs.lab.open(), ttl=60, directory=runs.directory, clock=runs.clock)
    other.poll()
    store.poll()
    put(store, "Dir/mine")
    runs.asked()
    assert store.stat("Dir/mine").size == 3
    assert runs.asked() == {}
    assert other.poll() >= {"Dir/mine"}
    other.close()


def test_a_second_name_of_a_directory_lists_it(runs):
    for number in range(50):
        runs.lab.fake.put(f"many/{number}", b"x")
    store = runs.next()
    for number in range(50):
        assert store.stat(f"many/{number}").size == 1
    with pytest.raises(NotFound):
        store.stat("many/none")
    assert sum(runs.asked().values()) <= 5


class TestContract(StoreContract):
    """With a cache that the feed has to confirm for every look."""

    @pytest.fixture
    def store(self, new_lab, tmp_path):
        store = soon_old(new_lab().open(), tmp_path / "metadata")
        yield store
        store.close()

    sizes = (0, 1)
    many = 120

    def test_time_changes_when_the_same_content_is_written_with_another(self, store):
        """Dropbox does not write what is there already: the old time stays, and the entry says so."""
        self.put(store, "file", b"x", modified_ns=1_600_000_000_000_000_000)
        assert self.put(store, "file", b"x", modified_ns=1_500_000_000_000_000_000) == store.stat("file")

    def test_time_of_the_file_is_kept_to_the_precision_promised(self, store):
        """With other content each time, for the reason above."""
        for when in (0, 1_234_567_890_123_456_789):
            self.put(store, "file", str(when).encode(), modified_ns=when)
            assert store.stat("file").modified_ns == when // 1_000_000_000 * 1_000_000_000
