"""Keeping changes of records: any number of them, of as many messages, by one statement."""

from __future__ import annotations

from collections.abc import Sequence

from postwire.core import follow_up
from postwire.core.message import MessageRecord
from postwire.outbox import texts
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.operations import Change, Pair
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection

_COLUMNS = 20


async def keep_changes(connection: Connection, part: Part, pairs: Sequence[Pair]) -> set[str]:
    """Keep changes of as many messages as one statement, and return the ids of those that were in time. Whoever claims
    messages does it in the transaction that has locked them."""
    changed = [rows.changed_row(*pair, 0, erases=is_erased(part, *pair)) for pair in _in_order(pairs)]
    found = await connection.fetch(QUERIES["advance"], part.number, *rows.columns(changed, _COLUMNS))
    return {str(one["message_id"]) for one in found}


async def run_changes(connection: Connection, part: Part, operations: Sequence[Change]) -> None:
    """Keep changes of as many messages, with what comes with them, in one commit. Each learns its result."""
    if not any(one.event or one.receipts or one.provider_ids for one in operations):  # mostly
        kept = await keep_changes(connection, part, [pair for one in operations for pair in one.pairs])
    else:
        kept = await _keep_reported(connection, part, operations)
    for one in operations:
        applied = [before.message_id in kept for before, _ in one.pairs]
        one.result = applied if one.several else applied[0]


async def _keep_reported(connection: Connection, part: Part, operations: Sequence[Change]) -> set[str]:
    applied = {one.pairs[0][0].message_id: len(one.receipts) for one in operations if one.receipts}
    pairs = _in_order([pair for one in operations for pair in one.pairs])
    changed = [
        rows.changed_row(*pair, applied.get(pair[0].message_id, 0), erases=is_erased(part, *pair)) for pair in pairs
    ]
    first = [(one.pairs[0][0].message_id, one.pairs[0][1].update_time, one) for one in operations]
    receipts = [(message_id, number, time) for message_id, time, one in first for number in one.receipts]
    given = {
        (provider_id.provider_name, provider_id.provider_message_id): (
            message_id,
            provider_id.provider_name,
            provider_id.provider_message_id,
            provider_id.attempt_number,
            texts.ALL if provider_id.recipient_index is None else provider_id.recipient_index,
        )
        for message_id, _, one in first
        for provider_id in one.provider_ids
    }
    events = [
        (message_id, event.time, event.tenant, event.principal, event.method, event.target, event.result, event.reason)
        for message_id, _, one in first
        if (event := one.event)
    ]
    found = await connection.fetch(
        QUERIES["advance_reported"],
        part.number,
        *rows.columns(changed, _COLUMNS),
        *rows.columns(receipts, 3),
        *rows.columns([given[key] for key in sorted(given)], 5),
        *rows.columns(events, 8),
    )
    return {str(one["message_id"]) for one in found}


def is_erased(part: Part, before: MessageRecord, after: MessageRecord) -> bool:
    """Whether what a message says goes with a change."""
    return follow_up.is_last_word(before, after) and part.erases(after)


def _in_order(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """By ids, so that nobody waits for who waits for him."""
    return sorted(pairs, key=lambda pair: pair[0].message_id)
