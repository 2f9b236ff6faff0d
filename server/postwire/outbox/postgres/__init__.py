"""The outbox in a PostgreSQL database, which any number of nodes share."""

from postwire.outbox.postgres.store import PostgresOutbox

__all__ = ["PostgresOutbox"]
