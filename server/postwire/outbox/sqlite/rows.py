"""Between records and rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from postwire.core import canonical
from postwire.core.audit import AuditEvent
from postwire.core.listing import MessageFilter
from postwire.core.message import (
    EMPTY,
    Attempt,
    DispatchOptions,
    MessageRecord,
    Priority,
)
from postwire.outbox import texts
from postwire.outbox.base import NewMessage, QueuedMessage
from postwire.outbox.sqlite.queries import RECORD, WORK, Row, SQLValue

_PRIORITIES: Final = {priority.value: priority for priority in Priority}


@lru_cache(4096)  # each is asked for some times in a row
def id_bytes(message_id: str) -> bytes:
    """A message id as it is stored: 16 bytes, which sort as the ids do."""
    return bytes.fromhex(message_id.replace("-", ""))


def id_text(message_id: bytes) -> str:
    """The message id of those bytes."""
    return str(UUID(bytes=message_id))


AFTER_ALL_IDS: Final = b"\xff" * 17
"""Sorts behind every message id."""


def first_id_at(create_time: int | None) -> bytes:
    """Sorts before the id of every message that was accepted at `create_time` or later: an id never lags the clock."""
    return b"" if create_time is None else (max(create_time, 0) // 1000).to_bytes(6, "big")


def filter_bindings(chosen: MessageFilter) -> dict[str, SQLValue]:
    """What narrows `list_messages`."""
    return {
        "channels": _words(channel.value for channel in chosen.channels),
        "states": _words(state.value for state in chosen.states),
        "provider_names": _words(chosen.provider_names),
        "labels": json.dumps(dict(chosen.labels)) if chosen.labels else None,
        "create_time_from": chosen.create_time_from,
        "create_time_to": chosen.create_time_to,
    }


def ids_text(messages: Sequence[Sequence[Any]]) -> str:
    """The ids of rows of `list_messages`, for `attempts_of_all`."""
    return json.dumps([row[1].hex() for row in messages])


def _words(words: Iterable[str]) -> str | None:
    found = list(words)
    return json.dumps(found) if found else None


def message_row(new: NewMessage, key: int, lookup_key: bytes) -> Row:
    """The row of `insert_messages`: of `MESSAGE`, in its order."""
    record, options = new.record, new.options
    return (
        key,
        id_bytes(record.message_id),
        record.request_id,
        canonical.keyed_hash(new.payload_hash, lookup_key),
        record.channel.value,
        record.state.value,
        record.create_time,
        record.update_time,
        record.expire_time,
        record.next_attempt_time,
        texts.recipients_text(record.recipients),
        record.revision,
        record.queue,
        options.send_time,
        record.deadline,
        record.tenant,
        record.error_code or None,
        options.priority.value,
        options.delivery_guarantee.value,
        options.provider_name,
        options.max_attempts,
        new.accept_trace,
        int(options.ignore_suppression),
        *_latest(record),
    )


def labels_row(record: MessageRecord, key: int) -> Row | None:
    """The row of `insert_labels`, where there are any."""
    return (key, json.dumps(dict(record.labels))) if record.labels else None


def attempt_row(record: MessageRecord, boot: int) -> Row:
    """The row of `insert_attempts`: the record's last, which is open."""
    attempt = record.attempts[-1]
    return (
        id_bytes(record.message_id),
        attempt.number,
        boot,
        attempt.provider_name,
        attempt.start_time,
        attempt.trace_id,
        None if attempt.positions is None else json.dumps(attempt.positions),
        int(attempt.receipt_overdue),
    )


def changed_row(before: MessageRecord, after: MessageRecord) -> Row:
    """The row of `update_messages`."""
    return (
        id_bytes(after.message_id),
        before.tenant,
        before.revision,
        after.state.value,
        after.update_time,
        after.next_attempt_time,
        *_latest(after),
        texts.recipients_text(after.recipients),
        after.revision,
    )


def closed_row(before: MessageRecord, after: MessageRecord) -> Row | None:
    """The row of `close_attempts`, where the change closes the attempt that was open."""
    index = len(before.attempts) - 1
    if index < 0 or before.attempts[index].outcome is not None or index >= len(after.attempts):
        return None
    attempt = after.attempts[index]
    if attempt.outcome is None:
        return None
    return (
        id_bytes(after.message_id),
        attempt.number,
        attempt.outcome.value,
        attempt.duration,
        attempt.provider_message_id,
        attempt.error_code,
        attempt.detail,
    )


def dropped_row(before: MessageRecord, after: MessageRecord) -> Row | None:
    """The row of `drop_attempts`, where the change takes back the attempt that was open."""
    if len(after.attempts) >= len(before.attempts):
        return None
    return (id_bytes(before.message_id), before.attempts[-1].number)


def noted_row(before: MessageRecord, after: MessageRecord) -> Row | None:
    """The row of `update_notes`, where the change leaves a note."""
    if after.note is None or after.note == before.note:
        return None
    return id_bytes(after.message_id), texts.note_text(after.note)


def reported_row(before: MessageRecord, after: MessageRecord) -> Row | None:
    """The row of `update_reported`, where the change is one of what was reported, or of why it stands where it does."""
    if after.receipts == before.receipts and after.error_code == before.error_code:
        return None
    return id_bytes(after.message_id), texts.listed_text(after.receipts), after.error_code or None


def event_row(event: AuditEvent) -> Row:
    """The row of `insert_events`."""
    return (event.time, event.tenant, event.principal, event.method, event.target, event.result, event.reason)


def _latest(record: MessageRecord) -> tuple[int, str]:
    """The number and the provider of the latest attempt; 0 and nothing before the first."""
    if not record.attempts:
        return 0, ""
    return record.attempts[-1].number, record.attempts[-1].provider_name


def record_from(message: Sequence[Any], attempts: Iterable[Sequence[Any]]) -> MessageRecord:
    """The record of a row of `RECORD` and its rows of `attempts_of`."""
    (
        _,
        message_id,
        request_id,
        _,
        channel,
        state,
        created,
        updated,
        expires,
        due,
        recipients,
        labels,
        revision,
        queue,
        note,
        send_time,
        deadline,
        tenant,
        receipts,
        error_code,
        follow_up_time,
    ) = message[: len(RECORD)]
    return MessageRecord(
        message_id=id_text(message_id),
        request_id=request_id,
        channel=texts.CHANNELS[channel],
        state=texts.STATES[state],
        create_time=created,
        update_time=updated,
        expire_time=expires,
        attempts=tuple(_attempt_from(row) for row in attempts),
        recipients=texts.recipients_from(recipients),
        labels=MappingProxyType(json.loads(labels)) if labels else EMPTY,
        next_attempt_time=due,
        revision=revision,
        queue=queue,
        note=texts.note_from(note) if note else None,
        send_time=send_time,
        deadline=deadline,
        tenant=tenant,
        receipts=texts.listed_from(receipts) if receipts else (),
        error_code=error_code or "",
        follow_up_time=follow_up_time,
    )


def queued_from(message: Sequence[Any], attempts: Iterable[Sequence[Any]]) -> QueuedMessage:
    """The message of a row of `WORK` and its rows of `attempts_of`."""
    record = record_from(message, attempts)
    priority, guarantee, pinned, max_attempts, accept_trace, ignores = message[len(RECORD) : len(WORK)]
    options = DispatchOptions(
        send_time=record.send_time,
        expire_time=record.expire_time,
        priority=_PRIORITIES[priority],
        delivery_guarantee=texts.GUARANTEES[guarantee],
        provider_name=pinned,
        max_attempts=max_attempts,
        ignore_suppression=bool(ignores),
    )
    return QueuedMessage(record, options, accept_trace)


def _attempt_from(row: Sequence[Any]) -> Attempt:
    (
        number,
        provider_name,
        started,
        outcome,
        duration,
        provider_message_id,
        error_code,
        detail,
        trace_id,
        positions,
        overdue,
    ) = row
    return Attempt(
        number=number,
        provider_name=provider_name,
        start_time=started,
        outcome=texts.OUTCOMES[outcome] if outcome else None,
        duration=duration,
        provider_message_id=provider_message_id,
        error_code=error_code,
        detail=detail,
        trace_id=trace_id,
        positions=tuple(json.loads(positions)) if positions else None,
        receipt_overdue=bool(overdue),
    )
