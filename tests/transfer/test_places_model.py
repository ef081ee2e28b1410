"""Any two trees, against a dict: what --trash, --suffix, mv, --plan and renames leave, and that no content is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cftool.core.types import Cap
from cftool.transfer import api
from cftool.transfer.events import Deleted
from cftool.transfer.hidden import is_hidden
from cftool.transfer.options import MaxDelete, Options
from tests.transfer.kit import T0, Bench, Fitted, held, put, remote

NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/c", "f"])
TREES = st.dictionaries(NAMES, st.binary(min_size=1, max_size=3), max_size=6)
CAPS = [Cap.NONE, Cap.COPY, Cap.MOVE | Cap.MOVE_DIR, Cap.DELETE_MANY]


def bench_of(before, after, state, without):
    """A destination that has `before`, a source that has `after`."""
    source, store = Fitted(remote=True), Fitted(remote=True, without=without)
    for path, data in before.items():
        put(store, path, data, T0)
    for path, data in after.items():
        put(source, path, data, T0 + 5)
    return Bench(remote(source, "memory/a"), remote(store, "memory/b"), str(state))


def files(store):
    return {path: data for path, data in held(store).items() if data is not None}


@pytest.mark.parametrize("without", CAPS)
@settings(max_examples=40, deadline=None)
@given(before=TREES, after=TREES, limit=st.none() | st.integers(0, 3))
def test_a_trash_holds_all_that_went(without, before, after, limit, tmp_path_factory):
    bench = bench_of(before, after, tmp_path_factory.mktemp("state"), without)
    plain = bench_of(before, after, tmp_path_factory.mktemp("state"), without)
    options = {} if limit is None else {"max_delete": MaxDelete(files=limit, share=None)}
    expected = plain.sync(**options)
    summary = bench.sync(trash=".cftool-trash", **options)
    assert (summary.errors, summary.withheld) == (expected.errors, expected.withheld)
    now = files(bench.dst.store)
    assert {path: data for path, data in now.items() if not is_hidden(path)} == files(plain.dst.store)
    kept = {path.split("/", 2)[2]: data for path, data in now.items() if is_hidden(path)}
    assert kept == {path: data for path, data in before.items() if files(plain.dst.store).get(path) != data}
    assert {event.path for event in bench.told(Deleted)} <= {event.path for event in plain.told(Deleted)}
    before_restore = files(bench.dst.store)
    for path, data in kept.items():
        how = Options(trash=".cftool-trash")
        bench.now += 10
        restored = api.restore(
            bench.dst, path, bench.dst, f"back/{path}", how, bench.around(), bench.events.append, trash=".cftool-trash"
        )
        assert (restored.copied, files(bench.dst.store)[f"back/{path}"]) == (1, data)
    assert before_restore.items() <= files(bench.dst.store).items()


@pytest.mark.parametrize("without", CAPS)
@settings(max_examples=40, deadline=None)
@given(before=TREES, after=TREES)
def test_a_suffix_keeps_all_that_went(without, before, after, tmp_path_factory):
    bench = bench_of(before, after, tmp_path_factory.mktemp("state"), without)
    summary = bench.sync(suffix="~")
    now = files(bench.dst.store)
    if not summary.withheld:
        assert {path: data for path, data in now.items() if not path.endswith("~")} == after
        lost = {path: data for path, data in before.items() if after.get(path) != data}
        assert {path.removesuffix("~"): data for path, data in now.items() if path.endswith("~")} == lost
    assert set(before.values()) <= set(now.values())


@pytest.mark.parametrize("without", CAPS)
@settings(max_examples=40, deadline=None)
@given(before=TREES, after=TREES)
def test_mv_leaves_everything_once(without, before, after, tmp_path_factory):
    bench = bench_of(before, after, tmp_path_factory.mktemp("state"), without)
    summary = bench.run(api.move)
    assert (summary.errors, files(bench.src.store)) == ({}, {})
    assert files(bench.dst.store) == {**before, **after}


@pytest.mark.parametrize("without", CAPS)
@settings(max_examples=40, deadline=None)
@given(before=TREES, after=TREES, track=st.booleans())
def test_a_plan_comes_to_the_same_as_a_sync(without, before, after, track, tmp_path_factory):
    root = tmp_path_factory.mktemp("state")
    bench = bench_of(before, after, root, without)
    plain = bench_of(before, after, root / "plain", without)
    expected = plain.sync()
    how = Options(dry_run=True, track_renames=track)
    api.plan(bench.src, bench.dst, how, bench.around(), bench.events.append, path=str(root / "plan"))
    assert files(bench.dst.store) == before
    plan = api.read_plan(str(root / "plan"))
    done = api.apply(plan, bench.src, bench.dst, Options(), bench.around(), bench.events.append)
    plan.close()
    assert (done.errors, files(bench.dst.store)) == ({}, files(plain.dst.store))
    assert done.deleted <= expected.deleted
