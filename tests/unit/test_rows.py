"""Between records and rows: how the store spells what it keeps."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.support import build
from tests.support.clock import START

from postwire.core.message import Attempt, DispatchOptions, MessageRecord, MessageState, RecipientStatus
from postwire.core.outcome import Outcome
from postwire.outbox import rows
from postwire.outbox.queries import QUERIES

ID = "018bcfe5-6800-7123-8abc-0123456789ab"


def columns(query: str) -> list[str]:
    """The columns that a statement names between its first parentheses."""
    inside = QUERIES[query].partition("(")[2].partition(")")[0]
    return [name.strip() for name in inside.split(",")]


def email_record() -> MessageRecord:
    of = build.command(
        build.email("a@example.com", "b@example.com"), request_id="r-1", labels={"k": "\u00fc \U0001f600"}
    )
    return replace(build.accepted(of), message_id=ID)


def test_ids_are_sixteen_bytes_that_sort_as_their_text_does() -> None:
    assert rows.id_bytes(ID) == bytes.fromhex("018bcfe5680071238abc0123456789ab")
    made = sorted(build.new_id() for _ in range(50))
    assert [rows.id_bytes(one) for one in made] == sorted(rows.id_bytes(one) for one in made)


def test_a_message_row_has_each_value_in_its_column() -> None:
    options = DispatchOptions(send_time=5, expire_time=START + 9, provider_name="pinned", max_attempts=3)
    record = replace(email_record(), next_attempt_time=START + 7)
    new = replace(build.new_message(record=record), options=options, payload_hash=b"h" * 32, tenant="t-1")
    row = dict(zip(columns("insert_messages"), rows.message_row(new, 77), strict=True))
    recipients, labels = row.pop("recipients"), row.pop("labels")
    assert row == {
        "key": 77,
        "message_id": rows.id_bytes(ID),
        "tenant": "t-1",
        "request_id": "r-1",
        "payload_hash": b"h" * 32,
        "channel": "email",
        "state": "sending",
        "priority": "normal",
        "delivery_guarantee": "at_least_once",
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
    }
    assert isinstance(recipients, str)
    assert isinstance(labels, str)
    assert json.loads(recipients) == [["sending", "", ""], ["sending", "", ""]]
    assert json.loads(labels) == {"k": "\u00fc \U0001f600"}


def test_what_is_empty_is_null() -> None:
    row = dict(zip(columns("insert_messages"), rows.message_row(build.new_message(), 1), strict=True))
    assert {name for name, value in row.items() if value is None} == {
        "pinned_provider_name",
        "max_attempts",
        "send_time",
        "next_attempt_time",
        "recipients",
        "labels",
    }


def test_the_rows_of_an_attempt() -> None:
    record = build.accepted(trace_id="ab" * 16)
    row = rows.attempt_row(build.new_message(record=record), 3)
    opened = dict(zip(columns("insert_attempts"), row, strict=True))
    assert opened == {
        "message_id": rows.id_bytes(record.message_id),
        "number": 1,
        "boot": 3,
        "provider_name": "sms-mms",
        "start_time": START,
        "trace_id": "ab" * 16,
    }
    after = build.ended(record, after=40)
    closed = dict(zip(columns("close_attempts"), rows.ended_row(after), strict=True))
    assert closed == {
        "message_id": rows.id_bytes(record.message_id),
        "number": 1,
        "outcome": "success",
        "duration": 40,
        "provider_message_id": "vendor-1",
        "error_code": "",
        "detail": "",
    }
    changed = dict(zip(columns("update_messages"), rows.changed_row(after), strict=True))
    assert changed == {
        "message_id": rows.id_bytes(record.message_id),
        "number": 1,
        "state": "sent",
        "update_time": START + 40,
        "next_attempt_time": None,
        "recipients": None,
        "revision": 2,
    }


def test_an_attempt_that_is_open_has_no_end_to_keep() -> None:
    with pytest.raises(ValueError, match="has not ended"):
        rows.ended_row(build.accepted())


def stored(record: MessageRecord) -> MessageRecord:
    """The record as it comes back when each statement gives what the other took."""
    row = dict(zip(columns("insert_messages"), rows.message_row(build.new_message(record=record), 1), strict=True))
    wanted = QUERIES["message_by_id"].partition("SELECT")[2].partition("FROM")[0]
    attempts = [
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
        )
        for one in record.attempts
    ]
    return rows.record_from([row[name.strip()] for name in wanted.split(",")], attempts)


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
        ),
    )
    assert stored(record) == record


@pytest.mark.parametrize("outcome", [*Outcome, None])
def test_a_record_comes_back_with_every_outcome(outcome: Outcome | None) -> None:
    attempts = (
        Attempt(1, "a", START, Outcome.ERROR, 5, "v", "c", "d", "ab" * 16),
        Attempt(2, "b", START + 9, outcome, 0 if outcome else None),
    )
    record = replace(build.accepted(), attempts=attempts)
    assert stored(record) == record
