"""Bringing a store of an older version up to this one: nothing is lost, and what it was about to do can be done."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from tests.support import build, first_version
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.outboxes import EVER, look_at_due
from tests.support.providers import FakeProvider, gate_of, registry_of, route

from postwire.core import canonical, lifecycle
from postwire.core.errors import RequestIdReused
from postwire.core.listing import MessageFilter
from postwire.core.message import (
    DEFAULT_TENANT,
    Channel,
    Content,
    DispatchOptions,
    Email,
    MessageState,
    OutboundMessage,
    Sms,
)
from postwire.core.queue_keys import queue_key
from postwire.core.routing import Match
from postwire.outbox.base import OutboxStats, StoredMessage
from postwire.outbox.sqlite import SqliteOutbox, maintenance, schema


@pytest.fixture(autouse=True, scope="module")
def new_stores() -> None:
    """Made by the migrations."""


async def test_a_store_of_the_first_version_keeps_what_it_has_and_can_go_on_with_it(tmp_path: Path) -> None:
    path = tmp_path / "postwire.db"
    connection = apsw.Connection(str(path))
    first_version.fill(connection)
    connection.close()
    outbox = await SqliteOutbox.open(str(path))
    assert outbox.boot == 2
    records = first_version.RECORDS
    assert (await outbox.list(MessageFilter(), 50, None, DEFAULT_TENANT)).records == records[::-1]
    for record in records:
        assert await outbox.get(record.message_id, DEFAULT_TENANT) == record
        assert await outbox.content(record.message_id, DEFAULT_TENANT) == first_version.content(record)
        assert (
            await outbox.find_by_request_id(record.request_id, DEFAULT_TENANT, first_version.payload_hash(record))
            == record
        )
        with pytest.raises(RequestIdReused):
            await outbox.find_by_request_id(record.request_id, DEFAULT_TENANT, b"h" * 32)
    assert await outbox.stats() == OutboxStats(2, records[3].create_time)
    # What was being sent is found, oldest first, and let go of as any orphan is.
    expected = [
        StoredMessage(record, DispatchOptions(expire_time=record.expire_time), first_version.content(record))
        for record in (records[3], records[1])
    ]
    assert await outbox.orphans(9) == expected
    waiting = {}
    for orphan in expected:
        after = build.ended(orphan.record, lifecycle.ORPHANED)
        assert after.state is MessageState.QUEUED
        assert await outbox.advance(orphan.record, after)
        waiting[after.message_id] = after
    assert await outbox.orphans(9) == []
    found, _ = await outbox.scan_queued((), 9)
    assert [one.record for one in found] == [waiting[records[number].message_id] for number in (1, 3)]
    assert await outbox.reassign([(record, "q") for record in waiting.values()]) == 2
    due = await look_at_due(outbox, "q", EVER, 9)
    assert {one.record.message_id for one in due} == set(waiting)
    for one in due:
        taken = build.retried(one.record)
        assert await outbox.advance(one.record, taken)
        sent = build.ended(taken)
        assert await outbox.advance(taken, sent)
        assert await outbox.get(sent.message_id, DEFAULT_TENANT) == sent
    resolved = lifecycle.resolve(records[4], sent=True, now=records[4].update_time + 1)
    assert await outbox.advance(records[4], resolved)
    assert await outbox.stats() == OutboxStats(0, None)
    new = build.new_message()
    assert (await outbox.accept(new)).created
    await outbox.close()
    report = maintenance.check(path)
    assert (report.version, report.faults) == (len(schema.migrations()), ())
    outbox = await SqliteOutbox.open(str(path))
    assert [await outbox.get(one.message_id, DEFAULT_TENANT) for one in (resolved, new.record)] == [
        resolved,
        new.record,
    ]
    await outbox.close()


EMAIL = Channel.EMAIL
QUEUES: dict[str, tuple[Content, str | None]] = {
    "sms#1": (Sms("+4420", "Hi"), None),
    "sms#2": (Sms("+1500", "Hi"), None),
    "sms": (Sms("+3531", "Hi"), None),
    "@a": (Sms("+4420", "Hi"), "a"),
    "email": (Email(("a@example.com",), text="Hi"), None),
}
"""What waits in a store of release 0.2, by the key of its queue; in `sms` waits what none of its rules took."""


def fill_0_2(path: Path) -> None:
    """Make a store as release 0.2 left it. The statements are those that it had."""
    with closing(apsw.Connection(str(path))) as connection:
        for script in schema.migrations()[:5]:
            connection.execute(script)
        connection.pragma("application_id", schema.APPLICATION_ID)
        connection.pragma("user_version", 5)
        connection.execute("INSERT INTO boots (start_time) VALUES (1)")
        connection.execute("INSERT INTO facts VALUES ('routes', ?)", ("f" * 64,))
        for key, (queue, (content, pinned)) in enumerate(QUEUES.items(), 1):
            message = OutboundMessage(content)
            encoded = canonical.encode_message(message)
            connection.execute(
                """INSERT INTO messages (
                    key, message_id, tenant, request_id, payload_hash, channel, state, priority, delivery_guarantee,
                    pinned_provider_name, create_time, update_time, expire_time, next_attempt_time, attempt_number,
                    provider_name, revision, queue, deadline
                ) VALUES (
                    ?, ?, 'default', ?, x'00', ?, 'queued', 'normal', 'at_least_once', ?, ?, ?, ?, ?, 0, '', 1, ?, ?
                )""",
                (
                    *(key, key.to_bytes(16), queue, message.channel.value, pinned),
                    *(START, START, START + build.HOUR, START, queue, START + build.HOUR),
                ),
            )
            connection.execute("INSERT INTO contents VALUES (?, ?)", (key, encoded))


async def test_what_waits_in_a_store_of_release_0_2_is_put_into_the_queues_of_the_rules(tmp_path: Path) -> None:
    fill_0_2(tmp_path / "postwire.db")
    outbox = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    before = (await outbox.list(MessageFilter(), 50, None, DEFAULT_TENANT)).records
    assert {one.request_id: one.queue for one in before} == {queue: queue for queue in QUEUES}
    uk, us = Match(prefixes=("+44",)), Match(prefixes=("+1",))
    ours = {
        "sms#1": queue_key(Channel.SMS, us),
        "sms#2": queue_key(Channel.SMS, uk),
        "email": queue_key(EMAIL, Match()),
    }
    matches = {"sms#1": us, "sms#2": uk, "email": Match()}
    sms, other, email = (
        replace(route("a", key=key, match=match), queue_key=ours[key]) for key, match in matches.items()
    )
    gate = gate_of("a")
    gate.breaker.force_open(0.0)
    for _ in range(2):
        registry = registry_of(FakeProvider("a"), routes={Channel.SMS: [sms, other], EMAIL: [email]}, gates={"a": gate})
        harness = Harness(outbox, registry=registry)
        await harness.boot()
        after = (await outbox.list(MessageFilter(), 50, None, DEFAULT_TENANT)).records
        moved = {"sms#1": ours["sms#2"], "sms#2": ours["sms#1"], "email": ours["email"]}
        assert after == tuple(replace(one, queue=moved.get(one.queue, one.queue)) for one in before)
        assert harness.delivery.queue_depths == {"sms#1": 1, "sms#2": 1, "email": 1, "sms": 1, "@a": 1}
        await harness.drain(0.0)
    await outbox.close()
