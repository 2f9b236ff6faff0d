"""The contract as OpenAPI has all of it that is offered over HTTP, and so has its page, which needs no other origin."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tools.openapi import document, page

from postwire.v1 import (
    admin_service_pb2,
    dispatch_service_pb2,
    error_reason_pb2,
    inbox_service_pb2,
    message_pb2,
    provider_service_pb2,
    suppression_service_pb2,
)

MODULES = (
    admin_service_pb2,
    dispatch_service_pb2,
    error_reason_pb2,
    inbox_service_pb2,
    message_pb2,
    provider_service_pb2,
    suppression_service_pb2,
)
FILES: list[FileDescriptor] = [module.DESCRIPTOR for module in MODULES]
MADE = files("postwire") / "web" / "openapi"
CONTRACT: dict[str, Any] = json.loads((MADE / "openapi.json").read_text(encoding="utf-8"))
PAGE = (MADE / "openapi.html").read_text(encoding="utf-8")
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]


def test_every_file_of_the_contract_is_looked_at() -> None:
    found = {path.name for path in (files("postwire") / "v1").iterdir() if path.name.endswith("_pb2.py")}
    assert found == {module.__name__.rpartition(".")[2] + ".py" for module in MODULES}


def test_every_call_is_there_unless_its_caller_streams() -> None:
    methods = [method for file in FILES for service in file.services_by_name.values() for method in service.methods]
    paths = {f"/{method.containing_service.full_name}/{method.name}": method for method in methods}
    left_out = {path for path, method in paths.items() if method.client_streaming}
    assert left_out == {"/postwire.v1.DispatchService/DispatchStream"}
    assert CONTRACT["paths"].keys() == paths.keys() - left_out
    for path, item in CONTRACT["paths"].items():
        call, method = item["post"], paths[path]
        media = "application/connect+json" if method.server_streaming else "application/json"
        (asked,) = call["requestBody"]["content"].items()
        (given,) = call["responses"]["200"]["content"].items()
        assert asked[0] == given[0] == media
        assert list(asked[1]["schema"].get("properties", [])) == json_names(method.input_type.fields)
        assert given[1]["schema"]["$ref"] == f"#/components/schemas/{method.output_type.full_name}"
        assert call["responses"]["default"] == {"$ref": "#/components/responses/error"}
        assert call["summary"]


def test_every_field_of_what_is_asked_and_given_is_there() -> None:
    messages = [message for file in FILES for message in file.message_types_by_name.values()]
    shown = [message for message in messages if message.full_name in SCHEMAS]
    assert len(shown) > 50
    for message in shown:
        properties = SCHEMAS[message.full_name].get("properties", {})
        assert list(properties) == json_names(message.fields), message.full_name
        assert all(field["description"] for field in properties.values()), message.full_name


def test_every_value_of_an_enum_is_there_with_its_meaning() -> None:
    enums: list[EnumDescriptor] = [enum for file in FILES for enum in file.enum_types_by_name.values()]
    for enum in enums:
        schema = SCHEMAS[enum.full_name]
        assert schema["enum"] == [value.name for value in enum.values]
        for value in enum.values:
            assert re.search(rf"^- `{value.name}`: \S", schema["description"], re.MULTILINE), value.name


def json_names(fields: Sequence[FieldDescriptor]) -> list[str]:
    """As the document has them: in the order of the alphabet."""
    return sorted(field.json_name for field in fields)


def test_every_reference_leads_somewhere() -> None:
    for reference in references(CONTRACT):
        at: Any = CONTRACT
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


class Elements(HTMLParser):
    """Every element of a page, with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))


def test_the_page_has_every_call_and_every_link_of_it_leads_to_one_place() -> None:
    elements = Elements(PAGE).all
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {item["post"]["operationId"] for item in CONTRACT["paths"].values()} | SCHEMAS.keys() <= set(ids)
    links = [attributes["href"] or "" for tag, attributes in elements if tag == "a"]
    assert {link for link in links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_the_page_needs_no_script_and_no_other_origin() -> None:
    for tag, attributes in Elements(PAGE).all:
        assert tag not in {"script", "style", "iframe", "img", "form", "object"}
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        assert ":" not in (attributes.get("href") or "").partition("#")[0]
    assert not re.search(r"url\(|@import", (MADE / "openapi.css").read_text(encoding="utf-8"))


def test_the_page_is_that_of_the_document() -> None:
    assert page.render((MADE / "openapi.json").read_bytes()).decode() == PAGE


def test_markup_in_a_comment_is_text_on_the_page() -> None:
    contract = json.loads(json.dumps(CONTRACT))
    contract["info"]["description"] = "<script>alert(1)</script> and [this](javascript:alert(1)) <b>"
    made = page.render(json.dumps(contract).encode()).decode()
    assert not [tag for tag, _ in Elements(made).all if tag == "script"]
    assert "javascript:" not in {link.partition("alert")[0] for link in hrefs(made)}


def hrefs(text: str) -> list[str]:
    return [attributes["href"] or "" for tag, attributes in Elements(text).all if tag == "a"]


def image(
    comment: str = " A note.\n", span: tuple[int, ...] = (0, 0, 1), name: str = "postwire.v1"
) -> FileDescriptorSet:
    made = FileDescriptorSet()
    file = made.file.add(name="a.proto", package=name)
    file.message_type.add(name="Note")
    file.source_code_info.location.add(path=[4, 0], span=span, leading_comments=comment)
    return made


def test_the_digest_changes_with_the_protos_and_their_comments_and_not_with_their_lines() -> None:
    digest = document.digest(image())
    assert document.digest(image(span=(7, 0, 1))) == digest
    assert document.digest(image(comment=" Another.\n")) != digest
    changed = image()
    changed.file[0].message_type[0].field.add(name="text")
    assert document.digest(changed) != digest


def test_other_packages_are_no_part_of_the_digest() -> None:
    more = image()
    more.file.append(image(name="google.protobuf").file[0])
    assert document.digest(more) == document.digest(image())


def test_where_there_is_no_go_the_plug_in_cannot_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_BUILD", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(document.CannotBuild, match="no go"):
        document.build_plug_in()


def test_a_plug_in_of_these_versions_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_BUILD", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "protoc-gen-openapiv3"
    program.touch()
    (tmp_path / "built-from").write_text((document._HERE / "go.sum").read_text())
    assert document.build_plug_in() == program
    (tmp_path / "built-from").write_text("others")
    with pytest.raises(document.CannotBuild):
        document.build_plug_in()
