"""What a boot does with what an earlier one has left, before anything new comes."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from postwire.clock import Clock
from postwire.core import canonical, lifecycle
from postwire.core.errors import Refusal
from postwire.core.lifecycle import Next
from postwire.core.message import Channel
from postwire.delivery.carrier import Carrier
from postwire.outbox.base import Outbox, StoredMessage
from postwire.providers.registry import Registry
from postwire.telemetry.base import Observer

STEP: Final = 256
"""How many messages are looked at in one commit."""

ROUTES: Final = "routes"
"""The fact that says by which rules what waits was put into queues."""


async def recover(outbox: Outbox, registry: Registry, carrier: Carrier, clock: Clock, observer: Observer) -> int:
    """Let go of attempts that a crash left open, and find the queues of what waits; returns how many were left open.

    An orphan is `uncertain`, with no verdict for its provider's breaker. Nothing depends on the wall clock to tell one:
    an attempt that is open belongs to a boot that is over.
    """
    now = clock.due()
    await outbox.realign(now, carrier.latest_retry(now))
    count = 0
    while orphans := await outbox.orphans(STEP):
        count += len(orphans)
        await asyncio.gather(*(_let_go(outbox, stored, carrier, observer) for stored in orphans))
    rules = _fingerprint(registry)
    if await outbox.fact(ROUTES) != rules:
        await _find_queues(outbox, registry)
        await outbox.keep_fact(ROUTES, rules)
    return count


async def _let_go(outbox: Outbox, stored: StoredMessage, carrier: Carrier, observer: Observer) -> None:
    policy, (now, due) = carrier.policy(stored.options), carrier.now()
    record, asks = lifecycle.close_attempt(
        stored.record, lifecycle.ORPHANED, policy, now=now, duration=None, ahead=now - due
    )
    if asks is not Next.NOTHING:
        record = lifecycle.requeue(record, now=now, due=carrier.retry_time(len(record.attempts), due))
    if await outbox.advance(stored.record, record):
        observer.state_reached(record)


async def _find_queues(outbox: Outbox, registry: Registry) -> None:
    """Put what waits into the queues of the rules as they now are."""
    after = 0
    while True:
        found, after = await outbox.scan_queued(after, STEP)
        if not found:
            return
        moves = [
            (stored.record, key) for stored in found if (key := _queue_of(stored, registry)) != stored.record.queue
        ]
        if moves:
            await outbox.reassign(moves)


def _queue_of(stored: StoredMessage, registry: Registry) -> str:
    """The key of the queue of a message. Where no route is left for it, it waits in one that nobody serves."""
    pinned, channel = stored.options.provider_name, stored.record.channel.value
    key = f"@{pinned}" if pinned else channel
    try:
        return registry.route(canonical.decode_message(stored.content), pinned).key
    except ValueError:  # it will be told of when its turn comes
        return key
    except Refusal:
        # The pinned provider may be there still, and not carry the channel any more.
        return key if registry.route_by_key(key) is None else f"{key}/{channel}"


def _fingerprint(registry: Registry) -> str:
    """Tells sets of rules apart: who a rule's messages go to does not matter, since it does not move them."""
    rules = [(channel.value, route.key, repr(route.match)) for channel in Channel for route in registry.routes(channel)]
    pinnable = [(slot.provider.name, [channel.value for channel in slot.provider.channels]) for slot in registry]
    return hashlib.sha256(repr((rules, pinnable)).encode()).hexdigest()
