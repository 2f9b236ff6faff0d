"""Files of encryption keys, and what of a store is to be read in its files."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

from postwire.config.encryption_keys import EncryptionKey


def write_keys(file: Path, keys: Sequence[EncryptionKey]) -> Path:
    """Put keys into a file, all at once; returns it."""
    partial = file.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text("".join(f"{one.key_id} = {base64.b64encode(one.secret).decode()}\n" for one in keys))
    return partial.replace(file)


def key_texts(keys: Iterable[EncryptionKey]) -> list[bytes]:
    """The keys as they might be written somewhere."""
    return [text for one in keys for text in (one.secret, base64.b64encode(one.secret), one.secret.hex().encode())]


def found_in(files: Iterable[Path], marks: Iterable[bytes]) -> dict[str, list[bytes]]:
    """Which marks can be read in which files, whatever the case of their letters; files with none are left out."""
    wanted = {mark: mark.lower() for mark in marks}
    found: dict[str, list[bytes]] = {}
    for file in files:
        data = file.read_bytes().lower()
        if seen := [mark for mark, lower in wanted.items() if lower in data]:
            found[file.name] = seen
    return found
