"""Who must not be written to, by hashes of addresses. No address comes here."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Protocol

from postwire.core.audit import AuditEvent
from postwire.core.suppression import Suppression, SuppressionPage, SuppressionPosition, SuppressionReason
from postwire.outbox.base.availability import Availability


class SuppressionStore(Availability, Protocol):
    """Keeps suppressions, a list for each tenant. One that has expired counts as not there.

    There is one for each address and sender. Times are in µs since the epoch.
    """

    @property
    def has_suppressions(self) -> bool:
        """Whether there may be any, of any tenant: where there are none, nobody has to ask."""
        ...

    def add_suppressions(
        self, of: Mapping[str, Sequence[Suppression]], event: AuditEvent | None = None, *, only_new: bool = False
    ) -> Awaitable[int]:
        """Keep suppressions of tenants, in one commit with the event; returns how many of them were not there.

        One that is there gets the reason, the source, the expiry and the key of the new one, and stays where it is in
        the order; with `only_new` only if it would expire sooner.
        """
        ...

    def remove_suppressions(
        self,
        hashes: Sequence[bytes],
        tenants: Collection[str],
        now: int,
        event: AuditEvent | None = None,
        *,
        senders: Collection[str] | None = None,
        reason: SuppressionReason | None = None,
    ) -> Awaitable[int]:
        """Remove what is suppressed of addresses, in one commit with the event: of these senders, and for this reason,
        where that is said. Returns of how many addresses there was anything, for each tenant."""
        ...

    async def suppressions(self, hashes: Sequence[bytes], tenant: str, now: int) -> Sequence[Suppression]:
        """What is suppressed of addresses, in any order."""
        ...

    async def list_suppressions(
        self, size: int, after: SuppressionPosition | None, tenant: str, now: int
    ) -> SuppressionPage:
        """At most `size` suppressions, newest first, going on behind `after`. It may give fewer though more follow."""
        ...

    async def remove_expired_suppressions(self, now: int, limit: int) -> int:
        """Forget those that have expired, and at most `limit`; returns how many."""
        ...
