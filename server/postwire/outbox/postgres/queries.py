"""Reads the files `*.sql` of this folder: statements by name."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Record = asyncpg.Record
else:  # only its type has parameters
    Connection, Record = asyncpg.Connection, asyncpg.Record

RECORD: Final = (
    "message_id", "tenant", "request_id", "payload_hash", "channel", "state", "create_time", "update_time",
    "expire_time", "deadline", "next_attempt_time", "follow_up_time", "send_time", "revision", "queue", "error_code",
    "attempts", "recipients", "labels", "note", "receipts",
)  # fmt: skip
"""The columns that a record is made of: `{record}`, of `m`."""

WORK: Final = (
    *RECORD, "priority", "delivery_guarantee", "pinned_provider_name", "max_attempts", "accept_trace",
    "ignore_suppression",
)  # fmt: skip
"""Those that are needed to go on with a message: `{work}`, of `m`."""

MEMBER: Final = (
    "node", "name", "version", "config_digest", "queues", "seen", "acknowledged", "shares", "clock_offset",
    "start_time", "lease_until",
)  # fmt: skip
"""What is shown of a node: `{member}`, of `n`."""

RECEIPT: Final = (
    "receipt", "provider_name", "attempt", "state", "receive_time", "code", "recipient", "part", "time", "permanent",
    "applied", "to_report",
)  # fmt: skip
"""Those that a receipt is made of: `{receipt}`, of `r`."""

HELD: Final = (
    "held", "provider_name", "event", "state", "receive_time", "message_id", "attempt", "provider_message_id",
    "recipient_hash", "code", "time", "permanent", "to_report",
)  # fmt: skip
"""Those of one that is held: `{held}`, of `h`."""

SUPPRESSION: Final = (
    "tenant", "address_hash", "sender", "reason", "source", "create_time", "expire_time", "key_id",
)  # fmt: skip
"""Those that a suppression is made of: `{suppression}`, of `s`."""

_COLUMNS: Final = {
    f"{{{name}}}": ", ".join(f"{table}.{column}" for column in columns)
    for name, table, columns in (
        ("record", "m", RECORD),
        ("work", "m", WORK),
        ("member", "n", MEMBER),
        ("receipt", "r", RECEIPT),
        ("held", "h", HELD),
        ("suppression", "s", SUPPRESSION),
    )
}
_NAME: Final = re.compile(r"^-- (name|part): (\w+)$", re.MULTILINE)


def _load() -> dict[str, str]:
    found: dict[str, str] = {}
    parts: dict[str, str] = {}
    for file in sorted(resources.files(__package__).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        text = file.read_text(encoding="utf-8")
        for placeholder, columns in _COLUMNS.items():
            text = text.replace(placeholder, columns)
        pieces = _NAME.split(text)[1:]
        for kind, name, body in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
            assert name not in found | parts, name
            statement = "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
            (found if kind == "name" else parts)[name] = statement
    for name, statement in found.items():
        for part, body in parts.items():
            statement = statement.replace(f"{{{part}}}", body)
        found[name] = statement
    return found


QUERIES: Final = _load()
"""Every statement, by its name. A `-- part` of one or more is no statement: it stands where they have its name in
braces."""
