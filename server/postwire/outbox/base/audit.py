"""What is kept of who changed what. The other parts keep an event with the change that it is about."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from postwire.core.audit import AuditEvent, AuditFilter, AuditPage, AuditPosition
from postwire.outbox.base.availability import Availability


class AuditLog(Availability, Protocol):
    """Keeps events, and gives them back as they are. Nothing changes one; it can be removed by its age only."""

    def add_event(self, event: AuditEvent) -> Awaitable[None]:
        """Keep an event of a change that is not the store's, or of none."""
        ...

    async def events(self, chosen: AuditFilter, size: int, after: AuditPosition | None) -> AuditPage:
        """At most `size` events that `chosen` admits, newest first, going on behind `after`.

        Looks at no more than `core.listing.SCAN_LIMIT` events, so it may give fewer, or none, though more follow.
        """
        ...

    async def remove_events(self, before: int, limit: int) -> int:
        """Forget the oldest events of before a time (µs), and at most `limit`; returns how many."""
        ...
