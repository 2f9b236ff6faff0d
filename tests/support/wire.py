"""Bytes of Protocol Buffers that no library would write: https://protobuf.dev/programming-guides/encoding/."""

from __future__ import annotations

from google.protobuf.message import Message


def field(name: str | int, value: bytes, message_class: type[Message] = Message) -> bytes:
    """A field of a message, by its name or its number, with bytes in it."""
    number = message_class.DESCRIPTOR.fields_by_name[name].number if isinstance(name, str) else name
    return _number(number << 3 | 2) + _number(len(value)) + value


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))
