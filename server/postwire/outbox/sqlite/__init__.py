"""The outbox in one SQLite file."""

from postwire.outbox.sqlite.store import SqliteOutbox

__all__ = ["SqliteOutbox"]
