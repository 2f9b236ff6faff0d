"""The one path of a message: route → permit → accept → send → record → answer.

From the accept commit on, a task of the server owns the message, not the call that brought it: a caller that hangs up
or runs out of time changes nothing for the provider, and nothing for the record.

The request id is looked up by the accept commit itself, which is the one place where it can be decided under races. A
call that is refused before it comes so far (no route, no room, too late) is looked up on its own, because a repeat of
what we own is always OK, whatever has changed since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from postwire.clock import Clock
from postwire.config import Config
from postwire.core import canonical, lifecycle
from postwire.core.errors import (
    InvalidRouting,
    MessageNotFound,
    Overloaded,
    Refusal,
    ShuttingDown,
    StoreUnavailable,
)
from postwire.core.ids import MessageIds
from postwire.core.limits import Admission
from postwire.core.listing import MessageFilter, Page
from postwire.core.message import Channel, DispatchCommand, MessageRecord, WaitFor
from postwire.core.validation import Violations
from postwire.delivery import attempt
from postwire.delivery.flight import Flight
from postwire.outbox.base import NewMessage, Outbox
from postwire.providers.registry import Registry, Slot
from postwire.telemetry.base import Observer
from postwire.telemetry.logs import EventLog

ANSWER_MARGIN: Final = 0.1
"""Seconds before the caller's deadline at which it gets its answer, so that the answer can still arrive."""

IN_FLIGHT_BYTES_FACTOR: Final = 8
"""How many messages of the largest size may be in flight at once."""

LETTING_GO: Final = 0.5
"""Seconds that attempts have to end once they are cancelled."""

LARGE: Final = 256 * 1024
"""From how many bytes on a message is encoded and hashed on another thread."""

_log = EventLog()


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds; `expire_after` in µs; sizes in bytes."""

    max_wait: float
    max_in_flight: int
    max_in_flight_bytes: int
    expire_after: Mapping[Channel, int]

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """What the configuration allows."""
        expire_after = config.delivery.expire_after
        return cls(
            max_wait=config.server.max_wait,
            max_in_flight=config.server.max_in_flight,
            max_in_flight_bytes=IN_FLIGHT_BYTES_FACTOR * config.server.max_message_bytes,
            expire_after={channel: int(getattr(expire_after, channel.value) * 1e6) for channel in Channel},
        )


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
    ) -> None:
        self._registry = registry
        self._outbox = outbox
        self._clock = clock
        self._ids = ids
        self._observer = observer
        self._limits = limits
        self._admission = Admission(max_count=limits.max_in_flight, max_bytes=limits.max_in_flight_bytes)
        self._loop = asyncio.get_running_loop()
        self._flights: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """How many messages are on their way."""
        return self._admission.count

    async def dispatch(self, command: DispatchCommand, *, time_left: float | None = None) -> MessageRecord:
        """Accept a well-formed message, and wait for as long as the caller asks.

        `time_left` is the caller's, in seconds. The record that is returned is durable.

        Raises:
            Refusal: nothing was accepted (but see `StoreUnavailable`).
        """
        deadline = self._answer_by(time_left)
        try:
            flight = self._take_in(command)
        except Refusal as refusal:
            if (known := await self._find(command)) is None:
                if isinstance(refusal, InvalidRouting):
                    self._observer.routing_invalid(refusal.channel)
                raise
            return await self._follow(known, command.wait_for, deadline)
        if command.wait_for is WaitFor.OUTCOME:
            await flight.until_landed(self._loop, deadline - self._clock.monotonic())
        verdict = await flight.until_verdict(self._loop)
        if isinstance(verdict, Refusal):
            raise verdict
        if not verdict.created:
            return await self._follow(verdict.record, command.wait_for, deadline)
        return flight.record or verdict.record

    async def get(self, message_id: str) -> MessageRecord:
        """The record of a message.

        Raises:
            MessageNotFound: there is none.
            StoreUnavailable: it cannot be read.
        """
        record = await self._outbox.get(message_id)
        if record is None:
            raise MessageNotFound
        return record

    async def list(self, chosen: MessageFilter, size: int, after: str | None) -> Page:
        """A page of records: see `Outbox.list`."""
        return await self._outbox.list(chosen, size, after)

    def start_draining(self) -> None:
        """Take nothing new from now on."""
        self._draining = True

    async def drain(self, grace: float) -> int:
        """Wait up to `grace` seconds for what is in flight, then let go of it; returns how many were let go.

        What is let go stays as the store has it: with an attempt that is open.
        """
        self.start_draining()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            pass
        cut_short = list(self._tasks)
        for task in cut_short:
            task.cancel()
        if cut_short:  # a provider may be slow to let go, and is not waited for
            await asyncio.wait(cut_short, timeout=LETTING_GO)
        return len(cut_short)

    def _answer_by(self, time_left: float | None) -> float:
        wait = self._limits.max_wait
        if time_left is not None:
            wait = min(wait, time_left - ANSWER_MARGIN)
        return self._clock.monotonic() + max(wait, 0.0)

    async def _find(self, command: DispatchCommand) -> MessageRecord | None:
        """The message that a refused command repeats, if it does."""
        if not command.request_id:
            return None
        _, digest = await _sealed(command)
        return await self._outbox.find(command.request_id, digest)

    async def _follow(self, known: MessageRecord, wait_for: WaitFor, deadline: float) -> MessageRecord:
        """The record of a message that was accepted before, waited for if asked."""
        flight = self._flights.get(known.message_id)
        if wait_for is WaitFor.ACCEPTANCE or known.settled:
            return known
        if flight is None:  # it has landed since, or nobody carries it any more
            return await self._outbox.get(known.message_id) or known
        await flight.until_landed(self._loop, deadline - self._clock.monotonic())
        return flight.record or known

    def _take_in(self, command: DispatchCommand) -> Flight:
        """Route and admit a message, and start its task."""
        if self._draining:
            raise ShuttingDown
        now = self._clock.wall()
        self._check_times(command, now)
        slot = self._registry.candidates(command.message.channel, command.options.provider_name)[0]
        if not self._outbox.available:
            raise StoreUnavailable
        record = lifecycle.accept(
            command,
            message_id=self._ids.next(now),
            provider_name=slot.provider.name,
            now=now,
            expire_after=self._limits.expire_after[command.message.channel],
            trace_id=self._observer.trace_id(),
        )
        if not self._admission.enter(command.size):  # last: from here on, the task gives the room back
            raise Overloaded
        flight = Flight()
        task = self._loop.create_task(self._carry(flight, record, command, slot))
        self._tasks.add(task)
        self._idle.clear()
        task.add_done_callback(lambda task: self._done(task, flight, command.size))
        return flight

    def _check_times(self, command: DispatchCommand, now: int) -> None:
        options, found = command.options, Violations()
        if options.expire_time is not None and options.expire_time <= now:
            found.malformed("options.expire_time", "must be in the future")
        if options.send_time is not None and options.send_time > now:
            found.malformed("options.send_time", "must not be in the future: this release sends at once")
        found.raise_any()

    def _done(self, task: asyncio.Task[None], flight: Flight, size: int) -> None:
        self._tasks.discard(task)
        self._admission.leave(size)
        if not task.cancelled() and (error := task.exception()):
            _log.fault(error)
        # Cut short: whether the message was accepted may be unknown.
        flight.take_off(StoreUnavailable())
        flight.land()
        if not self._tasks:
            self._idle.set()

    async def _carry(self, flight: Flight, record: MessageRecord, command: DispatchCommand, slot: Slot) -> None:
        """The life of one message, in a task of its own."""
        content, digest = await _sealed(command)
        try:
            accepted = await self._outbox.accept(NewMessage(record, content, digest, command.options))
        except Refusal as refusal:
            flight.take_off(refusal)
            return
        if not accepted.created:
            flight.take_off(accepted)
            return
        self._flights[record.message_id] = flight
        self._observer.state_reached(record)
        flight.take_off(accepted)
        try:
            record = await self._attempt(record, command, slot)
            await self._record(record, flight)
        finally:
            del self._flights[record.message_id]

    async def _attempt(self, record: MessageRecord, command: DispatchCommand, slot: Slot) -> MessageRecord:
        """Make the attempt that is open in `record`, and close it there."""
        limit = min(slot.attempt_timeout, (record.expire_time - self._clock.wall()) / 1e6)
        started = self._clock.monotonic()
        slot.in_flight += 1
        try:
            result = attempt.TOO_LATE
            if limit > 0:
                result = await attempt.send(slot.provider, command, record.message_id, self._loop, limit)
        finally:
            slot.in_flight -= 1
        duration = int((self._clock.monotonic() - started) * 1e6)
        now = self._clock.wall()
        try:
            record = lifecycle.close_attempt(record, result, now=now, duration=duration)
        except Exception as error:  # the provider's code gave something that is no result of this message
            record = lifecycle.close_attempt(record, attempt.fault(slot.provider, error), now=now, duration=duration)
        self._observer.attempt_ended(record)
        return record

    async def _record(self, record: MessageRecord, flight: Flight) -> None:
        """Keep the outcome, however long the store takes; those who wait get the last durable state meanwhile."""
        while True:
            try:
                if await self._outbox.record(record):
                    flight.record = record
                    self._observer.state_reached(record)
                return
            except StoreUnavailable:
                flight.land()
                await self._outbox.wait_available()


async def _sealed(command: DispatchCommand) -> tuple[bytes, bytes]:
    """The command's content in canonical form, and its payload's hash. What is large is not for the event loop."""
    if command.size < LARGE:
        return canonical.seal(command.message, command.options)
    return await asyncio.to_thread(canonical.seal, command.message, command.options)
