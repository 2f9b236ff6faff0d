"""Bringing times of what waits onto the due clock of another opening."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Final

import apsw

from postwire.core.message import Priority
from postwire.outbox.sqlite import reads
from postwire.outbox.sqlite.queries import QUERIES

AHEAD: Final = "ahead"
"""The metadata that `Outbox.keep_ahead` keeps."""


def kept_ahead(connection: apsw.Connection) -> int:
    """What `Outbox.keep_ahead` has kept since the last `realign`."""
    return int(reads.read_metadata(connection, AHEAD) or 0)


def realign(connection: apsw.Connection, times: Mapping[str, int]) -> None:
    """See `Outbox.realign`; `times` are what it takes, by name."""
    by = kept_ahead(connection)
    for (tenant, queue), priority in product(reads.queues(connection), Priority):
        bindings = {"queue": queue, "tenant": tenant, "priority": priority.value, "by": by, **times}
        if by:
            connection.execute(QUERIES["shift_due"], bindings)
        connection.execute(QUERIES["bound_due"], bindings)
        connection.execute(QUERIES["bound_deferred"], bindings)
    if by:
        connection.execute(QUERIES["shift_follow_ups"], {"by": by})
        connection.execute(QUERIES["shift_deadlines"], {"by": by})
        connection.execute(QUERIES["keep_fact"], (AHEAD, "0"))
    connection.execute(QUERIES["bound_follow_ups"], times)
