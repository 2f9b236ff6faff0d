"""What every outbox keeps to about who serves it: at the least, there is this node."""

from __future__ import annotations

import pytest
from tests.support import build
from tests.support.outboxes import keep, queue_up

from postwire.core.leases import Terms
from postwire.core.message import DEFAULT_TENANT
from postwire.outbox.base import Announcement, NodeShare, Outbox

TERMS = Terms(15_000_000, 3_000_000)
SHARES = (NodeShare("sms-eu", 3, 0.5), NodeShare("email", 0))


async def test_a_node_lives_alone_and_leads(outbox: Outbox) -> None:
    found = await outbox.heartbeat(Announcement(), TERMS.gap)
    assert found.number == outbox.number > 0
    assert found.is_leader
    (me,) = found.members
    assert me == found.me
    assert (me.number, me.rank, me.is_leader) == (outbox.number, 0, True)
    assert found.not_dead == (outbox.number,)
    assert me.start_time <= found.time < me.lease_until_time
    assert me.version
    assert (found.provider_change, dict(found.provider_states)) == (0, {})
    assert (found.unsettled, found.unsettled_time) == (None, 0)


async def test_what_it_says_of_itself_is_there_for_all(outbox: Outbox) -> None:
    announced = Announcement(["sms:1", "email:2"], "abc", 1_500, outbox.number, 7, SHARES)
    (me,) = (await outbox.heartbeat(announced, TERMS.gap)).members
    assert set(me.queue_keys) == {"sms:1", "email:2"}
    assert (me.config_digest, me.acknowledged, me.shares) == ("abc", 7, SHARES)
    assert me.seen == outbox.number
    (again,) = await outbox.members()
    assert (again.number, again.shares, again.rank) == (me.number, me.shares, me.rank)


async def test_a_node_alone_finds_nobody_to_take_for_dead(outbox: Outbox) -> None:
    found = await outbox.heartbeat(Announcement(), TERMS.gap)
    assert list(await outbox.reap(found.time, TERMS.tolerance)) == []


async def test_what_it_carries_is_no_stray_and_neither_is_what_waits(outbox: Outbox) -> None:
    carried, waits = await keep(outbox), await queue_up(outbox)
    sent = await keep(outbox)
    assert await outbox.advance(sent.record, build.ended(sent.record))
    assert list(await outbox.strays([carried.record.message_id], 9)) == []
    assert await outbox.get(waits.record.message_id, DEFAULT_TENANT) == waits.record


@pytest.mark.parametrize("count", [0, 12_345])
async def test_a_count_of_what_is_unsettled_can_be_kept(outbox: Outbox, count: int) -> None:
    await outbox.keep_unsettled(count)
    found = await outbox.heartbeat(Announcement(), TERMS.gap)
    if outbox.is_shared:
        assert found.unsettled == count
        assert abs(found.time - found.unsettled_time) < 60_000_000
    else:
        assert found.unsettled is None, "there is nobody else to know"


async def test_whoever_is_fenced_counts_as_unavailable_where_others_may_have_its_work(outbox: Outbox) -> None:
    heard: list[bool] = []
    outbox.on_availability(heard.append)
    outbox.fence(True)
    outbox.fence(True)
    assert outbox.available is not outbox.is_shared
    outbox.fence(False)
    assert outbox.available
    assert heard == ([False, True] if outbox.is_shared else [])
