"""Requests in Protocol Buffers: what is large is read once it is known who calls, and counted before it is built.

To build a message of millions of values that take two bytes each holds up the loop for seconds, on whatever thread:
protobuf lets nobody else run meanwhile. So no more than `MAX_VALUES` are looked at. The bytes themselves cost little.

The wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar, cast

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from postwire.api.call import OtherStatus
from postwire.core.errors import FieldViolation, MessageTooLarge

LARGE: Final = 256 << 10
"""From how many bytes on a request is counted. Less is built within 20 ms, whatever is in it."""

MAX_VALUES: Final = 20_000
"""How many values such a request may have, those of lists and maps and of what is in them: ten times as many as there
can be in any that is within its limits."""

LONG: Final = 64 << 10
"""How many bytes one of its texts may have. More than any may have that is within its limits: to look for what may not
be in 32 MiB takes half a second."""

_CONTENTS: Final = frozenset(("postwire.v1.Email.text", "postwire.v1.Email.html"))
"""Texts of which nothing is looked for, and which may be as large as a message."""

_TOO_MANY: Final = f"must have less in it: a request may have at most {MAX_VALUES:,} values"
_TOO_LONG: Final = f"must have at most {LONG:,} bytes"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10
_TYPE_BITS: Final = 3
_TYPE: Final = (1 << _TYPE_BITS) - 1

M = TypeVar("M", bound=Message)


def reader_of(message_class: type[M]) -> Callable[[bytes], M | Large]:
    """What a transport is to read requests with."""
    from_string = message_class.FromString
    return lambda data: from_string(data) if len(data) <= LARGE else Large(data, message_class)


def read(request: Any) -> Any:
    """The message that a transport has read, or that is to be read now.

    Raises:
        MessageTooLarge, OtherStatus: see `parse`.
    """
    return request.read() if type(request) is Large else request


def parse(data: bytes, message_class: type[M]) -> M:
    """The message that `data` stands for.

    Raises:
        MessageTooLarge: it has too many values, or one that is too long.
        OtherStatus: it is none. It carries no reason of ours, as where gRPC reads it.
    """
    try:
        if len(data) > LARGE:
            _count(data, 0, len(data), _plan_of(message_class.DESCRIPTOR), MAX_VALUES)
        return message_class.FromString(data)
    except _TooMuch as error:
        path = ".".join(reversed(error.names))
        violation = FieldViolation(path, error.problem)
        raise MessageTooLarge(f"{path or 'the request'}: {error.problem}", [violation]) from None
    except (DecodeError, IndexError):
        raise _unreadable(message_class) from None


def _unreadable(message_class: type[Message]) -> OtherStatus:
    return OtherStatus(grpc.StatusCode.INVALID_ARGUMENT, f"the body is no {message_class.DESCRIPTOR.full_name}")


class Large:
    """A request that is large, as it has come in."""

    __slots__ = ("_data", "_message_class")

    def __init__(self, data: bytes, message_class: type[Message]) -> None:
        self._data = data
        self._message_class = message_class

    def read(self) -> Message:
        """Return the message, once.

        Raises:
            MessageTooLarge, OtherStatus: see `parse`.
        """
        data, self._data = self._data, b""
        return parse(data, self._message_class)

    async def read_in_turn(self) -> Message:
        """Do the same, with a turn for everybody else before and after: to take the bytes from gRPC, this, and what
        becomes of the message then may take tens of milliseconds each.
        """
        await asyncio.sleep(0)
        message = self.read()
        await asyncio.sleep(0)
        return message

    def parts(self, name: str) -> Iterator[Large | None]:
        """Return what is in the list `name`, one by one, to be read for itself; None for whatever else is there.

        Raises:
            OtherStatus: from here on, it cannot be read.
        """
        field = self._message_class.DESCRIPTOR.fields_by_name[name]
        part_class = GetMessageClass(cast(Descriptor, field.message_type))
        key, at, data = field.number << _TYPE_BITS | _BYTES, 0, self._data
        while at < len(data):
            try:
                found, value, end = _field(data, at, len(data))
            except (DecodeError, IndexError):
                raise _unreadable(self._message_class) from None
            yield Large(data[value:end], part_class) if found == key else None
            at = end


class _Plan(NamedTuple):
    """What there is in a message, by the numbers of its fields. Lists of numbers may be packed."""

    names: Mapping[int, str]
    messages: Mapping[int, Descriptor]
    packed: frozenset[int]
    texts: frozenset[int]


@cache
def _plan_of(descriptor: Descriptor) -> _Plan:
    fields = descriptor.fields
    return _Plan(
        names={field.number: field.name for field in fields},
        messages={field.number: field.message_type for field in fields if field.message_type},
        packed=frozenset(field.number for field in fields if field.is_repeated and _is_number(field)),
        texts=frozenset(
            field.number
            for field in fields
            if field.type == FieldDescriptor.TYPE_STRING and field.full_name not in _CONTENTS
        ),
    )


def _is_number(field: FieldDescriptor) -> bool:
    return field.cpp_type not in (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE)


class _TooMuch(Exception):
    """There are too many values, or one is too long. `names` are those of the fields that lead there, the innermost
    first; nothing where the field is not known, or part of a map, of which no path tells.
    """

    def __init__(self, problem: str, name: str | None) -> None:
        super().__init__()
        self.problem = problem
        self.names = [] if name is None else [name]


def _count(data: bytes, at: int, end: int, plan: _Plan, left: int) -> int:
    """Count the values from one place to another, which there may be `left` of; returns how many more there may be.

    Raises:
        _TooMuch
        DecodeError, IndexError: this is no message.
    """
    while at < end:
        key, value, at = _field(data, at, end)
        number = key >> _TYPE_BITS
        left -= 1
        if key & _TYPE == _BYTES:
            inner = plan.messages.get(number)
            if inner is not None:
                try:
                    left = _count(data, value, at, _plan_of(inner), left)
                except _TooMuch as error:
                    if inner.GetOptions().map_entry:
                        error.names.clear()
                    error.names.append(plan.names[number])
                    raise
            elif number in plan.packed:
                left -= at - value  # each takes a byte at least
            elif at - value > LONG and number in plan.texts:
                raise _TooMuch(_TOO_LONG, plan.names[number])
        if left < 0:
            raise _TooMuch(_TOO_MANY, plan.names.get(number))
    return left


def _field(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """The key of the field that begins at a place, where its value begins, and where it ends.

    Raises:
        DecodeError, IndexError: there is none.
    """
    key, at = _varint(data, at)
    value = at
    kind = key & _TYPE
    if kind == _BYTES:
        length, value = _varint(data, at)
        at = value + length
    elif kind == _VARINT:
        _, at = _varint(data, at)
    elif kind == _FIXED64:
        at += 8
    elif kind == _FIXED32:
        at += 4
    else:  # groups, of which the contract has none
        raise DecodeError
    if at > end:
        raise DecodeError
    return key, value, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and where it ends."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    found = 0
    for index in range(_LONGEST_VARINT):
        byte = data[at + index]
        found |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return found, at + index + 1
    raise DecodeError
