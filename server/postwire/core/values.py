"""What the values on the path of a message are made of: classes and enums that cost next to nothing.

Every message makes some dozens of them, so what each costs is a good part of what a message does. See docs/adr/0040.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def frozen(cls: type[T], /) -> type[T]: ...


@overload
def frozen(*, repr: bool = True) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T] | None = None, /, *, repr: bool = True) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a dataclass with slots that is frozen for the type checker, and not at run time.

    As `dataclass(frozen=True, slots=True)` in all but that: it is compared, hashed, shown, and copied by `replace` in
    the same way. To hold every assignment off, that one has its own `__init__` call `object.__setattr__` for each
    field, and takes three times as long. This is for values that every message makes; what is made once may be frozen
    in earnest.
    """

    def made(cls: type[T]) -> type[T]:
        return dataclass(slots=True, repr=repr, unsafe_hash=True)(cls)

    return made if cls is None else made(cls)


class Word(enum.Enum):
    """One of a few words that are known ahead.

    Python 3.11 hashes a member by its name, and reads its value, in Python code. There is one object of each, which
    equals nothing but itself, so that its identity is as good a hash.
    """

    __hash__ = object.__hash__

    if not TYPE_CHECKING:  # to which it is what it is in every enum
        value = property(operator.attrgetter("_value_"))


class Private:
    """Shows its type and nothing else."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
