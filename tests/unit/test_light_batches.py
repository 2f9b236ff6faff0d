"""Which batches the event loop can do without: those that are small, however large the store is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw
import pytest
from tests.support import build

from postwire.core.message import MessageRecord
from postwire.outbox.base import NewMessage
from postwire.outbox.operations import Change
from postwire.outbox.sqlite.batches import LIGHT_BYTES, LIGHT_ERASED, LIGHT_ROWS, Batches
from postwire.outbox.sqlite.keys import NO_KEYS
from postwire.outbox.sqlite.operations import Accept, Call, New
from postwire.outbox.sqlite.schema import connect, migrate

LARGE = "x" * LIGHT_BYTES


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    path = str(tmp_path / "postwire.db")
    made = connect(path, sync="full")
    migrate(made, path)
    yield made
    made.close()


@pytest.fixture
def batches(connection: apsw.Connection) -> Batches:
    return Batches(connection, boot=1, keep_contents=False, keep_contents_of={}, keys=NO_KEYS)


def accept(*news: NewMessage) -> Accept:
    return Accept([New(one) for one in news], True, asyncio.get_running_loop().create_future())


def settle(*records: MessageRecord) -> Change:
    pairs = [(one, build.ended(one)) for one in records]
    return Change(pairs, True, asyncio.get_running_loop().create_future())


def sms(body: str = "b") -> NewMessage:
    return build.new_message(build.command(build.sms(body), request_id=build.new_request_id()))


def email(text: str = "b", recipients: int = 1) -> NewMessage:
    to = (f"someone-{number}@example.com" for number in range(recipients))
    return build.new_message(build.command(build.email(*to, text=text), request_id=build.new_request_id()))


def kept(connection: apsw.Connection, batches: Batches, *news: NewMessage) -> Sequence[MessageRecord]:
    connection.execute("BEGIN")
    batches(connection, [accept(*news)])
    connection.execute("COMMIT")
    batches.note_commit()
    return [one.record for one in news]


async def test_a_few_small_messages_are_light(connection: apsw.Connection, batches: Batches) -> None:
    records = kept(connection, batches, *(sms() for _ in range(10)))
    assert batches.is_light(connection, [accept(sms()), settle(*records)])


async def test_many_are_not(connection: apsw.Connection, batches: Batches) -> None:
    assert batches.is_light(connection, [accept(*(sms() for _ in range(LIGHT_ROWS)))])
    assert not batches.is_light(connection, [accept(*(sms() for _ in range(LIGHT_ROWS))), accept(sms())])
    assert not batches.is_light(connection, [settle(*(sms().record for _ in range(LIGHT_ROWS + 1)))])


async def test_one_that_is_large_is_not(connection: apsw.Connection, batches: Batches) -> None:
    assert not batches.is_light(connection, [accept(email(LARGE))])
    assert not batches.is_light(connection, [accept(*(sms(LARGE[: LIGHT_BYTES // 2 + 1]) for _ in range(2)))])


async def test_one_to_many_recipients_is_not(connection: apsw.Connection, batches: Batches) -> None:
    assert not batches.is_light(connection, [accept(email(recipients=LIGHT_ROWS))])
    assert not batches.is_light(connection, [settle(email(recipients=LIGHT_ROWS).record)])


async def test_one_whose_end_erases_what_is_large_is_not(connection: apsw.Connection, batches: Batches) -> None:
    large, small = kept(connection, batches, email("x" * LIGHT_ERASED), email())
    assert batches.is_light(connection, [settle(small)])
    assert not batches.is_light(connection, [settle(small, large)])


async def test_one_that_erases_much_is_not_though_each_of_it_is_small(
    connection: apsw.Connection, batches: Batches
) -> None:
    of_a_quarter = kept(connection, batches, *(email("x" * (LIGHT_ERASED // 4)) for _ in range(4)))
    assert batches.is_light(connection, [settle(*of_a_quarter[:3])])
    assert not batches.is_light(connection, [settle(*of_a_quarter[:2]), settle(*of_a_quarter[2:])])


async def test_one_whose_content_stays_is_light_however_large_it_is(connection: apsw.Connection) -> None:
    batches = Batches(connection, boot=1, keep_contents=True, keep_contents_of={}, keys=NO_KEYS)
    assert batches.is_light(connection, [settle(*kept(connection, batches, email("x" * LIGHT_ERASED)))])


async def test_what_is_rare_may_be_anything_and_is_not_light(connection: apsw.Connection, batches: Batches) -> None:
    rare = Call(lambda _: None, asyncio.get_running_loop().create_future())
    assert not batches.is_light(connection, [accept(sms()), rare])
