"""The contract as a page to read: docs/contract.md, made from the protos and nothing else.

It follows a reader's questions: which calls are there, what does each take and give, what are these made of, why was
one refused. What a call takes and gives stands with the call; everything else has a section of its own.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

PACKAGE: Final = "postwire.v1"

HEAD: Final = f"""\
<!-- Made from protos/ by `make generate`: do not edit. -->

# The contract: package `{PACKAGE}`

All that a caller can ask of Postwire, and all that it answers. Clients are generated from
[`protos/postwire/v1`](../protos/postwire/v1); this page says the same, for reading.

A field that is left out has its type's default: empty, 0, false. Fields, values and calls are added as Postwire grows,
and a client skips those that it does not know; none is changed or removed. Why a call was refused is said by
[`ErrorReason`](#errorreason)."""

# What the paths of `SourceCodeInfo` are made of: field numbers of descriptor.proto.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _METHODS, _VALUES, _ONEOFS = 2, 2, 2, 8


class Undocumented(Exception):
    """Something that the page cannot show; the text names it."""


def render(image: FileDescriptorSet) -> str:
    """The page of an image that has kept its comments (`buf build` without `--exclude-source-info`).

    Raises `Undocumented` for a message or enum inside another message: the contract has none, and the page no place.
    """
    return _Page(file for file in image.file if file.package == PACKAGE).text()


class _Page:
    """Everything of the package by its name below it (`Message`, `Message.state`), with its comment."""

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._comments: dict[str, str] = {}
        self._services: list[ServiceDescriptorProto] = []
        self._messages: dict[str, DescriptorProto] = {}
        self._enums: list[EnumDescriptorProto] = []
        for file in files:
            self._learn(file)

    def text(self) -> str:
        parts = [HEAD, *self._all_services()]
        with_calls = {
            _name(end)
            for service in self._services
            for call in service.method
            for end in (call.input_type, call.output_type)
        }
        parts.append("## Messages")
        for name in self._messages:
            if name not in with_calls:
                parts += [f"### {name}", self._comments[name], *self._fields(name)]
        parts.append("## Enums")
        for enum in self._enums:
            rows = [
                (f"`{value.name}`", str(value.number), self._cell(f"{enum.name}.{value.name}")) for value in enum.value
            ]
            parts += [f"### {enum.name}", self._comments[enum.name], _table(("value", "number", "meaning"), rows)]
        return "\n\n".join(parts) + "\n"

    def _all_services(self) -> Iterator[str]:
        for service in self._services:
            yield f"## {service.name}"
            yield self._comments[service.name]
            yield _table(("call", "takes", "gives"), [_signature(call) for call in service.method])
            for call in service.method:
                yield f"### {call.name}"
                yield self._comments[f"{service.name}.{call.name}"]
                for end in (call.input_type, call.output_type):
                    yield f"#### {_name(end)}"
                    yield self._comments[_name(end)]
                    yield from self._fields(_name(end))

    def _fields(self, name: str) -> Iterator[str]:
        message = self._messages[name]
        for index, oneof in enumerate(message.oneof_decl):
            members = [f"`{field.name}`" for field in message.field if _is_in(field, index)]
            if members:
                yield f"At most one of {', '.join(members)} (`{oneof.name}`): {self._comments[f'{name}.{oneof.name}']}"
        entries = {nested.name: nested for nested in message.nested_type}
        if message.field:
            rows = [
                (f"`{field.name}`", _type(field, entries), str(field.number), self._cell(f"{name}.{field.name}"))
                for field in message.field
            ]
            yield _table(("field", "type", "number", "meaning"), rows)

    def _cell(self, name: str) -> str:
        return self._comments[name].replace("\n\n", "<br>").replace("|", "\\|")

    def _learn(self, file: FileDescriptorProto) -> None:
        shown = {tuple(at.path): _paragraphs(at.leading_comments) for at in file.source_code_info.location}
        comments = self._comments
        for index, service in enumerate(file.service):
            self._services.append(service)
            comments[service.name] = shown[_SERVICES, index]
            for number, call in enumerate(service.method):
                comments[f"{service.name}.{call.name}"] = shown[_SERVICES, index, _METHODS, number]
        for index, message in enumerate(file.message_type):
            if message.enum_type or not all(nested.options.map_entry for nested in message.nested_type):
                raise Undocumented(f"{message.name} has a message or an enum inside it: the page has no place for that")
            self._messages[message.name] = message
            comments[message.name] = shown[_MESSAGES, index]
            for number, field in enumerate(message.field):
                comments[f"{message.name}.{field.name}"] = shown[_MESSAGES, index, _FIELDS, number]
            for number, oneof in enumerate(message.oneof_decl):
                comments[f"{message.name}.{oneof.name}"] = shown.get((_MESSAGES, index, _ONEOFS, number), "")
        for index, enum in enumerate(file.enum_type):
            self._enums.append(enum)
            comments[enum.name] = shown[_ENUMS, index]
            for number, value in enumerate(enum.value):
                comments[f"{enum.name}.{value.name}"] = shown[_ENUMS, index, _VALUES, number]


def _paragraphs(comment: str) -> str:
    """A comment as Markdown: a line a paragraph, with what would be taken for markup kept as it is."""
    paragraphs = re.split(r"\n\s*\n", comment.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).replace("<", "&lt;")


def _is_in(field: FieldDescriptorProto, oneof: int) -> bool:
    """Whether a field is a member of a oneof. `optional` makes one of its own, which is not in the source."""
    return field.HasField("oneof_index") and field.oneof_index == oneof and not field.proto3_optional


def _signature(call: MethodDescriptorProto) -> tuple[str, str, str]:
    takes = ("stream of " if call.client_streaming else "") + _link(call.input_type)
    gives = ("stream of " if call.server_streaming else "") + _link(call.output_type)
    return f"[`{call.name}`](#{call.name.lower()})", takes, gives


def _type(field: FieldDescriptorProto, entries: dict[str, DescriptorProto]) -> str:
    entry = entries.get(field.type_name.rpartition(".")[2])
    if entry:
        key, value = entry.field
        return f"map of {_type(key, {})} to {_type(value, {})}"
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    label = "repeated " if repeated else "optional " if field.proto3_optional else ""
    scalar = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return label + (_link(field.type_name) if field.type_name else f"`{scalar}`")


def _link(type_name: str) -> str:
    name = _name(type_name)
    return f"[`{name}`](#{name.lower()})" if type_name == f".{PACKAGE}.{name}" else f"`{name}`"


def _name(type_name: str) -> str:
    """`.postwire.v1.Message` is `Message` here; `.google.protobuf.Duration` keeps its package."""
    return type_name.removeprefix(f".{PACKAGE}.").removeprefix(".")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))
