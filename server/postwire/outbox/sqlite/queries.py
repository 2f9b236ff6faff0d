"""Reads `queries.sql`: statements by name, and those that take any number of rows at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import apsw

RECORD: Final = (
    "key", "message_id", "request_id", "payload_hash", "channel", "state", "create_time", "update_time", "expire_time",
    "next_attempt_time", "recipients", "labels", "revision", "queue", "note", "send_time", "deadline", "tenant",
    "receipts", "error_code", "follow_up_time",
)  # fmt: skip
"""The columns that a record is made of: `{record}`."""

WORK: Final = (
    *RECORD, "priority", "delivery_guarantee", "pinned_provider_name", "max_attempts", "accept_trace",
    "ignore_suppression",
)  # fmt: skip
"""Those that are needed to go on with a message: `{work}`."""

_LATER: Final = frozenset({"note", "labels", "receipts", "follow_up_time"})
MESSAGE: Final = (*(name for name in WORK if name not in _LATER), "attempt_number", "provider_name")
"""Those that a message is accepted with: `{message}`."""

LABELS: Final = "(SELECT labels FROM labels WHERE labels.key = messages.key) AS labels"
"""What stands for them in place of the column `labels`."""

ATTEMPT: Final = (
    "number", "provider_name", "start_time", "outcome", "duration", "provider_message_id", "error_code", "detail",
    "trace_id", "positions", "receipt_overdue",
)  # fmt: skip
"""The columns that an attempt is made of: `{attempt}`."""

RECEIPT: Final = (
    "receipt", "provider_name", "attempt", "state", "receive_time", "code", "recipient", "part", "time", "permanent",
    "applied", "to_report",
)  # fmt: skip
"""Those that a receipt is made of: `{receipt}`."""

HELD: Final = (
    "provider_name", "event", "state", "receive_time", "message_id", "attempt", "provider_message_id", "recipient_hash",
    "code", "time", "permanent", "to_report",
)  # fmt: skip
"""Those of one that is held: `{held}`."""
SUPPRESSION: Final = (
    "tenant", "address_hash", "sender", "reason", "source", "create_time", "expire_time", "key_id",
)  # fmt: skip
"""The columns that a suppression is made of: `{suppression}`."""

PAYLOAD_HASH: Final = RECORD.index("payload_hash")
"""Where a row of either has it."""

_COLUMNS: Final = {
    f"{{{name}}}": ", ".join(LABELS if column == "labels" else column for column in columns)
    for name, columns in (
        ("record", RECORD),
        ("work", WORK),
        ("message", MESSAGE),
        ("attempt", ATTEMPT),
        ("receipt", RECEIPT),
        ("held", HELD),
        ("suppression", SUPPRESSION),
    )
}
_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_ROWS: Final = "{rows}"
MAX_PIECE: Final = 128
"""Of how many rows a piece is made at the most.

Of more, a statement is too long for apsw to keep it compiled, and the planner begins to read tables from end to end:
`tests/unit/test_queries.py` holds each size to an index.
"""


SQLValue = int | str | bytes | None
Row = tuple[SQLValue, ...]


def _load() -> dict[str, str]:
    text = resources.files(__package__).joinpath("queries.sql").read_text(encoding="utf-8")
    for placeholder, columns in _COLUMNS.items():
        text = text.replace(placeholder, columns)
    parts = _NAME.split(text)[1:]
    return {
        name: "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


QUERIES: Final = _load()
"""Every statement of `queries.sql`, by its name."""


class Bulk:
    """A statement over many rows, run in one piece.

    The number of rows is filled up to a power of two by rows of NULLs, which the statement passes over: so its text
    recurs, and its compiled form is reused.
    """

    def __init__(self, name: str) -> None:
        self._sql = QUERIES[name]
        self._by_size: dict[int, str] = {}

    def run(self, connection: apsw.Connection, rows: Sequence[Row]) -> int:
        """Run it over all `rows`; returns how many rows of the store were changed."""
        changed = 0
        for at in range(0, len(rows), MAX_PIECE):
            self._execute(connection, rows[at : at + MAX_PIECE])
            changed += connection.changes()
        return changed

    def read(self, connection: apsw.Connection, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """Run it over all `rows`; returns what it finds."""
        found: list[tuple[Any, ...]] = []
        for at in range(0, len(rows), MAX_PIECE):
            found += self._execute(connection, rows[at : at + MAX_PIECE])
        return found

    def _execute(self, connection: apsw.Connection, piece: Sequence[Row]) -> apsw.Cursor:
        width = len(piece[0])
        size = 1 << (len(piece) - 1).bit_length()
        values = [value for row in piece for value in row]
        values.extend([None] * (size - len(piece)) * width)
        return connection.execute(self._by_size.get(size) or self._text(size, width), values)

    def _text(self, size: int, width: int) -> str:
        one = "(" + ", ".join("?" * width) + ")"
        text = self._by_size[size] = self._sql.replace(_ROWS, ", ".join([one] * size))
        return text
