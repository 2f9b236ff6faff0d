"""Accepting messages: any number of them, by one statement where nothing is counted and nobody is suppressed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from postwire.core import suppressing
from postwire.core.canonical import is_payload
from postwire.core.errors import RequestIdReused, StoreUnavailable
from postwire.core.suppression import Suppression, suppressed_positions
from postwire.outbox.base import Accepted, NewMessage
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.guards import Counting
from postwire.outbox.postgres.operations import New
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection
from postwire.outbox.postgres.suppressions import suppression_from

LARGE: Final = 256 * 1024
"""Bytes of contents from which on they are encrypted on a thread: a fraction of a millisecond."""


async def run_accepts(connection: Connection, part: Part, news: Sequence[New]) -> None:
    """Accept messages in one commit, and find those again that repeat a request id. Each learns its result.

    Raises:
        StoreUnavailable: this node is dead, or what a message repeats is gone the moment it is looked for.
    """
    for new in news:
        new.begin()
    for _ in range(2):
        await _insert(connection, part, news)
        repeats = [new for new in news if new.result is None]
        if not repeats:
            return
        # In a statement of its own, which sees what the one before came too late for; and it commits, so that what it
        # finds has reached whatever a commit has to reach.
        await _find(connection, part, repeats)
        news = [new for new in repeats if new.result is None]
        if not news:
            return
        if await connection.fetchval(QUERIES["is_dead"], part.number):
            break
    raise StoreUnavailable


async def _insert(connection: Connection, part: Part, news: Sequence[New]) -> None:
    if any(new.message.guarded for new in news):
        async with connection.transaction():
            counting = Counting(part.lookup_key_now)
            admitted = await counting.admit(connection, news)
            await _insert_admitted(connection, part, admitted)
            await counting.keep(connection, [new.message for new in admitted if new.result])
    else:
        await _insert_admitted(connection, part, news)


async def _insert_admitted(connection: Connection, part: Part, news: Sequence[New]) -> None:
    firsts = {(new.message.record.tenant, new.message.record.request_id): new for new in reversed(news)}
    asking = [key for key, new in firsts.items() if _is_asked(new.message)]
    suppressed = await _insert_messages(connection, part, firsts, asking)
    if suppressed:
        again = {key: firsts[key] for key in suppressed}
        await _suppress(connection, again.values())
        await _insert_messages(connection, part, again, ())


async def _insert_messages(
    connection: Connection,
    part: Part,
    news: Mapping[tuple[str, str], New],
    asking: Collection[tuple[str, str]],
) -> Sequence[tuple[str, str]]:
    """Insert messages whose request ids are free, and return which were left out since somebody may be suppressed of
    those that are `asking`."""
    if not news:
        return ()
    order = sorted(news)
    contents = await _encrypted(part, [news[key].message for key in order])
    accepted = [
        rows.accepted_row(news[key].message, part.lookup_key_now, content)
        for key, content in zip(order, contents, strict=True)
    ]
    asked = [
        (news[key].message.record.message_id, key[0], one)
        for key in asking
        for one in dict.fromkeys(news[key].message.recipient_hashes)
    ]
    found = await connection.fetch(
        QUERIES["accept"], part.number, *rows.packed(accepted, rows.ACCEPTED_NUMBERS), *rows.columns(asked, 3)
    )
    by_id = {news[key].message.record.message_id: key for key in order}
    suppressed = []
    for message_id, is_inserted in found:
        key = by_id[str(message_id)]
        if is_inserted:
            news[key].result = Accepted(news[key].message.record, created=True)
        else:
            suppressed.append(key)
    return suppressed


async def _encrypted(part: Part, news: Sequence[NewMessage]) -> Sequence[bytes]:
    """What is kept of the contents of messages."""

    def encrypt() -> list[bytes]:
        return [
            b""  # nobody is to have it
            if new.record.settled and part.erases(new.record)
            else cipher.encrypt_content(new.content, tenant=new.record.tenant, message_id=new.record.message_id)
            for new in news
        ]

    cipher = part.cipher
    if cipher.current and sum(len(new.content) for new in news) > LARGE:
        return await asyncio.to_thread(encrypt)
    return encrypt()


async def _find(connection: Connection, part: Part, repeats: Sequence[New]) -> None:
    """Find the messages that have the request ids of others.

    One of them may be the message itself: an earlier commit of its batch had kept it before others were in the way, or
    at fault, and the rest was done once more. It is nobody else's as long as it is as it was then.
    """
    keys = sorted({(new.message.record.tenant, new.message.record.request_id) for new in repeats})
    found = await connection.fetch(QUERIES["find_repeated"], *rows.columns(keys, 2))
    owners = {(one["tenant"], one["request_id"]): one for one in found}
    for new in repeats:
        owner = owners.get((new.message.record.tenant, new.message.record.request_id))
        if owner and is_payload(owner["payload_hash"], new.message.payload_hash, part.lookup_key_now):
            record, own = rows.record_from(owner), new.message.record
            is_same = (record.message_id, record.revision) == (own.message_id, own.revision)
            new.result = Accepted(record, created=is_same and new.tries > 1)
        elif owner:
            new.result = RequestIdReused()


def _is_asked(new: NewMessage) -> bool:
    """Whether it is asked who of its recipients is suppressed: those who wait are asked for when they are taken."""
    return bool(new.recipient_hashes and new.record.attempts and not new.options.ignore_suppression)


async def _suppress(connection: Connection, news: Collection[New]) -> None:
    """Have messages be as they are accepted once those of their recipients are out who are suppressed."""
    asked = {(new.message.record.tenant, one) for new in news for one in new.message.recipient_hashes}
    found: dict[str, list[Suppression]] = {}
    for row in await connection.fetch(QUERIES["suppressions_of"], *rows.columns(sorted(asked), 2)):
        found.setdefault(row["tenant"], []).append(suppression_from(row))
    for new in news:
        message, record = new.message, new.message.record
        positions = suppressed_positions(
            message.recipient_hashes, found.get(record.tenant, ()), message.scope, record.update_time
        )
        if positions:
            after = suppressing.suppress(record, positions, now=record.update_time)
            new.message = replace(message, record=replace(after, revision=record.revision))
