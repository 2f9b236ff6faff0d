"""One hook: reads the feed, has its events posted, and keeps where it stands."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from typing import Final, Protocol

from postwire.clock import Clock
from postwire.config.notify import NotifyConfig
from postwire.core.breaker import Breaker, BreakerSettings, Permit, Verdict
from postwire.core.errors import ResumeTokenExpired, StoreUnavailable
from postwire.core.event_window import ChangedMessage, Checkpoint, EventWindow, StateEvent
from postwire.core.message import MessageRecord
from postwire.core.outcome import Outcome
from postwire.delivery.wakeable_task import AFTER_A_FAULT, MAX_IDLE_DELAY, WakeableTask
from postwire.notify.hook_log import HookLog
from postwire.notify.poster import Answer
from postwire.outbox.base import AdminState, ChangeFeed
from postwire.telemetry.base import HookReport
from postwire.telemetry.logs import EventLog

BATCH: Final = 500
"""How many changes are read at once."""

LINGER: Final = 0.05
"""Seconds from one look at the feed to the next, so that many hooks on a busy server read many changes at a time."""

KEEP_INTERVAL: Final = 10.0
"""Seconds after which it is kept where a hook stands that had nothing to tell."""

MINIMUM_CALLS: Final = 5
"""How many tries there must be before the breaker opens: fewer than for a provider, as nobody waits for the answer."""

LOST_DROPPED: Final = "dropped"
"""Why something is lost: the feed has dropped the change before the hook came to it;"""
LOST_REMOVED: Final = "removed"
"""the message was long settled, and is not kept any more;"""
LOST_REFUSED: Final = "refused"
"""its receiver does not take the event."""

_VERDICTS: Final = {
    Outcome.SUCCESS: Verdict.SUCCESS,
    Outcome.REJECTED: Verdict.SUCCESS,  # it answers
    Outcome.RATE_LIMITED: Verdict.NONE,
    Outcome.ERROR: Verdict.FAILURE,
}

_log = EventLog()


class Store(ChangeFeed, AdminState, Protocol):
    """What a hook asks of the store."""


class Posting(Protocol):
    """See `Poster`."""

    async def post(self, event: StateEvent, now: int) -> Answer:
        """See `Poster.post`."""
        ...

    def renew(self, config: NotifyConfig) -> None:
        """See `Poster.renew`."""
        ...

    async def close(self) -> None:
        """See `Poster.close`."""
        ...


class Hook:
    """One table of the configuration. `draw` gives numbers in [0, 1), for jitter."""

    def __init__(
        self, config: NotifyConfig, poster: Posting, *, store: Store, clock: Clock, draw: Callable[[], float]
    ) -> None:
        self.name = config.name
        self._config = config
        self._states = frozenset(config.states)
        self._poster = poster
        self._store = store
        self._clock = clock
        self._draw = draw
        self._log = HookLog(config.name, clock)
        settings = BreakerSettings(minimum_calls=MINIMUM_CALLS, lease=2 * config.timeout)
        self._breaker = Breaker(settings, jitter=draw, listener=self._log.breaker_changed, on_fault=_log.fault)
        self._window: EventWindow | None = None
        self._wakeable = WakeableTask(self._work, outbox=store, clock=clock)
        self._posting: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._read_again = 0.0
        self._metadata = f"notify.{config.name}"
        self._keeping = asyncio.Lock()
        self._to_keep = self._kept_number = 0
        self._kept: Checkpoint | None = None
        self._kept_at = 0.0
        self._attempts: Counter[str] = Counter({outcome.value: 0 for outcome in _VERDICTS})
        self._lost: Counter[str] = Counter({LOST_DROPPED: 0, LOST_REMOVED: 0, LOST_REFUSED: 0})

    async def start(self) -> None:
        """Go on where it stood; one that the store has never seen begins with what comes from now on.

        Raises:
            StoreUnavailable: the store cannot be read, or cannot commit.
        """
        text = await self._store.metadata(self._metadata)
        checkpoint = Checkpoint.decode(text) if text else Checkpoint.at(await self._store.last_position())
        self._window = EventWindow(checkpoint, self._draw)
        if text is None:
            await self._store.keep_metadata(self._metadata, checkpoint.encode())
        self._kept = checkpoint
        self._wakeable.start()

    async def stop(self, grace: float) -> None:
        """Begin nothing more, and give what is on its way up to `grace` seconds."""
        await self._wakeable.stop()
        if self._watching:
            self._watching.cancel()
        if self._posting:
            _, late = await asyncio.wait(self._posting, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self._window = None  # what waits in it is another's to post, or the next start's
        await self._poster.close()

    def renew(self, config: NotifyConfig) -> None:
        """Sign with other secrets, and try at once what waits: its receiver may have asked for these."""
        self._poster.renew(config)
        self._breaker.reset(self._clock.monotonic())
        if self._window:
            self._window.resume()
        self._wakeable.wake()

    def report(self) -> HookReport:
        """What telemetry shows of it. On any thread."""
        oldest = self._window.oldest if self._window else None
        lag = 0.0 if oldest is None else max((self._clock.wall() - oldest) / 1e6, 0.0)
        return HookReport(self.name, dict(self._attempts), dict(self._lost), lag)

    # Reading.

    async def _work(self) -> float:
        window = self._window
        assert window
        began = self._clock.monotonic()
        if window.room and began >= self._read_again:
            await self._read(window, began)
        now = self._clock.monotonic()
        self._begin_due(window, now)
        if not self._posting and now - self._kept_at >= KEEP_INTERVAL and window.checkpoint() != self._kept:
            await self._keep(window)
        # Each is held against the time that it was asked by: what has become due since then is due, and not over.
        times = [self._read_again] if window.room and self._read_again > began else []
        others = window.next_time(now), self._breaker.next_probe_time(now)
        times += [time for time in others if time is not None and time > now]
        return max(min(times) - self._clock.monotonic(), 0.0) if times else MAX_IDLE_DELAY

    async def _read(self, window: EventWindow, now: float) -> None:
        before = window.read_to
        try:
            changes = await self._store.changes(before, min(BATCH, window.room), self._config.tenant)
        except ResumeTokenExpired:
            _, dropped = await self._store.skip_dropped(window.known_to)
            to, _ = await self._store.skip_dropped(before)
            self._count_lost(LOST_DROPPED, window.skip(to, dropped))
            self._wakeable.wake()
            return
        window.add((self._changed(position, record) for position, record in changes.entries), changes.last)
        self._count_lost(LOST_REMOVED, changes.removed)
        if changes.last > before:
            self._read_again = now + LINGER
        elif self._watching is None or self._watching.done():
            # In a context of its own, as is whatever works for nobody in particular.
            watch = self._watch(before)
            self._watching = asyncio.get_running_loop().create_task(watch, context=Context())

    async def _watch(self, after: tuple[int, ...]) -> None:
        await self._store.wait_changes(after)
        self._wakeable.wake()

    def _changed(self, position: tuple[int, ...], record: MessageRecord) -> ChangedMessage:
        if self._states and record.state not in self._states:
            return ChangedMessage(position, record.message_id, None)
        if not self._config.labels.items() <= record.labels.items():
            return ChangedMessage(position, record.message_id, None)
        event = StateEvent(
            position, record.message_id, record.revision, record.state, record.update_time, record.labels
        )
        return ChangedMessage(position, record.message_id, event)

    # Posting.

    def _begin_due(self, window: EventWindow, now: float) -> None:
        while len(self._posting) < self._config.max_concurrent and window.is_due(now):
            permit = self._breaker.acquire(now)
            if permit is None:
                return
            event = window.next(now)
            assert event
            task = asyncio.get_running_loop().create_task(self._post(window, event, permit), context=Context())
            self._posting.add(task)
            task.add_done_callback(self._posted)

    def _posted(self, task: asyncio.Task[None]) -> None:
        self._posting.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.fault(error)
        self._wakeable.wake()

    async def _post(self, window: EventWindow, event: StateEvent, permit: Permit) -> None:
        started = self._clock.monotonic()
        verdict = Verdict.NONE
        try:
            answer = await self._try(event)
            verdict = _VERDICTS[answer.outcome]
        except BaseException:
            window.back(event)
            raise
        finally:
            now = self._clock.monotonic()
            self._breaker.release(permit, verdict, now, now - started)
        self._attempts[answer.outcome.value] += 1
        if self._ended(window, event, answer, now):
            # Its place is free once that is kept, so that a crash repeats no more than there are places.
            await self._keep(window)

    async def _try(self, event: StateEvent) -> Answer:
        try:
            return await self._poster.post(event, self._clock.wall())
        except Exception as error:
            _log.fault(error)
            return Answer(Outcome.ERROR, f"a fault in the program: {type(error).__name__}")

    def _ended(self, window: EventWindow, event: StateEvent, answer: Answer, now: float) -> bool:
        """Have it follow what the answer asks for; returns whether the event is done with."""
        if answer.outcome is Outcome.SUCCESS:
            window.done(event, now)
            return True
        self._log.failed(answer)
        if answer.outcome is Outcome.RATE_LIMITED:
            window.throttled(event, now, answer.pause)
            return False
        if answer.pause:
            window.pause(now, answer.pause)
        given_up = window.failed(event, now, refused=answer.outcome is Outcome.REJECTED)
        if given_up:
            self._count_lost(LOST_REFUSED, 1, event.message_id)
        return given_up

    def _count_lost(self, reason: str, count: int, message_id: str = "") -> None:
        if count:
            self._lost[reason] += count
            self._log.lost(reason, count, message_id)

    async def _keep(self, window: EventWindow) -> None:
        """Keep where it stands, as it is now or later, however long the store takes."""
        self._to_keep += 1
        number = self._to_keep
        while True:
            async with self._keeping:
                if self._kept_number >= number:
                    return  # by another, who had to wait for one before him
                latest, checkpoint = self._to_keep, window.checkpoint()
                try:
                    await self._store.keep_metadata(self._metadata, checkpoint.encode())
                except StoreUnavailable:
                    pass
                else:
                    self._kept_number, self._kept, self._kept_at = latest, checkpoint, self._clock.monotonic()
                    return
            await self._store.wait_available()
            await asyncio.sleep(AFTER_A_FAULT)  # a store that cannot be read may still say that it can commit
