"""What is known of messages while they are admitted, one or a frame at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from postwire.core.admission import Share
from postwire.core.guards import Guarded
from postwire.core.message import Channel, DispatchCommand, DispatchOptions, MessageRecord
from postwire.core.queue_keys import QueueKey
from postwire.core.routing import Route
from postwire.delivery.router import ProviderPermit, RoutePlan
from postwire.delivery.shared_gate import SharedGate
from postwire.delivery.waiters import Waiter


@dataclass(slots=True, eq=False)
class Moment:
    """What is the same for all that is admitted in one go, read once: the times (µs; `monotonic` in seconds) and the
    trace. Further what was found out of the last message, which is mostly true of the next as well: of `checked`, what
    its options come to; and of its `route`, the queue."""

    wall: int
    due: int
    monotonic: float
    ahead: int
    trace: str
    is_store_available: bool
    checked: tuple[DispatchOptions, Channel] | None = None
    options: DispatchOptions | None = None
    later: int | None = None
    route: Route | None = None
    queue: QueueKey | None = None


@dataclass(slots=True, eq=False)
class Admitted:
    """A message that is admitted, on its way to its acceptance.

    `options` are as its tenant may have them; what its request id is held to is the `command`. `give_back` has it not
    count against the tenant's rate.
    """

    command: DispatchCommand
    options: DispatchOptions
    record: MessageRecord
    route: Route
    queue: QueueKey
    plan: RoutePlan | None
    permit: ProviderPermit | None
    trace: str
    stream: Share | None
    later: int | None
    give_back: Callable[[], None] | None
    guarded: Guarded | None
    waiter: Waiter = field(default_factory=Waiter)
    handed_over: bool = False
    looks_up: bool = False
    """Whether its acceptance looks who is suppressed; else that is for its first attempt."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldUp:
    """Why a message of a stream is not admitted yet: a slot comes free soon. See `SharedGate.until_free`."""

    plan: RoutePlan
    gate: SharedGate
