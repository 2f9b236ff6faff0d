"""Values of messages are what frozen dataclasses and enums are, but for what they cost."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field, fields, replace

import pytest

from postwire.core.values import Word, frozen


@frozen
class Cheap:
    """A value of a message."""

    number: int
    text: str = field(default="", repr=False)
    several: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InEarnest:
    """The same, made in the usual way."""

    number: int
    text: str = field(default="", repr=False)
    several: tuple[int, ...] = ()


class Colour(Word):
    """What there is of a few words."""

    RED = "red"
    GREEN = "green"


def test_the_type_checker_holds_off_assignments() -> None:
    value = Cheap(1)

    # The check fails where this comment is of no use: where mypy would let the assignment pass.
    value.number = 2  # type: ignore[misc]

    with pytest.raises(AttributeError):
        value.other = 3  # type: ignore[attr-defined]


def test_it_is_compared_and_hashed_and_shown_as_one_that_is_frozen_in_earnest() -> None:
    one, same, other = Cheap(1, "a", (2,)), Cheap(1, "a", (2,)), Cheap(1, "b", (2,))
    of_another_class: object = InEarnest(1, "a", (2,))

    assert one == same
    assert one != other
    assert {one: "found"}[same] == "found"
    assert hash(one) == hash(of_another_class)
    assert one != of_another_class
    assert repr(one) == repr(of_another_class).replace("InEarnest", "Cheap")
    assert [one.name for one in fields(Cheap)] == [one.name for one in fields(InEarnest)]


def test_it_is_copied_with_changes() -> None:
    one = Cheap(1, "a", (2,))

    assert replace(one, text="b") == Cheap(1, "b", (2,))
    assert one.text == "a"
    assert copy.copy(one) == one
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize("member", Colour)
def test_a_word_is_what_a_member_of_an_enum_is(member: Colour) -> None:
    assert Colour(member.value) is member
    assert Colour[member.name] is member
    assert {member: member.value}[member] == member.value
    assert copy.deepcopy(member) is member
    assert pickle.loads(pickle.dumps(member)) is member
    assert repr(member) == f"<Colour.{member.name}: '{member.value}'>"


def test_the_value_of_a_word_stays() -> None:
    with pytest.raises(AttributeError):
        Colour.RED.value = "green"  # type: ignore[misc]
