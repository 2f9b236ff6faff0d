"""What is at hand is taken in the order in which the store has it, whatever else comes to wait meanwhile."""

from __future__ import annotations

import asyncio

from tests.support.harness import Harness
from tests.support.paused import Paused
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.streams import FrameCaller, accept_frame, commands
from tests.support.waiting import within

from postwire.core.message import MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.sqlite import SqliteOutbox


async def test_what_comes_due_while_older_messages_are_accepted_is_not_left_behind(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("p", answers=[DispatchResult(Outcome.ERROR)])
    paused = Paused(outbox, "accept_all")
    harness = Harness(
        paused, provider=provider, registry=registry_of(provider, gates={"p": gate_of("p", max_concurrent=1)})
    )
    retried = (await accept_frame(harness, commands(1))).records[0].message_id
    await harness.noted.reached(retried, MessageState.QUEUED)
    await harness.calm()
    retry_time = (await harness.kept(retried)).next_attempt_time
    assert retry_time
    provider._free.clear()
    sent = [(await accept_frame(harness, commands(1))).records[0].message_id]  # has the slot
    paused.hold()
    older = FrameCaller(harness, commands(1))
    accepting = asyncio.ensure_future(older.frame.accept())
    await within(paused.reached.wait())
    harness.clock.advance((retry_time - harness.clock.due()) / 1e6 + 0.001)
    await harness.calm()
    paused.release()
    await within(accepting)
    sent += [older.records[0].message_id, retried]
    for _ in range(3):
        harness.clock.advance(0.001)
        sent.append((await accept_frame(harness, commands(1))).records[0].message_id)
    provider.release()
    await within(provider.calls(7))
    await harness.calm()
    assert provider.keys[1:] == sent
    assert harness.left() == []
