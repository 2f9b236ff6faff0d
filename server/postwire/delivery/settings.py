"""The limits of the delivery, as the configuration has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Self

from postwire.config.schema import Config
from postwire.core.guards import GuardRules
from postwire.core.message import Channel
from postwire.core.quotas import Quota
from postwire.delivery.executor import Retries

IN_FLIGHT_BYTES_FACTOR: Final = 8
"""How many messages of the largest size may be in flight at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds; `expire_after` and what ends in `retention` in µs; sizes in bytes.

    A bound of the backlog that is 0 is a share: see `core.backlog`. `quotas` are those of tenants, where there are any,
    and `content_retention_of` is that of those who have one of their own. `guards` say what is let through at all.
    """

    max_wait: float
    max_in_flight: int
    max_in_flight_bytes: int
    expire_after: Mapping[Channel, int]
    retries: Retries
    max_unsettled: int
    max_unsettled_per_queue: int
    max_scheduled: int
    retention: int
    content_retention: int
    audit_retention: int
    allow_ignore_suppression: bool = False
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    content_retention_of: Mapping[str, int] = field(default_factory=dict)
    guards: GuardRules = field(default_factory=GuardRules)

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """What the configuration allows."""
        delivery = config.delivery
        return cls(
            max_wait=config.server.max_wait,
            max_in_flight=config.server.max_in_flight,
            max_in_flight_bytes=IN_FLIGHT_BYTES_FACTOR * config.server.max_message_bytes,
            expire_after={channel: int(getattr(delivery.expire_after, channel.value) * 1e6) for channel in Channel},
            max_unsettled=config.store.max_unsettled,
            max_unsettled_per_queue=config.store.max_unsettled_per_queue,
            max_scheduled=config.store.max_scheduled,
            retention=int(config.store.retention * 1e6),
            content_retention=int(config.store.content_retention * 1e6),
            audit_retention=int(config.audit.retention * 1e6),
            retries=Retries(delivery.max_attempts, delivery.backoff_base, delivery.backoff_max),
            allow_ignore_suppression=config.suppression.allow_ignore,
            quotas=quotas_from(config),
            content_retention_of={
                name: int(one.content_retention * 1e6)
                for name, one in config.tenants.items()
                if one.content_retention is not None
            },
            guards=config.guards.rules,
        )


QUOTA_KEYS: Final = tuple(f"tenants.*.{one.name}" for one in fields(Quota))
"""The keys that say what tenants may have."""


GUARD_KEYS: Final = ("guards.allow_prefixes", "guards.max_per_prefix", "guards.max_per_recipient")
"""The keys that say what guards let through."""


def quotas_from(config: Config) -> Mapping[str, Quota]:
    """What the configuration lets tenants have."""
    return {
        name: Quota(
            rate=one.rate,
            burst=one.burst,
            max_unsettled=one.max_unsettled,
            max_in_flight=one.max_in_flight,
            weight=one.weight,
            max_priority=one.max_priority,
        )
        for name, one in config.tenants.items()
    }
