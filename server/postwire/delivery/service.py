"""The one path of a message: route → permit → accept → send → record → answer.

From the accept commit on, a task of the server owns the message, not the call that brought it: a caller that hangs up
or runs out of time changes nothing for the provider, and nothing for the record. A message that nobody may take yet
waits in the queue of its route, which later hands it to the same code.

The request id is looked up by the accept commit itself, which is the one place where it can be decided under races. A
call that is refused before it comes so far (no route, no room, too late) is looked up on its own, because a repeat of
what we own is always OK, whatever has changed since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from postwire.clock import Clock
from postwire.core import audit, lifecycle
from postwire.core.admission import Share
from postwire.core.audit import AuditedMethod
from postwire.core.backlog import Backlog
from postwire.core.clock_steps import StepDetector
from postwire.core.errors import (
    InvalidRouting,
    MessageNotFound,
    MessageNotQueued,
    MessageNotUncertain,
    Refusal,
)
from postwire.core.guards import Guards
from postwire.core.ids import MessageIds
from postwire.core.listing import MessageFilter, Page
from postwire.core.message import (
    DispatchCommand,
    MessageRecord,
    MessageState,
    WaitFor,
)
from postwire.core.principal import Principal
from postwire.core.quotas import Quota, Quotas
from postwire.core.splitmix import stream
from postwire.core.waiting import by_wall_clock
from postwire.delivery.acceptance import Acceptance
from postwire.delivery.contents import encode
from postwire.delivery.elsewhere import Elsewhere
from postwire.delivery.erasing import Eraser
from postwire.delivery.executor import Executor
from postwire.delivery.follow_ups import FollowUps
from postwire.delivery.inbox import InboxAccess
from postwire.delivery.open_attempts import OpenAttempts
from postwire.delivery.receipts import ReceiptTracker, RecipientHashes
from postwire.delivery.router import Explanation, Router
from postwire.delivery.settings import Limits
from postwire.delivery.suppressions import Suppressions
from postwire.delivery.tasks import StartedTasks
from postwire.delivery.tenants import Tenants
from postwire.delivery.waiters import Waiter, WaiterRegistry, time_to_answer
from postwire.delivery.watch import Watchers
from postwire.delivery.worker import Worker
from postwire.outbox.base import Outbox
from postwire.providers.registry import Registry
from postwire.telemetry.base import Observer
from postwire.telemetry.logs import EventLog

_log = EventLog()


class Delivery:
    """Takes messages, and sees each of them through."""

    def __init__(
        self,
        *,
        registry: Registry,
        outbox: Outbox,
        clock: Clock,
        ids: MessageIds,
        observer: Observer,
        limits: Limits,
        seed: int,
        suppressions: Suppressions | None = None,
        tracker: ReceiptTracker | None = None,
        recipient_hashes: RecipientHashes | None = None,
        may_act: Callable[[], bool] | None = None,
        is_shared: bool = False,
        inbox: InboxAccess | None = None,
    ) -> None:
        """`seed` decides all weights and jitter. Without `suppressions`, nobody is suppressed; without a `tracker`, no
        provider reports anything later. `may_act` says whether a message may be handed to a provider now. Where the
        outbox `is_shared`, other nodes may do with messages what this one does. `inbox` is what simulated providers
        took, where that is kept."""
        self.open_attempts = OpenAttempts()
        self._inbox = inbox
        self._outbox = outbox
        self._clock = clock
        self._observer = observer
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._registry = registry
        self._router = Router(registry, clock, seed)
        self.clock_steps = StepDetector()
        """By how much the wall clock was set since the boot; `maintenance` keeps it up to date."""
        self.executor = Executor(
            outbox=outbox,
            router=self._router,
            clock=clock,
            steps=self.clock_steps,
            observer=observer,
            retries=limits.retries,
            jitter=stream(seed, "backoff"),
            attempts=self.open_attempts,
            suppressions=suppressions,
            tracker=tracker,
            may_act=may_act,
        )
        self.backlog = Backlog(
            max_unsettled=limits.max_unsettled,
            max_per_queue=limits.max_unsettled_per_queue,
            max_scheduled=limits.max_scheduled,
            has_tenants=bool(limits.quotas),
        )
        """What is not settled."""
        self._quotas = Quotas(limits.quotas)
        self.guards = Guards(limits.guards)
        """Which messages are let through; `Guards.replace` has it take over other rules."""
        self._tasks = StartedTasks(self._loop)
        self._waiters = WaiterRegistry()
        self._is_shared = is_shared
        self._elsewhere = Elsewhere(messages=outbox, waiters=self._waiters, clock=clock)
        self._worker = Worker(
            messages=outbox,
            work=outbox,
            router=self._router,
            tasks=self._tasks,
            waiters=self._waiters,
            executor=self.executor,
            clock=clock,
            observer=observer,
            backlog=self.backlog,
            quotas=self._quotas,
            attempts=self.open_attempts,
            tracker=tracker,
            is_shared=self._is_shared,
        )
        self.follow_ups = FollowUps(
            messages=outbox,
            work=outbox,
            router=self._router,
            tasks=self._tasks,
            executor=self.executor,
            clock=clock,
            observer=observer,
            attempts=self.open_attempts,
            tracker=tracker,
            is_shared=self._is_shared,
        )
        self._acceptance = Acceptance(
            outbox=outbox,
            router=self._router,
            tasks=self._tasks,
            waiters=self._waiters,
            worker=self._worker,
            backlog=self.backlog,
            quotas=self._quotas,
            guards=self.guards,
            clock=clock,
            steps=self.clock_steps,
            ids=ids,
            observer=observer,
            limits=limits,
            attempts=self.open_attempts,
            suppressions=suppressions,
            recipient_hashes=recipient_hashes,
        )
        self.watchers = Watchers(outbox, outbox, clock, self.shown)
        self.eraser = Eraser(outbox, clock, inbox)
        self.tenant_usage = Tenants(self._quotas, self.backlog, self._acceptance.admission)
        self._draining = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many messages are on their way."""
        return len(self._tasks)

    @property
    def queue_depths(self) -> dict[str, int]:
        """How many messages are not settled, by the key of their route as it is shown; safe to ask on any thread."""
        depths = self._router.no_depths.copy()
        for queue, count in self.backlog.queues.copy().items():
            key = self._router.shown_key(queue.name)
            depths[key] = depths.get(key, 0) + max(count, 0)
        return depths

    @property
    def tenants(self) -> Collection[str]:
        """The tenants that are declared; none where there is no such thing. Safe to ask on any thread."""
        return self._quotas.tenants

    @property
    def on_deadline(self) -> Callable[[int], None]:
        """Called with the time (µs, due clock) until which a message that waits may do so."""
        return self._worker.on_deadline

    @on_deadline.setter
    def on_deadline(self, callback: Callable[[int], None]) -> None:
        self._worker.on_deadline = callback

    async def start(self) -> None:
        """Begin with what waits in the store.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        await self._worker.start()
        if self._is_shared:
            self._elsewhere.start()

    def wake(self) -> None:
        """Look again at what waits: a clock was set, or time has passed unseen."""
        self._worker.wake()

    def take_quotas(self, quotas: Mapping[str, Quota]) -> None:
        """Hold tenants to other quotas from now on."""
        self._quotas.replace(quotas)
        self.backlog.has_tenants = bool(quotas)
        self._worker.weigh()
        self._acceptance.look_again()

    def settled_in_queue(self, before: MessageRecord, after: MessageRecord) -> None:
        """A message that was queued is settled, and that is durable."""
        self._worker.ended_in_queue(before, after)

    async def dispatch(self, command: DispatchCommand, *, time_left: float | None = None) -> MessageRecord:
        """Accept a well-formed message, and wait for as long as the caller asks.

        `time_left` is the caller's, in seconds. The record that is returned is durable.

        Raises:
            Refusal: nothing was accepted (but see `StoreUnavailable`).
        """
        deadline = self._answer_by(time_left)
        try:
            waiter = self._acceptance.admit(command)
        except Refusal as refusal:
            known = await self.repeated(command, refusal)
            return await self.follow(known, command.wait_for, deadline)
        if command.wait_for is WaitFor.OUTCOME:
            await self._until_completed(waiter, deadline)
        verdict = await waiter.until_verdict(self._loop)
        if isinstance(verdict, Refusal):
            raise verdict
        if not verdict.created:
            return await self.follow(verdict.record, command.wait_for, deadline)
        return self.shown(waiter.record or verdict.record)

    async def admit_all(self, commands: Sequence[DispatchCommand], stream: Share) -> list[Waiter | Refusal]:
        """Accept messages of a stream in one commit: as many of them, in their order, as there is room for; one at the
        least, once it is the stream's turn.

        Returns for each its waiter, once its verdict is known, or why it was not taken.
        """
        found = await self._acceptance.admit_in_turn(commands, stream)
        for one in found:
            if isinstance(one, Waiter) and one.verdict is None:
                await one.until_verdict(self._loop)
        return found

    def detach(self, waiter: Waiter) -> None:
        """Nobody waits for one of `admit_all` any more."""
        waiter.detach()
        self._waiters.discard_idle(waiter)

    async def get(self, message_id: str, tenant: str) -> MessageRecord:
        """The record of a message of a tenant.

        Raises:
            MessageNotFound: there is none.
            StoreUnavailable: it cannot be read.
        """
        return self.shown(await self._kept(message_id, tenant))

    async def _kept(self, message_id: str, tenant: str) -> MessageRecord:
        """The record as it is kept, which changes are made from."""
        record = await self._outbox.get(message_id, tenant)
        if record is None:
            raise MessageNotFound
        return record

    async def get_by_request_id(self, request_id: str, tenant: str) -> MessageRecord:
        """The record of the message that has a request id. Raises as `get` does."""
        record = await self._outbox.find_by_request_id(request_id, tenant)
        if record is None:
            raise MessageNotFound("request_id")
        return self.shown(record)

    async def cancel(self, message_id: str, reason: str = "", *, by: Principal) -> MessageRecord:
        """Take a message back that is queued. One that is cancelled stays so, with the note of the first time.

        Raises:
            MessageNotFound: there is none.
            MessageNotQueued: sending has begun, or it is settled.
            StoreUnavailable: whether it is cancelled is unknown.
        """
        while True:
            before = await self._kept(message_id, by.tenant)
            if before.state is MessageState.CANCELLED:
                return before
            if before.state is not MessageState.QUEUED:
                raise MessageNotQueued(before.state)
            after = lifecycle.cancel(before, now=self._clock.wall(), reason=reason)
            event = audit.event(AuditedMethod.CANCEL_MESSAGE, by, message_id, reason, now=after.update_time)
            if await self._outbox.advance(before, after, event=event):
                self._worker.ended_in_queue(before, after)
                return after

    async def resolve(self, message_id: str, *, sent: bool, reason: str = "", by: Principal) -> MessageRecord:
        """Settle a message that is uncertain, as somebody has found out.

        Raises:
            MessageNotFound: there is none.
            MessageNotUncertain: it is in another state.
            StoreUnavailable: whether it is resolved is unknown.
        """
        while True:
            before = await self._kept(message_id, by.tenant)
            if before.state is not MessageState.UNCERTAIN:
                raise MessageNotUncertain(before.state)
            after = lifecycle.resolve(before, sent=sent, now=self._clock.wall(), reason=reason)
            event = audit.event(AuditedMethod.RESOLVE_MESSAGE, by, message_id, reason, now=after.update_time)
            if await self._outbox.advance(before, after, event=event):
                self._observer.state_reached(after)
                return after

    async def list(self, chosen: MessageFilter, size: int, after: str | None, tenant: str) -> Page:
        """A page of records: see `Outbox.list`."""
        page = await self._outbox.list(chosen, size, after, tenant)
        return Page(tuple(map(self.shown, page.records)), page.next_after)

    def explain(self, command: DispatchCommand) -> Explanation:
        """Who a message would be offered to.

        Raises:
            InvalidProvider, InvalidRouting: there is no route. Where there is one, and none of its providers can carry
                the message, that is told of each of them.
        """
        self._acceptance.check_options(command, self._clock.wall())
        route = self._router.route_to_explain(command.message, command.tenant, command.options.provider_name)
        return self._router.explain(route, command.message, command.tenant)

    def shown(self, record: MessageRecord, open_queues: set[str] | None = None) -> MessageRecord:
        """The record as callers see it: its times by the wall clock as that now is, and where it is parked, when its
        route opens, as far as that is known.

        That is found out here, so that nothing has to be rewritten while a message waits. `open_queues` are those whose
        route was found open by the same caller, who has shown others in the same moment.
        """
        record = by_wall_clock(record, self.clock_steps.ahead)
        if record.state is not MessageState.QUEUED or (open_queues and record.queue in open_queues):
            return record
        route = self._router.route_by_queue_key(record.queue)
        if route is None:  # the configuration has no such route: the time is unknown
            return replace(record, next_attempt_time=None)
        now = self._clock.monotonic()
        if self._router.is_open(route, now):
            if open_queues is not None:
                open_queues.add(record.queue)
            return record
        opens_at = self._router.opens_at(route, now)
        if opens_at is None:
            return replace(record, next_attempt_time=None)
        opens_at_wall = self._clock.wall() + int((opens_at - now) * 1e6)
        return replace(record, next_attempt_time=max(record.next_attempt_time or 0, opens_at_wall))

    def start_draining(self) -> None:
        """Take nothing new from now on."""
        self._acceptance.close()
        self.watchers.end()
        if self._inbox:
            self._inbox.end()
        self._draining.set()

    async def until_draining(self) -> None:
        """Return once nothing new is taken any more."""
        await self._draining.wait()

    async def drain(self, grace: float) -> int:
        """Wait up to `grace` seconds for what is in flight, then cancel it; returns how many were cancelled.

        What is cancelled stays as the store has it, unless its attempt could be taken back. What waits in queues goes
        on waiting.
        """
        self.start_draining()
        self.follow_ups.stop()
        await self._worker.stop()
        self._waiters.close()
        await self._elsewhere.stop()
        return await self._tasks.drain(grace)

    async def close(self) -> None:
        """Return once nothing is asked of the store any more that could leave a message in nobody's hands. After
        `drain`; a store that hangs is waited for."""
        await self._tasks.close()

    def _answer_by(self, time_left: float | None) -> float:
        return self._clock.monotonic() + time_to_answer(self._limits.max_wait, time_left)

    async def repeated(self, command: DispatchCommand, refusal: Refusal) -> MessageRecord:
        """The message that a refused command repeats.

        Raises:
            RequestIdReused: it has another payload.
            Refusal: the `refusal` itself, where it repeats none.
        """
        if command.request_id:
            _, digest = await encode(command)
            if known := await self._outbox.find_by_request_id(command.request_id, command.tenant, digest):
                return known
        if isinstance(refusal, InvalidRouting):
            self._observer.routing_invalid(refusal.channel)
        raise refusal

    async def follow(self, known: MessageRecord, wait_for: WaitFor, deadline: float | None = None) -> MessageRecord:
        """The record of a message that was accepted before, waited for if asked."""
        if wait_for is WaitFor.ACCEPTANCE or known.settled:
            return self.shown(known)
        if not (waiter := self._waiters.get(known.message_id)):
            current = await self._outbox.get(known.message_id, known.tenant) or known  # it may be settled since
            if not (waiter := self._waiters.get(known.message_id)):
                is_elsewhere = self._is_shared and current.state is MessageState.SENDING
                if current.state is not MessageState.QUEUED and not is_elsewhere:  # it is settled, or nobody carries it
                    return self.shown(current)
                if not self._router.route_by_queue_key(current.queue):  # nobody ever takes it out
                    return self.shown(current)
                waiter = Waiter()
                self._waiters.attach(current, waiter)
        await self._until_completed(waiter, self._answer_by(None) if deadline is None else deadline)
        return self.shown(waiter.record or known)

    async def _until_completed(self, waiter: Waiter, deadline: float) -> None:
        """Return when nothing more is to be waited for, or at the `deadline` (monotonic)."""
        try:
            await waiter.until_completed(self._loop, deadline - self._clock.monotonic())
        finally:
            self._waiters.discard_idle(waiter)
