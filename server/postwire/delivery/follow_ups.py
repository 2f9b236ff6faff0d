"""Further attempts of messages that were sent, and of which no receipt has come in time: see `core.follow_up`.

What they are made by is the same executor that makes all other attempts. A message that is sent waits in no queue and
counts nowhere: it takes a provider that is free, or it is put off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any

from postwire.clock import Clock
from postwire.core import follow_up
from postwire.core.errors import Refusal, StoreUnavailable
from postwire.core.message import MessageRecord, OutboundMessage
from postwire.core.routing import Route
from postwire.delivery.contents import decode
from postwire.delivery.executor import Executor
from postwire.delivery.jobs import Job
from postwire.delivery.open_attempts import OpenAttempts
from postwire.delivery.receipts import ReceiptTracker
from postwire.delivery.router import ProviderPermit, RoutePlan, Router
from postwire.delivery.tasks import StartedTasks
from postwire.delivery.waiters import Waiter
from postwire.outbox.base import KeyLacking, MessageStore, QueuedMessage, WorkQueue
from postwire.telemetry.base import Observer
from postwire.telemetry.logs import EventLog

_log = EventLog()


@dataclass(frozen=True, slots=True, eq=False)
class _Pick:
    """A message that a provider was picked for. `span` is that of its pass, for which `context` is."""

    queued: QueuedMessage
    message: OutboundMessage
    plan: RoutePlan
    permit: ProviderPermit
    context: Context
    span: Any
    traceparent: str


class FollowUps:
    """Makes further attempts of messages that the store says are due."""

    def __init__(
        self,
        *,
        messages: MessageStore,
        work: WorkQueue,
        router: Router,
        tasks: StartedTasks,
        executor: Executor,
        clock: Clock,
        observer: Observer,
        attempts: OpenAttempts,
        tracker: ReceiptTracker | None = None,
        is_shared: bool = False,
    ) -> None:
        """`tracker` where any provider takes receipts. `is_shared`: other nodes may begin them as well."""
        self._is_shared = is_shared
        self._attempts = attempts
        self._tracker = tracker
        self._messages = messages
        self._work = work
        self._router = router
        self._tasks = tasks
        self._executor = executor
        self._clock = clock
        self._observer = observer
        self._draining = False

    def stop(self) -> None:
        """Begin nothing more; what has begun goes on."""
        self._draining = True

    async def begin(self, overdue: Sequence[QueuedMessage]) -> bool:
        """Have the next provider of each message asked in a task of its own; put off those for whom nobody is free, and
        end what nobody can follow up. Done once all of that is on record. Returns whether there was anything to do.

        Raises:
            StoreUnavailable: some of it cannot be kept, and nobody is asked for these.
        """
        if self._draining:
            return False
        # A drain waits for it: what is opened is not to be left in nobody's hands.
        await asyncio.shield(self._tasks.start_commit(self._begin_all(overdue)))
        return True

    async def _begin_all(self, overdue: Sequence[QueuedMessage]) -> None:
        results = await asyncio.gather(*map(self._begin, overdue), return_exceptions=True)
        now, due = self._executor.now()
        put_off = [
            (one.record, follow_up.retry_time(one.record, now=now, due=due))
            for one, result in zip(overdue, results, strict=True)
            if result is False or isinstance(result, KeyLacking)
        ]
        if put_off:
            await self._work.put_off(put_off)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, KeyLacking):
                raise result

    async def _begin(self, queued: QueuedMessage) -> bool:
        """Open the further attempt of one message and start its task; False where nobody is free to be asked."""
        record = queued.record
        if self._attempts.is_held(record.message_id):
            return True
        now, due = self._executor.now()
        message: OutboundMessage | None = None
        route = self._router.route_by_queue_key(record.queue)
        if route is None:
            message = await self._content(record)
            route = self._route_anew(record, message) if message else None
        if route is None or not self._may_follow(queued, route, now, due):
            return await self._end(record, now)
        plan = self._router.begin(route, (), queued.options.priority)
        plan.tried.update(follow_up.tried(record))
        permit = self._router.pick(plan)
        if permit is None:
            return False
        is_used = False
        try:
            message = message or await self._content(record)
            if message is None:
                return await self._end(record, now)
            pick = self._pick(queued, message, plan, permit)
            is_used = True
        finally:
            if not is_used:
                permit.gate_permit.cancel(self._clock.monotonic())
        await self._open(pick, now)
        return True

    def _may_follow(self, queued: QueuedMessage, route: Route, now: int, due: int) -> bool:
        policy = self._executor.policy(queued.options)
        return route.delivered_within is not None and follow_up.may_follow(
            queued.record, policy, route.names, at=due, ahead=now - due
        )

    async def _end(self, record: MessageRecord, now: int) -> bool:
        await self._messages.advance(record, follow_up.end(record, now=now))
        return True

    async def _content(self, record: MessageRecord) -> OutboundMessage | None:
        """What a message says; None where that is erased, or damaged.

        Raises:
            KeyLacking: another node may know.
        """
        try:
            content = await self._messages.content(record.message_id, record.tenant)
            return await decode(content) if content else None
        except KeyLacking:
            raise
        except ValueError as error:
            _log.fault(error)
            return None

    def _route_anew(self, record: MessageRecord, message: OutboundMessage) -> Route | None:
        """The route that a message would take now, where the one that it has taken is there no longer."""
        try:
            return self._router.route(message, record.tenant, None)
        except Refusal:
            return None

    def _pick(self, queued: QueuedMessage, message: OutboundMessage, plan: RoutePlan, permit: ProviderPermit) -> _Pick:
        context = Context()
        span = context.run(self._observer.delivery_started, queued.accept_trace)
        return _Pick(queued, message, plan, permit, context, span, context.run(self._observer.traceparent))

    async def _open(self, pick: _Pick, now: int) -> None:
        """Keep the further attempt of a message, and start the task that makes it."""
        before = pick.queued.record
        name = pick.permit.entry.provider.name
        opened = follow_up.open_attempt(before, name, now=now, trace_id=pick.traceparent[3:35])
        is_kept = False
        self._attempts.begin(before.message_id)
        try:
            is_kept = await self._messages.advance(before, opened)
            if is_kept and self._tasks.is_drained:
                is_kept = False
                await self._take_back(opened)
        except StoreUnavailable:  # it may have been kept, and no task works on it
            if self._is_shared:  # or another node has begun it: see `Worker`
                self._attempts.lose(opened)
            elif not self._tasks.is_drained:
                self._attempts.hold(before.message_id)
                self._tasks.start_for_store(self._take_back_later(opened))
            raise
        finally:
            if not is_kept:
                self._ended(pick)
        if is_kept:
            if pick.plan.choice.passed_over:
                pick.context.run(self._observer.passed_over, opened, pick.plan.choice.passed_over)
            self._tasks.launch(self._run(opened, pick), partial(self._ended, pick, opened), context=pick.context)

    async def _run(self, record: MessageRecord, pick: _Pick) -> None:
        await self._executor.execute(
            Job(record, pick.message, pick.queued.options, pick.plan, pick.permit, Waiter(), pick.traceparent)
        )

    def _ended(self, pick: _Pick, opened: MessageRecord | None = None) -> None:
        """Give back the permit of a pass that came to no attempt, and end its span. It has `opened` one, if any."""
        if opened and self._tasks.is_drained and pick.permit.gate_permit.is_held:  # it was cut off before its attempt
            self._attempts.lose(opened)
        self._attempts.end(pick.queued.record.message_id)
        pick.permit.gate_permit.cancel(self._clock.monotonic())
        pick.context.run(self._observer.delivery_ended, pick.span, pick.queued.record)

    async def _take_back(self, opened: MessageRecord) -> None:
        """Have a further attempt not be there that nobody makes, if it was kept."""
        now, due = self._executor.now()
        dropped = follow_up.drop_attempt(opened, now=now, due=due)
        await self._messages.advance(opened, dropped)
        if self._tracker:  # what came in while it was there was left alone
            self._tracker.changed(dropped)

    async def _take_back_later(self, opened: MessageRecord) -> None:
        """The same, however long the store takes."""
        while True:
            await self._messages.wait_available()
            with suppress(StoreUnavailable):
                await self._take_back(opened)
                break
        self._attempts.release(opened.message_id)
