"""What is wrong with a line of a file, named by its field; never by its content, which may be personal."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from postwire_client import DispatchRequest


class BadRow(Exception):
    """A line that is no message. `field` is a path such as `message.sms.to`, a column, or empty."""

    def __init__(self, line: int, field: str, problem: str) -> None:
        super().__init__(f"line {line}: {field}: {problem}" if field else f"line {line}: {problem}")
        self.line, self.field, self.problem = line, field, problem


class Naming(Protocol):
    """Knows fields by other names."""

    def name_of(self, path: str) -> str:
        """What the file calls the field of that path."""


def parse_request(raw: dict[str, Any], line: int, naming: Naming | None = None) -> DispatchRequest:
    """The request that protobuf's JSON describes. Raises BadRow."""
    from postwire_client import DispatchRequest

    request = DispatchRequest()
    if not _parses(raw, request):
        field, problem = _fault(raw, DispatchRequest.DESCRIPTOR, "")
        raise BadRow(line, naming.name_of(field) if naming else field, problem)
    return request


def unknown(name: str, known: Sequence[str]) -> str:
    """What is said of a name that nobody knows."""
    near = difflib.get_close_matches(name, known, 1)
    return "is not known, " + (f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}")


def _parses(raw: dict[str, Any], into: Any) -> bool:
    from google.protobuf import json_format

    try:
        json_format.ParseDict(raw, into)
    except (json_format.ParseError, ValueError, TypeError, RecursionError):  # what it says may hold the recipient
        return False
    return True


def _fault(raw: dict[str, Any], kind: Descriptor, path: str) -> tuple[str, str]:
    """The first field that does not parse by itself, and what would be right."""
    from google.protobuf.message_factory import GetMessageClass

    for key, value in raw.items():
        here = f"{path}.{key}" if path else key
        field = kind.fields_by_name.get(key) or kind.fields_by_camelcase_name.get(key)
        if field is None:
            return here, unknown(key, list(kind.fields_by_name))
        if _parses({key: value}, GetMessageClass(kind)()):
            continue
        items = value if isinstance(value, list) and _is_list(field) else [value]
        for index, item in enumerate(items):
            if isinstance(item, dict) and field.message_type and _is_ours(field):
                place = f"{here}[{index}]" if _is_list(field) else here
                if not _parses({key: [item] if _is_list(field) else item}, GetMessageClass(kind)()):
                    return _fault(item, field.message_type, place)
        return here, f"is not {_wants(field)}"
    for group in kind.oneofs:
        given = [field.name for field in group.fields if field.name in raw or field.camelcase_name in raw]
        if len(given) > 1:
            return path, f"has {' and '.join(given)}, and may have one of them"
    return path, "cannot be read as JSON of the contract"


def _is_list(field: FieldDescriptor) -> bool:
    return field.is_repeated and not _is_map(field)


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _is_ours(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.file.package == "postwire.v1" and not _is_map(field))


def _wants(field: FieldDescriptor) -> str:
    if _is_map(field):
        return "an object of strings"
    if field.message_type:
        one = "an object"
        if field.message_type.full_name == "google.protobuf.Timestamp":
            one = "a time such as 2030-01-31T12:00:00Z"
    elif field.enum_type:
        one = f"one of {', '.join(value.name for value in field.enum_type.values if value.number)}"
    else:
        one = {field.TYPE_STRING: "a string", field.TYPE_BYTES: "base64"}.get(field.type, "a whole number")
    return f"a list, each of {one}" if _is_list(field) else one
