"""Google Drive under the metadata cache: its feed of changes confirms what is known, for the next run too."""

import pytest

from cftool.testing.clock import FakeClock
from cftool.testing.contract import StoreContract
from cftool.wrap.metadata.store import MetadataCachingStore
from tests.wrap.metadata.kit import names, put, soon_old


class Runs:
    """Runs one after the other, with the number of requests of each."""

    def __init__(self, lab, directory):
        self.lab = lab
        self.directory = str(directory)
        self.clock = FakeClock(1.0)
        self.store = None

    def next(self, *, later=0.0):
        self.end()
        self.clock.advance(later)
        self.store = MetadataCachingStore(self.lab.open(), ttl=60, directory=self.directory, clock=self.clock)
        self.lab.counted()
        return self.store

    def end(self):
        if self.store is not None:
            self.store.close()


@pytest.fixture
def runs(quick, tmp_path):
    for path in ("Dir/a", "Dir/b", "Dir/sub/c", "top"):
        quick.fake.add(path, b"x")
    runs = Runs(quick, tmp_path / "metadata")
    yield runs
    runs.end()


def test_a_warm_listing_costs_one_request(runs):
    assert names(runs.next(), "Dir") == ["a", "b", "sub"]
    assert names(runs.next(later=30), "Dir") == ["a", "b", "sub"]
    assert runs.lab.counted() == 0
    store = runs.next(later=100_000)
    assert names(store, "Dir") == ["a", "b", "sub"]
    assert store.stat("Dir/a").size == 1
    assert runs.lab.counted() == 1


def test_what_others_changed_shows(runs):
    store = runs.next()
    for path in ("", "Dir", "Dir/sub"):
        names(store, path)
    file = runs.lab.fake.add("Dir/new", b"x")
    store = runs.next(later=100)
    assert names(store, "Dir") == ["a", "b", "new", "sub"]
    file.name = "renamed"
    runs.lab.fake.change(file)
    store = runs.next(later=100)
    assert names(store, "Dir") == ["a", "b", "renamed", "sub"]
    file.explicitly_trashed = True
    runs.lab.fake.change(file)
    store = runs.next(later=100)
    assert names(store, "Dir") == ["a", "b", "sub"]


def test_own_uploads_are_known(runs):
    store = runs.next()
    names(store, "Dir")
    put(store, "Dir/mine")
    runs.lab.counted()
    assert store.stat("Dir/mine").size == 3
    assert names(store, "Dir") == ["a", "b", "mine", "sub"]
    assert runs.lab.counted() == 0


class TestContract(StoreContract):
    """With a cache that the feed has to confirm for every look."""

    @pytest.fixture
    def store(self, new_lab, tmp_path):
        store = soon_old(new_lab().open(), tmp_path / "metadata")
        yield store
        store.close()

    sizes = (0, 1)
    many = 120
