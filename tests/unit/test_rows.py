"""Between records and rows: how the store spells what it keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import dropped, failed_over

from postwire.core import canonical, lifecycle
from postwire.core.message import (
    Attempt,
    DeliveryGuarantee,
    DispatchOptions,
    MessageRecord,
    MessageState,
    Note,
    NoteAction,
    Priority,
    RecipientStatus,
)
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import MessageReceipt, ReceiptState
from postwire.outbox import texts
from postwire.outbox.base import NewMessage, QueuedMessage
from postwire.outbox.sqlite import rows
from postwire.outbox.sqlite.queries import LABELS, QUERIES

ERROR = DispatchResult(Outcome.ERROR)
LOOKUP_KEY = b"k" * 32
ID = "018bcfe5-6800-7123-8abc-0123456789ab"


def columns(query: str) -> list[str]:
    """The columns that a statement names between its first parentheses."""
    inside = QUERIES[query].partition("(")[2].partition(")")[0]
    return [name.strip() for name in inside.split(",")]


def email_record() -> MessageRecord:
    of = build.command(
        build.email("a@example.com", "b@example.com"), request_id="r-1", labels={"k": "\u00fc \U0001f600"}
    )
    return replace(build.accepted(of, queue="email#2"), message_id=ID)


def test_ids_are_sixteen_bytes_that_sort_as_their_text_does() -> None:
    assert rows.id_bytes(ID) == bytes.fromhex("018bcfe5680071238abc0123456789ab")
    made = sorted(build.new_id() for _ in range(50))
    assert [rows.id_bytes(one) for one in made] == sorted(rows.id_bytes(one) for one in made)


def test_a_message_row_has_each_value_in_its_column() -> None:
    options = DispatchOptions(
        send_time=5,
        expire_time=START + 9,
        priority=Priority.HIGH,
        delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE,
        provider_name="pinned",
        max_attempts=3,
        ignore_suppression=True,
    )
    record = replace(email_record(), next_attempt_time=START + 7, send_time=5, deadline=START + 8, tenant="t-1")
    new = replace(
        build.new_message(record=record),
        options=options,
        payload_hash=b"h" * 32,
        accept_trace="00-ab-cd-01",
    )
    row = dict(zip(columns("insert_messages"), rows.message_row(new, 77, LOOKUP_KEY), strict=True))
    recipients = row.pop("recipients")
    assert row == {
        "key": 77,
        "message_id": rows.id_bytes(ID),
        "tenant": "t-1",
        "request_id": "r-1",
        "payload_hash": canonical.keyed_hash(b"h" * 32, LOOKUP_KEY),
        "channel": "email",
        "state": "sending",
        "priority": "high",
        "delivery_guarantee": "at_most_once",
        "pinned_provider_name": "pinned",
        "max_attempts": 3,
        "send_time": 5,
        "create_time": START,
        "update_time": START,
        "expire_time": record.expire_time,
        "next_attempt_time": START + 7,
        "attempt_number": 1,
        "provider_name": "sms-mms",
        "revision": 1,
        "queue": "email#2",
        "accept_trace": "00-ab-cd-01",
        "deadline": START + 8,
        "error_code": None,
        "ignore_suppression": 1,
    }
    assert isinstance(recipients, str)
    assert json.loads(recipients) == [["sending", "", ""], ["sending", "", ""]]


def test_the_row_of_labels() -> None:
    assert rows.labels_row(build.accepted(), 7) is None
    row = rows.labels_row(email_record(), 7)
    assert row is not None
    key, labels = row
    assert isinstance(labels, str)
    assert (key, json.loads(labels)) == (7, {"k": "\u00fc \U0001f600"})


def test_before_the_first_attempt_there_is_none() -> None:
    record = build.accepted(provider_name="")
    row = dict(
        zip(columns("insert_messages"), rows.message_row(build.new_message(record=record), 1, LOOKUP_KEY), strict=True)
    )
    assert (row["state"], row["attempt_number"], row["provider_name"]) == ("queued", 0, "")
    assert row["next_attempt_time"] == START


def test_what_is_empty_is_null() -> None:
    row = dict(zip(columns("insert_messages"), rows.message_row(build.new_message(), 1, LOOKUP_KEY), strict=True))
    assert {name for name, value in row.items() if value is None} == {
        "pinned_provider_name",
        "max_attempts",
        "send_time",
        "next_attempt_time",
        "recipients",
        "error_code",
    }


def test_the_rows_of_an_attempt() -> None:
    record = build.accepted(trace_id="ab" * 16)
    opened = dict(zip(columns("insert_attempts"), rows.attempt_row(record, 3), strict=True))
    assert opened == {
        "message_id": rows.id_bytes(record.message_id),
        "number": 1,
        "boot": 3,
        "provider_name": "sms-mms",
        "start_time": START,
        "trace_id": "ab" * 16,
        "positions": None,
        "receipt_overdue": 0,
    }
    after = build.ended(record, after=40)
    row = rows.closed_row(record, after)
    assert row is not None
    assert dict(zip(columns("close_attempts"), row, strict=True)) == {
        "message_id": rows.id_bytes(record.message_id),
        "number": 1,
        "outcome": "success",
        "duration": 40,
        "provider_message_id": "vendor-1",
        "error_code": "",
        "detail": "",
    }


def test_the_row_of_a_change_is_fenced_by_the_revision_before_it() -> None:
    before = replace(build.accepted(provider_name="p-1"), revision=7)
    after = failed_over(before, "p-2")
    changed = dict(zip(columns("update_messages"), rows.changed_row(before, after), strict=True))
    assert changed == {
        "message_id": rows.id_bytes(before.message_id),
        "tenant": "default",
        "from_revision": 7,
        "state": "sending",
        "update_time": START + 20_000,
        "next_attempt_time": None,
        "attempt_number": 2,
        "provider_name": "p-2",
        "recipients": None,
        "revision": 9,
    }
    queued = build.ended(before, ERROR, after=40, retry_after=60)
    changed = dict(zip(columns("update_messages"), rows.changed_row(before, queued), strict=True))
    assert (changed["state"], changed["next_attempt_time"], changed["attempt_number"]) == ("queued", START + 100, 1)


OPEN = build.accepted(provider_name="p-1")
QUEUED = build.accepted(provider_name="")
SECOND = failed_over(OPEN, "p-2")
TRIED = build.ended(OPEN, ERROR)


@pytest.mark.parametrize(
    ("before", "after", "closes", "drops"),
    [
        (OPEN, build.ended(OPEN), 1, None),
        (OPEN, TRIED, 1, None),
        (OPEN, SECOND, 1, None),
        (OPEN, dropped(OPEN), None, 1),
        (SECOND, build.ended(SECOND), 2, None),
        (SECOND, failed_over(SECOND), 2, None),
        (SECOND, dropped(SECOND), None, 2),
        (QUEUED, build.retried(QUEUED), None, None),
        (QUEUED, lifecycle.cancel(QUEUED, now=START), None, None),
        (TRIED, build.retried(TRIED), None, None),
        (TRIED, lifecycle.expire(TRIED, now=START), None, None),
    ],
)
def test_a_change_closes_or_drops_the_attempt_that_was_open_and_no_other(
    before: MessageRecord, after: MessageRecord, closes: int | None, drops: int | None
) -> None:
    closed, gone = rows.closed_row(before, after), rows.dropped_row(before, after)
    assert (closed[1] if closed else None) == closes
    assert gone == (None if drops is None else (rows.id_bytes(before.message_id), drops))


def row_of(query: str, new: NewMessage) -> list[Any]:
    """The row that a statement gives when it reads what `insert_messages` took."""
    row = dict(zip(columns("insert_messages"), rows.message_row(new, 1, LOOKUP_KEY), strict=True))
    row["note"] = texts.note_text(new.record.note) if new.record.note else None
    _, labels = rows.labels_row(new.record, 1) or (1, None)
    row["labels"] = labels
    row["receipts"] = texts.listed_text(new.record.receipts)
    row["follow_up_time"] = new.record.follow_up_time
    wanted = QUERIES[query].partition("SELECT")[2].replace(LABELS, "labels").partition("FROM")[0]
    wanted, _, _ = wanted.partition(", (SELECT")  # how long its content is
    return [row[name.strip()] for name in wanted.split(",")]


def attempts_of(record: MessageRecord) -> list[tuple[Any, ...]]:
    return [
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
            None if one.positions is None else json.dumps(one.positions),
            int(one.receipt_overdue),
        )
        for one in record.attempts
    ]


def stored(record: MessageRecord) -> MessageRecord:
    """The record as it comes back when each statement gives what the other took."""
    return rows.record_from(row_of("message_by_id", build.new_message(record=record)), attempts_of(record))


@pytest.mark.parametrize("query", ["due", "orphans", "scan_queued", "overdue", "open_follow_ups"])
@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize("guarantee", DeliveryGuarantee)
def test_a_message_comes_back_with_its_options(query: str, priority: Priority, guarantee: DeliveryGuarantee) -> None:
    record = replace(email_record(), send_time=5)
    options = DispatchOptions(
        send_time=5,
        expire_time=record.expire_time,
        priority=priority,
        delivery_guarantee=guarantee,
        provider_name="pinned",
        max_attempts=3,
    )
    new = replace(build.new_message(record=record), options=options, accept_trace="00-ab-cd-01")
    expected = QueuedMessage(record, options, "00-ab-cd-01")
    assert rows.queued_from(row_of(query, new), attempts_of(record)) == expected


@pytest.mark.parametrize(
    "query", ["message_by_request_id", "list_messages", "messages_by_ids", "expired", "past_deadline"]
)
def test_whatever_gives_records_gives_the_same_columns(query: str) -> None:
    new = build.new_message(record=email_record())
    assert row_of(query, new) == row_of("message_by_id", new)


def test_what_was_left_out_comes_back_as_left_out_but_for_the_expiry_in_force() -> None:
    record = build.accepted()
    row = row_of("due", build.new_message(record=record))
    options = rows.queued_from(row, attempts_of(record)).options
    assert options == DispatchOptions(expire_time=record.expire_time)


@pytest.mark.parametrize("state", MessageState)
def test_a_record_comes_back_in_every_state(state: MessageState) -> None:
    record = replace(
        email_record(),
        state=state,
        revision=12,
        next_attempt_time=START + 3,
        recipients=(
            RecipientStatus(0, state, Outcome.REJECTED, '5.1.1 "\u00fc"'),
            RecipientStatus(1, MessageState.SENT),
            RecipientStatus(2, state, Outcome.UNCERTAIN, "", maybe_sent=True),
            RecipientStatus(3, state, maybe_sent=True),
        ),
    )
    assert stored(record) == record


@pytest.mark.parametrize("action", NoteAction)
@pytest.mark.parametrize("reason", ["", '\u00fc "\U0001f600"'])
def test_a_record_comes_back_with_its_note(action: NoteAction, reason: str) -> None:
    record = replace(email_record(), note=Note(action, reason, START + 1))
    assert stored(record) == record


def test_a_note_is_written_with_the_change_that_leaves_it() -> None:
    before = build.accepted(provider_name="")
    after = lifecycle.cancel(before, now=START, reason="a typo")
    assert after.note
    assert rows.noted_row(before, after) == (rows.id_bytes(before.message_id), texts.note_text(after.note))
    assert rows.noted_row(before, lifecycle.expire(before, now=START)) is None
    assert rows.noted_row(after, replace(after, revision=9)) is None


@pytest.mark.parametrize("outcome", [*Outcome, None])
def test_a_record_comes_back_with_every_outcome(outcome: Outcome | None) -> None:
    attempts = (
        Attempt(1, "a", START, Outcome.ERROR, 5, "v", "c", "d", "ab" * 16),
        Attempt(2, "b", START + 9, outcome, 0 if outcome else None, positions=(0, 7), receipt_overdue=True),
    )
    record = replace(build.accepted(), attempts=attempts, follow_up_time=START + 99)
    assert stored(record) == record


RECEIPTS = tuple(
    MessageReceipt("a", 1, state, '5.1.1 "\u00fc"', START + at, at or None) for at, state in enumerate(ReceiptState)
)


def test_a_record_comes_back_with_what_was_reported() -> None:
    record = replace(build.accepted(), receipts=RECEIPTS, error_code="30003")
    assert stored(record) == record


def test_what_was_reported_is_written_with_the_change_that_it_led_to() -> None:
    before = build.accepted()
    after = replace(before, receipts=RECEIPTS)
    assert rows.reported_row(before, before) is None
    assert rows.reported_row(before, after) == (
        rows.id_bytes(before.message_id),
        texts.listed_text(RECEIPTS),
        None,
    )
    assert rows.reported_row(after, replace(after, error_code="x")) is not None


def test_recipients_of_the_first_version_come_back() -> None:
    """It did not keep whether a recipient may have been sent to."""
    row = row_of("message_by_id", build.new_message(record=email_record()))
    (at,) = (index for index, value in enumerate(row) if isinstance(value, str) and value.startswith("[["))
    row[at] = '[["sent", "success", ""], ["failed", "error", "421"]]'
    assert rows.record_from(row, ()).recipients == (
        RecipientStatus(0, MessageState.SENT, Outcome.SUCCESS),
        RecipientStatus(1, MessageState.FAILED, Outcome.ERROR, "421"),
    )
