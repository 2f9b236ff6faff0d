"""docs/contract.md shows all of the contract, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tools.contract_page import Undocumented, render

from postwire.v1 import dispatch_service_pb2, error_reason_pb2, message_pb2, provider_service_pb2

FILES = (dispatch_service_pb2, error_reason_pb2, message_pb2, provider_service_pb2)
PAGE = (Path(__file__).parents[2] / "docs/contract.md").read_text(encoding="utf-8")

SMALL = """
syntax = "proto3";
package postwire.v1;
// Greets.
service Greeter {
  // Says
  // hello | goodbye.
  //
  // To <anyone>.
  rpc Greet(GreetRequest) returns (stream GreetResponse);
}
// Whom.
message GreetRequest {
  // Who it is.
  oneof who {
    // By name.
    string name = 1;
    // By number.
    Number number = 2;
  }
  // Said as well.
  optional bool loud = 3;
  // Notes.
  map<string, Number> notes = 4;
}
// What was said.
message GreetResponse {
  // Words | sounds.
  repeated string words = 7;
}
// Somebody's number.
message Number {}
// How.
enum Tone {
  // Never.
  TONE_UNSPECIFIED = 0;
}
"""


def page_of(proto: str, folder: Path) -> str:
    """The page of a contract with one file."""
    (folder / "small.proto").write_text(proto, encoding="utf-8")
    image = folder / "image.binpb"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "--include_source_info", f"--proto_path={folder}"]
    subprocess.run([*protoc, f"--descriptor_set_out={image}", "small.proto"], check=True)
    return render(FileDescriptorSet.FromString(image.read_bytes()))


def test_every_call_message_field_and_value_is_on_the_page() -> None:
    for file in (module.DESCRIPTOR for module in FILES):
        for service in file.services_by_name.values():
            assert f"## {service.name}\n" in PAGE
            for call in service.methods:
                assert f"### {call.name}\n" in PAGE
        for message in file.message_types_by_name.values():
            section = PAGE.partition(f"# {message.name}\n")[2].partition("\n#")[0]
            for field in message.fields:
                assert re.search(rf"^\| `{field.name}` \| .+ \| {field.number} \| \S", section, re.MULTILINE), (
                    field.full_name
                )
        for enum in file.enum_types_by_name.values():
            for value in enum.values:
                assert re.search(rf"^\| `{value.name}` \| {value.number} \| \S", PAGE, re.MULTILINE), value.name


def test_every_link_leads_to_one_heading() -> None:
    headings = [heading.lower() for heading in re.findall(r"^#+ (\w+)$", PAGE, re.MULTILINE)]
    assert len(headings) == len(set(headings))
    links = set(re.findall(r"\]\(#([^)]+)\)", PAGE))
    assert len(links) > 50
    assert links <= set(headings)


def test_a_small_contract_reads_so(tmp_path: Path) -> None:
    body = page_of(SMALL, tmp_path).partition("\n## ")[2]
    assert (
        body
        == """\
Greeter

Greets.

| call | takes | gives |
| --- | --- | --- |
| [`Greet`](#greet) | [`GreetRequest`](#greetrequest) | stream of [`GreetResponse`](#greetresponse) |

### Greet

Says hello | goodbye.

To &lt;anyone>.

#### GreetRequest

Whom.

At most one of `name`, `number` (`who`): Who it is.

| field | type | number | meaning |
| --- | --- | --- | --- |
| `name` | `string` | 1 | By name. |
| `number` | [`Number`](#number) | 2 | By number. |
| `loud` | optional `bool` | 3 | Said as well. |
| `notes` | map of `string` to [`Number`](#number) | 4 | Notes. |

#### GreetResponse

What was said.

| field | type | number | meaning |
| --- | --- | --- | --- |
| `words` | repeated `string` | 7 | Words \\| sounds. |

## Messages

### Number

Somebody's number.

## Enums

### Tone

How.

| value | number | meaning |
| --- | --- | --- |
| `TONE_UNSPECIFIED` | 0 | Never. |
"""
    )


@pytest.mark.parametrize(
    "inside", ["// In it.\nmessage Inner {}", "// In it.\nenum Inner {\n// No.\nINNER_UNSPECIFIED = 0;\n}"]
)
def test_what_the_page_has_no_place_for_is_refused_by_name(inside: str, tmp_path: Path) -> None:
    with pytest.raises(Undocumented, match=r"^Number has "):
        page_of(SMALL.replace("message Number {}", f"message Number {{\n{inside}\n}}"), tmp_path)
