"""What each tenant may have of the server. Nobody else is in it: a tenant at its limits changes nothing for others.

Times are in seconds, on a monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from postwire.core.errors import QuotaExceeded
from postwire.core.limits import Spread, TokenBucket
from postwire.core.message import DispatchOptions, Priority

MEAN_RETRY_DELAY: Final = 1.0
"""Seconds, on average, after which who is over a quota is to try again, unless there is room only later."""

_RANK: Final = {priority: rank for rank, priority in enumerate(Priority)}


@dataclass(frozen=True, slots=True)
class Quota:
    """What one tenant may have. `rate` is in messages a second, and `burst` how many at once after a pause: as many as
    the rate is, by default. None is no limit of its own."""

    rate: float | None = None
    burst: int | None = None
    max_unsettled: int | None = None
    max_in_flight: int | None = None
    weight: int = 1
    max_priority: Priority = Priority.HIGH

    @property
    def allowed_burst(self) -> int | None:
        """How many at once after a pause; None without a rate."""
        if self.rate is None:
            return None
        return max(1, math.ceil(self.rate)) if self.burst is None else self.burst


NO_QUOTA: Final = Quota()


class Quotas:
    """Holds tenants to their quotas. `max_in_flight` has that of each tenant that has one, and is always up to date."""

    __slots__ = ("_buckets", "_by_tenant", "_retry_delays", "max_in_flight")

    def __init__(self, by_tenant: Mapping[str, Quota]) -> None:
        self._by_tenant: Mapping[str, Quota] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._retry_delays = Spread(MEAN_RETRY_DELAY)
        self.max_in_flight: dict[str, int] = {}
        self.replace(by_tenant)

    def replace(self, by_tenant: Mapping[str, Quota]) -> None:
        """Hold tenants to other quotas from now on. Whose rate is the same has no new burst."""
        for tenant in {*self._by_tenant, *by_tenant}:
            before, after = self.of(tenant), by_tenant.get(tenant, NO_QUOTA)
            burst = after.allowed_burst
            if after.rate is None or burst is None:
                self._buckets.pop(tenant, None)
            elif (before.rate, before.burst) != (after.rate, after.burst):
                self._buckets[tenant] = TokenBucket(after.rate, burst)
        self._by_tenant = dict(by_tenant)
        self.max_in_flight.clear()
        for tenant, quota in by_tenant.items():
            if quota.max_in_flight is not None:
                self.max_in_flight[tenant] = quota.max_in_flight

    @property
    def tenants(self) -> Collection[str]:
        """The tenants that there are; safe to ask on any thread."""
        return self._by_tenant.keys()

    def of(self, tenant: str) -> Quota:
        """The quota of a tenant."""
        return self._by_tenant.get(tenant, NO_QUOTA)

    def check(self, tenant: str, unsettled: int, now: float) -> None:
        """Refuse a new message of a tenant that has so many that are not settled.

        Raises:
            QuotaExceeded: it has too many, or sends too fast.
        """
        quota = self._by_tenant.get(tenant)
        if quota is None:
            return
        if quota.max_unsettled is not None and unsettled >= quota.max_unsettled:
            raise self.exceeded(tenant, "max_unsettled")
        bucket = self._buckets.get(tenant)
        if bucket and not bucket.available(now):
            raise self.exceeded(tenant, "rate", bucket.next_time(now) - now)

    def take(self, tenant: str, now: float) -> Callable[[], None] | None:
        """Count a new message of a tenant that `check` has let through; returns what counts it back, if anything."""
        bucket = self._buckets.get(tenant)
        if bucket is None:
            return None
        bucket.take(now)
        return partial(bucket.give_back, now)

    def exceeded(self, tenant: str, key: str, wait: float = 0.0) -> QuotaExceeded:
        """The refusal of what is over the limit `key`, where there is no room for so many seconds."""
        return QuotaExceeded(f"tenants.{tenant}.{key}", max(wait, self._retry_delays.next()))

    def limited(self, tenant: str, options: DispatchOptions) -> DispatchOptions:
        """The options of a message, whose priority is no higher than its tenant may have."""
        quota = self._by_tenant.get(tenant)
        if quota is None or _RANK[options.priority] >= _RANK[quota.max_priority]:
            return options
        return replace(options, priority=quota.max_priority)
