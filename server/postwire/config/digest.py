"""A digest of a configuration, by which nodes that share a store find out whether theirs agree, and where not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from itertools import zip_longest
from typing import Final

from postwire.config.schema import Config, effective

SECTIONS: Final = (
    "audit",
    "auth",
    "delivery",
    "guards",
    "inbound",
    "notify",
    "providers",
    "receipts",
    "routes",
    "store",
    "suppression",
    "tenants",
)
"""What is to be the same at all nodes; all else is each node's own."""

_OWN: Final = frozenset(
    {
        "receipts.listen",
        "store.encryption_keys_file",
        "store.password",
        "store.password_file",
        "store.path",
        "store.sync",
        "store.url",
    }
)
"""The keys in these that may differ."""

_DIGITS: Final = 8
_DIGITS_OF_SECTION: Final = 4


def digest(config: Config, booted: Config | None = None, left: Collection[str] = ()) -> str:
    """Return the digest of a configuration: of all that is to be the same, and after each dot that of a section, in the
    order of `SECTIONS`. Secrets are in it as what they are shown as: that they are set, and not what they are.

    Where it was read while the server ran, which has `booted` with another, the keys that it could not take over are
    `left` as they were; the key of a table stands for all that is in it.
    """
    rows = effective(config)
    if booted and left:
        tables = tuple(f"{key}." for key in left)
        rows = [row for row in rows if not (row[0] in left or row[0].startswith(tables))]
        rows += [row for row in effective(booted) if row[0] in left or row[0].startswith(tables)]
    shown: dict[str, list[tuple[str, str]]] = {name: [] for name in SECTIONS}
    for key, value in rows:
        section = key.partition(".")[0]
        if section in shown and key not in _OWN and not key.startswith("receipts.tls."):
            shown[section].append((key, value))
    parts = [_hash(rows, _DIGITS_OF_SECTION) for rows in shown.values()]
    return ".".join((_hash((row for rows in shown.values() for row in rows), _DIGITS), *parts))


def differing(mine: str, other: str) -> list[str]:
    """The sections in which two digests differ; none where they cannot be told, as of another version of Postwire."""
    own, others = mine.split(".")[1:], other.split(".")[1:]
    if len(own) != len(SECTIONS) or len(others) != len(SECTIONS):
        return []
    return [name for name, one, another in zip_longest(SECTIONS, own, others) if one != another]


def _hash(rows: Iterable[tuple[str, str]], digits: int) -> str:
    text = "\n".join(f"{key} = {value}" for key, value in sorted(rows))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
