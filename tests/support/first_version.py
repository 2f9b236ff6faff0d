"""A store as the first version of the schema kept it, with messages in it."""

from __future__ import annotations

import json
from typing import Final

import apsw
from tests.support.clock import START

from postwire.core import canonical
from postwire.core.message import (
    Attempt,
    DispatchOptions,
    Email,
    MessageRecord,
    MessageState,
    OutboundMessage,
    RecipientStatus,
    Sms,
)
from postwire.core.outcome import Outcome
from postwire.outbox.sqlite import schema

_SMS: Final = OutboundMessage(Sms("+15005550100", "Your code is 123456"))
_EMAIL: Final = OutboundMessage(Email(("a@example.com", "b@example.com"), subject="Hello"), {"team": "\u00fc"})

CONTENTS: Final = {
    "sending": _SMS,
    "sending to two": _EMAIL,
    "sent": _SMS,
    "sent to one of two": _EMAIL,
    "uncertain": _SMS,
}
"""What was accepted, by request id."""


_ATTEMPTS: Final = {
    MessageState.SENDING: Attempt(1, "p", START, trace_id="ab" * 16),
    MessageState.SENT: Attempt(1, "p", START, Outcome.SUCCESS, 40, "vendor-1"),
    MessageState.FAILED: Attempt(1, "p", START, Outcome.ERROR, 40, "", "421", "busy"),
    MessageState.UNCERTAIN: Attempt(1, "p", START, Outcome.UNCERTAIN, 10_000_000),
}


def _record(number: int, request_id: str, state: MessageState, *recipients: RecipientStatus) -> MessageRecord:
    settled = state is not MessageState.SENDING
    return MessageRecord(
        message_id=f"018bcfe5-6800-7123-8abc-{number:012d}",
        request_id=request_id,
        channel=CONTENTS[request_id].channel,
        state=state,
        create_time=START - number,  # the time of day steps back between any two
        update_time=START + 50 if settled else START - number,
        expire_time=START + 4 * 3_600_000_000,
        attempts=(_ATTEMPTS[state],),
        recipients=recipients,
        labels=CONTENTS[request_id].labels,
        revision=2 if settled else 1,
    )


RECORDS: Final = (
    _record(1, "sent", MessageState.SENT),
    _record(2, "sending", MessageState.SENDING),
    _record(
        3,
        "sent to one of two",
        MessageState.FAILED,
        RecipientStatus(0, MessageState.SENT, Outcome.SUCCESS),
        RecipientStatus(1, MessageState.FAILED, Outcome.ERROR, "421"),
    ),
    _record(
        4,
        "sending to two",
        MessageState.SENDING,
        RecipientStatus(0, MessageState.SENDING),
        RecipientStatus(1, MessageState.SENDING),
    ),
    _record(5, "uncertain", MessageState.UNCERTAIN),
)
"""What the store holds, in the order of acceptance, as a version that knows queues sees it."""


def content(record: MessageRecord) -> bytes:
    """What was accepted, as it is kept."""
    return canonical.encode_message(CONTENTS[record.request_id])


def payload_hash(record: MessageRecord) -> bytes:
    """What its request id is held to."""
    return canonical.payload_hash(content(record), canonical.encode_options(DispatchOptions()))


def fill(connection: apsw.Connection) -> None:
    """Make an empty database that store. The statements are those that the first version had."""
    connection.execute(schema.migrations()[0])
    connection.pragma("application_id", schema.APPLICATION_ID)
    connection.pragma("user_version", 1)
    connection.execute("INSERT INTO boots (start_time) VALUES (1)")
    for key, record in enumerate(RECORDS, 1):
        message_id = bytes.fromhex(record.message_id.replace("-", ""))
        (attempt,) = record.attempts
        connection.execute(
            """INSERT INTO messages (
                key, message_id, tenant, request_id, payload_hash, channel, state, priority, delivery_guarantee,
                create_time, update_time, expire_time, attempt_number, provider_name, recipients, labels, revision
            ) VALUES (?, ?, 'default', ?, ?, ?, ?, 'normal', 'at_least_once', ?, ?, ?, 1, 'p', ?, ?, ?)""",
            (
                key,
                message_id,
                record.request_id,
                payload_hash(record),
                record.channel.value,
                record.state.value,
                record.create_time,
                record.update_time,
                record.expire_time,
                json.dumps(
                    [[one.state.value, one.outcome.value if one.outcome else "", one.error_code] for one in recipients]
                )
                if (recipients := record.recipients)
                else None,
                json.dumps(dict(record.labels)) if record.labels else None,
                record.revision,
            ),
        )
        connection.execute("INSERT INTO contents VALUES (?, ?)", (key, content(record)))
        connection.execute(
            "INSERT INTO attempts VALUES (?, 1, 1, 'p', ?, ?, ?, ?, ?, ?, ?)",
            (
                message_id,
                attempt.start_time,
                attempt.outcome.value if attempt.outcome else None,
                attempt.duration,
                attempt.provider_message_id,
                attempt.error_code,
                attempt.detail,
                attempt.trace_id,
            ),
        )
