"""Between records and rows: see `migrations/0001_schema.sql`."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from types import MappingProxyType
from typing import Any, Final

from postwire.core import canonical
from postwire.core.message import (
    EMPTY,
    Attempt,
    DispatchOptions,
    MessageRecord,
    Priority,
)
from postwire.core.waiting import is_scheduled
from postwire.outbox import texts
from postwire.outbox.base import NewMessage, QueuedMessage
from postwire.outbox.postgres.queries import Record

PRIORITIES: Final = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
"""By the number that stands for each."""

PRIORITY_NUMBERS: Final = {priority: number for number, priority in enumerate(PRIORITIES)}

Row = tuple[Any, ...]


def columns(rows: Sequence[Row], count: int) -> list[list[Any]]:
    """Rows as the columns that `unnest` takes, of which there are `count`."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(count)]


ACCEPTED_NUMBERS: Final = frozenset({6, 9, 10, 12, 13, 14, 15, 16, 17, 18, 20, 26})
"""Which columns of `accepted_row` are numbers, or say whether something is so."""

CHANGED_NUMBERS: Final = frozenset({2, 4, 5, 6, 7, 8, *range(15, 20)})
"""Those of `changed_row`."""


def packed(rows: Sequence[Row], numbers: Collection[int]) -> list[Any]:
    """Rows as the columns that `unnest` takes, of which those with these `numbers` come as text. At least one row.

    It does what `columns` does in half the time: the driver looks at each value of an array by itself. Where all of a
    column are NULL it is empty, and `unnest` fills it up.
    """
    made: list[Any] = []
    for index, column in enumerate(zip(*rows, strict=True)):
        if column.count(None) == len(column):
            made.append("{}" if index in numbers else ())
        elif index in numbers:
            made.append("{" + ",".join(["NULL" if one is None else str(one) for one in column]) + "}")
        else:
            made.append(column)
    return made


def plain(text: str) -> str:
    """A text as the database takes it: whatever it has in place of NUL, which a vendor or a caller may have sent."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def accepted_row(new: NewMessage, lookup_key: bytes, content: bytes) -> Row:
    """The row of `accept`. `content` is what is kept of it: see `outbox.cipher`."""
    record, options = new.record, new.options
    number, provider_name = latest(record)
    return (
        record.message_id,
        record.tenant,
        record.request_id,
        canonical.keyed_hash(new.payload_hash, lookup_key),
        record.channel.value,
        record.state.value,
        PRIORITY_NUMBERS[options.priority],
        options.delivery_guarantee.value,
        options.provider_name,
        options.max_attempts,
        options.ignore_suppression,
        new.accept_trace,
        options.send_time,
        record.create_time,
        record.update_time,
        record.expire_time,
        record.deadline,
        record.next_attempt_time,
        record.revision,
        record.queue,
        number,
        provider_name,
        record.error_code,
        attempts_text(record.attempts),
        texts.recipients_text(record.recipients),
        json.dumps(dict(record.labels)) if record.labels else None,
        is_scheduled(record),
        content,
        b"".join(new.recipient_hashes) if new.keeps_hashes else None,
        new.sender,
    )


def changed_row(before: MessageRecord, after: MessageRecord, applied: int, *, erases: bool) -> Row:
    """The row of `advance`. It applies so many receipts; `erases`: what the message says goes with it."""
    number, provider_name = latest(after)
    return (
        after.message_id,
        before.tenant,
        before.revision,
        after.state.value,
        after.update_time,
        after.next_attempt_time,
        after.follow_up_time,
        after.revision,
        number,
        provider_name,
        after.error_code,
        attempts_text(after.attempts),
        texts.recipients_text(after.recipients),
        texts.note_text(after.note) if after.note else None,
        texts.listed_text(after.receipts),
        is_scheduled(after),
        len(after.attempts) > len(before.attempts),
        has_open(after),
        applied,
        erases,
    )


def latest(record: MessageRecord) -> tuple[int, str]:
    """The number and the provider of the latest attempt; 0 and nothing before the first."""
    if not record.attempts:
        return 0, ""
    return record.attempts[-1].number, record.attempts[-1].provider_name


def has_open(record: MessageRecord) -> bool:
    """Whether an attempt is open."""
    return bool(record.attempts) and record.attempts[-1].outcome is None


def attempts_text(attempts: Sequence[Attempt]) -> str | None:
    """The attempts of a record as they are stored."""
    if not attempts:
        return None
    return json.dumps(
        [
            (
                one.number,
                one.provider_name,
                one.start_time,
                one.outcome.value if one.outcome else None,
                one.duration,
                one.provider_message_id,
                one.error_code,
                one.detail,
                one.trace_id,
                one.positions,
                int(one.receipt_overdue),
            )
            for one in attempts
        ]
    )


def attempts_from(text: str | None) -> tuple[Attempt, ...]:
    """The attempts of a text of `attempts_text`."""
    if not text:
        return ()
    return tuple(
        Attempt(
            number,
            provider_name,
            start_time,
            texts.OUTCOMES[outcome] if outcome else None,
            duration,
            provider_message_id,
            error_code,
            detail,
            trace_id,
            None if positions is None else tuple(positions),
            bool(overdue),
        )
        for (
            number,
            provider_name,
            start_time,
            outcome,
            duration,
            provider_message_id,
            error_code,
            detail,
            trace_id,
            positions,
            overdue,
        ) in json.loads(text)
    )


def record_from(row: Record) -> MessageRecord:
    """The record of a row of `RECORD`."""
    labels, note, receipts = row["labels"], row["note"], row["receipts"]
    return MessageRecord(
        message_id=str(row["message_id"]),
        request_id=row["request_id"],
        channel=texts.CHANNELS[row["channel"]],
        state=texts.STATES[row["state"]],
        create_time=row["create_time"],
        update_time=row["update_time"],
        expire_time=row["expire_time"],
        attempts=attempts_from(row["attempts"]),
        recipients=texts.recipients_from(row["recipients"]),
        labels=MappingProxyType(json.loads(labels)) if labels else EMPTY,
        next_attempt_time=row["next_attempt_time"],
        revision=row["revision"],
        queue=row["queue"],
        note=texts.note_from(note) if note else None,
        send_time=row["send_time"],
        deadline=row["deadline"],
        tenant=row["tenant"],
        receipts=texts.listed_from(receipts) if receipts else (),
        error_code=row["error_code"],
        follow_up_time=row["follow_up_time"],
    )


def queued_from(row: Record) -> QueuedMessage:
    """The message of a row of `WORK`."""
    record = record_from(row)
    options = DispatchOptions(
        send_time=record.send_time,
        expire_time=record.expire_time,
        priority=PRIORITIES[row["priority"]],
        delivery_guarantee=texts.GUARANTEES[row["delivery_guarantee"]],
        provider_name=row["pinned_provider_name"],
        max_attempts=row["max_attempts"],
        ignore_suppression=row["ignore_suppression"],
    )
    return QueuedMessage(record, options, row["accept_trace"])
