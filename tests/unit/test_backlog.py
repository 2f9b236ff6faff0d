"""How many messages may be unsettled: in each queue, in all, and for later."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import build
from tests.support.clock import ManualClock
from tests.support.examples import examples
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, registry_of, route
from tests.support.streams import accept_frame, commands

from postwire.core.backlog import SHARE, Backlog
from postwire.core.errors import MessageNotQueued, Overloaded, RequestIdReused
from postwire.core.message import DEFAULT_TENANT, Channel, MessageRecord, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.core.queue_keys import QueueKey
from postwire.core.routing import Match
from postwire.outbox.base import Outbox
from postwire.outbox.sqlite import SqliteOutbox

SECOND = 1_000_000


def key(name: str, tenant: str = DEFAULT_TENANT) -> QueueKey:
    return QueueKey(tenant, name)


def taken(
    backlog: Backlog, name: str, send_time: int | None = None, now: int = 0, *, tenant: str = DEFAULT_TENANT
) -> int:
    """Take as many as are allowed, and tell how many that were."""
    count, queue = 0, key(name, tenant)
    while backlog.why_full(queue, send_time, now) is None:
        backlog.add(queue, send_time)
        count += 1
    return count


def test_a_queue_that_is_full_leaves_room_for_every_other() -> None:
    backlog = Backlog(max_unsettled=500)
    assert taken(backlog, "sms") == 400
    assert (
        backlog.why_full(key("sms"), None, 0) == "too many messages wait for the providers of this one: try again later"
    )
    assert [taken(backlog, queue) for queue in ("email", "mms", "@a", "@b")] == [80, 16, 4, 0]
    assert backlog.why_full(key("@b"), None, 0) == "too many messages wait to be sent: try again later"


@pytest.mark.parametrize(("max_unsettled", "most"), [(99, 99), (100, 80), (1, 1)])
def test_what_is_small_is_not_shared_out(max_unsettled: int, most: int) -> None:
    assert taken(Backlog(max_unsettled=max_unsettled), "sms") == most
    later = taken(Backlog(max_unsettled=max_unsettled), "sms", SECOND * 9)
    assert later == (50 if most == 80 else most)


def test_what_is_configured_takes_the_place_of_a_share() -> None:
    for max_unsettled in (50, 500):
        backlog = Backlog(max_unsettled=max_unsettled, max_per_queue=45, max_scheduled=5)
        assert taken(backlog, "sms", 9 * SECOND) == 5
        assert (
            backlog.why_full(key("email"), 9 * SECOND, 0)
            == "too many messages wait for their send_time: try again later"
        )
        assert taken(backlog, "sms") == 40
        assert taken(backlog, "email") == min(45, max_unsettled - 45)


def test_what_was_for_later_and_is_due_leaves_its_place_to_others() -> None:
    backlog = Backlog(max_unsettled=1_000, max_scheduled=3)
    assert taken(backlog, "sms", 9 * SECOND + 5) == 3
    assert taken(backlog, "sms", 20 * SECOND, now=9 * SECOND - 1) == 0
    assert taken(backlog, "sms", 20 * SECOND, now=9 * SECOND) == 3
    backlog.remove(key("sms"), 9 * SECOND + 5)  # it is due, and counts no more
    assert backlog.scheduled(9 * SECOND) == 3
    backlog.remove(key("sms"), 20 * SECOND)
    assert backlog.scheduled(9 * SECOND) == 2
    assert backlog.queues == {key("sms"): 4}
    assert backlog.tenants == {DEFAULT_TENANT: 4}


@given(st.data())
@examples(60)
def test_it_counts_as_a_list_would(data: st.DataObject) -> None:
    has_tenants = data.draw(st.booleans())
    backlog, now = Backlog(max_unsettled=120, has_tenants=has_tenants), 0
    held: list[tuple[QueueKey, int | None]] = []
    for _ in range(data.draw(st.integers(1, 30))):
        now += data.draw(st.sampled_from([0, 0, SECOND // 2, 3 * SECOND]))
        delay = data.draw(st.none() | st.integers(1, 5 * SECOND))
        queue = QueueKey(data.draw(st.sampled_from(["a", "b"])), data.draw(st.sampled_from(["sms", "email"])))
        one = (queue, None if delay is None else now + delay)
        later = [queue for queue, time in held if time is not None and time // SECOND > now // SECOND]
        for _ in range(data.draw(st.sampled_from([0, 1, 90]))):
            own_later = sum(queue.tenant == one[0].tenant for queue in later)
            of_queue = sum(queue == one[0] for queue, _ in held)
            full = len(held) >= 120 or of_queue >= SHARE * (120 - len(held)) or bool(one[1] and len(later) >= 60)
            full |= bool(one[1] and has_tenants and own_later and own_later >= SHARE * (60 - len(later)))
            assert bool(backlog.why_full(*one, now)) is full
            if not full:
                backlog.add(*one)
                held.append(one)
                if one[1] is not None and one[1] // SECOND > now // SECOND:
                    later.append(one[0])
        for _ in range(data.draw(st.sampled_from([0, 1, 40]))):
            if held:
                backlog.remove(*held.pop(data.draw(st.integers(0, len(held) - 1))))
        assert backlog.queues == Counter(queue for queue, _ in held)
        assert backlog.tenants == Counter(queue.tenant for queue, _ in held)
        assert backlog.total == len(held)
        later = [queue for queue, time in held if time is not None and time // SECOND > now // SECOND]
        assert backlog.scheduled(now) == len(later)


def test_a_tenant_that_fills_its_queue_or_schedules_all_it_may_leaves_room_for_others() -> None:
    backlog = Backlog(max_unsettled=1_000, has_tenants=True)
    assert taken(backlog, "sms", 9 * SECOND, tenant="a") == 400
    assert taken(backlog, "email", 9 * SECOND, tenant="a") == 0
    assert taken(backlog, "sms", 9 * SECOND, tenant="b") == 80
    assert taken(backlog, "sms", tenant="a") == 336, "four fifths of what b has left of it"
    assert taken(backlog, "sms", tenant="b") == 132, "which it has not to share with a"


# In the path of messages.


async def test_a_channel_that_is_out_of_service_does_not_close_the_others(outbox: SqliteOutbox) -> None:
    phone, post = FakeProvider("phone"), FakeProvider("post")
    routes = {Channel.SMS: [route("phone")], Channel.EMAIL: [route("post", key="email")]}
    harness = Harness(outbox, registry=registry_of(phone, post, routes=routes), max_unsettled=500)
    harness.registry.entry("phone").gate.breaker.force_open(0.0)
    caller = await accept_frame(harness, commands(500))
    assert set(caller.refusals) == set(range(400, 500))
    assert (await harness.send(build.command(build.email()))).state is MessageState.SENT
    with pytest.raises(Overloaded, match="for the providers of this one"):
        await harness.send()
    assert harness.delivery.queue_depths == {"sms": 400, "email": 0}


async def equal(harness: Harness, outbox: Outbox) -> None:
    """What is counted is what the store holds."""
    await harness.calm()
    now = harness.clock.wall()
    counts = await outbox.unsettled_counts(now)
    backlog = harness.delivery.backlog
    assert backlog.queues == counts.queues
    assert backlog.tenants == Counter({DEFAULT_TENANT: backlog.total} if backlog.total else {})
    assert backlog.total == (await outbox.stats()).unsettled
    second = now // SECOND
    assert backlog.scheduled(now) == sum(n for (_, due), n in counts.scheduled.items() if due > second)


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happens_the_counts_are_those_of_the_store(tmp_path: Path, seed: int) -> None:
    draws = random.Random(seed)
    path, clock = str(tmp_path / "postwire.db"), ManualClock()
    outbox = await SqliteOutbox.open(path)
    answers = [build.SUCCESS, *map(DispatchResult, Outcome)]
    rules = [
        [route("a", key="sms")],
        [route("a", key="sms#1", match=Match(labels={"x": "y"})), route("b", key="sms#2")],
    ]
    for boot in range(3):
        providers = [FakeProvider(name, answers=draws.choices(answers, k=100)) for name in ("a", "b")]
        routes = {Channel.SMS: rules[boot % 2], Channel.EMAIL: [route("b", key="email")]}
        harness = Harness(outbox, registry=registry_of(*providers, routes=routes), clock=clock)
        await harness.boot()
        await equal(harness, outbox)
        owned: list[MessageRecord] = []
        for step in range(25):
            options: dict[str, Any] = {"wait_for": WaitFor.ACCEPTANCE, "request_id": f"{boot} {draws.randrange(20)}"}
            if draws.random() < 0.5:
                options["send_time"] = clock.wall() + draws.randrange(1, 100) * SECOND // 3
            if draws.random() < 0.3:
                options["expire_time"] = clock.wall() + 40 * SECOND
            content = build.email() if draws.random() < 0.3 else build.sms(draws.choice("xy"))
            with suppress(RequestIdReused):
                owned.append(await harness.send(build.command(content, labels={"x": draws.choice("yz")}, **options)))
            action = draws.random()
            if action < 0.2 and owned:
                with suppress(MessageNotQueued):
                    await harness.delivery.cancel(draws.choice(owned).message_id, by=LOCAL)
            elif action < 0.5:
                clock.advance(draws.choice([0.5, 3.0, 20.0]))
            elif action < 0.6:
                breaker = harness.registry.entry(draws.choice("ab")).gate.breaker
                draws.choice([breaker.force_open, breaker.resume])(clock.monotonic())
            if step % 5 == 4:
                await equal(harness, outbox)
        await outbox.remove_settled((), clock.wall(), 1_000)
        await equal(harness, outbox)
        await harness.drain(0.0)
        await outbox.close()
        outbox = await SqliteOutbox.open(path)
    await outbox.close()
