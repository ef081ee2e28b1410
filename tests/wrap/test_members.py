"""No wrapper forgets a member of Store: what is not forwarded would silently miss the wrapper's point."""

import inspect

import pytest

from cftool.core.store import Optionals, Store
from cftool.core.wrapper import StatefulWrapper, Wrapper
from cftool.wrap.archiving import ArchivingStore
from cftool.wrap.check import CheckStore
from cftool.wrap.metadata.store import MetadataCachingStore
from cftool.wrap.prefix import PrefixStore
from cftool.wrap.readonly import ReadOnlyStore
from cftool.wrap.resume import ResumeStore

MEMBERS = sorted(name for name in vars(Store) if not name.startswith("_") and name != "name")
OPTIONAL = sorted(name for name in vars(Optionals) if not name.startswith("_") and name != "name")


def members(cls):
    return {name for base in cls.__mro__ if base not in (object, Store) for name in vars(base)}


def signature(cls, name):
    """Names, kinds and defaults: annotations may be narrower."""
    parameters = inspect.signature(getattr(cls, name)).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters]


def test_the_protocol_has_the_members_we_think_of():
    assert {"stat", "scan", "read", "write", "delete", "mkdir", "rmdir", "close", "features"} <= set(MEMBERS)
    assert set(OPTIONAL) < set(MEMBERS)


def test_wrapper_has_every_member_itself():
    assert [name for name in MEMBERS if name not in vars(Wrapper)] == []


@pytest.mark.parametrize(
    "cls", [CheckStore, ReadOnlyStore, ResumeStore, PrefixStore, MetadataCachingStore, ArchivingStore]
)
@pytest.mark.parametrize("name", MEMBERS)
def test_wrapper_has_each_member_as_the_protocol_says_it(cls, name):
    assert name in members(cls)
    if name != "features":
        assert signature(cls, name) == signature(Store, name)


@pytest.mark.parametrize("cls", [PrefixStore, MetadataCachingStore, ArchivingStore])
def test_stateful_wrapper_answers_for_each_member_itself(cls):
    assert issubclass(cls, StatefulWrapper)
    own = {name for base in cls.__mro__ if base not in (StatefulWrapper, Optionals, object) for name in vars(base)}
    assert [name for name in MEMBERS if name not in own and name != "close"] == []


def test_check_puts_its_checks_before_each_member():
    assert [name for name in MEMBERS if name not in vars(CheckStore) and name not in {"features", "close"}] == []


class Recorder:
    """A store that only notes which member was called, and with what."""

    name = "recorder"

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        if name not in MEMBERS:
            raise AttributeError(name)

        def member(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            return f"answer of {name}"

        return member

    features = "the features"


@pytest.mark.parametrize("name", [name for name in MEMBERS if name != "features"])
def test_wrapper_forwards_arguments_and_answer(name):
    inner = Recorder()
    wrapper = Wrapper(inner)
    parameters = list(inspect.signature(getattr(Wrapper, name)).parameters.values())[1:]
    args = [f"value of {p.name}" for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    kwargs = {p.name: f"value of {p.name}" for p in parameters if p.kind is p.KEYWORD_ONLY}
    answer = getattr(wrapper, name)(*args, **kwargs)
    assert inner.calls == [(name, tuple(args), kwargs)]
    returns = inspect.signature(getattr(Wrapper, name)).return_annotation
    assert answer == (None if returns is None else f"answer of {name}")


def test_wrapper_shows_the_inner_name_and_features():
    wrapper = Wrapper(Recorder())
    assert (wrapper.name, wrapper.features) == ("recorder", "the features")
