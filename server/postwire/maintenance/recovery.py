"""What a boot does with what an earlier one has left, before anything new comes."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import Final

from postwire.clock import Clock
from postwire.core import canonical, follow_up, lifecycle
from postwire.core.errors import InvalidMessage, Refusal
from postwire.core.lifecycle import NextStep
from postwire.core.message import MAX_TIME, Channel, Priority
from postwire.delivery.executor import Executor
from postwire.outbox.base import BEGINNING, Outbox, QueuedMessage, QueueKey, StoredMessage
from postwire.providers.registry import Registry
from postwire.telemetry.base import Observer

STEP: Final = 256
"""How many messages are looked at in one commit."""

ROUTES: Final = "routes"
"""The metadata that says by which rules what waits was put into queues."""

_UNSERVED: Final = frozenset(channel.value for channel in Channel)
"""The queues of what no rule takes."""

_UNSUITABLE: Final = "/unsuitable"
"""How the keys of the queues end of what nobody of its route can carry."""


async def recover(outbox: Outbox, registry: Registry, executor: Executor, clock: Clock, observer: Observer) -> int:
    """Close attempts that a crash left open, and find the queues of what waits; returns how many were left open.

    An orphan is `uncertain`, with no verdict for its provider's breaker. Nothing depends on the wall clock to find one:
    an attempt that is open belongs to a boot that is over.
    """
    now = clock.due()
    latest_follow_up = now + int(max((one.delivered_within or 0.0 for one in registry.all_routes()), default=0.0) * 1e6)
    await outbox.realign(
        now,
        executor.latest_retry(now),
        executor.latest_deferred(now),
        clock.machine(),
        latest_follow_up=latest_follow_up,
    )
    count = 0
    while orphans := await outbox.orphans(STEP):
        count += len(orphans)
        await asyncio.gather(*(_close_orphan(outbox, stored, registry, executor, observer) for stored in orphans))
    rules = _fingerprint(registry)
    have_changed = await outbox.metadata(ROUTES) != rules
    await _find_queues(outbox, registry, have_changed)
    if have_changed:
        await outbox.keep_metadata(ROUTES, rules)
    return count


async def _close_orphan(
    outbox: Outbox, stored: StoredMessage, registry: Registry, executor: Executor, observer: Observer
) -> None:
    if stored.record.settled:
        await _close_further(outbox, stored, registry, executor)
        return
    policy, (now, due) = executor.policy(stored.options), executor.now()
    record, next_step = lifecycle.close_attempt(
        stored.record, lifecycle.ORPHANED, policy, now=now, duration=None, ahead=now - due
    )
    if next_step is not NextStep.NOTHING:
        record = lifecycle.requeue(record, now=now, due=executor.retry_time(len(record.attempts), due))
    if await outbox.advance(stored.record, record):
        observer.state_reached(record)


async def _close_further(outbox: Outbox, stored: StoredMessage, registry: Registry, executor: Executor) -> None:
    """Close a further attempt of a message that was sent before: it stays so, and has its time to be delivered."""
    policy, (now, due) = executor.policy(stored.options), executor.now()
    record, _ = follow_up.close_attempt(stored.record, lifecycle.ORPHANED, now=now, duration=None)
    route = registry.route_by_queue_key(record.queue)
    if route is None:
        with suppress(ValueError):
            message = canonical.decode_message(stored.content)
            route = registry.adopt(record.queue, message, record.tenant)
    if route and route.delivered_within is not None:
        until = due + int(route.delivered_within * 1e6)
        record = follow_up.expect_receipt(record, policy, route.names, until=until, ahead=now - due)
    await outbox.advance(stored.record, record)


async def _find_queues(outbox: Outbox, registry: Registry, have_changed: bool) -> None:
    """Find the routes of what waits in queues that nobody serves.

    What waits for a rule that is still there stays, though another one may stand before it now. Where the rules
    `have_changed`, there may be a route for what had none; and a pinned provider may be there still, and not carry the
    channel any more. What nobody could carry is looked at in any case: rules do not tell what providers can carry.
    """
    looked_at: set[str] = set()
    for key in await outbox.heads(None, 0, 1):
        name = key.name
        if name in _UNSERVED or (name.startswith("@") and not name.endswith(_UNSUITABLE)):
            if have_changed:
                looked_at.add(name)
        elif not await _is_served(outbox, registry, key):
            looked_at.add(name)
    if not looked_at:
        return
    after = BEGINNING
    while True:
        found, after = await outbox.scan_queued(after, STEP, looked_at)
        if not found:
            return
        moves = [
            (stored.record, name) for stored in found if (name := _queue_of(stored, registry)) != stored.record.queue
        ]
        if moves:
            await outbox.reassign(moves)


async def _is_served(outbox: Outbox, registry: Registry, key: QueueKey) -> bool:
    """Whether a queue is that of a route. One of its messages tells that of a route without some of its providers."""
    if registry.route_by_queue_key(key.name):
        return True
    found: list[QueuedMessage] = []
    await outbox.take(key, MAX_TIME, dict.fromkeys(Priority, 1), found.append)  # which takes none
    for queued in found:
        with suppress(ValueError):
            content = await outbox.content(queued.record.message_id, key.tenant) or b""
            message = canonical.decode_message(content)
            return registry.adopt(key.name, message, key.tenant, _positions(queued)) is not None
    return False


def _queue_of(stored: StoredMessage, registry: Registry) -> str:
    """The key of the queue of a message. Where no route is left for it, it waits in one that nobody serves."""
    pinned, channel = stored.options.provider_name, stored.record.channel
    key = f"@{pinned}" if pinned else channel.value
    try:
        message = canonical.decode_message(stored.content)
        return registry.route(message, stored.record.tenant, pinned, _positions(stored)).queue_key
    except ValueError:  # it is reported when its turn comes to be sent
        rules = registry.routes(channel)
        return rules[-1].queue_key if rules and rules[-1].match.is_empty and not pinned else key
    except InvalidMessage:
        return key + _UNSUITABLE
    except Refusal:
        return key if registry.route_by_queue_key(key) is None else f"{key}/{channel.value}"


def _positions(stored: StoredMessage | QueuedMessage) -> tuple[int, ...] | None:
    return lifecycle.unresolved(stored.record) if stored.record.recipients else None


def _fingerprint(registry: Registry) -> str:
    """Tells sets of rules apart: neither their order nor who a rule's messages go to matters, since it moves none."""
    queues = sorted(route.queue_key for route in registry.all_routes())
    pinnable = sorted(
        (entry.provider.name, [channel.value for channel in entry.provider.channels]) for entry in registry
    )
    return hashlib.sha256(repr((queues, pinnable)).encode()).hexdigest()
