"""Request ids of the lines of a file: hashes of their contents, see docs/adr/0017."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import Final

from postwire.cli.failure import ExitCode, Failed

_HEX_DIGITS: Final = 40


def request_id(batch: str, content: str, nth: int) -> str:
    """The id of the nth line with this content, counted from 1. The same in every release."""
    digest = hashlib.sha256(json.dumps([batch, content, nth]).encode()).hexdigest()
    return f"file-{digest[:_HEX_DIGITS]}"


class Occurrences:
    """Counts equal contents. Of so many as fit nowhere, since a database without a name moves to disk as it grows."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def count(self, content: str) -> int:
        """How often this content has come, this time included. Raises Failed where there is no room to know."""
        digest = hashlib.sha256(content.encode()).digest()[:16]
        try:
            ((times,),) = self._database.execute(
                "INSERT INTO seen VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times", (digest,)
            ).fetchall()
        except sqlite3.Error as error:
            raise Failed(f"there is no room for temporary files (TMPDIR): {error}", ExitCode.REFUSED) from None
        return int(times)

    def close(self) -> None:
        """Forget all of them."""
        self._database.close()
