"""The contract as OpenAPI 3.1, made from the protos by a plug-in for protoc.

The plug-in, protoc-gen-openapiv3 of grpc-gateway, describes methods that have a path over HTTP; here each is given the
path that Connect gives it. What differs between that gateway and Connect is mended afterwards: how errors look, how
streams are sent, and what the values of enums mean. The plug-in is written in Go, and built once, under build/. Where
it cannot be built, the document itself tells whether it is still that of the protos: their digest is in it.
"""

import hashlib
import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from google.api import annotations_pb2
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto

PACKAGE: Final = "postwire.v1"
DOCUMENT: Final = Path("server/postwire/web/openapi/openapi.json")

_HERE: Final = Path(__file__).parent  # with go.mod, which has the plug-in's exact version
_BUILD: Final = _HERE.parent.parent / "build" / "openapi"
_PLUG_IN: Final = "github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-openapiv3"
_DIGEST: Final = "x-protos-sha256"
_ENUMS, _VALUES = 5, 2  # field numbers of descriptor.proto, of which the paths of `SourceCodeInfo` are made

_STREAM: Final = """\
A stream: the request and each response are in an envelope, as Connect has it: a byte of flags, the length of what
follows in four bytes, most significant first, and a JSON object. The last one has the flag 2 and says how the stream
has ended: `{}`, or `{"error": …}`."""


class CannotBuild(Exception):
    """The plug-in is not to be had here; the text says why."""


def digest(image: FileDescriptorSet) -> str:
    """What changes when the protos or their comments do, but not with the lines that they stand on."""
    hashed = hashlib.sha256()
    for file in _ours(image.file):
        plain = FileDescriptorProto()
        plain.CopyFrom(file)
        for location in plain.source_code_info.location:
            location.ClearField("span")
        hashed.update(plain.SerializeToString(deterministic=True))
    return hashed.hexdigest()


def recorded(document: bytes) -> str:
    """The digest of the protos that a document was made from."""
    return str(json.loads(document)["info"][_DIGEST])


def build_plug_in() -> Path:
    """Build the plug-in, if that was not done for this version, and return where it is.

    Raises `CannotBuild` where there is no Go, or where it cannot have the module.
    """
    program, stamp = _BUILD / "protoc-gen-openapiv3", _BUILD / "built-from"
    versions = (_HERE / "go.sum").read_text()
    if program.is_file() and stamp.is_file() and stamp.read_text() == versions:
        return program
    if not shutil.which("go"):
        raise CannotBuild("there is no go, which builds the plug-in")
    command = ["go", "build", "-o", str(program), _PLUG_IN]
    done = subprocess.run(command, cwd=_HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"go cannot build the plug-in: {done.stdout.strip()}")
    stamp.write_text(versions)
    return program


def render(image: FileDescriptorSet, plug_in: Path) -> bytes:
    """The document of an image that has kept its comments (`buf build` without `--exclude-source-info`)."""
    document: dict[str, Any] = tomllib.loads((_HERE / "base.toml").read_text(encoding="utf-8"))
    document["info"][_DIGEST] = digest(image)
    document["tags"] = []
    schemas = document["components"]["schemas"]
    for made in _run(plug_in, image):
        document["paths"] |= made["paths"]
        document["tags"] += made["tags"]
        schemas |= made["components"]["schemas"]
    for path, method in _offered(image.file):
        _mend(document["paths"][path]["post"], method)
    for name, comment, values in _enums(image):
        schema = schemas.setdefault(name, {"type": "string", "description": comment, "enum": list(values)})
        schema["description"] += "\n\n" + "\n".join(f"- `{value}`: {meaning}" for value, meaning in values.items())
    document["tags"].sort(key=lambda tag: str(tag["name"]))
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _ours(files: Iterable[FileDescriptorProto]) -> Iterator[FileDescriptorProto]:
    return (file for file in files if file.package == PACKAGE)


def _offered(files: Iterable[FileDescriptorProto]) -> Iterator[tuple[str, MethodDescriptorProto]]:
    """The methods that are there over HTTP, by the path that Connect gives them: no caller can stream."""
    for file in _ours(files):
        for service in file.service:
            for method in service.method:
                if not method.client_streaming:
                    yield f"/{PACKAGE}.{service.name}/{method.name}", method


def _run(plug_in: Path, image: FileDescriptorSet) -> Iterator[dict[str, Any]]:
    """Run the plug-in as protoc would; it makes a document for each file with a service."""
    asked = CodeGeneratorRequest(parameter="disable_default_errors=true")
    asked.proto_file.MergeFrom(image.file)
    asked.file_to_generate.extend(file.name for file in _ours(image.file))
    for path, method in _offered(asked.proto_file):
        http = method.options.Extensions[annotations_pb2.http]
        http.post, http.body = path, "*"
    done = subprocess.run([plug_in], input=asked.SerializeToString(), stdout=subprocess.PIPE, check=True)
    answer = CodeGeneratorResponse.FromString(done.stdout)
    if answer.error:
        raise ValueError(answer.error)
    return (json.loads(file.content) for file in answer.file)


def _mend(operation: dict[str, Any], method: MethodDescriptorProto) -> None:
    """Have an operation be as it is over Connect."""
    operation["parameters"] = [{"$ref": "#/components/parameters/timeout"}]
    request, answer = operation["requestBody"], operation["responses"]["200"]
    if method.server_streaming:
        operation["description"] = f"{operation['description']}\n\n{_STREAM}"
        answer["description"] = answer["description"].removesuffix(" (streaming responses)")
        one = answer["content"]["application/json"]["schema"]["properties"]["result"]
        answer["content"] = {"application/connect+json": {"schema": one}}
        request["content"] = {"application/connect+json": request["content"]["application/json"]}
    operation["responses"]["default"] = {"$ref": "#/components/responses/error"}


def _enums(image: FileDescriptorSet) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every enum with its comment and those of its values, which the plug-in leaves out."""
    for file in _ours(image.file):
        comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
        for index, enum in enumerate(file.enum_type):
            own = "\n".join(line.strip() for line in comments[_ENUMS, index].strip().splitlines())
            values = {
                value.name: " ".join(comments[_ENUMS, index, _VALUES, number].split())
                for number, value in enumerate(enum.value)
            }
            yield f"{PACKAGE}.{enum.name}", own, values
