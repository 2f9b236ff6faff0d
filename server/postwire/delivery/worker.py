"""Work on messages: a pass right after acceptance, and later ones as their queue is granted a provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from postwire.clock import Clock
from postwire.core import lifecycle
from postwire.core.backlog import Backlog
from postwire.core.errors import Refusal, StoreUnavailable
from postwire.core.message import DispatchOptions, MessageRecord, MessageState, OutboundMessage, Priority
from postwire.core.queue_keys import QueueKey
from postwire.core.quotas import Quotas
from postwire.core.routing import Route
from postwire.core.waiting import deadline, due_time, is_scheduled
from postwire.delivery.at_hand import AtHand, Fresh, Room
from postwire.delivery.contents import decode
from postwire.delivery.executor import Executor
from postwire.delivery.jobs import Job
from postwire.delivery.open_attempts import OpenAttempts
from postwire.delivery.queue_heads import MOST, QueueHeads
from postwire.delivery.queues import Queue
from postwire.delivery.receipts import ReceiptTracker
from postwire.delivery.recount import Recount
from postwire.delivery.router import Grants, Router
from postwire.delivery.taking import Claim, Pick
from postwire.delivery.tasks import StartedTasks
from postwire.delivery.waiters import Waiter, WaiterRegistry
from postwire.outbox.base import Head, MessageStore, QueuedMessage, TakenMessage, WorkQueue
from postwire.telemetry import names
from postwire.telemetry.base import Observer
from postwire.telemetry.logs import EventLog

_log = EventLog()


class Worker:
    """Has the passes of messages executed, and holds the queues of those that wait for another.

    A message is worked on by one task, or waits in one queue, and never both. Counts in the `backlog` what commits have
    changed.
    """

    def __init__(
        self,
        *,
        messages: MessageStore,
        work: WorkQueue,
        router: Router,
        tasks: StartedTasks,
        waiters: WaiterRegistry,
        executor: Executor,
        clock: Clock,
        observer: Observer,
        backlog: Backlog,
        quotas: Quotas,
        attempts: OpenAttempts,
        tracker: ReceiptTracker | None = None,
        is_shared: bool = False,
    ) -> None:
        """`is_shared`: other nodes may put messages into the queues as well, and take them out."""
        self._is_shared = is_shared
        self._heads = QueueHeads(work=work, clock=clock, found=self._found)
        self._recount = Recount(messages=messages, backlog=backlog, clock=clock)
        self._attempts = attempts
        self._tracker = tracker
        self._messages = messages
        self._work = work
        self._router = router
        self._tasks = tasks
        self._waiters = waiters
        self._executor = executor
        self._clock = clock
        self._observer = observer
        self.on_deadline: Callable[[int], None] = lambda deadline: None
        """Called with the time (µs, due clock) until which a message that waits may do so."""
        self._queues: dict[QueueKey, Queue] = {}
        self._room = Room()
        self._draining = False
        self._backlog = backlog
        self._quotas = quotas

    async def start(self) -> None:
        """Begin with what waits in the store."""
        counts = await self._messages.unsettled_counts(self._clock.wall())
        self._backlog.load(counts.queues, counts.scheduled)
        due = self._clock.due()
        for key in await self._work.heads(None, due, 1, self._clock.wall() - due):
            if route := self._router.route_by_queue_key(key.name):
                self._queue(route, key.tenant).look()
        if self._is_shared:
            self._heads.start()
            self._recount.start()

    def _found(self, heads: Mapping[QueueKey, Head]) -> None:
        """All queues were looked at, in which anything waits."""
        self._backlog.note(self._clock.wall())
        for key, head in heads.items():
            if (queue := self._queues.get(key)) is None and (route := self._router.route_by_queue_key(key.name)):
                queue = self._queue(route, key.tenant)
            if queue:
                queue.found(head, MOST)

    async def run(self, job: Job) -> None:
        """See a job through, whose first attempt is open in its record, and that is on disk."""
        record = job.record
        self._waiters.activate(record, job.waiter)
        try:
            kept = await self._executor.execute(job)
            if kept.state is MessageState.QUEUED:
                self.wait(await self._suited(job, kept), job.options.priority)
            elif kept.settled:
                self._backlog.remove(_queue_of(kept))
        finally:
            self._waiters.finish(record, job.waiter)

    async def _suited(self, job: Job, record: MessageRecord) -> MessageRecord:
        """The record of a message that is queued, put into the queue of those who can carry it to who is left."""
        if not record.recipients or (positions := lifecycle.unresolved(record)) is None:
            return record
        try:
            key = self._router.route(job.message, record.tenant, job.options.provider_name, positions).queue_key
            if key == record.queue or not await self._work.reassign([(record, key)]):
                return record
        except Refusal:  # there is no such route any more, or the store is away: it waits where it is
            return record
        self._backlog.remove(_queue_of(record))
        self._backlog.add(QueueKey(record.tenant, key))
        return replace(record, queue=key)

    def wait(
        self, record: MessageRecord, priority: Priority, ahead: int | None = None, fresh: Fresh | None = None
    ) -> None:
        """Have a message that is queued come out of its queue again. `ahead` (µs): see `core.waiting`; `fresh` where it
        was just accepted."""
        if ahead is None:
            ahead = self.ahead()
        self.on_deadline(deadline(record, ahead))
        if not self._draining and (route := self._router.route_by_queue_key(record.queue)):
            self._queue(route, record.tenant).put(due_time(record, ahead) or 0, priority, fresh)

    def ahead(self) -> int:
        """By how much (µs) the wall clock is ahead of the due clock."""
        return self._clock.wall() - self._clock.due()

    def weigh(self) -> None:
        """Go by the weights of tenants as they are now."""
        for key, queue in self._queues.items():
            queue.weigh(self._quotas.of(key.tenant).weight)

    def wake(self) -> None:
        """Look again at what waits: a clock was set, or time has passed unseen."""
        for queue in self._queues.values():
            queue.look()

    def serve(self, queue: Queue, limits: Mapping[Priority, int], grants: Grants) -> Awaitable[bool]:
        """See `QueueHandler.serve`."""
        return self._tasks.start_commit(self._serve(queue, limits, grants))

    async def _serve(self, queue: Queue, limits: Mapping[Priority, int], grants: Grants) -> bool:
        claim = Claim(
            queue.route,
            grants,
            router=self._router,
            executor=self._executor,
            clock=self._clock,
            observer=self._observer,
            attempts=self._attempts,
            tracker=self._tracker,
        )

        def decide(queued: QueuedMessage) -> MessageRecord | None:
            queue.at_hand.offered(queued.options.priority, queued.record.message_id)
            return None if self._draining else claim.decide(queued)

        due = self._clock.due()
        fresh = {one.queued.record.message_id: one for one in queue.at_hand.take(limits)}
        try:
            if fresh:
                found = await self._claim([one.queued for one in fresh.values()], decide)
            else:
                found = await self._work.take(queue.key, due, limits, decide, self._clock.wall() - due)
            if len(found) < claim.offered:
                queue.at_hand.drop(due)  # what was left as it was still waits, before what is at hand
            if self._is_shared:
                queue.is_held_elsewhere = not claim.offered
                self._ask_after(claim, found)
            if self._tasks.is_drained:
                await self._return([one.record for one in found], due)
                return False
            for taken in found:
                message_id = taken.record.message_id
                if pick := claim.pop(message_id):
                    waiter = self._waiters.remove(taken.record) or Waiter()
                    self._tasks.launch(
                        self._resume(taken, pick, waiter, fresh.get(message_id)),
                        partial(self._ended, taken.record, pick),
                        context=pick.context,
                    )
                elif before := claim.expired(message_id):
                    self.ended_in_queue(before, taken.record)
            if claim.awaits_receipts and self._tracker and not self._draining:
                await self._tracker.until_looked_at()  # else it would be offered again at once
            return claim.has_found(limits)
        except StoreUnavailable:
            # What was opened may have been kept, and no task works on it.
            for opened, priority in claim.opened:
                if self._is_shared:  # or another node has opened it: `StraySweep` asks the store whose it is
                    self._attempts.lose(opened)
                else:
                    self._attempts.hold(opened.message_id)
                    self._tasks.start_for_store(self._take_back(opened, priority, due))
            raise
        finally:
            claim.close()

    def _ask_after(self, claim: Claim, found: Sequence[TakenMessage]) -> None:
        """Another node may have kept receipts of messages that could not be opened, and this one does not know of it:
        they are applied before these messages are offered again."""
        kept = {taken.record.message_id for taken in found}
        refused = [opened.message_id for opened, _ in claim.opened if opened.message_id not in kept]
        if refused and self._tracker:
            self._tracker.refused(refused)
            claim.awaits_receipts = True

    async def _claim(
        self, offered: Sequence[QueuedMessage], decide: Callable[[QueuedMessage], MessageRecord | None]
    ) -> Sequence[TakenMessage]:
        """Do as `WorkQueue.take` does, with messages that are at hand."""
        changes = [(one.record, after) for one in offered if (after := decide(one))]
        kept = await self._messages.advance_all(changes) if changes else ()
        return [TakenMessage(after, None) for (_, after), is_kept in zip(changes, kept, strict=True) if is_kept]

    async def _return(self, records: Sequence[MessageRecord], due: int) -> None:
        """Take back what was opened as a drain ended, since nobody makes it. Tried once: it is the end."""
        now, _ = self._executor.now()
        opened = [record for record in records if lifecycle.is_open(record)]
        changes = (self._messages.advance(one, lifecycle.drop_attempt(one, now=now, due=due)) for one in opened)
        for one, result in zip(opened, await asyncio.gather(*changes, return_exceptions=True), strict=True):
            if isinstance(result, StoreUnavailable):
                if self._is_shared:  # before the node leaves, `StraySweep` tries once more
                    self._attempts.lose(one)
            elif isinstance(result, BaseException):
                raise result

    def complete_queue(self, route: Route) -> None:
        """See `QueueHandler.complete_queue`."""
        self._waiters.complete_queue(route.queue_key)

    async def _resume(self, taken: TakenMessage, pick: Pick, waiter: Waiter, fresh: Fresh | None) -> None:
        """A later pass of a message, in a task of its own; `fresh` where it was at hand."""
        record, options = taken.record, pick.queued.options
        waiter.record = record
        try:
            self._observer.state_reached(record)
            if taken.damaged:
                self._release(pick)
                waiter.record = await self._give_up(record, options)
                return
            try:
                message = fresh.message if fresh else await _content_of(taken)
            except (StoreUnavailable, ValueError) as error:
                if isinstance(error, ValueError):  # nothing that can be sent, today: it must not keep its queue busy
                    _log.fault(error)
                self._release(pick)
                _, due = self._executor.now()
                retry_time = self._executor.retry_time(len(record.attempts), due)
                await self._put_back(record, options.priority, retry_time)
                return
            if pick.plan.choice.passed_over:
                self._observer.passed_over(record, pick.plan.choice.passed_over)
            await self.run(Job(record, message, options, pick.plan, pick.permit, waiter, pick.traceparent))
        finally:
            waiter.complete()
            self._observer.delivery_ended(pick.span, pick.queued.record)

    def _ended(self, record: MessageRecord, pick: Pick) -> None:
        """A later pass of a message has ended."""
        if self._tasks.is_drained and pick.permit.gate_permit.is_held:  # it was cut off before its attempt
            self._attempts.lose(record)
        self._attempts.end(record.message_id)
        self._release(pick)

    def _release(self, pick: Pick) -> None:
        """Give back the permit of a pass that came to no attempt."""
        pick.permit.gate_permit.cancel(self._clock.monotonic())

    async def _take_back(self, opened: MessageRecord, priority: Priority, due: int) -> None:
        """Have an attempt not be there that may have been kept, however long the store takes."""
        try:
            await self._put_back(opened, priority, due)
        finally:
            self._attempts.release(opened.message_id)

    async def _put_back(self, record: MessageRecord, priority: Priority, due: int) -> None:
        """Take back an attempt that nobody makes, if it was opened: its message waits until `due` (µs, due clock)."""
        now, _ = self._executor.now()
        after = lifecycle.drop_attempt(record, now=now, due=due)
        try:
            is_kept = await self._keep(record, after)
        except BaseException:  # it may still be open
            self._attempts.lose(record)
            raise
        if is_kept:
            self.wait(after, priority)

    async def _give_up(self, record: MessageRecord, options: DispatchOptions) -> MessageRecord:
        """End a message whose content is damaged; returns its record as it then is."""
        _log.error(names.EVENT_CONTENT_DAMAGED, **{names.LOG_MESSAGE_ID: record.message_id})
        now, due = self._executor.now()
        after, _ = lifecycle.close_attempt(
            record, lifecycle.DAMAGED, self._executor.policy(options), now=now, duration=None, ahead=now - due
        )
        if not await self._keep(record, after):
            return record
        self._backlog.remove(_queue_of(after))
        return after

    async def _keep(self, record: MessageRecord, after: MessageRecord) -> bool:
        """Keep a change, however long the store takes; False where somebody else has changed the message."""
        tried: list[MessageRecord] = []
        while True:
            try:
                if not await self._messages.advance(record, after, tried):
                    return False
                self._observer.state_reached(after)
                if self._tracker:
                    self._tracker.changed(after)
                return True
            except StoreUnavailable:
                tried.append(after)
                await self._messages.wait_available()

    def ended_in_queue(self, before: MessageRecord, record: MessageRecord) -> None:
        """A message that was queued is settled, and that is durable."""
        self._backlog.remove(_queue_of(before), before.send_time if is_scheduled(before) else None)
        self._observer.state_reached(record)
        if queue := self._queues.get(_queue_of(before)):
            queue.at_hand.drop(self._clock.due())  # its content is not to be kept any longer
        if waiter := self._waiters.remove(before):
            waiter.record = record
            waiter.complete()

    async def stop(self) -> None:
        """Take nothing more out of the queues; what has begun goes on."""
        self._draining = True
        if self._tracker:
            self._tracker.close()  # else what waits for that would hold up the end where the store is away
        await self._heads.stop()
        await self._recount.stop()
        for queue in self._queues.values():
            await queue.stop()

    def _queue(self, route: Route, tenant: str) -> Queue:
        """The queue of a tenant for a route. There is one from the first message on that waits in it."""
        key = QueueKey(tenant, route.queue_key)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = Queue(
                route,
                key,
                weight=self._quotas.of(tenant).weight,
                work=self._work,
                router=self._router,
                clock=self._clock,
                handler=self,
                at_hand=AtHand(self._room),
            )
        return queue


async def _content_of(taken: TakenMessage) -> OutboundMessage:
    if taken.content is None:
        raise StoreUnavailable
    return await decode(taken.content)


def _queue_of(record: MessageRecord) -> QueueKey:
    return QueueKey(record.tenant, record.queue)
