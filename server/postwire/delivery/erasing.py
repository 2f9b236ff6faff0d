"""Erasing what messages say at somebody's request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from postwire.clock import Clock
from postwire.core import audit
from postwire.core.audit import AuditedMethod
from postwire.core.listing import MessageFilter
from postwire.core.principal import Principal
from postwire.delivery.inbox import InboxAccess
from postwire.outbox.base import MessageStore

MOST_ERASED: Final = 1_000
"""How many messages are erased at once."""


@dataclass(frozen=True, slots=True)
class Erased:
    """How many messages were erased, or would be, and how many were skipped since they are not settled.

    `next_after` is the message id behind which to go on, None where nothing is left.
    """

    erased: int
    skipped_unsettled: int
    next_after: str | None = None


class Eraser:
    """Erases contents and labels of settled messages, each with an event; their records stay."""

    def __init__(self, outbox: MessageStore, clock: Clock, inbox: InboxAccess | None = None) -> None:
        """`inbox` is this node's, where what simulated providers took is kept: what is erased goes there, too."""
        self._outbox = outbox
        self._clock = clock
        self._inbox = inbox

    async def erase(
        self, message_ids: Sequence[str], *, dry_run: bool = False, reason: str = "", by: Principal
    ) -> Erased:
        """Erase these messages, as far as they are the tenant's; at most `MOST_ERASED`.

        Raises:
            StoreUnavailable: whether they are erased is unknown.
        """
        if dry_run:
            counts = await self._outbox.erasable(message_ids, by.tenant)
        else:
            event = audit.event(AuditedMethod.ERASE_MESSAGES, by, reason=reason, now=self._clock.wall())
            counts = await self._outbox.erase(message_ids, by.tenant, event)
            if self._inbox and (held := self._inbox.held(by.tenant, message_ids)):
                records = await self._outbox.records(held, by.tenant)
                self._inbox.forget(by.tenant, [one.message_id for one in records if one.settled])
        return Erased(counts.erased, counts.unsettled)

    async def erase_labelled(
        self,
        chosen: MessageFilter,
        after: str | None,
        *,
        dry_run: bool = False,
        reason: str = "",
        by: Principal,
    ) -> Erased:
        """Erase the next messages with the labels of `chosen`, from the newest on, behind the message id `after`."""
        page = await self._outbox.list(chosen, MOST_ERASED, after, by.tenant)
        found = [one.message_id for one in page.records]
        done = await self.erase(found, dry_run=dry_run, reason=reason, by=by)
        return Erased(done.erased, done.skipped_unsettled, page.next_after)
