"""`postwire store copy`: all that a store file holds is in the database, and nothing is served that is half of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import EVER, KEYS, change, failed_over, keep, look_at_due, queue_up
from tests.support.postgres import new_database
from tests.support.receipts import hash_of, pending, report, report_of

from postwire.cli.root import root
from postwire.core import follow_up
from postwire.core.audit import AuditEvent, AuditFilter
from postwire.core.errors import GuardExceeded
from postwire.core.guards import Cap, GuardRules, Guards
from postwire.core.listing import MessageFilter
from postwire.core.message import DEFAULT_TENANT, MessageRecord, Note, NoteAction, Priority
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.suppression import Suppression, SuppressionReason
from postwire.outbox.base import Accepted, NewMessage, Outbox, OutboxError
from postwire.outbox.copied import CopiedMessage, Sum
from postwire.outbox.postgres import PostgresOutbox
from postwire.outbox.postgres.taking_over import TakingOver
from postwire.outbox.sqlite import SqliteOutbox, export

NOTE = Note(NoteAction.DRAIN, "their incident", START)
EVENT = AuditEvent(START, DEFAULT_TENANT, "ops", "postwire.v1.AdminService/DrainProvider", target="p")
GUARDS = Guards(GuardRules(max_per_recipient=Cap(1, build.HOUR)))
COUNT = 13


def guarded() -> NewMessage:
    """A message of which there may be one."""
    of = build.command(build.sms())
    made = build.new_message(of, record=build.accepted(of, provider_name="", queue="guarded"))
    return replace(made, guarded=GUARDS.check(of.message, START))


async def fill(path: Path) -> Sequence[NewMessage]:
    """A store with a message in each state that there is, and something of all that may be beside them."""
    outbox = await SqliteOutbox.open(str(path), keep_contents=True, keys=KEYS)
    news = [await queue_up(outbox, priority=priority, labels={"b": "1", "a": "ü"}) for priority in Priority]
    news += [await queue_up(outbox, send_time=START + build.HOUR), await keep(outbox, tenant="acme")]
    news += [await keep(outbox, content=build.email("a@example.com", "b@example.com")) for _ in range(7)]
    failed, uncertain, sent, waits, further, reported, _ = [new.record for new in news[5:]]
    await change(outbox, failed, failed_over(failed))
    await change(outbox, uncertain, build.ended(uncertain, DispatchResult(Outcome.UNCERTAIN), retry_after=500))
    await change(outbox, sent, build.ended(sent))
    await change(outbox, waits, replace(build.ended(waits), follow_up_time=START + 9))
    ended = await change(outbox, further, replace(build.ended(further), follow_up_time=START + 7))
    await change(outbox, ended, follow_up.open_attempt(ended, "other", now=START))
    await change(outbox, reported, build.ended(reported))
    await outbox.keep_receipts([report_of(reported), report(provider_message_id="nobody's")], 9)
    await outbox.add_suppressions(
        {"acme": [Suppression(hash_of("+14155550101"), SuppressionReason.MANUAL, "test", START, "key-1")]}, EVENT
    )
    await outbox.set_drained("p", True, NOTE, EVENT)
    await outbox.add_reset("q", NOTE)
    await outbox.keep_metadata("routes", "these")
    await outbox.keep_metadata("notify.hook", "a position")
    await outbox.keep_inbound("p", b"event", START)
    news.append(guarded())
    assert (await outbox.accept(news[-1])).created
    await outbox.close()
    assert len(news) == COUNT
    return news


async def all_of(outbox: Outbox) -> dict[str, object]:
    """What can be asked of an outbox, but for the names of things that are its own."""
    records: list[MessageRecord] = []
    for tenant in (DEFAULT_TENANT, "acme"):
        records += (await outbox.list(MessageFilter(), 99, None, tenant)).records
    ids = [one.message_id for one in records]
    reported = sorted(await outbox.reported(ids), key=lambda one: one.record.message_id)
    return {
        "records": records,
        "contents": [await outbox.content(one.message_id, one.tenant) for one in records],
        "reported": [replace(one, receipts=()) for one in reported],
        "receipts": [one.receipts for one in reported],
        "due": await look_at_due(outbox),
        "stats": await outbox.stats(),
        "counts": await outbox.unsettled_counts(START),
        "overdue": [one.record for one in await outbox.overdue(EVER, 9)],
        "held": await outbox.held_keys(),
        "pending": sorted(await pending(outbox)),
        "providers": await outbox.provider_states(),
        "suppressions": (await outbox.list_suppressions(9, None, "acme", START)).suppressions,
        "events": (await outbox.events(AuditFilter(), 9, None)).events,
        "routes": await outbox.metadata("routes"),
        "inbound": await outbox.is_inbound_known("p", b"event"),
        "lookup key": await outbox.lookup_key(),
    }


def copy(path: Path, url: str, *more: str) -> Result:
    return CliRunner().invoke(root, ["store", "copy", "--from", str(path), "--to", url, *more])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "postwire.db"


@pytest.fixture
async def url() -> str:
    return await new_database()


async def copied(path: Path, url: str, *more: str) -> Result:
    return await asyncio.to_thread(copy, path, url, *more)


async def test_all_that_is_in_the_file_is_in_the_database(path: Path, url: str) -> None:
    news = await fill(path)
    done = await copied(path, url, "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert (rows["messages"], rows["waiting"], rows["flying"], rows["follow_ups"]) == (COUNT, 6, 4, 1)
    file = await SqliteOutbox.open(str(path), keep_contents=True, keys=KEYS)
    database = await PostgresOutbox.open(url, keep_contents=True, keys=KEYS)
    wanted, found = await all_of(file), await all_of(database)
    for name, value in wanted.items():
        assert found[name] == value, name
    left = {one.record.message_id for one in await file.orphans(9)}
    assert {one.record.message_id for one in await database.orphans(9)} == left | {news[9].record.message_id}
    assert await database.store_name() != await file.store_name()
    assert await database.metadata("notify.hook") is None
    # A request id is held to what it said, by the same key; and what comes next has a number of its own.
    again = await database.accept(build.repeated(news[0]))
    assert again == Accepted(news[0].record, created=False)
    with pytest.raises(GuardExceeded):
        await database.accept(guarded())
    await database.add_event(EVENT)
    await file.close()
    await database.close()


async def test_broken_off_it_goes_on_where_it_was_and_until_then_nobody_serves_it(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path)
    monkeypatch.setattr(export, "STEP", 5)
    with monkeypatch.context() as broken:
        steps = 0
        add = TakingOver.add_messages

        async def add_once(self: TakingOver, messages: Sequence[CopiedMessage]) -> None:
            nonlocal steps
            steps += 1
            if steps == 2:
                raise OSError
            await add(self, messages)

        broken.setattr(TakingOver, "add_messages", add_once)
        done = await copied(path, url)
        assert done.exit_code == 1
        assert "run it again, and it goes on where it was" in done.output
    with pytest.raises(OutboxError, match="was not finished: run it again"):
        await PostgresOutbox.open(url)
    done = await copied(path, url)
    assert done.exit_code == 0, done.output
    assert "13" in done.stdout


async def test_what_is_copied_is_compared_when_it_is_copied_again(path: Path, url: str, tmp_path: Path) -> None:
    await fill(path)
    assert (await copied(path, url)).exit_code == 0
    again = await copied(path, url)
    assert again.exit_code == 0, again.output
    assert "It was copied before, and compared again now." in again.stdout
    assert json.loads((await copied(path, url, "--json")).stdout)["copied_before"] is True
    other = tmp_path / "other.db"
    await fill(other)
    refused = await copied(other, url)
    assert refused.exit_code == 1
    assert "--to: the database is not empty (it has messages," in refused.output.replace("\n", " ")
    node = await PostgresOutbox.open(url, keys=KEYS)
    assert "--to: it is copied already, and a node serves the database" in " ".join(
        (await copied(path, url)).output.split()
    )
    await node.add_event(EVENT)
    await node.leave()
    await node.close()
    served = await copied(path, url)
    assert served.exit_code == 1
    assert "in events since it was copied" in " ".join(served.output.split())


async def test_what_is_wrong_is_named_by_the_option_that_was_given(path: Path, url: str, tmp_path: Path) -> None:
    await fill(path)
    serving = await SqliteOutbox.open(str(path), keys=KEYS)
    assert "--from:" in (refused := await copied(path, url)).output
    assert "store.path" not in refused.output
    await serving.close()
    nowhere = "postgresql://postgres@127.0.0.1:1/x"
    assert "--to: the database cannot be reached" in " ".join((await copied(path, nowhere)).output.split())


async def test_what_differs_is_found(path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(path)
    sums = TakingOver.sums

    async def changed(self: TakingOver, progress: Callable[[], None]) -> Mapping[str, Sum]:
        await self._connection.execute("UPDATE contents SET content = content || '\\x00'")
        return await sums(self, progress)

    monkeypatch.setattr(TakingOver, "sums", changed)
    done = await copied(path, url)
    assert done.exit_code == 1
    assert "differs from" in done.output
    assert "in contents: give an empty one" in done.output.replace("\n", " ")


async def test_a_file_that_is_served_is_not_copied_nor_a_database_that_is(path: Path, url: str, tmp_path: Path) -> None:
    await fill(path)
    serving = await SqliteOutbox.open(str(path), keys=KEYS)
    assert "in use by another postwire process" in (await copied(path, url)).output.replace("\n", " ")
    await serving.close()
    node = await PostgresOutbox.open(url, keys=None)
    assert "a node serves the database: stop it first" in (await copied(path, url)).output.replace("\n", " ")
    await node.close()
    assert "there is no such file" in (await copied(tmp_path / "none.db", url)).output
    refused = await copied(path, "postgresql://me:hunter2@127.0.0.1/x")
    assert refused.exit_code == 2
    assert "hunter2" not in refused.output
