"""Build the console, or say whether the built files that are committed are what its sources make.

Without arguments: install what the lock names, check and test the sources, build, and write
server/postwire/web/console. With --check: compare a digest of the sources with the one that was recorded at the build,
which needs nothing but Python; where Node is, do all of the above as well, and compare the bytes. That is done once for
each state of the sources.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = Path("console")
BUILT: Final = Path("server/postwire/web/console")
RECORD: Final = "built.json"
"""Beside the built files: from which sources they were made, and what they were."""

CONTRACT: Final = (Path("protos"), Path("clients/node/third_party"))
"""What the console's client is generated from."""

MADE: Final = frozenset({"node_modules", "build", "gen"})
OLDEST_NODE: Final = (20, 19)

MAX_SCRIPT: Final = 150_000
"""How many bytes of compressed JavaScript the console may be, in all."""

STEPS: Final = ("generate", "types", "lint", "test", "build")


class Refused(Exception):
    """The console is not as it should be; the text says why."""


def read_sources(root: Path = ROOT) -> dict[str, bytes]:
    """Everything that the built files, or the checks of them, depend on, by its path."""
    files = [path for path in walk(root / SOURCES) if path.suffix != ".md"]
    for folder in CONTRACT:
        files += [path for path in walk(root / folder) if path.suffix == ".proto"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name not in MADE:
                yield from walk(path)
        else:
            yield path


def read_built(folder: Path) -> dict[str, bytes]:
    """The built files, without the record of them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def digest(files: Mapping[str, bytes]) -> str:
    """One digest for all files, by path and content."""
    total = hashlib.sha256()
    for path, content in sorted(files.items()):
        total.update(f"{path}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def compressed(files: Mapping[str, bytes]) -> int:
    """How many bytes of JavaScript a browser is sent, compressed."""
    return sum(len(zlib.compress(content, 9)) for path, content in files.items() if path.endswith(".js"))


def refuse_oversize(files: Mapping[str, bytes]) -> None:
    size = compressed(files)
    if size > MAX_SCRIPT:
        raise Refused(f"The console's JavaScript takes {size:,} bytes compressed; {MAX_SCRIPT:,} are allowed.")


_ATTRIBUTE: Final = re.compile(r"<[^>]*\s(style|on\w+)\s*=", re.IGNORECASE)
_ELEMENT: Final = re.compile(r"<style\b|<script\b(?![^>]*\ssrc=)", re.IGNORECASE)
_ELSEWHERE: Final = re.compile(r"""\b(?:src|href)\s*=\s*["']?(?:[a-z]+:)?//""", re.IGNORECASE)


def refuse_forbidden(files: Mapping[str, bytes]) -> None:
    """Refuse what the page's own policy would not let through: scripts and styles in it, and other origins."""
    for path, content in files.items():
        if path.endswith(".html"):
            text = content.decode()
            for pattern in (_ATTRIBUTE, _ELEMENT, _ELSEWHERE):
                if found := pattern.search(text):
                    raise Refused(f"{path}: the policy of the page forbids {found.group()!r}.")
        elif path.endswith(".css") and re.search(rb"@import|url\(\s*[\"']?(?:https?:)?//", content):
            raise Refused(f"{path}: styles come from this origin alone.")


def check_record(root: Path = ROOT) -> str:
    """Compare what is committed with what was recorded, and return the digest of the sources."""
    sources = digest(read_sources(root))
    files = read_built(root / BUILT)
    try:
        record = json.loads((root / BUILT / RECORD).read_bytes())
    except FileNotFoundError:
        raise Refused(f"{BUILT / RECORD} is not there. Run make console.") from None
    if record["sources"] != sources:
        raise Refused(f"{SOURCES}/ or the contract has changed since {BUILT} was built. Run make console.")
    if record["files"] != digest(files):
        raise Refused(f"{BUILT} was changed by hand, or not all of it is there. Run make console.")
    refuse_oversize(files)
    refuse_forbidden(files)
    return sources


def find_npm() -> str | None:
    """npm, where it is, beside a Node that is new enough."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        return None
    printed = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.(\d+)", printed)
    return npm if version and (int(version[1]), int(version[2])) >= OLDEST_NODE else None


def run(*command: str) -> None:
    """Run a tool among the sources; what it prints is shown only if it fails."""
    environment = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "0", "CI": "1"}
    done = subprocess.run(
        command, cwd=ROOT / SOURCES, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise Refused(f"{done.stdout.rstrip()}\n{' '.join(command)} failed in {SOURCES}/.")


def make(npm: str) -> dict[str, bytes]:
    """Check, test and build the sources, and return the built files."""
    lock = hashlib.sha256((ROOT / SOURCES / "package-lock.json").read_bytes()).hexdigest()
    installed = (
        ROOT / SOURCES / "node_modules" / ".installed"
    )  # written last: an install that was broken off is repeated
    if not installed.is_file() or installed.read_text() != lock:
        run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
        installed.write_text(lock)
    for step in STEPS:
        run(npm, "run", "--silent", step)
    files = read_built(ROOT / SOURCES / "build" / "console")
    refuse_oversize(files)
    refuse_forbidden(files)
    return files


def build() -> None:
    npm = find_npm()
    if not npm:
        raise Refused(f"The console is built by Node {'.'.join(map(str, OLDEST_NODE))} or newer, with npm.")
    files = make(npm)
    shutil.rmtree(ROOT / BUILT, ignore_errors=True)
    for path, content in files.items():
        target = ROOT / BUILT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    sources = digest(read_sources())
    record = {"sources": sources, "files": digest(files)}
    (ROOT / BUILT / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    note_checked(sources)
    print(f"{BUILT}: {compressed(files):,} of {MAX_SCRIPT:,} bytes of JavaScript, compressed.")


CHECKED: Final = ROOT / "build" / "console"
"""Names the last sources that were built, and found to make what is committed."""


def note_checked(sources: str) -> None:
    CHECKED.mkdir(parents=True, exist_ok=True)
    (CHECKED / "checked").write_text(sources)


def check() -> None:
    sources = check_record()
    stamp = CHECKED / "checked"
    if stamp.is_file() and stamp.read_text() == sources:
        return
    npm = find_npm()
    if not npm:
        print("Not built anew: there is no Node here, or it is too old.")
        return
    fresh, committed = make(npm), read_built(ROOT / BUILT)
    stale = sorted(path for path in fresh.keys() | committed.keys() if fresh.get(path) != committed.get(path))
    if stale:
        raise Refused("\n".join([*(f"{BUILT / path}: not what is built here" for path in stale), "Run make console."]))
    note_checked(sources)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the console, and check what is built.")
    parser.add_argument("--check", action="store_true", help="say what is stale and write nothing that is committed")
    try:
        check() if parser.parse_args().check else build()
    except Refused as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
