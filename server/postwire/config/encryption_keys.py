"""`store.encryption_keys_file`: the keys that contents are encrypted with, a line each."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from postwire.config.bind import ConfigError, Mistakes
from postwire.config.secret_files import is_open_to_others, read_secret

KEY: Final = "store.encryption_keys_file"

KEY_BYTES: Final = 32

MAX_ID: Final = 32
"""How long (characters) an id may be: shorter than a key, which nobody is to take for one."""

_ID: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_ID - 1}}}")
_GOOD_ID: Final = f"1 to {MAX_ID} letters, digits, dots, dashes and underscores"


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A key of 256 bits, and its id, which is kept beside whatever is encrypted with it."""

    key_id: str
    secret: bytes = field(repr=False)


def keys_of(file: Path | None) -> tuple[EncryptionKey, ...]:
    """The keys of the file that `store.encryption_keys_file` names; none where it names none. See `read_keys`."""
    return read_keys(file) if file else ()


def read_keys(file: Path) -> tuple[EncryptionKey, ...]:
    """Return the keys of a file, in their order.

    A line is `ID = KEY`: the key is the Base64 of 256 bits (RFC 4648, section 4), without quotes. Empty lines and those
    that begin with `#` are passed over.

    Raises:
        ConfigError: for all that is wrong; it names the file and the lines, and shows nothing of them.
    """
    try:
        text = read_secret(file)
    except ValueError as wrong:
        raise ConfigError(KEY, f"{file}: {wrong}") from None
    mistakes = Mistakes()
    found: dict[str, tuple[int, bytes]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            key_id, secret = _read_line(stripped)
            for other, (before, known) in found.items():
                if key_id == other:
                    raise ValueError(f"has the id of line {before}, give each key another")
                if secret == known:
                    raise ValueError(f"has the key of line {before}, make a new one")
        except ValueError as wrong:
            mistakes.add(ConfigError(KEY, f"{file}: line {number} {wrong}"))
        else:
            found[key_id] = number, secret
    mistakes.raise_if_any()
    if not found:
        raise ConfigError(KEY, f"{file}: has no key, write one as ID = KEY")
    return tuple(EncryptionKey(key_id, secret) for key_id, (_, secret) in found.items())


def warnings_of(file: Path | None, *, has_tenants: bool) -> Iterator[str]:
    """What whoever starts a server with this file, or without any, is warned about."""
    if file is None:
        if has_tenants:
            yield f"{KEY}: is not set, so what keeps tenants apart lies in the store in clear, beside what it protects"
    elif is_open_to_others(file):
        yield f"{KEY}: others than its owner may read it: {file}"


def _read_line(line: str) -> tuple[str, bytes]:
    """The id and the key of a line. Raises ValueError, which says nothing of what is in it."""
    name, sign, text = (part.strip() for part in line.partition("="))
    if not sign:
        raise ValueError("is not ID = KEY")
    if not _ID.fullmatch(name):
        raise ValueError(f"begins with no id, which is {_GOOD_ID}")
    if text[:1] in ("'", '"'):
        raise ValueError("has a key in quotes, write it without")
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise ValueError(f"has a key that is not the Base64 of {KEY_BYTES} bytes (44 characters)")
    return name, secret
