"""Resume: the bytes and the hash are those of one version, whatever breaks on the way."""

import hashlib
import random
from dataclasses import replace

import pytest

from cftool.core.download import VerifiedDownload
from cftool.core.errors import ConnectionFailed, IntegrityError, PreconditionFailed, RateLimited, TemporaryError
from cftool.core.sources import BytesSource
from cftool.core.types import Cap
from cftool.testing.faulty import Fault, FaultyStore
from cftool.wrap.resume import ResumeStore
from cftool_providers.memory import MemoryStore

DATA = random.Random(5).randbytes(300_000)


@pytest.fixture
def memory():
    store = MemoryStore()
    store.write("file", BytesSource(DATA))
    return store


def opened(memory, *faults, attempts=5):
    faulty = FaultyStore(memory, {"read": faults})
    return ResumeStore(faulty, attempts=attempts), faulty


class BreakingStore(MemoryStore):
    """Breaks below the provider's own verification, as a socket does: at each offset of `breaks` once."""

    def __init__(self, breaks, error=lambda: ConnectionFailed("reset"), damage=None, **changes):
        super().__init__()
        self.breaks = list(breaks)
        self.error = error
        self.damage = damage
        self.changes = changes
        self.opened = []
        self.closed = 0

    def read(self, path, *, start=0, end=None, if_version=None):
        self.opened.append((start, end, if_version))
        inner = super().read(path, start=start, end=end, if_version=if_version)

        def chunks():
            at = start
            for chunk in inner:
                if self.damage is not None and at <= self.damage < at + len(chunk):
                    here = self.damage - at
                    chunk = chunk[:here] + bytes([chunk[here] ^ 1]) + chunk[here + 1 :]
                for stop in sorted(self.breaks):
                    if at <= stop < at + len(chunk):
                        self.breaks.remove(stop)
                        if stop > at:
                            yield chunk[: stop - at]
                        raise self.error()
                yield chunk
                at += len(chunk)
            if at in self.breaks:  # after the last byte: the end is not proven
                self.breaks.remove(at)
                raise self.error()

        def close():
            self.closed += 1

        return VerifiedDownload(inner.entry._replace(**self.changes), chunks(), start=start, end=end, close=close)


def breaking(breaks, **kwargs):
    store = BreakingStore(breaks, **kwargs)
    store.write("file", BytesSource(DATA))
    return store


def test_a_whole_download_passes_untouched(memory):
    store, faulty = opened(memory)
    with store.read("file") as download:
        assert download.entry == memory.stat("file")
        assert download.read() == DATA
    assert faulty.calls["read"] == 1


@pytest.mark.parametrize("at", [0, 1, 65_535, 65_536, 65_537, 200_000, len(DATA) - 1, len(DATA)])
def test_a_broken_download_goes_on_at_its_offset(at):
    inner = breaking([at])
    version = inner.stat("file").version
    with ResumeStore(inner).read("file") as download:
        assert hashlib.sha256(b"".join(download)).digest() == hashlib.sha256(DATA).digest()
    assert len(inner.opened) == 2
    # It is asked for what did not come yet, and only of the same version.
    assert inner.opened[1][0] <= at
    assert inner.opened[1][1:] == (None, version)
    assert inner.closed == 2


@pytest.mark.parametrize("at", [0, 70_000, len(DATA)])
def test_it_resumes_where_the_provider_hashes_nothing_itself(memory, at):
    store, faulty = opened(memory, Fault(at=at))
    assert store.read("file").read() == DATA
    assert faulty.calls["read"] == 2


def test_several_breaks_are_survived_while_there_is_progress():
    breaks = list(range(1000, 300_000, 10_000))
    inner = breaking(breaks)
    assert ResumeStore(inner, attempts=1).read("file").read() == DATA
    assert len(inner.opened) == len(breaks) + 1


def test_a_range_is_resumed_within_its_range():
    inner = breaking([150_000])
    assert ResumeStore(inner).read("file", start=100_000, end=250_000).read() == DATA[100_000:250_000]
    assert [o[:2] for o in inner.opened] == [(0 + 100_000, 250_000), (150_000, 250_000)]


def test_a_range_up_to_the_end_is_resumed():
    inner = breaking([150_000])
    assert ResumeStore(inner).read("file", start=100_000).read() == DATA[100_000:]


def test_reading_by_size_is_resumed_too():
    with ResumeStore(breaking([100_000])).read("file") as download:
        pieces = [download.read(99_999), download.read(2), download.read()]
    assert [len(p) for p in pieces] == [99_999, 2, len(DATA) - 100_001]
    assert b"".join(pieces) == DATA


def test_a_file_that_changed_meanwhile_is_not_patched_together():
    inner = breaking([100_000])
    with ResumeStore(inner).read("file") as download:
        chunks = iter(download)
        next(chunks)
        inner.write("file", BytesSource(bytes(len(DATA))))
        with pytest.raises(PreconditionFailed):
            list(chunks)


@pytest.mark.parametrize("changes", [{"version": None}])
def test_without_a_version_nothing_is_resumed(changes):
    inner = breaking([100_000], **changes)
    with pytest.raises(ConnectionFailed):
        ResumeStore(inner).read("file").read()
    assert len(inner.opened) == 1


def test_without_ranges_nothing_is_resumed():
    inner = breaking([100_000])
    inner._features = replace(inner.features, caps=inner.features.caps & ~Cap.RANGES)
    with pytest.raises(ConnectionFailed):
        ResumeStore(inner).read("file").read()


def test_it_gives_up_without_progress():
    inner = breaking([100_000] * 20)
    with pytest.raises(ConnectionFailed):
        ResumeStore(inner, attempts=3).read("file").read()
    assert len(inner.opened) == 4


def test_a_server_that_drips_is_not_waited_for_without_end():
    inner = breaking(range(1, 1000))
    with pytest.raises(ConnectionFailed):
        ResumeStore(inner).read("file").read()
    assert len(inner.opened) == 101


@pytest.mark.parametrize("error", [RateLimited, TemporaryError])
def test_any_passing_error_is_resumed(error):
    assert ResumeStore(breaking([5], error=lambda: error("busy"))).read("file").read() == DATA


def test_an_error_that_does_not_pass_is_raised_at_once():
    inner = breaking([5], error=lambda: IntegrityError("wrong"))
    with pytest.raises(IntegrityError):
        ResumeStore(inner).read("file").read()
    assert len(inner.opened) == 1


def test_an_error_while_reopening_is_raised(memory):
    store, _ = opened(memory, Fault(at=10), Fault(error=lambda: PreconditionFailed("changed")))
    with pytest.raises(PreconditionFailed):
        store.read("file").read()


@pytest.mark.parametrize("damage", [0, 99_999, 100_000, 100_001, len(DATA) - 1])
def test_a_wrong_byte_before_or_after_the_break_is_found(damage):
    with pytest.raises(IntegrityError, match="sha256"):
        ResumeStore(breaking([100_000], damage=damage)).read("file").read()


@pytest.mark.parametrize("damage", [5, len(DATA) - 1])
def test_a_wrong_byte_is_found_where_the_provider_hashes_nothing_itself(memory, damage):
    store, _ = opened(memory, Fault(at=damage, flip=True))
    with pytest.raises(IntegrityError):
        store.read("file").read()


def test_what_cannot_be_hashed_here_is_still_whole():
    inner = breaking([100_000], hashes={"of_the_service": "abc"})
    assert ResumeStore(inner).read("file").read() == DATA


def test_the_hash_goes_on_and_nothing_is_hashed_twice(monkeypatch):
    from cftool.core import hashing

    made = []
    new = hashing.new
    monkeypatch.setattr(hashing, "new", lambda name: made.append(name) or new(name))
    assert breaking([]).read("file").read() == DATA
    bare = len(made)
    assert ResumeStore(breaking([100_000, 200_000])).read("file").read() == DATA
    assert len(made) == 2 * bare


def test_a_stream_that_ends_early_without_an_error_is_found(memory):
    store, _ = opened(memory, Fault(at=100, quiet=True), Fault(at=100, quiet=True))
    with pytest.raises(IntegrityError):
        store.read("file").read()
    with pytest.raises(IntegrityError, match="ended after 100"):
        store.read("file", start=10).read()


def test_a_download_that_is_closed_early_closes_what_is_open():
    inner = breaking([])
    with ResumeStore(inner).read("file") as download:
        assert download.read(10) == DATA[:10]
    assert inner.closed == 1


def test_an_unknown_size_is_resumed_too():
    inner = breaking([100_000], size=None)
    assert ResumeStore(inner).read("file").read() == DATA
