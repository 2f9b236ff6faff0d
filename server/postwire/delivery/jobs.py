"""A message that a task works on."""

from __future__ import annotations

from dataclasses import dataclass

from postwire.core.message import DispatchOptions, MessageRecord, OutboundMessage
from postwire.delivery.router import ProviderPermit, RoutePlan
from postwire.delivery.waiters import Waiter


@dataclass(slots=True, eq=False)
class Job:
    """One pass of a message along its route.

    `record` is its last durable state. `permit` is for the attempt that is open in it; None once there is none to be
    made in this pass. `waiter` is for those who wait for the message. `traceparent` names the span that the pass is
    under, as `Observer.traceparent` does. `is_cleared`: the commit that opened the attempt
    has looked whether anybody is suppressed.
    """

    record: MessageRecord
    message: OutboundMessage
    options: DispatchOptions
    plan: RoutePlan
    permit: ProviderPermit | None
    waiter: Waiter
    traceparent: str
    is_cleared: bool = False
