"""The dataclass that is made quickly behaves as the standard one where somebody looks."""

import copy
import dataclasses
import pickle
from dataclasses import field

import pytest

from cftool.core.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A frozen one."""

    x: int
    names: tuple[str, ...] = ()
    note: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class Named(Point):
    """A frozen one, with one field more."""

    name: str = "n"


@dataclass(slots=True)
class Mutable:
    """One that may change."""

    items: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Nothing:
    """No fields."""


@dataclass(slots=True, eq=False)
class Same:
    """Equal to itself only."""

    x: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Quiet:
    """With a word of its own."""

    secret: str

    def __repr__(self) -> str:
        return "Quiet(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quiet)

    __hash__ = object.__hash__


def test_equal_are_those_of_one_class_whose_compared_fields_are():
    assert Point(1, ("a",), "this") == Point(1, ("a",), "that")
    assert Point(1) != Point(2)
    assert Point(1) != Named(1)
    assert Named(1, name="a") != Named(1, name="b")
    assert Nothing() == Nothing()
    assert Nothing() != Point(1)
    assert Mutable([1]) == Mutable([1])
    assert Same() != Same()
    assert Quiet("a") == Quiet("b")


def test_the_frozen_are_found_by_their_values_and_what_may_change_has_no_hash():
    assert {Point(1, note="a"), Point(1, note="b"), Named(1), Named(1)} == {Point(1), Named(1)}
    assert len({Nothing(), Nothing()}) == 1
    assert len({Same(), Same()}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Mutable())


def test_it_tells_its_fields_but_those_that_it_hides():
    assert repr(Named(1, ("a",), "hidden")) == "Named(x=1, names=('a',), name='n')"
    assert (repr(Nothing()), repr(Mutable()), repr(Quiet("s"))) == ("Nothing()", "Mutable(items=[])", "Quiet(***)")


def test_the_standard_tools_work_with_it():
    point = Point(1, ("a",), "note")
    assert dataclasses.replace(point, x=2) == Point(2, ("a",))
    assert dataclasses.asdict(Mutable([1])) == {"items": [1]}
    assert [each.name for each in dataclasses.fields(Named)] == ["x", "names", "note", "name"]
    assert dataclasses.is_dataclass(point)
    assert (copy.deepcopy(point), pickle.loads(pickle.dumps(point))) == (point, point)
    match point:
        case Point(x, names):
            assert (x, names) == (1, ("a",))


def test_slots_take_no_other_name():
    with pytest.raises(AttributeError):
        Point(1).other = 1
