"""Renew what is made from protos/: the Python stubs, the page for readers, the contract as OpenAPI, the table of who
may call what, and the image that the next change is compared with. And from the commands: their man page.

Without arguments: lint, refuse a breaking change, then write. With --check: lint, look for a breaking change,
then say what is stale; nothing is written. Works offline; every tool comes with the environment, but for Go: without it
the OpenAPI document is not renewed, and only compared with the protos by their digest.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tools import contract_page, man_page, roles_table
from tools.openapi import document, page

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PACKAGE = Path("postwire/v1")
STUBS = Path("server") / PACKAGE
BASELINE = Path("protos/baseline.binpb")
PAGE = Path("docs/contract.md")

INIT = '"""Generated from protos/. Do not edit."""\n'

ON_PURPOSE = f"""\
The contract would break for the clients that use it (see above): add, do not change or remove.
To break it on purpose, delete {BASELINE}, run make generate again, and tell users in CHANGELOG.md."""


class Refused(Exception):
    """The protos cannot be used as they are; the text says why."""


def run(*command: str | Path, refusal: str) -> None:
    """Run a tool at the root of the checkout; what it prints is shown only if it fails."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Refused(f"{done.stdout.rstrip()}\n{refusal}")


def verify() -> None:
    """Refuse protos that break a lint rule or a client."""
    run(BIN / "buf", "lint", refusal="buf refuses the protos (see above); the rules are in buf.yaml.")
    if (ROOT / BASELINE).exists():
        run(BIN / "buf", "breaking", "--against", BASELINE, refusal=ON_PURPOSE)


def build_image(scratch: Path) -> bytes:
    """Compile the protos to the image that `buf breaking` compares with. Comments are no part of it."""
    image = scratch / BASELINE.name
    run(BIN / "buf", "build", "--exclude-source-info", "--output", image, refusal="buf build failed.")
    return image.read_bytes()


def build_commented_image(scratch: Path) -> FileDescriptorSet:
    """Compile the protos with their comments."""
    path = scratch / "commented.binpb"
    run(BIN / "buf", "build", "--output", path, refusal="buf build failed.")
    return FileDescriptorSet.FromString(path.read_bytes())


def build_from_comments(image: FileDescriptorSet) -> dict[Path, bytes]:
    """Write the contract as a page, and who may call what."""
    try:
        return {PAGE: contract_page.render(image).encode(), roles_table.TABLE: roles_table.render(image).encode()}
    except (contract_page.Undocumented, roles_table.NoRole) as error:
        raise Refused(str(error)) from error


def build_openapi(image: FileDescriptorSet) -> dict[Path, bytes]:
    """Write the contract as OpenAPI, and this as a page. Without its plug-in, take what was made from these protos.

    Raises `document.CannotBuild` where that is not what is there.
    """
    try:
        made = document.render(image, document.build_plug_in())
    except document.CannotBuild:
        made = (ROOT / document.DOCUMENT).read_bytes()
        if document.recorded(made) != document.digest(image):
            raise
    return {document.DOCUMENT: made, page.PAGE: page.render(made)}


def build_stubs(scratch: Path, image: bytes) -> dict[Path, bytes]:
    """Generate the stubs; a file without services gets no gRPC module."""
    files = [file for file in FileDescriptorSet.FromString(image).file if file.package == "postwire.v1"]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=protos"]
    run(
        *protoc,
        f"--plugin={BIN / 'protoc-gen-mypy'}",
        f"--python_out={scratch}",
        f"--mypy_out=quiet:{scratch}",
        *(file.name for file in files),
        refusal="protoc failed.",
    )
    run(
        *protoc,
        f"--plugin={BIN / 'protoc-gen-mypy_grpc'}",
        f"--grpc_python_out={scratch}",
        f"--mypy_grpc_out=quiet:{scratch}",
        *(file.name for file in files if file.service),
        refusal="protoc failed.",
    )
    made = {STUBS / path.name: path.read_bytes() for path in (scratch / PACKAGE).iterdir()}
    return made | {STUBS / "__init__.py": INIT.encode()}


def stale_files(fresh: dict[Path, bytes]) -> list[Path]:
    """The files whose content is not what the protos make now: outdated, missing, or made by no proto."""
    present = {path.relative_to(ROOT) for path in (ROOT / STUBS).glob("*") if path.is_file()}
    outdated = {
        path for path, content in fresh.items() if not (ROOT / path).is_file() or (ROOT / path).read_bytes() != content
    }
    return sorted(outdated | (present - fresh.keys()))


def write(path: Path, content: bytes | None) -> None:
    """Give a file its content, or remove it."""
    target = ROOT / path
    if content is None:
        target.unlink()
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def main() -> None:
    parser = argparse.ArgumentParser(description="Renew the stubs and the baseline image from protos/.")
    parser.add_argument("--check", action="store_true", help="say what is stale and write nothing")
    check = parser.parse_args().check

    try:
        verify()
        with tempfile.TemporaryDirectory() as directory:
            scratch = Path(directory)
            image = build_image(scratch)
            commented = build_commented_image(scratch)
            fresh = build_stubs(scratch, image) | {BASELINE: image} | build_from_comments(commented)
            fresh[man_page.PAGE] = man_page.render().encode()
            behind = ""
            try:
                fresh |= build_openapi(commented)
            except document.CannotBuild as error:
                behind = f"{document.DOCUMENT}: stale, and not to be renewed here: {error}"
    except Refused as refused:
        sys.exit(str(refused))

    stale = stale_files(fresh)
    if check and stale:
        sys.exit("\n".join([*(f"{path}: stale" for path in stale), "Run make generate."]))
    if not check:
        for path in stale:
            write(path, fresh.get(path))
            print(f"{'renewed' if path in fresh else 'removed'} {path}")
    if behind:
        sys.exit(behind)
    if not stale:
        print("Everything that is generated is up to date.")


if __name__ == "__main__":
    main()
