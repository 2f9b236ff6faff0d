"""The part of the outbox that takes messages out of queues, each for one node: see `WorkQueue.take`."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from itertools import accumulate
from typing import Final

from postwire.core.errors import StoreUnavailable
from postwire.core.message import MessageRecord, MessageState, Priority
from postwire.outbox.base import Decide, QueueKey, TakenMessage
from postwire.outbox.cipher import Damaged, StoreCipher, key_id_of
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.changes import keep_changes
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection, Record

MAX_CONTENTS: Final = 8 * 1024 * 1024
"""How many bytes of contents are read at once, but for a single one that is larger."""

LACKING_PAUSE: Final = 5_000_000
"""For how long (µs) nothing is taken once there was something that is encrypted with a key that this node has not: it
is for others, who would find it taken, or just put back, again and again."""

SMALL_CONTENTS: Final = 256 * 1024
"""How many bytes are decrypted on the event loop."""


class Taking(Part):
    """See the module."""

    _takes_from = 0
    """The time (µs, due clock) from which on something is taken, while a key is lacking."""

    async def take(
        self,
        queue: QueueKey,
        now: int,
        limits: Mapping[Priority, int],
        decide: Decide,
        ahead: int = 0,
    ) -> Sequence[TakenMessage]:
        """See `Outbox.take`."""

        async def claim(connection: Connection) -> list[MessageRecord]:
            """Lock what is due, have it decided, and keep what was: nobody else can come between."""
            asked = _asked(limits, now, ahead)
            found = await connection.fetch(QUERIES["due"], queue.name, queue.tenant, *rows.columns(asked, 4))
            offered = map(rows.queued_from, _first(found, limits, ahead))
            pairs = [(one.record, after) for one in offered if (after := decide(one))]
            if not pairs:
                return []
            in_time = await keep_changes(connection, self, pairs)
            return [after for _, after in pairs if after.message_id in in_time]

        if not any(limits.values()) or (now < self._takes_from and self.lacked_keys):
            return ()
        records = await self.database.transact(Lane.CLAIM, claim)
        if not records:
            return ()
        opened = [one.message_id for one in records if one.state is MessageState.SENDING]
        contents: dict[str, bytes] = {}
        with suppress(StoreUnavailable):  # they are taken all the same, and the caller puts them back
            contents = await self.contents(Lane.CLAIM, opened)
        lacked = self.lacked_keys
        if lacked and any(key_id_of(one) in lacked for one in contents.values()):
            self._takes_from = now + LACKING_PAUSE
        if sum(map(len, contents.values())) > SMALL_CONTENTS:
            return await asyncio.to_thread(_taken, self.cipher, records, contents, lacked)
        return _taken(self.cipher, records, contents, lacked)

    async def contents(self, lane: Lane, message_ids: Sequence[str]) -> dict[str, bytes]:
        """The contents of messages, as they are kept, by their ids."""
        if not message_ids:
            return {}
        found = await self.database.fetch(lane, "contents_of", message_ids)
        return {str(one["message_id"]): one["content"] for one in found}


def _asked(limits: Mapping[Priority, int], now: int, ahead: int) -> list[rows.Row]:
    """What is asked for: of each priority what is due by the due clock, and what is due by the wall clock."""
    return [
        (rows.PRIORITY_NUMBERS[priority], by_wall_clock, now + ahead if by_wall_clock else now, room)
        for priority in Priority
        if (room := limits.get(priority, 0))
        for by_wall_clock in (False, True)
    ]


def _first(found: Sequence[Record], limits: Mapping[Priority, int], ahead: int) -> list[Record]:
    """Of what was found by each clock, the first that are wanted of each priority: no more than have room."""
    chosen: list[Record] = []
    for priority in Priority:
        number = rows.PRIORITY_NUMBERS[priority]
        late = [one for one in found if one["priority"] == number]
        late.sort(key=lambda one: one["next_attempt_time"] - (ahead if one["by_wall_clock"] else 0))
        chosen += late[: limits.get(priority, 0)]
    return chosen[: fitting([one["size"] for one in chosen], MAX_CONTENTS)]


def fitting(sizes: Sequence[int], most: int) -> int:
    """How many contents of those sizes (bytes) are `most` bytes in all: the first at the least."""
    return max(1, bisect_right([*accumulate(sizes)], most))


def _taken(
    cipher: StoreCipher, records: Sequence[MessageRecord], contents: Mapping[str, bytes], lacked: Set[str]
) -> Sequence[TakenMessage]:
    """What `take` gives of these records; `contents` are as they are kept, by message id.

    What is encrypted with a key that is `lacked` is not damaged. The caller puts it back.
    """
    found: list[TakenMessage] = []
    for record in records:
        body = contents.get(record.message_id)
        content = None if body is None else decrypted(cipher, body, record)
        is_damaged = content is None and body is not None and key_id_of(body) not in lacked
        found.append(TakenMessage(record, content, is_damaged))
    return found


def decrypted(cipher: StoreCipher, body: bytes, record: MessageRecord) -> bytes | None:
    """The content of a message, of which `body` is kept; None where it is damaged."""
    try:
        return cipher.decrypt_content(body, tenant=record.tenant, message_id=record.message_id)
    except Damaged:
        return None
