"""What callers and the delivery ask of a store, from a seed: accepts, frames, repeats, results, failover, takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Final, TypeVar

from tests.support import build
from tests.support.clock import START
from tests.support.faults.ledger import COUNT_KEY, POLICY, Ledger

from postwire.core import lifecycle
from postwire.core.errors import RequestIdReused, StoreUnavailable
from postwire.core.ids import MessageIds
from postwire.core.message import MessageRecord
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import Accepted, NewMessage
from postwire.outbox.sqlite import SqliteOutbox

T = TypeVar("T")

CLIENTS: Final = 6
"""How many ask at once. Each waits for its answer before it goes on, so that a seed gives the same commits again."""

MAX_REFUSED: Final = 1_000
"""How often a call is repeated before the store counts as wedged."""

ERROR: Final = DispatchResult(Outcome.ERROR, error_code="421", detail="busy")
UNCERTAIN: Final = DispatchResult(Outcome.UNCERTAIN, error_code="timeout")


class Workload:
    """Clients of one store, from its opening to its end. All that they ask for is in the ledger."""

    def __init__(self, outbox: SqliteOutbox, ledger: Ledger, random: Random) -> None:
        self.refused = 0
        """How many calls the store has refused. Each was repeated until it was done, as callers are told to do."""
        self._outbox = outbox
        self._ledger = ledger
        self._random = random
        self._ids = MessageIds(random.getrandbits)
        self._run = f"{random.getrandbits(32):08x}"
        self._requests = 0
        self._idle = [one[-1].record for one in ledger.versions.values() if one and not one[-1].record.settled]
        self._accepted: list[NewMessage] = []
        self._is_counting = False

    async def run(self, steps: int) -> None:
        """Do so many steps in each client, all of the clients at once."""
        await asyncio.gather(*(self._client(steps) for _ in range(CLIENTS)))

    async def _client(self, steps: int) -> None:
        actions = (self._accept, self._accept_all, self._repeat, self._advance, self._race, self._keep_metadata)
        for _ in range(steps):
            (action,) = self._random.choices(actions, (5, 2, 1, 8, 1, 1))
            await action()

    async def _reported(self, ask: Callable[[], Awaitable[T]]) -> T:
        for _ in range(MAX_REFUSED):
            try:
                return await ask()
            except StoreUnavailable:
                self.refused += 1
                await self._outbox.wait_available()
        raise AssertionError("the store refuses for good")

    async def _accept(self) -> None:
        new = self._message()
        version = self._ledger.new(new)
        answer = await self._reported(partial(self._outbox.accept, new))
        assert answer.record == new.record
        self._ledger.acknowledge(version)
        self._is_in(new)

    async def _accept_all(self) -> None:
        news = [self._message() for _ in range(self._random.choice((2, 3, 20)))]
        versions = self._ledger.frame(news)
        others: list[NewMessage] = []
        if self._accepted:
            known = self._again(self._random.choice(self._accepted))
            others = [known, replace(self._again(known), payload_hash=b"another" * 4)]
        answers = await self._reported(partial(self._outbox.accept_all, [*news, *others]))
        for new, answer in zip(news, answers, strict=False):
            assert isinstance(answer, Accepted)
            assert answer.record == new.record
            self._is_in(new)
        if others:
            again, other = answers[len(news) :]
            assert isinstance(again, Accepted)
            assert again.record.request_id == others[0].record.request_id
            assert not again.created
            assert isinstance(other, RequestIdReused)
        self._ledger.acknowledge(*versions)

    async def _repeat(self) -> None:
        """The same call twice at once: one of them is the message."""
        new = self._message()
        twice = [new, self._again(new)]
        versions = [self._ledger.new(one) for one in twice]
        answers = await asyncio.gather(*(self._reported(partial(self._outbox.accept, one)) for one in twice))
        (kept,) = {answer.record.message_id for answer in answers}
        for one, version in zip(twice, versions, strict=True):
            if one.record.message_id == kept:
                self._ledger.acknowledge(version)
                self._is_in(one)
            else:
                self._ledger.deny(version)

    async def _advance(self) -> None:
        if not self._idle:
            return
        before = self._take_idle()
        after = self._random.choice(_changes(before))
        version = self._ledger.change(after)
        assert await self._reported(partial(self._outbox.advance, before, after))
        self._ledger.acknowledge(version)
        self._is_idle(after)

    async def _race(self) -> None:
        """Two changes of one message at once: one of them is in time."""
        if not self._idle:
            return
        before = self._take_idle()
        afters = self._random.sample(_changes(before), 2)
        versions = [self._ledger.change(one) for one in afters]
        reported = await asyncio.gather(*(self._reported(partial(self._outbox.advance, before, one)) for one in afters))
        assert sorted(reported) == [False, True]
        for version, is_done in zip(versions, reported, strict=True):
            if is_done:
                self._ledger.acknowledge(version)
                self._is_idle(version.record)
            else:
                self._ledger.deny(version)

    async def _keep_metadata(self) -> None:
        if self._is_counting:  # one at a time, or the order of two would be open
            return
        self._is_counting = True
        value, write = self._ledger.count()
        await self._reported(partial(self._outbox.keep_metadata, COUNT_KEY, str(value)))
        self._ledger.acknowledge(write)
        self._is_counting = False

    def _message(self) -> NewMessage:
        random = self._random
        self._requests += 1
        length = random.choice((10, 10, 10, 1_000, 12_000))
        body = random.randbytes(length // 2).hex()
        content = build.email("a@example.com", "b@example.com", text=body) if random.random() < 0.5 else build.sms(body)
        of = build.command(content, request_id=f"r-{self._run}-{self._requests}")
        record = lifecycle.accept(
            of,
            message_id=self._ids.next(START),
            queue=of.message.channel.value,
            provider_name=random.choice(("p-1", "p-2", "")),
            now=START,
            expire_after=build.HOUR,
        )
        return build.new_message(of, record=record)

    def _again(self, new: NewMessage) -> NewMessage:
        return replace(new, record=replace(new.record, message_id=self._ids.next(START)))

    def _is_in(self, new: NewMessage) -> None:
        self._accepted.append(new)
        self._is_idle(new.record)

    def _is_idle(self, record: MessageRecord) -> None:
        if not record.settled:
            self._idle.append(record)

    def _take_idle(self) -> MessageRecord:
        return self._idle.pop(self._random.randrange(len(self._idle)))


def _changes(before: MessageRecord) -> list[MessageRecord]:
    """What may become of a message that is not settled."""
    now = before.update_time + 20_000
    if not lifecycle.is_open(before):
        return [
            build.retried(before, "p-1"),
            build.retried(before, "p-2"),
            lifecycle.cancel(before, now=now),
            lifecycle.expire(before, now=now),
        ]
    failed, _ = lifecycle.close_attempt(before, ERROR, POLICY, now=now, duration=20_000)
    return [
        build.ended(before, policy=POLICY),
        build.ended(before, ERROR, policy=POLICY),
        build.ended(before, UNCERTAIN, policy=POLICY),
        lifecycle.open_attempt(failed, "p-3", now=now),
        lifecycle.drop_attempt(before, now=now, due=now),
    ]
