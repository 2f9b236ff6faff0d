"""How what may be in flight is shared, so that one bulk load never shuts out the rest.

Every class of calls leaves some of all the room free: streams four tenths, whatever the priority of what is in them,
other calls a tenth, and other calls of high priority nothing. Within that, a stream and a route's queue hold at most
`SHARE` times what is left to the class ("dynamic thresholds", Choudhury and Hahne, IEEE/ACM Transactions on Networking
6(2), 1998): one alone gets most of it, each that comes gets its part as soon as something ends, and nothing is kept for
those who are idle. Bytes are shared in the same way. A queue is of one tenant, and a tenant may have a limit of its own
to what it has in flight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Final

from postwire.core.queue_keys import QueueKey

SHARE: Final = 4
"""How many times the room that is left one stream or queue may hold."""

NO_RESERVE: Final = 10
"""With room for fewer messages than this, no class leaves any of it free."""

TURN_COUNT: Final = 100
"""How many messages a stream that had to wait is let in with at once."""

TURN_BYTES: Final = 1 << 20
"""From how many bytes on its turn is over."""

_NO_LIMITS: Final[Mapping[str, int]] = MappingProxyType({})


class Share:
    """What one stream, or one queue, has in flight."""

    __slots__ = ("bytes", "count")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0


class Admission:
    """Counts the messages in flight, and their bytes, against what is allowed.

    A message is of a `queue`, by its key, and comes in a `stream` or by a call of its own, which is `urgent` if its
    priority is high. One whose queue and stream hold nothing is refused only where its class is full.
    """

    __slots__ = ("_bytes", "_count", "_of_calls", "_of_streams", "_of_urgent", "_queues", "_tenant_limits", "_tenants")

    def __init__(self, *, max_count: int, max_bytes: int, tenant_limits: Mapping[str, int] = _NO_LIMITS) -> None:
        """`tenant_limits` are how many messages of a tenant may be in flight, and may change."""
        self._of_urgent = (max_count, max_bytes)
        self._of_calls = self._of_streams = self._of_urgent
        if max_count >= NO_RESERVE:
            self._of_calls = (max_count - max_count // 10, max_bytes - max_bytes // 10)
            self._of_streams = (max_count - 4 * max_count // 10, max_bytes - 4 * max_bytes // 10)
        self._count = 0
        self._bytes = 0
        self._queues: dict[QueueKey, Share] = {}  # those that hold anything
        self._tenants: dict[str, int] = {}  # and how much
        self._tenant_limits = tenant_limits

    @property
    def count(self) -> int:
        """How many messages are in flight."""
        return self._count

    def of_tenant(self, tenant: str) -> int:
        """How many messages of a tenant are in flight."""
        return self._tenants.get(tenant, 0)

    @property
    def is_full_for_streams(self) -> bool:
        """Whether no stream has room, whatever its message."""
        max_count, max_bytes = self._of_streams
        return self._count >= max_count or (self._count > 0 and self._bytes >= max_bytes)

    def is_full_for(self, tenant: str) -> bool:
        """Whether a tenant has as much in flight as it may."""
        limit = self._tenant_limits.get(tenant)
        return limit is not None and self._tenants.get(tenant, 0) >= limit

    def has_room(self, size: int, queue: QueueKey, stream: Share | None = None, *, urgent: bool = False) -> bool:
        """Whether a message of `size` bytes may enter. One larger than all the room may when it is alone."""
        if stream is not None:
            max_count, max_bytes = self._of_streams
        else:
            max_count, max_bytes = self._of_urgent if urgent else self._of_calls
        count = self._count
        if count >= max_count or (count and self._bytes + size > max_bytes):
            return False
        if self._tenant_limits and self.is_full_for(queue.tenant):
            return False
        most, most_bytes = SHARE * (max_count - count), SHARE * (max_bytes - self._bytes)
        share = self._queues.get(queue)
        if share is not None and (share.count >= most or (share.bytes and share.bytes >= most_bytes)):
            return False
        return stream is None or (stream.count < most and (not stream.bytes or stream.bytes < most_bytes))

    def enter(self, size: int, queue: QueueKey, stream: Share | None = None, *, urgent: bool = False) -> bool:
        """Let a message in, if there is room."""
        if not self.has_room(size, queue, stream, urgent=urgent):
            return False
        self._count += 1
        self._bytes += size
        self._tenants[queue.tenant] = self._tenants.get(queue.tenant, 0) + 1
        share = self._queues.get(queue)
        if share is None:
            share = self._queues[queue] = Share()
        share.count += 1
        share.bytes += size
        if stream is not None:
            stream.count += 1
            stream.bytes += size
        return True

    def leave(self, size: int, queue: QueueKey, stream: Share | None = None) -> None:
        """Note that a message which was let in is done."""
        self._count -= 1
        self._bytes -= size
        left = self._tenants[queue.tenant] - 1
        if left:
            self._tenants[queue.tenant] = left
        else:
            del self._tenants[queue.tenant]
        share = self._queues[queue]
        share.count -= 1
        share.bytes -= size
        if not share.count:
            del self._queues[queue]
        if stream is not None:
            stream.count -= 1
            stream.bytes -= size


class Room:
    """Room for something else than messages, shared in the same way by whose it is: each holds at most `SHARE` times
    what is left. What is nobody's is held up to the end of the room.
    """

    __slots__ = ("_held", "_held_by", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._held_by: Counter[Hashable] = Counter()

    def __bool__(self) -> bool:
        """Whether anything is held."""
        return bool(self._held)

    def hold(self, count: int, whose: Hashable = None) -> None:
        """Note that so much more is held, or less."""
        self._held += count
        self._held_by[whose] += count
        if not self._held_by[whose]:
            del self._held_by[whose]

    def is_over(self, whose: Hashable = None) -> bool:
        """Whether he holds more than he may."""
        left = self._most - self._held
        return left < 0 or (whose is not None and self._held_by[whose] > SHARE * left)


class WaitingStreams:
    """The streams that wait for room, in the order in which they are served: each for a turn, and then at the end.

    Tenants are served in turn, and so are the streams of each of them.
    """

    __slots__ = ("_admission", "_by_tenant", "_tenants")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._by_tenant: dict[str, dict[Share, tuple[int, QueueKey]]] = {}
        self._tenants: dict[Share, str] = {}

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._tenants)

    def add(self, stream: Share, size: int, queue: QueueKey) -> None:
        """Have a stream wait at the end, with a message of a size and a queue."""
        self._tenants[stream] = queue.tenant
        self._by_tenant.setdefault(queue.tenant, {})[stream] = (size, queue)

    def remove(self, stream: Share) -> None:
        """It waits no more: its tenant goes to the end."""
        if (tenant := self._tenants.pop(stream, None)) is not None:
            streams = self._by_tenant.pop(tenant)
            del streams[stream]
            if streams:
                self._by_tenant[tenant] = streams

    def holds_up(self, tenant: str) -> bool:
        """Whether one that waits goes before a stream of a tenant that has just come."""
        return bool(self._tenants) and (tenant in self._by_tenant or self.next() is not None)

    def next(self) -> Share | None:
        """Whose turn it is: the first whose message has room. Who is above its share holds up nobody behind it."""
        if self._admission.is_full_for_streams:  # asked whenever anything leaves, and very many may wait
            return None
        has_room = self._admission.has_room
        for tenant, streams in self._by_tenant.items():
            if self._admission.is_full_for(tenant):
                continue
            for stream, (size, queue) in streams.items():
                if has_room(size, queue, stream):
                    return stream
        return None
