"""The keys that a store keeps itself."""

from __future__ import annotations

import secrets
from typing import Final

import apsw

from postwire.outbox.sqlite.queries import QUERIES

LOOKUP_KEY_BYTES: Final = 32

_PLAIN: Final = b"\x01"
"""What the kept form of a key begins with that lies in clear."""


def lookup_key(connection: apsw.Connection) -> bytes:
    """See `AdminState.lookup_key`. Made where there is none yet.

    Raises:
        apsw.Error: it cannot be read, or kept.
    """
    with connection:
        found = connection.execute(QUERIES["lookup_key"]).fetchall()
        if not found:
            found = [(_PLAIN + secrets.token_bytes(LOOKUP_KEY_BYTES),)]
            connection.execute(QUERIES["keep_lookup_key"], found[0])
    kept = found[0][0]
    assert isinstance(kept, bytes)
    return kept[len(_PLAIN) :]
