"""Files that hold a secret each, as Kubernetes, Docker and systemd put them into the file system."""

from __future__ import annotations

import re
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from postwire.config.types import HIDDEN, PathUnit, Refused

SUFFIX: Final = "_file"
"""What the key of a secret ends in that names the file."""

MAX_BYTES: Final = 1024 * 1024
"""How much is read: a key of any kind is far smaller."""


class SecretFile(PathUnit):
    """The path of such a file. It is not shown where it is none: somebody may have written the secret itself there."""

    def read(self, raw: object) -> Any:
        """See `Unit.read`."""
        try:
            return PathUnit.read(self, raw)
        except Refused as wrong:
            raise Refused(HIDDEN, wrong.problem) from None


SECRET_FILE: Final = SecretFile("the path of a file")


def read_secret(file: Path) -> str:
    """Return what is in a file, but for one line break at its end.

    Raises:
        ValueError: it cannot be read, or there is nothing in it, or no text. Shows neither the path nor the content.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except IsADirectoryError:
        raise ValueError("is a directory") from None
    except OSError as wrong:
        raise ValueError(f"cannot be read ({wrong.strerror})") from None
    if len(content) > MAX_BYTES:
        raise ValueError("is a file of more than 1 MiB")
    try:
        text = re.sub(r"\r?\n\Z", "", content.decode())
    except UnicodeDecodeError:
        raise ValueError("is a file that is not UTF-8") from None
    if not text:
        raise ValueError("is an empty file")
    return text


def is_open_to_others(file: Path) -> bool:
    """Whether others than its owner may read a file. Of one that is gone meanwhile, the next look reports that."""
    try:
        return bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at files has found: whether some have `changed` (`files`), and others are `changing` just now."""

    changed: bool
    changing: bool
    files: Collection[Path] = field(default=(), compare=False)


class FileWatch:
    """Notices by looking, from time to time, that files have become others, whether written anew or replaced.

    A file counts as changed once two looks in a row have found it the same: it may be written in several steps.
    """

    def __init__(self) -> None:
        self._last: dict[Path, object] = {}
        self._reported: dict[Path, object] = {}

    def look(self, files: Collection[Path]) -> Look:
        """Look at these files. All of them have changed once at first: nobody knows when they were read before."""
        found = {file: _identity(file) for file in files}
        settled = {file: identity for file, identity in found.items() if self._last.get(file, ...) == identity}
        changed = {file: identity for file, identity in settled.items() if self._reported.get(file, ...) != identity}
        self._last = found
        self._reported |= changed
        return Look(bool(changed), len(settled) < len(found), [*changed])


def _identity(file: Path) -> object:
    """What differs once a file, or a symbolic link on the way to it, is another or has changed."""
    try:
        found = file.stat()
    except OSError as wrong:
        return wrong.errno
    if not stat.S_ISREG(found.st_mode):
        return None  # a pipe: what was in it is read
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
