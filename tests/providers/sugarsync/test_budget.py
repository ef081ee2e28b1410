"""Requests that the engine costs, counted at the fake service."""

from collections import Counter

import pytest

from cftool.testing.fake_sugarsync import REFRESH
from cftool.transfer import api
from cftool.transfer.options import MaxDelete, Options
from cftool.wrap.prefix import PrefixStore
from tests.transfer.kit import Bench, local, make, remote

FOLDERS = 10


def files(count: int) -> dict[str, bytes | None]:
    return {f"dir{n % FOLDERS}/file{n:05}": f"{n:01024}".encode() for n in range(count)}


class Budget:
    """One tree and its copy at the service; each step in a process of its own, but for the state directory."""

    def __init__(self, lab, tmp_path):
        self.lab = lab
        self.source = tmp_path / "source"
        self.state = str(tmp_path / "state")
        make(self.source, {})
        self.ops: Counter[str] = Counter()

    def sync(self, **options):
        return self.run(lambda bench: bench.sync(**options))

    def run(self, what):
        self.lab.fake.ops.clear()
        store = PrefixStore(self.lab.open(), "Folder")
        bench = Bench(local(self.source), remote(store, "sugarsync:566494/Folder"), self.state)
        summary = what(bench)
        self.ops = Counter(self.lab.fake.ops)
        return summary

    @property
    def total(self) -> int:
        return self.ops.total()


@pytest.fixture
def budget(quick, tmp_path):
    return Budget(quick, tmp_path)


def test_a_thousand_new_files_a_second_run_and_their_deletion(budget):
    make(budget.source, files(1000))
    assert budget.sync().failures == ()
    assert (budget.ops["POST file"], budget.ops["PUT data"]) == (1000, 1000)
    assert budget.total <= 2030, budget.ops
    assert len(budget.lab.fake.tree()) == 1000

    summary = budget.sync()
    assert (summary.failures, summary.copied, summary.compared_by) == ((), 0, {"state": 1000})
    assert budget.total <= 13, budget.ops
    assert set(budget.ops) <= {"token", "GET contents"}

    budget.lab.forget_token()
    for path in budget.source.rglob("file*"):
        path.unlink()
    (budget.source / "kept").write_bytes(b"kept")
    assert budget.sync(max_delete=MaxDelete(None, None)).deleted == 1000
    budget.ops.subtract({"POST file": 1, "PUT data": 1, "GET contents": 1})  # of the file that is new
    assert budget.ops["PUT file"] == 1000
    assert budget.total <= 1013, budget.ops
    assert len(budget.lab.fake.trashed()) == 1000


def test_a_whole_folder_is_deleted_by_one_request(budget):
    for path, data in files(1000).items():
        budget.lab.fake.put(f"Folder/tree/{path}", data)
    budget.run(lambda bench: bench.dst.store.stat("tree"))

    def remove(bench):
        entry = bench.dst.store.stat("tree")
        budget.lab.fake.ops.clear()
        return api.remove_tree(bench.dst, entry, Options(), bench.around(), bench.events.append)

    summary = budget.run(remove)
    assert (summary.deleted, summary.failures) == (1, ())
    assert {op: count for op, count in budget.ops.items() if not op.startswith("GET")} == {"PUT folder": 1}
    assert budget.ops.total() <= 3, budget.ops  # two looks: that the folder is where its path says
    assert budget.lab.fake.trashed() == ["tree"]


def test_a_sync_folder_is_removed_entry_by_entry(quick):
    quick.fake.put("Folder/sub/file")
    store = quick.open()
    bench = Bench(remote(store, "sugarsync:566494"), remote(store, "sugarsync:566494"), None)
    summary = api.remove_tree(bench.dst, "Folder", Options(), bench.around(), bench.events.append)
    assert (summary.deleted, summary.failures) == (3, ())
    assert quick.fake.tree() == {}
    assert quick.fake.trashed() == ["file"]


def test_a_listing_of_ten_thousand_files_in_a_hundred_folders(budget):
    fake = budget.lab.fake
    for n in range(10_000):
        fake.put(f"Folder/dir{n % 100}/file{n}")
    budget.lab.open().features  # noqa: B018 - the account is remembered from here on
    fake.ops.clear()
    budget.lab.forget_token()
    store = PrefixStore(budget.lab.open(), "Folder")
    assert len(list(store.walk(""))) == 10_100
    assert fake.ops.total() <= 103, fake.ops


def test_a_download_costs_one_request_a_file(budget, tmp_path):
    fake = budget.lab.fake
    for path, data in files(200).items():
        fake.put(f"Folder/{path}", data)
    fake.ops.clear()
    store = PrefixStore(budget.lab.open(), "Folder")
    bench = Bench(remote(store, "sugarsync:566494/Folder"), local(tmp_path / "copy"), budget.state)
    assert bench.sync().failures == ()
    assert fake.ops["GET data"] == 200
    assert fake.ops.total() <= 200 + 2 + FOLDERS + 2


def test_a_replacement_costs_five_requests_and_its_share_of_the_listings(budget):
    make(budget.source, files(100))
    budget.sync()
    make(budget.source, {name: data + b"longer" for name, data in files(100).items()})
    assert budget.sync().copied == 100
    assert budget.ops == {
        "GET contents": 12 + FOLDERS,
        "POST file": 100,
        "PUT data": 100,
        "GET file": 100,
        "PUT file": 200,
    }


def test_the_account_is_asked_for_once_in_a_life(budget):
    make(budget.source, files(3))
    budget.sync()
    assert budget.ops["GET user"] == 1
    assert budget.ops["token"] == 1
    for _ in range(2):
        budget.sync()
        assert (budget.ops["GET user"], budget.ops["token"]) == (0, 0)
    assert REFRESH not in str(budget.lab.memory)
