"""Finds the queues of what waits where nobody serves its queue any more: the rules have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

from postwire.clock import Clock
from postwire.core import canonical, lifecycle
from postwire.core.errors import InvalidMessage, Refusal
from postwire.core.message import MAX_TIME, Channel, Priority
from postwire.delivery.wakeable_task import WakeableTask
from postwire.outbox.base import BEGINNING, Outbox, QueuedMessage, QueueKey, StoredMessage
from postwire.providers.registry import Registry

STEP: Final = 256
"""How many messages are looked at in one commit."""

INTERVAL: Final = 5.0
"""Seconds between two looks for queues that no node serves any more."""

ROUTES: Final = "routes"
"""The metadata that says by which rules what waits was put into queues."""

_UNSERVED: Final = frozenset(channel.value for channel in Channel)
"""The queues of what no rule takes."""

_UNSUITABLE: Final = "/unsuitable"
"""How the keys of the queues end of what nobody of its route can carry."""


class Rerouting:
    """Moves what waits in queues that nobody serves. `others` has the keys of those that other nodes serve, whose rules
    may be others for a while: what waits there is left to them."""

    def __init__(
        self, *, outbox: Outbox, registry: Registry, others: Callable[[], Collection[str]] = lambda: ()
    ) -> None:
        self._outbox = outbox
        self._registry = registry
        self._others = others

    async def find_queues(self) -> None:
        """Find the routes of what waits in such queues.

        What waits for a rule that is still there stays, though another one may stand before it now. Where the rules
        have changed, there may be a route for what had none; and a pinned provider may be there still, and not carry
        the channel any more. What nobody could carry is looked at in any case: rules do not tell what providers can
        carry.
        """
        rules = _fingerprint(self._registry)
        have_changed = await self._outbox.metadata(ROUTES) != rules
        if looked_at := await self._unserved(have_changed):
            await self._move(looked_at)
        if have_changed:
            await self._outbox.keep_metadata(ROUTES, rules)

    async def _unserved(self, have_changed: bool) -> set[str]:
        others = set(self._others())
        looked_at: set[str] = set()
        for key in await self._outbox.heads(None, 0, 1):
            name = key.name
            if name in _UNSERVED or (name.startswith("@") and not name.endswith(_UNSUITABLE)):
                if have_changed:
                    looked_at.add(name)
            elif name not in others and not await self._is_served(key):
                looked_at.add(name)
        return looked_at

    async def _move(self, queues: Collection[str]) -> None:
        after = BEGINNING
        while True:
            found, after = await self._outbox.scan_queued(after, STEP, queues)
            if not found:
                return
            moves = [
                (stored.record, name)
                for stored in found
                if (name := _queue_of(stored, self._registry)) != stored.record.queue
            ]
            if moves:
                await self._outbox.reassign(moves)

    async def _is_served(self, key: QueueKey) -> bool:
        """Whether a queue is that of a route. One of its messages tells that of a route without some of its
        providers."""
        if self._registry.route_by_queue_key(key.name):
            return True
        found: list[QueuedMessage] = []
        await self._outbox.take(key, MAX_TIME, dict.fromkeys(Priority, 1), found.append)  # which takes none
        for queued in found:
            with suppress(ValueError):
                content = await self._outbox.content(queued.record.message_id, key.tenant) or b""
                message = canonical.decode_message(content)
                return self._registry.adopt(key.name, message, key.tenant, _positions(queued)) is not None
        return False


class ReroutingSweep:
    """Does so again and again, where other nodes come and go."""

    def __init__(self, rerouting: Rerouting, *, outbox: Outbox, clock: Clock) -> None:
        self._rerouting = rerouting
        self._wakeable = WakeableTask(self._run_once, outbox=outbox, clock=clock)

    def start(self) -> None:
        """Begin."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Move nothing more."""
        await self._wakeable.stop()

    async def _run_once(self) -> float:
        await self._rerouting.find_queues()
        return INTERVAL


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
