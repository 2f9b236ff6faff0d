"""Taking what waits out of its queue: who is asked is decided while the messages are claimed, in one commit for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from postwire.clock import Clock
from postwire.core import lifecycle
from postwire.core.message import MessageRecord, Priority
from postwire.core.obstacles import Obstacle
from postwire.core.routing import Route
from postwire.core.waiting import deadline
from postwire.delivery.executor import Executor
from postwire.delivery.open_attempts import OpenAttempts
from postwire.delivery.receipts import ReceiptTracker
from postwire.delivery.router import Grants, ProviderPermit, RoutePlan, Router
from postwire.outbox.base import QueuedMessage
from postwire.telemetry.base import Observer


@dataclass(frozen=True, slots=True, eq=False)
class Pick:
    """A message that a provider was picked for. `span` is that of its pass, for which `context` is, and `traceparent`
    names it."""

    queued: QueuedMessage
    plan: RoutePlan
    permit: ProviderPermit
    context: Context
    span: Any
    traceparent: str


class Claim:
    """What a queue takes at once. What was picked is to be handed on with `pop`; `close` gives the rest of it back.

    `grants` are the slots that were granted for it, of which those are taken out that are used.
    """

    def __init__(
        self,
        route: Route,
        grants: Grants,
        *,
        router: Router,
        executor: Executor,
        clock: Clock,
        observer: Observer,
        attempts: OpenAttempts,
        tracker: ReceiptTracker | None = None,
    ) -> None:
        self._attempts = attempts
        self._route = route
        self._grants = grants
        self._router = router
        self._executor = executor
        self._clock = clock
        self._observer = observer
        self._found: Counter[Priority] = Counter()
        self._picked: dict[str, Pick] = {}
        self._expired: dict[str, MessageRecord] = {}
        self.opened: list[tuple[MessageRecord, Priority]] = []
        """What `decide` has opened an attempt for, with its priority."""
        self._is_full = False
        self._is_cut_short = False
        self._tracker = tracker
        self.awaits_receipts = False
        """Whether it has left a message alone of which something was reported that is not applied yet."""

    def decide(self, queued: QueuedMessage) -> MessageRecord | None:
        """See `WorkQueue.take`."""
        record, priority = queued.record, queued.options.priority
        self._found[priority] += 1
        if self._is_full:
            return None
        if self._attempts.is_held(record.message_id):
            self._is_cut_short = True
            return None
        if self._tracker and self._tracker.is_pending(record.message_id):
            self._is_cut_short = self.awaits_receipts = True
            return None
        wall, due = self._executor.now()
        if deadline(record, wall - due) <= due:  # no attempt begins so late
            self._expired[record.message_id] = record
            return lifecycle.expire(record, now=wall)
        plan = self._router.begin(self._route, record.attempts, priority)
        if permit := self._router.pick(plan, self._grants):
            return self._open(queued, plan, permit, wall)
        self._is_cut_short = True
        if any(one.obstacle is Obstacle.RETRY_BUDGET for one in plan.choice.passed_over):
            return lifecycle.requeue(record, now=wall, due=self._executor.retry_time(len(record.attempts), due))
        self._is_full = True  # the rest of them wait, in their order
        return None

    def _open(self, queued: QueuedMessage, plan: RoutePlan, permit: ProviderPermit, now: int) -> MessageRecord:
        context = Context()
        span = context.run(self._observer.delivery_started, queued.accept_trace)
        traceparent = context.run(self._observer.traceparent)
        self._attempts.begin(queued.record.message_id)
        self._picked[queued.record.message_id] = Pick(queued, plan, permit, context, span, traceparent)
        opened = lifecycle.open_attempt(queued.record, permit.entry.provider.name, now=now, trace_id=traceparent[3:35])
        self.opened.append((opened, queued.options.priority))
        return opened

    def pop(self, message_id: str) -> Pick | None:
        """The pick of a message that is kept, if it has one."""
        return self._picked.pop(message_id, None)

    def expired(self, message_id: str) -> MessageRecord | None:
        """A message as it was before its time had run out, if it had."""
        return self._expired.get(message_id)

    @property
    def offered(self) -> int:
        """How many messages were offered."""
        return self._found.total()

    def has_found(self, limits: Mapping[Priority, int]) -> bool:
        """Whether there was a message for each slot, and each has gone where it was to go."""
        return not (self._is_cut_short or self._picked or self._found != Counter(limits))

    def close(self) -> None:
        """Give back what those have who were not kept."""
        now = self._clock.monotonic()
        for message_id, pick in self._picked.items():
            self._attempts.end(message_id)
            pick.permit.gate_permit.cancel(now)
            pick.context.run(self._observer.delivery_ended, pick.span, pick.queued.record)
