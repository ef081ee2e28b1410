"""Entries, errors, secrets and the bases of wrappers: the values that every layer relies on."""

import pickle
from datetime import UTC, datetime

import pytest

from cftool.core import errors
from cftool.core.errors import NotFound, RateLimited, StoreError, Unsupported
from cftool.core.provider import Context, NoMemory, Option, Provider, Secret
from cftool.core.sources import BytesSource
from cftool.core.store import Optionals
from cftool.core.types import Entry, Kind, Leftover, WriteItem
from cftool.core.wrapper import StatefulWrapper
from cftool_providers.memory import MemoryStore


def all_errors(cls=errors.CftoolError):
    """Those of this layer: what others derive from them has makers and meanings of its own."""
    ours = [sub for sub in cls.__subclasses__() if sub.__module__ == errors.__name__]
    return [cls, *(e for sub in ours for e in all_errors(sub))]


# ---- entries


def test_an_entry_tells_name_kind_and_times():
    entry = Entry("dir/file", Kind.FILE, 5, 1_500_000_000_123_456_789, 0)
    assert (entry.name, entry.is_dir) == ("file", False)
    assert entry.modified == datetime(2017, 7, 14, 2, 40, 0, 123456, tzinfo=UTC)
    assert entry.stored == datetime(1970, 1, 1, tzinfo=UTC)
    assert Entry("", Kind.DIRECTORY).name == ""
    assert Entry("", Kind.DIRECTORY).is_dir
    assert Entry("x", Kind.FILE).modified is None


def test_a_time_before_the_epoch_is_not_a_microsecond_off():
    assert Entry("x", Kind.FILE, modified_ns=-1).modified == datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def test_at_changes_the_path_alone():
    entry = Entry("a", Kind.FILE, 1, 2, 3, "v", "i", {"md5": "x"})
    assert entry.at("b/c") == entry._replace(path="b/c")
    assert len(entry) == len(Entry._fields)


# ---- errors


@pytest.mark.parametrize("cls", [e for e in all_errors() if issubclass(e, StoreError)])
def test_an_error_keeps_what_it_knows_over_pickling(cls):
    error = cls("message", op="read", path="a/b", store="work", retry_after=1.5)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert (str(again), again.op, again.path, again.store, again.retry_after) == ("message", "read", "a/b", "work", 1.5)


def test_context_is_filled_in_but_not_replaced():
    error = NotFound("not found", path="")
    assert error.at(op="stat", path="other", store="work") is error
    assert (error.op, error.path, error.store) == ("stat", "", "work")
    assert error.at(op="read", store="inner").op == "stat"


@pytest.mark.parametrize(("cls", "kind"), [(NotFound, "not_found"), (RateLimited, "rate_limited")])
def test_the_kind_is_the_name_in_json(cls, kind):
    assert cls("x").kind == kind


def test_only_temporary_errors_are_retryable():
    retryable = {e.__name__ for e in all_errors() if getattr(e, "retryable", False)}
    assert retryable == {"TemporaryError", "RateLimited", "ConnectionFailed"}


@pytest.mark.parametrize("cls", all_errors())
def test_each_error_stands_in_the_picture_of_the_module(cls):
    elsewhere = cls.__module__ != errors.__name__  # a layer's own, which no other layer sees
    assert cls.__name__ in errors.__doc__ or cls is errors.CftoolError or elsewhere


# ---- secrets and options


def test_a_secret_does_not_show_itself():
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    for shown in (str(secret), repr(secret), f"{secret}", f"{secret!r}", str([secret]), str({"a": secret})):
        assert "hunter2" not in shown
    assert secret == Secret("hunter2")
    assert secret != Secret("other")
    assert secret != "hunter2"
    assert len({secret, Secret("hunter2")}) == 1
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(secret)


def test_a_provider_knows_its_options():
    option = Option("region", "where")
    provider = Provider("x", "", "", (option,), lambda values, context: MemoryStore())
    assert provider.option("region") is option
    assert provider.option("regoin") is None


def test_a_context_has_an_empty_world_by_default():
    context = Context()
    assert dict(context.env) == {}
    context.memory.set("key", "value")
    assert context.memory.get("key") is None
    assert isinstance(context.memory, NoMemory)


# ---- bases


class Bare(Optionals):
    name = "bare"


@pytest.mark.parametrize(
    ("op", "call"),
    [
        ("walk", lambda s: s.walk("p")),
        ("tree", lambda s: s.tree("p")),
        ("copy", lambda s: s.copy("p", "q")),
        ("move", lambda s: s.move("p", "q")),
        ("set_modified", lambda s: s.set_modified("p", 1)),
        ("write_many", lambda s: s.write_many([])),
        ("read_many", lambda s: s.read_many([])),
        ("delete_dir", lambda s: s.delete_dir("p")),
        ("delete_many", lambda s: s.delete_many([])),
        ("link", lambda s: s.link("p")),
        ("changes", lambda s: s.changes(None)),
        ("usage", lambda s: s.usage()),
        ("leftovers", lambda s: s.leftovers("p")),
        ("remove_leftover", lambda s: s.remove_leftover(Leftover("p", "1"))),
    ],
)
def test_what_a_provider_does_not_override_is_unsupported_at_the_call(op, call):
    with pytest.raises(Unsupported, match=f"bare cannot do {op}") as caught:
        call(Bare())
    assert (caught.value.op, caught.value.store, caught.value.path) in {(op, "bare", "p"), (op, "bare", None)}


class Journal(StatefulWrapper):
    """The smallest stateful wrapper: its single members are its own, its batches run through them."""

    def __init__(self, inner):
        super().__init__(inner)
        self.seen = []

    def write(self, path, source, *, modified_ns=None, if_version=None, if_absent=False):
        self.seen.append(("write", path, modified_ns, if_version, if_absent))
        if path == "bad":
            raise NotFound("on purpose", path=path)
        return Entry(path, Kind.FILE)

    def delete(self, path):
        self.seen.append(("delete", path))
        if path == "gone":
            raise NotFound("gone", path=path)
        if path == "bad":
            raise StoreError("on purpose", path=path)

    def rmdir(self, path):
        self.seen.append(("rmdir", path))


def test_batches_of_a_stateful_wrapper_run_through_its_own_members():
    store = Journal(MemoryStore())
    items = [WriteItem("a", BytesSource(b""), 1, "v", if_absent=True, tag=1), WriteItem("bad", BytesSource(b""), tag=2)]
    results = list(store.write_many(items))
    assert [(r.path, r.tag, type(r.error).__name__) for r in results] == [("a", 1, "NoneType"), ("bad", 2, "NotFound")]
    entries = [Entry("a", Kind.FILE), Entry("gone", Kind.FILE), Entry("bad", Kind.FILE), Entry("d", Kind.DIRECTORY)]
    results = list(store.delete_many(entries))
    assert [(r.path, r.entry is None, r.error is None) for r in results] == [
        ("a", False, True),
        ("gone", False, True),
        ("bad", True, False),
        ("d", False, True),
    ]
    assert store.seen == [
        ("write", "a", 1, "v", True),
        ("write", "bad", None, None, False),
        ("delete", "a"),
        ("delete", "gone"),
        ("delete", "bad"),
        ("rmdir", "d"),
    ]
    assert store.name == "memory"


@pytest.mark.parametrize(
    "call", [lambda s: s.write("p", BytesSource(b"")), lambda s: s.delete("p"), lambda s: s.rmdir("p")]
)
def test_a_stateful_wrapper_forwards_nothing_by_itself(call):
    inner = MemoryStore()
    inner.write("p", BytesSource(b"kept"))
    with pytest.raises(Unsupported):
        call(StatefulWrapper(inner))
    assert inner.read("p").read() == b"kept"


def test_bytes_are_a_source_that_never_changes():
    source = BytesSource(b"abc")
    with source.open() as one, source.open() as two:
        assert (one.read(1), two.read(), one.read()) == (b"a", b"abc", b"bc")
    assert (source.size, source.local_path, source.load()) == (3, None, b"abc")
    source.check()
    changed = bytearray(b"abc")
    source = BytesSource(memoryview(changed))
    changed[:] = b"xyz"
    assert source.load() == b"abc"
    with pytest.raises(TypeError, match="content is bytes, not str"):
        BytesSource("abc")
