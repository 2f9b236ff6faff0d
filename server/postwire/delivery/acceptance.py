"""Taking messages in: routed, admitted, and accepted in one commit with whatever comes at the same time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from postwire.clock import Clock
from postwire.config.types import format_duration
from postwire.core import lifecycle
from postwire.core.admission import TURN_BYTES, TURN_COUNT, Admission, Share, WaitingStreams
from postwire.core.backlog import Backlog
from postwire.core.clock_steps import StepDetector
from postwire.core.errors import Overloaded, Refusal, ShuttingDown, StoreUnavailable
from postwire.core.guards import Guards
from postwire.core.ids import MessageIds
from postwire.core.limits import Spread
from postwire.core.message import MAX_TIME, Channel, DispatchCommand, DispatchOptions, MessageRecord, Priority, WaitFor
from postwire.core.queue_keys import QueueKey
from postwire.core.quotas import Quotas
from postwire.core.suppression import scope_of
from postwire.core.validation import Violations
from postwire.core.waiting import is_scheduled
from postwire.delivery.admitting import Admitted, HeldUp, Moment
from postwire.delivery.at_hand import Fresh
from postwire.delivery.contents import LARGE, encode, encode_small
from postwire.delivery.jobs import Job
from postwire.delivery.open_attempts import OpenAttempts
from postwire.delivery.receipts import RecipientHashes
from postwire.delivery.router import RoutePlan, Router
from postwire.delivery.settings import Limits
from postwire.delivery.suppressions import Suppressions
from postwire.delivery.tasks import StartedTasks
from postwire.delivery.waiters import Waiter, WaiterRegistry
from postwire.delivery.worker import Worker
from postwire.outbox.base import Accepted, MessageStore, NewMessage, QueuedMessage
from postwire.telemetry.base import Observer

MEAN_RETRY_DELAY: Final = 1.0
"""Seconds, on average, after which who was told that too much is in flight is to try again."""


class Acceptance:
    """Admits messages, one or a frame at a time, and has each of them carried on."""

    def __init__(
        self,
        *,
        outbox: MessageStore,
        router: Router,
        tasks: StartedTasks,
        waiters: WaiterRegistry,
        worker: Worker,
        backlog: Backlog,
        quotas: Quotas,
        guards: Guards,
        clock: Clock,
        steps: StepDetector,
        ids: MessageIds,
        observer: Observer,
        limits: Limits,
        attempts: OpenAttempts,
        suppressions: Suppressions | None = None,
        recipient_hashes: RecipientHashes | None = None,
    ) -> None:
        self._attempts = attempts
        self._suppressions = suppressions
        self._recipient_hashes = recipient_hashes
        self._outbox = outbox
        self._router = router
        self._tasks = tasks
        self._waiters = waiters
        self._worker = worker
        self._backlog = backlog
        self._quotas = quotas
        self._guards = guards
        self._clock = clock
        self._steps = steps
        self._ids = ids
        self._observer = observer
        self._limits = limits
        self.admission = Admission(
            max_count=limits.max_in_flight,
            max_bytes=limits.max_in_flight_bytes,
            tenant_limits=quotas.max_in_flight,
        )
        self._retry_delays = Spread(MEAN_RETRY_DELAY)
        self._loop = asyncio.get_running_loop()
        self._streams = WaitingStreams(self.admission)
        self._turns: dict[Share, asyncio.Future[None]] = {}  # of the streams that wait
        self._offered: Share | None = None  # the one that was woken, and has not run since
        self._closed = False
        outbox.on_availability(self._store_changed)

    def close(self) -> None:
        """Refuse whatever comes from now on, and what still waits to be admitted."""
        self._closed = True
        self._router.wake_streams()

    def admit(self, command: DispatchCommand) -> Waiter:
        """Admit a message, and start its task.

        Raises:
            Refusal: nothing is done.
        """
        admitted = self._admit(command, self._moment())
        if not isinstance(admitted, Admitted):
            if self.admission.is_full_for(command.tenant):
                raise self._quotas.exceeded(command.tenant, "max_in_flight")
            raise Overloaded(self._retry_delays.next())
        self._tasks.launch(self._carry(admitted), partial(self._done, admitted))
        return admitted.waiter

    async def admit_in_turn(self, commands: Sequence[DispatchCommand], stream: Share) -> list[Waiter | Refusal]:
        """Admit messages of a stream once it is its turn, and start one task for them; at least one, and no more than
        there is room for. Those whose outcome is waited for are not admitted before there is a slot for each, where
        that is soon.

        Returns for each its waiter, or why it was refused.
        """
        found: list[Waiter | Refusal] = []
        held_up: HeldUp | None = None
        if not self._streams.holds_up(commands[0].tenant):
            found, held_up = self._admit_some(commands, stream)
        patience: int | None = None
        turn: tuple[float, float] = (math.inf, math.inf)
        while not found:
            plan = held_up.plan if held_up else None
            if held_up:
                tenant = commands[0].tenant
                weight = self._quotas.of(tenant).weight
                patience = await held_up.gate.until_free(held_up.plan.priority, tenant, weight, patience)
            else:
                await self._until_turn(commands[0], stream)
                turn = (TURN_COUNT, TURN_BYTES)
            may_hold_up = patience is None or patience > 0
            found, held_up = self._admit_some(commands, stream, plan, turn, may_hold_up=may_hold_up)
            self._offer_turn()
        return found

    def _store_changed(self, available: bool) -> None:
        if not available:  # whoever has the slots waits for it, and streams are to be told
            self._router.wake_streams()

    def look_again(self) -> None:
        """There may be more room than there was: limits have changed."""
        self._offer_turn()

    def _admit_some(
        self,
        commands: Sequence[DispatchCommand],
        stream: Share,
        plan: RoutePlan | None = None,
        turn: tuple[float, float] = (math.inf, math.inf),
        *,
        may_hold_up: bool = True,
    ) -> tuple[list[Waiter | Refusal], HeldUp | None]:
        """Admit as many messages as there is room for, but no more than a `turn` has; the first by its `plan`, if it
        was held up with that. Returns what became of each, and why the next was not admitted if it was held up."""
        most, most_bytes = turn
        all_admitted: list[Admitted] = []
        found: list[Waiter | Refusal] = []
        held_up: HeldUp | None = None
        size, moment = 0, self._moment()
        try:
            for command in commands:
                if len(found) >= most or size >= most_bytes:
                    break
                try:
                    admitted = self._admit(command, moment, stream, plan, may_hold_up=may_hold_up)
                except Refusal as refusal:
                    found.append(refusal)
                    continue
                finally:
                    plan = None
                if not isinstance(admitted, Admitted):
                    held_up = admitted
                    break
                all_admitted.append(admitted)
                found.append(admitted.waiter)
                size += command.size
        finally:  # whatever goes wrong with one: those that are admitted are carried on
            if all_admitted:
                self._tasks.launch(self._carry_all(all_admitted), partial(self._done_with, all_admitted))
        return found, held_up

    async def _until_turn(self, command: DispatchCommand, stream: Share) -> None:
        """Return when a stream may go on with a message, whose turn it is."""
        try:
            queue = self._router.route(command.message, command.tenant, command.options.provider_name).queue_key
        except Refusal:  # it is refused in its turn
            queue = ""
        self._streams.add(stream, command.size, QueueKey(command.tenant, queue))
        try:
            while self._streams.next() is not stream:
                self._offer_turn()
                self._turns[stream] = turn = self._loop.create_future()
                await turn
                self._offered = None
        except asyncio.CancelledError:
            if self._offered is stream:
                self._offered = None
            self._streams.remove(stream)
            self._offer_turn()
            raise
        finally:
            self._streams.remove(stream)
            self._turns.pop(stream, None)

    def _offer_turn(self) -> None:
        """Wake the stream whose turn it is, if one waits and there is room. One that is awake passes it on."""
        if self._streams and self._offered is None and (stream := self._streams.next()):
            turn = self._turns[stream]
            if not turn.done():  # else it was cancelled, and is about to go
                self._offered = stream
                turn.set_result(None)

    def _moment(self) -> Moment:
        wall, due = self._clock.wall(), self._clock.due()
        ahead = wall - self._steps.due_at(wall, due)
        is_store_available = self._outbox.available
        return Moment(wall, due, self._clock.monotonic(), ahead, self._observer.traceparent(), is_store_available)

    def _admit(
        self,
        command: DispatchCommand,
        moment: Moment,
        stream: Share | None = None,
        plan: RoutePlan | None = None,
        *,
        may_hold_up: bool = True,
    ) -> Admitted | HeldUp | None:
        """Route a message and make room for it; None where too much is in flight, of its tenant or of all. What is
        returned is to be carried on, which gives the room back. `plan` is the one with which it was held up before.

        Raises:
            Refusal: nothing is done.
        """
        if self._closed:
            raise ShuttingDown
        now, monotonic, tenant, channel = moment.wall, moment.monotonic, command.tenant, command.message.channel
        options, later = self._options(command, channel, moment)
        route = self._router.route(command.message, tenant, options.provider_name)
        guarded = self._guards.check(command.message, moment.due)
        if not moment.is_store_available:
            raise StoreUnavailable
        queue = moment.queue
        if queue is None or route is not moment.route:
            moment.route, moment.queue = route, queue = route, QueueKey(tenant, route.queue_key)
        self._quotas.check(tenant, self._backlog.of_tenant(tenant), monotonic)
        if text := self._backlog.why_full(queue, later, now):
            raise Overloaded(text=text)
        if not self.admission.enter(command.size, queue, stream, urgent=options.priority is Priority.HIGH):
            return None
        give_back = self._quotas.take(tenant, monotonic)
        permit = None
        if later is None:
            # Where weights are strict, what it was held up with may be another's by now: see `Router.begin`.
            if plan is None or plan.route is not route or route.strict_weights:
                plan = self._router.begin(route, (), options.priority)
            permit = self._router.pick(plan)
            waits = permit is None and stream is not None and command.wait_for is WaitFor.OUTCOME
            if waits and may_hold_up and (gate := self._router.settling(plan)):
                self.admission.leave(command.size, queue, stream)
                if give_back:
                    give_back()
                return HeldUp(plan, gate)
        record = lifecycle.accept(
            command,
            message_id=self._ids.next(now),
            queue=route.queue_key,
            provider_name=permit.entry.provider.name if permit else "",
            now=now,
            expire_after=self._limits.expire_after[channel],
            trace_id=moment.trace[3:35],
            ahead=moment.ahead,
        )
        self._backlog.add(queue, later)
        if permit:
            self._attempts.begin(record.message_id)
        return Admitted(
            command, options, record, route, queue, plan, permit, moment.trace, stream, later, give_back, guarded
        )

    def _options(
        self, command: DispatchCommand, channel: Channel, moment: Moment
    ) -> tuple[DispatchOptions, int | None]:
        """A message's options as its tenant may have them, and when it is to be sent if that is later. All messages
        that are admitted in one go are of one tenant.

        Raises:
            InvalidMessage: see `check_options`.
        """
        checked = moment.checked
        if checked is None or command.options is not checked[0] or channel is not checked[1] or not moment.options:
            self.check_options(command, moment.wall)
            moment.options = options = self._quotas.limited(command.tenant, command.options)
            is_later = options.send_time is not None and options.send_time > moment.wall
            moment.later = options.send_time if is_later else None
            moment.checked = command.options, channel
        return moment.options, moment.later

    def check_options(self, command: DispatchCommand, now: int) -> None:
        """Refuse times that do not go together with each other or with `now` (µs), and what this server does not allow.

        Raises:
            InvalidMessage: naming every bad field.
        """
        options, found = command.options, Violations()
        if options.expire_time is not None:
            if options.expire_time <= now:
                found.malformed("options.expire_time", "must be in the future")
            elif options.send_time is not None and options.send_time >= options.expire_time:
                found.malformed("options.send_time", "must be before options.expire_time")
        elif options.send_time is not None:
            expire_after = self._limits.expire_after[command.message.channel]
            if lifecycle.expire_time_of(options, now=now, expire_after=expire_after) > MAX_TIME:
                room = format_duration(expire_after / 1e6)
                found.malformed("options.send_time", f"must be {room} before the year 10000, or have an expire_time")
        if options.ignore_suppression and not self._limits.allow_ignore_suppression:
            found.malformed(
                "options.ignore_suppression", "must be left out, unless the server's suppression.allow_ignore is true"
            )
        found.raise_any()

    async def _carry(self, admitted: Admitted) -> None:
        """The life of a message from its acceptance to the end of its first pass."""
        try:
            accepted = await self._outbox.accept(await self._new(admitted))
        except Refusal as refusal:
            self._refuse(admitted, refusal)
            return
        if first_pass := self._accepted(admitted, accepted, self._worker.ahead()):
            await first_pass

    async def _carry_all(self, all_admitted: Sequence[Admitted]) -> None:
        """The same for a frame: one commit for all, then a task for each that has something to do."""
        try:
            verdicts = await self._outbox.accept_all([await self._new(admitted) for admitted in all_admitted])
        except Refusal as refusal:
            for admitted in all_admitted:
                self._refuse(admitted, refusal)
            return
        ahead = self._worker.ahead()
        for admitted, verdict in zip(all_admitted, verdicts, strict=True):
            if isinstance(verdict, Refusal):
                self._refuse(admitted, verdict)
            elif first_pass := self._accepted(admitted, verdict, ahead):
                admitted.handed_over = True
                self._tasks.launch(first_pass, partial(self._done, admitted))

    async def _new(self, admitted: Admitted) -> NewMessage:
        command, permit = admitted.command, admitted.permit
        content, digest = encode_small(command) if command.size < LARGE else await encode(command)
        new = NewMessage(admitted.record, content, digest, admitted.options, admitted.trace, guarded=admitted.guarded)
        if permit and self._suppressions and self._suppressions.concerns(admitted.options):
            hashes = await self._suppressions.addresses.hashes(command.message.content)
            scope = scope_of(command.message.content.sender, permit.entry.provider.name)
            new = replace(new, recipient_hashes=hashes, scope=scope)
            admitted.looks_up = True
        if self._recipient_hashes and self._recipient_hashes.concerns(command.message.content, admitted.route):
            new = await self._recipient_hashes.add(new, command.message.content)
        return new

    def _accepted(self, admitted: Admitted, accepted: Accepted, ahead: int) -> Coroutine[None, None, None] | None:
        """What is left to do for a message once its acceptance is on disk: its first pass, if it has one now."""
        waiter, record = admitted.waiter, accepted.record
        if not accepted.created:
            self._not_taken(admitted)
            waiter.accept(accepted)
            waiter.complete()
            return None
        self._observer.state_reached(record)
        waiter.accept(accepted)
        if record.settled:  # all of its recipients are suppressed
            self._backlog.remove(admitted.queue, admitted.later)
            waiter.complete()
            return None
        if admitted.plan and admitted.permit:
            if admitted.plan.choice.passed_over:
                self._observer.passed_over(record, admitted.plan.choice.passed_over)
            return self._worker.run(
                Job(
                    record,
                    admitted.command.message,
                    admitted.options,
                    admitted.plan,
                    admitted.permit,
                    waiter,
                    admitted.trace,
                    is_cleared=admitted.looks_up,
                )
            )
        if is_scheduled(record):
            waiter.complete()  # it is for later
        else:
            choice = admitted.plan.choice if admitted.plan else self._router.look(admitted.route)
            if choice.passed_over:
                self._observer.passed_over(record, choice.passed_over)
            # The gates as they are now: they may be blocked since the commit began.
            if admitted.command.wait_for is WaitFor.OUTCOME and self._router.is_open(admitted.route):
                self._waiters.attach(record, waiter)  # its turn comes soon
            else:
                waiter.complete()
        self._worker.wait(record, admitted.options.priority, ahead, _fresh(admitted, record))
        return None

    def _refuse(self, admitted: Admitted, refusal: Refusal) -> None:
        self._not_taken(admitted)
        admitted.waiter.accept(refusal)
        admitted.waiter.complete()

    def _not_taken(self, admitted: Admitted) -> None:
        self._backlog.remove(admitted.queue, admitted.later)
        if admitted.give_back:
            admitted.give_back()

    def _done_with(self, all_admitted: Sequence[Admitted]) -> None:
        for admitted in all_admitted:
            if not admitted.handed_over:
                self._done(admitted)

    def _done(self, admitted: Admitted) -> None:
        self.admission.leave(admitted.command.size, admitted.queue, admitted.stream)
        if self._streams:
            self._offer_turn()
        if admitted.waiter.verdict is None:  # cut short: whether the message was accepted may be unknown
            self._refuse(admitted, StoreUnavailable())
        if admitted.permit:
            verdict, is_held = admitted.waiter.verdict, admitted.permit.gate_permit.is_held
            is_cut_off = self._tasks.is_drained and is_held and isinstance(verdict, Accepted) and verdict.created
            if is_cut_off or isinstance(verdict, StoreUnavailable):
                self._attempts.lose(admitted.record)
            self._attempts.end(admitted.record.message_id)
            if is_held:  # it came to no attempt
                admitted.permit.gate_permit.cancel(self._clock.monotonic())


def _fresh(admitted: Admitted, record: MessageRecord) -> Fresh | None:
    """What is kept of a message that waits from now on; nothing of one that is large, or for later."""
    size = admitted.command.size
    if size >= LARGE or admitted.later is not None:
        return None
    return Fresh(QueuedMessage(record, admitted.options, admitted.trace), admitted.command.message, size)
