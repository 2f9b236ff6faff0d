"""Keeping changes of records: any number of them, of as many messages, by one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from postwire.core import follow_up
from postwire.core.audit import AuditEvent
from postwire.core.message import MessageRecord
from postwire.outbox import texts
from postwire.outbox.base import ProviderMessageId
from postwire.outbox.operations import Pair
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.operations import Change
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection


async def keep_changes(connection: Connection, part: Part, pairs: Sequence[Pair]) -> set[str]:
    """Keep changes of as many messages as one statement, and return the ids of those that were in time. Whoever claims
    messages does it in the transaction that has locked them."""
    if not pairs:
        return set()
    changed = [rows.changed_row(*pair, 0, erases=is_erased(part, *pair)) for pair in _in_order(pairs)]
    found = await connection.fetch(QUERIES["advance"], part.number, *rows.packed(changed, rows.CHANGED_NUMBERS))
    return {str(one["message_id"]) for one in found}


async def run_changes(connection: Connection, part: Part, operations: Sequence[Change]) -> None:
    """Keep changes of as many messages, with what comes with them, in one commit. Each learns its result."""
    if not any(one.pairs for one in operations):
        kept: set[str] = set()
    elif any(one.receipts for one in operations):
        async with connection.transaction():
            kept = await _keep_reported(connection, part, operations, await _applied(connection, operations))
    elif any(one.event or one.provider_ids for one in operations):
        kept = await _keep_reported(connection, part, operations, {})
    else:  # mostly
        kept = await keep_changes(connection, part, [pair for one in operations for pair in one.pairs])
    for one in operations:
        applied = [before.message_id in kept for before, _ in one.pairs]
        one.result = applied if one.several else applied[0]


async def _applied(connection: Connection, operations: Sequence[Change]) -> Mapping[str, int]:
    """How many receipts changes apply that are not applied yet, by messages. Others may have done with some of them
    since they were read, which leaves the revision as it is: so the messages are locked before it is looked."""
    ids = sorted(message_id for one in operations for message_id in one.message_ids)
    await connection.execute(QUERIES["lock_changed"], ids)
    numbers = [number for one in operations for number in one.receipts]
    found = await connection.fetch(QUERIES["count_unapplied"], numbers)
    return {str(message_id): count for message_id, count in found}


async def _keep_reported(
    connection: Connection, part: Part, operations: Sequence[Change], applied: Mapping[str, int]
) -> set[str]:
    changed = [
        rows.changed_row(*pair, applied.get(pair[0].message_id, 0), erases=is_erased(part, *pair))
        for pair in _in_order([pair for one in operations for pair in one.pairs])
    ]
    firsts = [(one.pairs[0], one) for one in operations]
    receipts = [
        (before.message_id, number, after.update_time) for (before, after), one in firsts for number in one.receipts
    ]
    given = {
        (provider_id.provider_name, provider_id.provider_message_id): _given_row(before.message_id, provider_id)
        for (before, _), one in firsts
        for provider_id in one.provider_ids
    }
    events = [_event_row(before.message_id, one.event) for (before, _), one in firsts if one.event]
    found = await connection.fetch(
        QUERIES["advance_reported"],
        part.number,
        *rows.packed(changed, rows.CHANGED_NUMBERS),
        *rows.columns(receipts, 3),
        *rows.columns([given[key] for key in sorted(given)], 5),
        *rows.columns(events, 8),
    )
    return {str(one["message_id"]) for one in found}


def _given_row(message_id: str, one: ProviderMessageId) -> rows.Row:
    recipient = texts.ALL if one.recipient_index is None else one.recipient_index
    return message_id, one.provider_name, one.provider_message_id, one.attempt_number, recipient


def _event_row(message_id: str, event: AuditEvent) -> rows.Row:
    return (
        message_id,
        event.time,
        event.tenant,
        event.principal,
        event.method,
        event.target,
        event.result,
        event.reason,
    )


def is_erased(part: Part, before: MessageRecord, after: MessageRecord) -> bool:
    """Whether what a message says goes with a change."""
    return follow_up.is_last_word(before, after) and part.erases(after)


def _in_order(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """By ids, so that nobody waits for who waits for him."""
    return sorted(pairs, key=lambda pair: pair[0].message_id)
