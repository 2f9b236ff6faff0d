"""Looking whether a database is sound, for `postwire store check`. Nodes may serve it meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import asyncpg

from postwire.config.encryption_keys import EncryptionKey
from postwire.outbox.base import OutboxError
from postwire.outbox.cipher import Damaged, StoreCipher
from postwire.outbox.postgres.connecting import Hosts
from postwire.outbox.postgres.queries import QUERIES, Connection
from postwire.outbox.postgres.schema import migrations, versions
from postwire.outbox.postgres.taking_over import refuse_unfinished
from postwire.outbox.reports import Report

_RULES: Final = {
    "fault_not_waiting": "messages are queued and wait in no queue, or not as their record says",
    "fault_waiting": "rows wait whose messages do not",
    "fault_not_flying": "messages have an attempt that is open, and nobody's",
    "fault_flying": "attempts are somebody's whose messages have none that is open",
    "fault_not_followed": "messages wait for a receipt and are not looked after, or not as their record says",
    "fault_followed": "messages are looked after that wait for no receipt",
    "fault_unapplied": "messages count other receipts than there are",
    "fault_receipts_of_none": "receipts belong to no message",
    "fault_contents_of_none": "contents belong to no message",
    "fault_unknown_content": "contents are in no form that this release knows",
    "fault_clear_content": "contents lie in clear, where everything was encrypted",
    "fault_no_content": "messages that are to be sent have no content",
}
"""What holds in every sound store: each query counts what breaks it. What is damaged beneath that, the database's own
tools say."""

_WHOLE: Final = "SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on"
"""It reads everything, so it may read it in the order in which it lies."""


async def check(url: str, password: str | None, keys: Sequence[EncryptionKey] = ()) -> Report:
    """Look at a database, all of it, as it is at one moment. With `keys`, contents are decrypted as well.

    Raises:
        OutboxError: it cannot be reached, is not ours, or has another version.
    """
    try:
        connection = await Hosts(url, password).connect()
        try:
            return await _check(connection, keys)
        finally:
            connection.terminate()
    except asyncpg.PostgresError as error:
        state = f"SQLSTATE {error.sqlstate}, {type(error).__name__}"
        raise OutboxError(f"store.url: the database refuses it ({state})") from None
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        raise OutboxError("store.url: the database cannot be reached") from None


async def _check(connection: Connection, keys: Sequence[EncryptionKey]) -> Report:
    version, _ = await versions(connection)
    if version != len(migrations()):
        raise OutboxError(f"store.url: has schema version {version}, and this postwire reads {len(migrations())}")
    await refuse_unfinished(connection)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_WHOLE)
        faults = [
            f"{count} {text}" for query, text in _RULES.items() if (count := await connection.fetchval(QUERIES[query]))
        ]
        faults += await _damaged(connection, keys) if keys else []
        stats = await connection.fetchrow(QUERIES["stats"])
        assert stats
        return Report(
            version=version,
            size=await connection.fetchval(QUERIES["database_size"]),
            faults=tuple(faults),
            messages=dict(map(tuple, await connection.fetch(QUERIES["count_states"]))),
            attempts=await connection.fetchval(QUERIES["count_attempts"]),
            contents=dict(map(tuple, await connection.fetch(QUERIES["count_keys"]))),
            oldest_unsettled=stats["oldest"],
            drained=tuple(one["provider_name"] for one in await connection.fetch(QUERIES["drained"])),
        )


async def _damaged(connection: Connection, keys: Sequence[EncryptionKey]) -> list[str]:
    """The contents that cannot be decrypted, by why not."""
    cipher, counts = StoreCipher(keys), Counter[str]()
    async for one in connection.cursor(QUERIES["encrypted_contents"]):
        try:
            cipher.decrypt_content(one["content"], tenant=one["tenant"], message_id=str(one["message_id"]))
        except Damaged as error:
            counts[str(error)] += 1
    return [f"{count} contents cannot be decrypted: each {why}" for why, count in sorted(counts.items())]
