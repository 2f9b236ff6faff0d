"""JSON of callers: read strictly, so that no field is passed over that its caller thinks he has set.

A `send_time` that is misspelt must not send at once. Whatever is wrong becomes the same refusal as a bad field of any
other request, by paths from the request down; no text repeats a value, nor what `json_format` says, which quotes them.
Names are those of the proto or their camel case, as https://protobuf.dev/programming-guides/json/ has it.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from postwire.api.convert import UNKNOWN_ENUM
from postwire.core.errors import FieldViolation, InvalidMessage
from postwire.core.validation import MAX_VIOLATIONS, Violations

MAX_VALUES: Final = 10_000
"""How many values JSON may have: to make messages of more would hold up the loop."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""What a field may be called. Nothing else is named in an answer: it may be a value that is in the wrong place."""

_OWN_TYPES: Final = "google.protobuf."
_TYPES: Final[Mapping[int, str]] = {
    FieldDescriptor.CPPTYPE_STRING: "must be a string",
    FieldDescriptor.CPPTYPE_BOOL: "must be true or false",
    FieldDescriptor.CPPTYPE_ENUM: UNKNOWN_ENUM,
    FieldDescriptor.CPPTYPE_FLOAT: "must be a number",
    FieldDescriptor.CPPTYPE_DOUBLE: "must be a number",
}
_WHOLE: Final = "must be a whole number that is in range"
_BYTES: Final = "must be a string in base64"
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]*|[A-Za-z0-9_-]*)={0,2}")
_TOO_MANY_COMMAS: Final = re.compile(
    rb"""(?: (?: [^",]++ | "(?:[^"\\]++|\\.)*+" )*+ , ){%d}+""" % (MAX_VALUES + 1), re.DOTALL | re.VERBOSE
)
"""Outside of strings. Nothing is tried twice."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_MESSAGES: Final = {
    "google.protobuf.Timestamp": 'must be a time such as "2030-01-31T12:00:00Z"',
    "google.protobuf.Duration": 'must be a duration such as "1.5s"',
}
_OBJECT: Final = "must be an object"
_TOO_MANY: Final = f"must have at most {MAX_VALUES:,} values"
_TWICE: Final = "must be there once"


M = TypeVar("M", bound=Message)


def read_json(data: bytes, message_class: type[M]) -> M:
    """The message that JSON stands for.

    Raises:
        InvalidMessage: naming every bad field, as far as there are any.
    """
    # Before anything is made of them: a comma goes before each value but the first of a list or an object.
    if data.count(b",") > MAX_VALUES and _TOO_MANY_COMMAS.match(data):
        raise _unreadable(_TOO_MANY)
    try:
        tree = json.loads(data.decode("utf-8"), object_pairs_hook=_object_of, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _unreadable(f"is not JSON, from line {error.lineno}, column {error.colno} on") from None
    except UnicodeDecodeError:
        raise _unreadable("is not UTF-8") from None
    except (ValueError, RecursionError):  # a number with thousands of digits, say
        raise _unreadable("is not JSON that can be read") from None
    if not isinstance(tree, dict):
        raise _unreadable("must be a JSON object, {} at the least")
    if _count(tree) > MAX_VALUES:
        raise _unreadable(_TOO_MANY)
    found = _Found()
    descriptor: Any = message_class.DESCRIPTOR  # its stub has two kinds
    _check(tree, descriptor, "", found)
    found.raise_any()
    try:
        return json_format.ParseDict(tree, message_class())
    except Exception:  # it raises whatever comes of a value
        raise _unreadable(f"is no {descriptor.full_name}") from None


def _unreadable(problem: str) -> InvalidMessage:
    return InvalidMessage(f"the body {problem}", (FieldViolation("", problem),))


class _Repeated(dict[str, Any]):
    """An object in which a name stands more than once."""

    __slots__ = ("names",)
    names: frozenset[str]


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    repeated, seen = _Repeated(made), set[str]()
    repeated.names = frozenset(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    return repeated


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError  # NaN and the infinities, which JSON has not


def _inside(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return (*value.values(),)
    return value if isinstance(value, list) else ()


def _count(tree: Any) -> int:
    count, left = 0, [tree]
    while left and count <= MAX_VALUES:
        inside = _inside(left.pop())
        count += len(inside)
        left += (one for one in inside if isinstance(one, dict | list))
    return count


def _check(tree: Any, descriptor: Descriptor, path: str, found: _Found) -> None:
    """Note what is wrong with an object that stands for a message at `path`."""
    if not isinstance(tree, dict):
        found.malformed(path, _OBJECT)
        return
    given: dict[FieldDescriptor, str] = {}
    for name, value in tree.items():
        field = descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)
        if field is None:
            _note_unknown(name, descriptor, path, found)
            continue
        here = _at(path, field.name)
        if field in given or (isinstance(tree, _Repeated) and name in tree.names):
            found.malformed(here, _TWICE)
        elif value is not None:
            rival = next(
                (one for one in given if one.containing_oneof and one.containing_oneof is field.containing_oneof), None
            )
            if rival:
                found.malformed(here, f"must be left out where there is {rival.name}")
            given[field] = name
            _check_field(value, field, here, found)


def _check_field(value: Any, field: FieldDescriptor, path: str, found: _Found) -> None:
    element = field.message_type
    if element and element.GetOptions().map_entry:
        if not isinstance(value, dict):
            found.malformed(path, _OBJECT)
        elif isinstance(value, _Repeated):
            found.malformed(path, "must have each key once")
        elif not all(_takes(element.fields_by_name["value"], one) for one in value.values()):
            found.malformed(path, f"must have values of its type: each {_wants(element.fields_by_name['value'])}")
    elif field.is_repeated:
        if not isinstance(value, list):
            found.malformed(path, "must be a list")
            return
        for index, one in enumerate(value):
            _check_value(one, field, f"{path}[{index}]", found)
    else:
        _check_value(value, field, path, found)


def _check_value(value: Any, field: FieldDescriptor, path: str, found: _Found) -> None:
    inner = field.message_type
    if inner and not inner.full_name.startswith(_OWN_TYPES):
        _check(value, inner, path, found)
    elif not _takes(field, value):
        found.malformed(path, _wants(field))


def _takes(field: FieldDescriptor, value: Any) -> bool:
    """Whether one value may be that of a field, or one of its list."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return isinstance(value, str) and not _SURROGATE.search(value)
    if field.type == FieldDescriptor.TYPE_BYTES:  # of which json_format skips what is none of base64
        return isinstance(value, str) and bool(_BASE64.fullmatch(value))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return isinstance(value, bool)
    if isinstance(value, bool):  # which is a number in Python
        return False
    if field.enum_type:
        return value in field.enum_type.values_by_name if isinstance(value, str) else _is_int32(value)
    if field.is_repeated:
        value = [value]
    assert field.containing_type
    try:
        json_format.ParseDict({field.name: value}, GetMessageClass(field.containing_type)())
    except Exception:  # it raises whatever comes of a value
        return False
    return True


def _is_int32(value: Any) -> bool:
    return isinstance(value, int) and -(2**31) <= value < 2**31


def _wants(field: FieldDescriptor) -> str:
    if field.message_type:
        return _MESSAGES.get(field.message_type.full_name, _OBJECT)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _BYTES
    return _TYPES.get(field.cpp_type, _WHOLE)


class _Found(Violations):
    """What is wrong with JSON. To find out what was meant takes long, and is done only for what is named."""

    __slots__ = ("hints_left",)

    def __init__(self) -> None:
        super().__init__()
        self.hints_left = MAX_VIOLATIONS


def _note_unknown(name: str, descriptor: Descriptor, path: str, found: _Found) -> None:
    if not _NAME.fullmatch(name):
        found.malformed(path, "must have no other fields than those of the contract")
        return
    if not found.hints_left:
        found.malformed(_at(path, name), "is not known")
        return
    found.hints_left -= 1
    known = [field.name for field in descriptor.fields]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    found.malformed(_at(path, name), f"is not known, {hint}")


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
