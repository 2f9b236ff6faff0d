"""Going on with a watch: without a gap wherever it was left, over restarts too, and told where that cannot be."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.outboxes import LASTING, PLACES
from tests.support.streams import accept_frame, commands
from tests.support.watching import LATER, Watching, now, touch, waiting

from postwire.core.errors import ResumeTokenExpired, ShuttingDown
from postwire.core.ids import MessageIds
from postwire.core.listing import MessageFilter, Position, ResumePoint, page_token, parse_resume_token, resume_token
from postwire.core.message import DEFAULT_TENANT, MessageRecord, MessageState
from postwire.core.principal import LOCAL
from postwire.outbox.sqlite import SqliteOutbox

QUEUED = MessageState.QUEUED


@pytest.fixture
async def harness(outbox: SqliteOutbox) -> Harness:
    return Harness(outbox)


async def test_whoever_is_cut_off_amid_the_beginning_is_given_all_of_it_again(harness: Harness) -> None:
    """Else the rest of the messages would never be shown unless they change."""
    records = [await waiting(harness) for _ in range(3)]
    ids = [record.message_id for record in records]
    first = await Watching(harness, *ids).next()
    for event in first[:-1]:
        again = await Watching(harness, *ids, after=event.point).next()
        assert [one.record for one in again] == [one.record for one in first]
    cancelled = await harness.delivery.cancel(ids[0], by=LOCAL)
    assert [one.record for one in await Watching(harness, *ids, after=first[-1].point).next()] == [cancelled]


async def test_going_on_with_ids_needs_no_message_to_be_there_still(harness: Harness) -> None:
    """One that was settled may be removed while nobody watched."""
    record = await harness.send()
    after = await now(harness)
    assert await harness.outbox.remove_settled((), 2 * START, 9)
    other = await waiting(harness)
    watching = Watching(harness, record.message_id, other.message_id, after=after)
    assert [one.record for one in await watching.next()] == [other]


async def test_a_watch_goes_on_without_a_gap_wherever_it_was_left(harness: Harness) -> None:
    watching = Watching(harness, after=await now(harness))
    records = (await accept_frame(harness, commands(10, send_time=LATER))).records
    events = list(await watching.next())
    assert [one.record for one in events] == records
    for number, event in enumerate(events):
        rest = records[number + 1 :]
        if rest:
            assert [one.record for one in await Watching(harness, after=event.point).next()] == rest


@pytest.mark.parametrize("seed", range(8))
async def test_whoever_goes_on_again_and_again_sees_every_message_in_the_end(harness: Harness, seed: int) -> None:
    order = random.Random(seed)
    kept: dict[str, MessageRecord] = {}
    seen: dict[str, MessageRecord] = {}
    resume = await now(harness)
    watching = Watching(harness, after=resume)
    for _ in range(40):
        for _ in range(order.randrange(6)):
            if kept and order.random() < 0.5:
                record = order.choice(list(kept.values()))
                record = await (
                    touch(harness, record)
                    if record.state is QUEUED
                    else harness.delivery.get(record.message_id, DEFAULT_TENANT)
                )
                if order.random() < 0.2 and record.state is QUEUED:
                    record = await harness.delivery.cancel(record.message_id, by=LOCAL)
            else:
                record = await waiting(harness)
            kept[record.message_id] = record
        if resume != await now(harness):
            batch = await watching.next()
            for record in (one.record for one in batch if one.record):
                before = seen.get(record.message_id)
                assert before is None or before.revision < record.revision
                seen[record.message_id] = record
            resume = batch[-1].point
        if order.random() < 0.3:
            await watching.hang_up()
            watching = Watching(harness, after=resume)
    while resume != await now(harness):
        batch = await watching.next()
        seen |= {one.record.message_id: one.record for one in batch if one.record}
        resume = batch[-1].point
    assert seen == kept


@pytest.mark.parametrize("place", LASTING)
async def test_a_watch_goes_on_over_a_restart(tmp_path: Path, place: str) -> None:
    outbox = await PLACES[place](tmp_path)
    harness = Harness(outbox)
    watching = Watching(harness, after=await now(harness))
    first = await waiting(harness)
    await watching.until(first)
    missed = [await waiting(harness) for _ in range(2)]
    await harness.drain(0.0)
    with pytest.raises(ShuttingDown):
        await watching.next()
    resume = watching.resume
    await outbox.close()

    outbox = await PLACES[place](tmp_path)
    harness = Harness(outbox, ids=MessageIds(random.Random(2).getrandbits))
    late = await waiting(harness)
    by_id = Watching(harness, first.message_id, late.message_id, after=resume)
    everything = Watching(harness, after=resume)
    seen = [one.record for one in await everything.next()]
    assert seen[-1] == late
    assert [record for record in seen if record in missed] in (missed, []), "they may have been shown before the end"
    assert [one.record for one in await by_id.next()] == [late]
    await outbox.close()


async def test_what_is_not_known_any_more_is_told_and_what_still_is_goes_on(harness: Harness) -> None:
    records = [await waiting(harness) for _ in range(10)]
    assert await harness.outbox.remove_changes(3, 100) == 7
    for ago in (10, 4):
        with pytest.raises(ResumeTokenExpired):
            await Watching(harness, after=await now(harness, ago=ago)).next()
    assert [one.record for one in await Watching(harness, after=await now(harness, ago=3)).next()] == records[7:]


async def test_the_token_of_another_store_is_told_whoever_has_more_changes(tmp_path: Path) -> None:
    outboxes = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        outboxes.append(await SqliteOutbox.open(str(tmp_path / name / "postwire.db")))
    one, other = map(Harness, outboxes)
    for count, harness in ((30, one), (5, other)):
        for _ in range(count):
            await waiting(harness)
    for harness, stranger in ((one, other), (other, one)):
        with pytest.raises(ResumeTokenExpired):
            await Watching(harness, after=await now(stranger)).next()
    for outbox in outboxes:
        await outbox.close()


async def test_a_change_that_has_not_been_is_told(harness: Harness) -> None:
    """As after a store was put back to a copy of it."""
    await waiting(harness)
    for ahead in (1, 10**15):
        with pytest.raises(ResumeTokenExpired):
            await Watching(harness, after=await now(harness, ago=-ahead)).next()


STORE = "0123456789abcdef" * 2


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("position", "text"),
    [(None, "first"), ((0,), "0"), ((1,), "1"), ((10**18 - 1,), "9" * 18), ((1, 20, 300), "1.20.300")],
)
def test_a_token_leads_back_to_where_it_was_given(position: Position | None, text: str) -> None:
    """Before an upgrade, too: so its text is held to."""
    point = ResumePoint(STORE, position)
    assert resume_token(point) == encoded(f"change {STORE} {text}")
    assert parse_resume_token(resume_token(point)) == point


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "\u00fc",
        "\udcff",
        "====",
        encoded(f"change {STORE} 5") + " ",
        encoded(f"change {STORE} 5")[4:],
        encoded(f"change {STORE} {10**18}"),
        encoded(f"change {STORE[1:]} 5"),
        encoded(f"change {STORE}0 5"),
        encoded(f"change {STORE[1:]}g 5"),
        encoded(f"change {STORE.upper()} 5"),
        encoded(f"change {STORE} "),
        encoded(f"change {STORE} -1"),
        encoded(f"change {STORE} 1."),
        encoded(f"change {STORE} 1..2"),
        encoded(f"change {STORE} 1.2.3.4.5"),
        encoded(f"change {STORE} \u0663"),
        encoded(f"change {STORE} 5\n"),
        encoded("change 5"),
        base64.urlsafe_b64encode(b"\xff").decode(),
    ],
)
def test_what_no_watch_gave_is_no_token(token: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a token that a watch gave, or left out$"):
        parse_resume_token(token)


def test_the_token_of_a_page_is_none_of_a_watch() -> None:
    with pytest.raises(ValueError, match="must be a token that a watch gave"):
        parse_resume_token(page_token(build.new_id(), MessageFilter()))
