"""One hook with a real store and a receiver that obeys: what it does while the store cannot commit, and at its end."""

from __future__ import annotations

import asyncio
import email.utils
from typing import Any

import pytest
from tests.support.clock import START, ManualClock
from tests.support.outboxes import keep
from tests.support.receiver import SECRET
from tests.support.waiting import within

from postwire.config.notify import NotifyConfig
from postwire.core.event_window import MAX_PAUSE, Checkpoint, StateEvent
from postwire.core.outcome import Outcome
from postwire.delivery.wakeable_task import MAX_IDLE_DELAY
from postwire.notify.hook import LINGER, Hook
from postwire.notify.poster import Answer, answer_of
from postwire.outbox.sqlite import SqliteOutbox
from postwire.providers.http.messages import HttpResponse

TAKEN = Answer(Outcome.SUCCESS)


class Receiver:
    """See `Posting`. An event is answered as `answers` say, or taken; while `held`, nothing is."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.answers: list[Answer | Exception] = []
        self.held: asyncio.Event | None = None
        self.came = asyncio.Event()
        self.is_closed = False

    async def post(self, event: StateEvent, now: int) -> Answer:
        self.events.append(event.id)
        self.came.set()
        if self.held:
            await self.held.wait()
        answer = self.answers.pop(0) if self.answers else TAKEN
        if isinstance(answer, Exception):
            raise answer
        return answer

    def renew(self, config: NotifyConfig) -> None:
        """Nothing is signed."""

    async def close(self) -> None:
        self.is_closed = True


class Harness:
    def __init__(self, outbox: SqliteOutbox, **settings: Any) -> None:
        self.outbox = outbox
        self.clock = ManualClock()
        self.receiver = Receiver()
        self.config = NotifyConfig(name="billing", url="http://127.0.0.1/", secret=SECRET, **settings)
        self.hook = Hook(self.config, self.receiver, store=outbox, clock=self.clock, draw=lambda: 0.0)

    async def until(self, count: int, step: float = LINGER) -> None:
        """Return once so many events were posted; time goes on meanwhile."""

        async def posted() -> None:
            while len(self.receiver.events) < count:
                self.clock.advance(step)
                await self.outbox.stats()
                await asyncio.sleep(0)

        await within(posted())

    async def kept(self) -> Checkpoint:
        text = await self.outbox.metadata("notify.billing")
        assert text
        return Checkpoint.decode(text)

    async def until_kept(self, checkpoint: Checkpoint) -> None:
        """Return once that is kept; time goes on meanwhile."""

        async def reached() -> None:
            while await self.kept() != checkpoint:
                self.clock.advance(1.0)
                await asyncio.sleep(0)

        await within(reached())


async def test_it_begins_where_the_feed_ends_and_that_is_kept_at_once(outbox: SqliteOutbox) -> None:
    await keep(outbox)
    harness = Harness(outbox)
    await harness.hook.start()
    assert await harness.kept() == Checkpoint.at(await outbox.last_position())
    new = await keep(outbox)
    await harness.until(1)
    assert harness.receiver.events == [f"{new.record.message_id}-{new.record.revision}"]
    await harness.until_kept(Checkpoint.at(await outbox.last_position()))
    await harness.hook.stop(1.0)
    assert harness.receiver.is_closed


async def test_what_is_not_asked_for_moves_its_place_all_the_same(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, labels={"team": "nobody"})
    await harness.hook.start()
    await keep(outbox)
    await harness.until_kept(Checkpoint.at(await outbox.last_position()))
    assert harness.receiver.events == []
    assert harness.hook.report().lag == 0.0
    await harness.hook.stop(1.0)


async def test_a_fault_in_posting_is_a_try_that_failed(
    outbox: SqliteOutbox, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = Harness(outbox)
    harness.receiver.answers = [ZeroDivisionError()]
    await harness.hook.start()
    await keep(outbox)
    await harness.until(2, step=1.0)
    assert len(set(harness.receiver.events)) == 1
    await harness.hook.stop(1.0)
    assert harness.hook.report().attempts["error"] == 1


async def test_what_is_on_its_way_at_the_end_comes_again(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox)
    harness.receiver.held = asyncio.Event()
    await harness.hook.start()
    await keep(outbox)
    await harness.until(1)
    await within(harness.hook.stop(0.0))
    again = Harness(outbox)
    await again.hook.start()
    await again.until(1)
    assert again.receiver.events == harness.receiver.events
    await again.hook.stop(1.0)


async def test_nothing_is_late_at_a_node_that_posts_no_more(outbox: SqliteOutbox) -> None:
    """Another does by then, and tells how late it is."""
    harness = Harness(outbox)
    harness.receiver.held = asyncio.Event()
    await harness.hook.start()
    await keep(outbox)
    await harness.until(1)
    harness.clock.advance(20.0)
    assert harness.hook.report().lag >= 20.0
    await within(harness.hook.stop(0.0))
    assert harness.hook.report().lag == 0.0


async def test_no_more_are_on_their_way_than_may_be_and_each_is_of_another_message(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, max_concurrent=3)
    harness.receiver.held = asyncio.Event()
    await harness.hook.start()
    for _ in range(10):
        await keep(outbox)
    await harness.until(3)
    for _ in range(20):
        harness.clock.advance(1.0)
        await outbox.stats()
    assert len(set(harness.receiver.events)) == 3
    assert harness.hook.report().lag >= 20.0
    harness.receiver.held.set()
    await harness.until(10)
    await harness.hook.stop(1.0)


async def test_the_breaker_leaves_a_receiver_alone_that_fails_and_a_new_secret_tries_it_at_once(
    outbox: SqliteOutbox,
) -> None:
    harness = Harness(outbox, max_concurrent=5)
    harness.receiver.answers = [Answer(Outcome.ERROR, "it answers 401")] * 5
    await harness.hook.start()
    for _ in range(5):
        await keep(outbox)
    await harness.until(5)
    for _ in range(40):
        harness.clock.advance(0.1)
        await outbox.stats()
    assert len(harness.receiver.events) == 5
    harness.hook.renew(harness.config)
    await harness.until(10, step=0.0)
    await harness.hook.stop(1.0)
    assert harness.hook.report().attempts == {"success": 5, "rejected": 0, "rate_limited": 0, "error": 5}


@pytest.mark.parametrize(
    ("status", "headers", "answer"),
    [
        (200, {}, TAKEN),
        (299, {"retry-after": "5"}, TAKEN),
        (429, {}, Answer(Outcome.RATE_LIMITED, "it answers 429")),
        (429, {"retry-after": "7"}, Answer(Outcome.RATE_LIMITED, "it answers 429", 7.0)),
        (503, {"retry-after": "7"}, Answer(Outcome.RATE_LIMITED, "it answers 503", 7.0)),
        (503, {}, Answer(Outcome.ERROR, "it answers 503")),
        (500, {"retry-after": "7"}, Answer(Outcome.ERROR, "it answers 500", 7.0)),
        (301, {}, Answer(Outcome.ERROR, "it answers 301")),
        (401, {}, Answer(Outcome.ERROR, "it answers 401")),
        (404, {}, Answer(Outcome.ERROR, "it answers 404")),
        (410, {}, Answer(Outcome.ERROR, "it answers 410", MAX_PAUSE)),
        (400, {}, Answer(Outcome.REJECTED, "it answers 400")),
        (422, {}, Answer(Outcome.REJECTED, "it answers 422")),
        (600, {}, Answer(Outcome.ERROR, "it answers 600")),
    ],
)
def test_what_an_answer_means(status: int, headers: dict[str, str], answer: Answer) -> None:
    assert answer_of(HttpResponse(status, headers), START) == answer


def test_a_date_may_say_when_to_come_again() -> None:
    date = email.utils.formatdate(START / 1e6 + 30, usegmt=True)
    assert answer_of(HttpResponse(429, {"retry-after": date}), START).pause == pytest.approx(30, abs=1)


@pytest.mark.parametrize("haste", [LINGER / 10, LINGER / 4, LINGER / 2])
async def test_what_comes_while_it_looks_at_the_clock_does_not_wait_for_its_next_rest(
    outbox: SqliteOutbox, haste: float
) -> None:
    """It may be time to read on between two looks at the clock in one step."""
    harness = Harness(outbox)
    harness.clock.haste = harness.clock.reading_takes = haste
    await harness.hook.start()
    for count in range(1, 20):
        await keep(outbox)
        began = harness.clock.monotonic()
        await harness.until(count, step=haste / 4)
        assert harness.clock.monotonic() - began < MAX_IDLE_DELAY / 2
    await harness.hook.stop(1.0)
