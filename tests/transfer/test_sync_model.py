"""Any history of two trees and of the runs between them: edits on both sides, faults, interrupts, kinds of services.

A state machine over the engine and its state database. Every content is unlike any other, so that it can be told where
a file's bytes come from. What holds after each run: the source is untouched; no file is torn or of another path's
making; nothing is gone from the destination that the source has; a run that says that all is well has made both sides
equal; and the same run again writes nothing.
"""

import itertools
import shutil
import tempfile
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from cftool.core.download import VerifiedDownload
from cftool.core.errors import CftoolError, IntegrityError, NotFound, PermissionDenied, StoreError, TemporaryError
from cftool.core.types import NO_HASHES, Cap, Entry
from cftool.transfer.hidden import TRASH, is_hidden
from cftool.transfer.options import Verify
from tests.sizes import FULL
from tests.transfer.kit import T0, Bench, Fitted, held, put, remote

PROGRAMS, STEPS = (400, 100) if FULL else (10, 25)  # for each pair of services
PATHS = st.sampled_from(["a", "b", "c", "d/a", "d/b", "d/e/a", "d/e/b", "f", "f-", "é"])
TIMES = st.sampled_from([T0, T0 + 1, T0 + 10**9, T0 + 5 * 10**9])
# Where size and time are the same at the first sight of a pair, they are taken for equal, as by everybody.
OTHER_TIMES = st.sampled_from([T0 + 3 * 10**9, T0 + 3 * 10**9 + 1, T0 + 7 * 10**9])
CHANGES = {"write", "write_many", "delete", "delete_many", "mkdir", "rmdir", "copy", "move", "set_modified"}


class Service(Fitted):
    """A store that knows as much of a file as its features say; `versions`: it gives them to listings and stats."""

    def __init__(self, *, versions=True, **features):
        super().__init__(**features)
        self.versions = versions
        self.reset()

    def reset(self):
        """Nothing happens at any call."""
        self.before = lambda op, path: None

    def shown(self, entry: Entry, *, listing: bool = False) -> Entry:
        features = self.features
        timed = features.time_precision_ns is not None and (features.listed_time or not listing)
        return entry._replace(
            modified_ns=entry.modified_ns if timed else None,
            version=entry.version if self.versions else None,
            hashes={name: value for name, value in entry.hashes.items() if name in features.hashes} or NO_HASHES,
        )

    def stat(self, path):
        return self.shown(super().stat(path))

    def scan(self, path):
        for entry in super().scan(path):
            yield self.shown(entry, listing=True)

    def walk(self, path):
        for entry in super().walk(path):
            yield self.shown(entry, listing=True)

    def read(self, path, *, start=0, end=None, if_version=None):
        download = super().read(path, start=start, end=end, if_version=if_version if self.versions else None)
        return VerifiedDownload(self.shown(download.entry), iter(download), start=start, end=end)

    def write(self, path, source, **how):
        return self.shown(super().write(path, source, **how))

    def copy(self, src, dst):
        return self.shown(super().copy(src, dst))

    def move(self, src, dst):
        return self.shown(super().move(src, dst))

    def set_modified(self, path, modified_ns):
        return self.shown(super().set_modified(path, modified_ns))


CONDITIONS = Cap.IF_VERSION | Cap.IF_ABSENT
KINDS = {
    "all": {},
    "s3": {"listed_time": False, "hashes": frozenset({"md5"})},
    "webdav": {"hashes": frozenset(), "time_precision_ns": 10**9, "without": CONDITIONS | Cap.DELETE_MANY | Cap.COPY},
    "sugarsync": {"hashes": frozenset(), "time_precision_ns": None, "listed_time": False, "without": CONDITIONS},
    "blind": {
        "versions": False, "hashes": frozenset(), "time_precision_ns": None, "listed_time": False,
        "without": CONDITIONS | Cap.DELETE_MANY | Cap.COPY | Cap.WALK,
    },
}  # fmt: skip
PAIRS = [("all", "s3"), ("all", "webdav"), ("all", "sugarsync"), ("s3", "all"), ("webdav", "blind"), ("blind", "s3")]


def files(store):
    return {path: data for path, data in held(store).items() if data is not None and not is_hidden(path)}


class SyncMachine(RuleBasedStateMachine):
    kinds = ("all", "all")

    @initialize()
    def begin(self):
        self.folder = tempfile.mkdtemp(prefix="cftool-sync-")
        src, dst = (Service(**KINDS[kind]) for kind in self.kinds)
        src._features = replace(src.features, identity="memory/src")
        dst._features = replace(dst.features, identity="memory/dst")
        self.src, self.dst = src, dst
        self.bench = Bench(remote(src, "memory/src"), remote(dst, "memory/dst"), self.folder)
        self.number = itertools.count(10_000)
        self.made: dict[str, set[bytes]] = {}

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    # ---- what people do

    def edit(self, store, path, when):
        """A new content of the same size."""
        data = b"%d" % next(self.number)
        try:
            put(store, path, data, when)
        except StoreError:
            return  # a directory is there, or a file above it
        self.made.setdefault(path, set()).add(data)

    @rule(path=PATHS, when=TIMES)
    def edit_source(self, path, when):
        self.edit(self.src, path, when)

    @rule(path=PATHS, when=OTHER_TIMES)
    def edit_destination(self, path, when):
        self.edit(self.dst, path, when)

    @rule(path=PATHS)
    def edit_without_a_trace(self, path):
        """The source's file gets new bytes and its old time."""
        try:
            self.edit(self.src, path, self.src.inner.stat(path).modified_ns)
        except StoreError:
            pass

    @rule(path=PATHS, there=st.booleans())
    def delete(self, path, there):
        try:
            (self.dst if there else self.src).inner.delete(path)
        except StoreError:
            pass

    @rule(old=PATHS, new=PATHS)
    def rename(self, old, new):
        try:
            self.src.inner.move(old, new)
        except StoreError:
            return
        for path in files(self.src):
            if path == new or path.startswith(new + "/"):
                self.made.setdefault(path, set()).add(files(self.src)[path])

    @rule(path=PATHS, there=st.booleans())
    def make_a_directory(self, path, there):
        try:
            (self.dst if there else self.src).inner.mkdir(path)
        except StoreError:
            pass

    @rule(path=PATHS, there=st.booleans())
    def remove_a_directory(self, path, there):
        try:
            (self.dst if there else self.src).inner.rmdir(path)
        except StoreError:
            pass

    # ---- runs

    FLAGS = st.fixed_dictionaries(
        {},
        optional={
            "checksum": st.just(True), "track_renames": st.just(True), "trash": st.just(TRASH),
            "delete": st.just(False), "allow_empty_source": st.just(True), "ignore_times": st.just(True),
            "verify": st.sampled_from(list(Verify)),
        },
    )  # fmt: skip

    def run(self, **flags):
        """A sync, and what holds after any."""
        source, before = held(self.src), files(self.dst)
        try:
            summary = self.bench.sync(**flags)
        except CftoolError:
            summary = None  # refused, or the first thing that was looked at failed
        finally:
            self.src.reset()
            self.dst.reset()
        after = files(self.dst)
        assert held(self.src) == source
        wanted = {path: data for path, data in source.items() if data is not None}
        for path, data in after.items():
            assert "replaced-" in path or data in self.made[path], f"{path} holds what it never held"
        if flags.get("verify") is not Verify.READBACK:  # which removes a copy that it takes for a bad one
            # In the trash, or under the name that the error tells, where it could not be put back.
            there = set(held(self.dst).values())
            lost = [path for path in before if path in wanted and path not in after and before[path] not in there]
            assert not lost, f"{lost} went, and the source has it"
        if not flags.get("delete", True):
            assert not [path for path in before if path not in after and path not in wanted]
        return summary, wanted, after

    @rule(flags=FLAGS)
    def sync(self, flags):
        summary, wanted, after = self.run(**flags)
        assert summary is not None
        # Without deletions nothing makes way for what has the same name and is of another kind.
        in_the_way = set() if flags.get("delete", True) else {"not_a_directory", "is_a_directory"}
        assert not summary.errors.keys() - in_the_way, self.bench.events
        if summary.withheld:
            assert summary.why
            return
        if flags.get("delete", True):
            same = {path for path in after if path in wanted and after[path] == wanted[path]}
            assert set(after) == set(wanted)
            unsure = summary.compared_by.get("size_only", 0)
            assert len(wanted) - len(same) <= unsure, f"{set(wanted) - same} differ in silence"
        assert not summary.errors or not flags["delete"]
        if flags.get("ignore_times") or flags.get("checksum") or summary.errors:
            return
        self.dst.calls.clear()
        again, _, _ = self.run(**flags)
        assert again.copied == again.deleted == again.moved == 0
        changed = {name: count for name, count in self.dst.calls.items() if name in CHANGES and count}
        assert not changed.keys() - {"delete_many"}, changed

    @rule(flags=FLAGS)
    def a_dry_run_changes_nothing(self, flags):
        before = held(self.dst)
        self.run(dry_run=True, **flags)
        assert held(self.dst) == before

    @rule(
        flags=FLAGS, there=st.booleans(), skip=st.integers(0, 30), times=st.integers(1, 4),
        error=st.sampled_from([TemporaryError, PermissionDenied, IntegrityError, NotFound]),
    )  # fmt: skip
    def sync_with_faults(self, flags, there, skip, times, error):
        """Some calls in a row fail, whatever they are."""
        calls = itertools.count()

        def before(op, path):
            if skip <= next(calls) < skip + times:
                raise error("spoiled", op=op, path=str(path))

        (self.dst if there else self.src).before = before
        self.run(**flags)

    @rule(flags=FLAGS, skip=st.integers(0, 30))
    def sync_that_is_interrupted(self, flags, skip):
        calls = itertools.count()
        stopping = False

        def before(op, path):
            nonlocal stopping
            stopping = stopping or next(calls) >= skip

        self.src.before = self.dst.before = before
        self.bench.cancelled = lambda: stopping
        try:
            self.run(**flags)
        finally:
            self.bench.cancelled = lambda: False

    @rule(flags=FLAGS, path=PATHS, when=OTHER_TIMES, skip=st.integers(0, 20))
    def an_edit_of_the_destination_meanwhile(self, flags, path, when, skip):
        """Whoever wins: nothing is torn, and the next run makes both sides equal."""
        calls = itertools.count()

        def before(op, _path):
            if next(calls) == skip:
                self.edit(self.dst, path, when)

        self.dst.before = before
        self.run(**flags)

    @precondition(lambda self: files(self.src))
    @rule(data=st.data(), flags=FLAGS)
    def a_listing_that_lacks_a_file(self, data, flags):
        """The source is looked at again before anything is deleted."""
        gone = data.draw(st.sampled_from(sorted(files(self.src))))
        walked = self.src.walked
        lists = itertools.count()

        def once(entries):
            first = next(lists) == 0
            return (e for e in entries if not first or e.path != gone)

        self.src.walked = once
        try:
            self.run(**flags)
        finally:
            self.src.walked = walked


@pytest.mark.timeout(7200 if FULL else 300)
@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
def test_any_history_of_two_trees(kinds, record_property):
    machine = type("SyncMachine", (SyncMachine,), {"kinds": kinds})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=PROGRAMS, stateful_step_count=STEPS, deadline=None, derandomize=True, print_blob=True,
            database=None, phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    record_property(f"programs of {STEPS} steps", PROGRAMS)
