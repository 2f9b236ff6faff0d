"""Between the contract's messages and the core's values.

What has no counterpart in the core (a missing oneof, an enum value that this server does not know, a time out of range)
is noted as a violation here; everything else is judged by `core.validation`.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterator, Mapping, Sized
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeVar

from google.protobuf import timestamp_pb2
from google.protobuf.message import Message

from postwire.config.types import dotted, toml_string
from postwire.core import validation
from postwire.core.message import (
    EMPTY,
    MAX_TIME,
    NO_OPTIONS,
    Attachment,
    Attempt,
    Channel,
    Content,
    DeliveryGuarantee,
    DispatchCommand,
    DispatchOptions,
    Email,
    Media,
    MessageRecord,
    MessageState,
    Mms,
    Note,
    NoteAction,
    OutboundMessage,
    Priority,
    Sms,
    WaitFor,
)
from postwire.core.obstacles import Obstacle
from postwire.core.outcome import Outcome
from postwire.core.receipts import MessageReceipt, ReceiptState
from postwire.core.suppression import SUPPRESSED
from postwire.core.validation import Violations
from postwire.delivery import Explanation
from postwire.providers.sms.encoding import SmsEncoding
from postwire.v1 import dispatch_service_pb2, message_pb2

E = TypeVar("E", bound=enum.Enum)

_MICROSECONDS: Final = 1_000_000
_MAX_SECONDS: Final = MAX_TIME // _MICROSECONDS

MANY_RECIPIENTS: Final = 50
"""To how many recipients an email is checked on the event loop."""

FAR_TOO_MANY: Final = 4
"""From how many times too many on a list is not looked at any further."""

_KEPT_OPTIONS: Final = 256
"""Up to how many bytes of options are kept as they were read: most callers send the same ones again and again."""

UNKNOWN_ENUM: Final = "must be a value that this server knows"

CHANNELS: Final[Mapping[Channel, message_pb2.Channel.ValueType]] = MappingProxyType(
    {one: message_pb2.Channel.Value(f"CHANNEL_{one.name}") for one in Channel}
)
STATES: Final[Mapping[MessageState, message_pb2.MessageState.ValueType]] = {
    one: message_pb2.MessageState.Value(f"MESSAGE_STATE_{one.name}") for one in MessageState
}
_SMS_ENCODINGS: Final = {one: dispatch_service_pb2.SmsEncoding.Value(f"SMS_ENCODING_{one.name}") for one in SmsEncoding}

_OBSTACLES: Final = {
    one: dispatch_service_pb2.RouteObstacle.Value(f"ROUTE_OBSTACLE_{one.value.upper()}") for one in Obstacle
}
RECEIPT_STATES: Final[Mapping[ReceiptState, message_pb2.ReceiptState.ValueType]] = {
    one: message_pb2.ReceiptState.Value(f"RECEIPT_STATE_{one.name}") for one in ReceiptState
}
_REPORTED_STATES: Final = frozenset({MessageState.SENT, MessageState.DELIVERED, MessageState.UNDELIVERED})
_ACTIONS: Final = {one: message_pb2.NoteAction.Value(f"NOTE_ACTION_{one.name}") for one in NoteAction}
_OUTCOMES: Final = {one: message_pb2.Outcome.Value(f"OUTCOME_{one.reported.name}") for one in Outcome}
_WAIT_FOR: Final[Mapping[int, WaitFor]] = {message_pb2.WaitFor.Value(f"WAIT_FOR_{one.name}"): one for one in WaitFor}
_PRIORITY: Final[Mapping[int, Priority]] = {message_pb2.Priority.Value(f"PRIORITY_{one.name}"): one for one in Priority}
_GUARANTEE: Final[Mapping[int, DeliveryGuarantee]] = {
    message_pb2.DeliveryGuarantee.Value(f"DELIVERY_GUARANTEE_{one.name}"): one for one in DeliveryGuarantee
}


async def read_command(
    request: dispatch_service_pb2.DispatchRequest, max_bytes: int, tenant: str, *, needs_request_id: bool = False
) -> DispatchCommand:
    """Do as `command_from` does, on another thread for an email to many: a domain beyond ASCII takes up to 1 ms."""
    if request.message.HasField("email"):
        email = request.message.email
        if len(email.to) + len(email.cc) + len(email.bcc) > MANY_RECIPIENTS:
            return await asyncio.to_thread(command_from, request, max_bytes, tenant, needs_request_id=needs_request_id)
    return command_from(request, max_bytes, tenant, needs_request_id=needs_request_id)


def command_from(
    request: dispatch_service_pb2.DispatchRequest, max_bytes: int, tenant: str, *, needs_request_id: bool = False
) -> DispatchCommand:
    """The call of `Dispatch` that `request` of `tenant` is, if it is well formed and not larger than `max_bytes`.

    Raises:
        InvalidMessage, MessageTooLarge: naming every bad field.
    """
    found = Violations()
    size = request.ByteSize()
    if size > max_bytes:
        # Judged before anything is copied; the other fields are not looked at.
        found.too_large("message", f"must be at most {max_bytes:,} bytes with all that is in it")
        found.raise_any()
    message, request_id = request.message, request.request_id
    channel = message.WhichOneof("content")
    _check_counts(message, channel, found)
    content = _content_from(message, channel)
    options, wait_for = (
        _options_from(request.options, found) if request.HasField("options") else (NO_OPTIONS, WaitFor.OUTCOME)
    )
    labels = mapping(message.labels)
    validation.check_labels(labels, found)
    validation.check_request_id(request_id, found, needed=needs_request_id)
    if content is None:
        found.malformed("message.content", "must be one of sms, mms and email")
    else:
        validation.check_content(content, found)
    found.raise_any()
    assert content is not None
    return DispatchCommand(OutboundMessage(content, labels), request_id, options, wait_for, size, tenant)


def _check_counts(message: message_pb2.OutboundMessage, channel: str | None, found: Violations) -> None:
    """Refuse lists that are too long before each of their millions is looked at: what is empty costs next to nothing on
    the wire, and all of it costs here."""
    if channel == "sms" and len(message.labels) <= validation.MAX_LABELS:
        return  # nearly always, and it has no other list
    for path, entries, most in _lists(message):
        if len(entries) > FAR_TOO_MANY * most:
            validation.check_count(path, len(entries), most, found)
    found.raise_any()


def _lists(message: message_pb2.OutboundMessage) -> Iterator[tuple[str, Sized, int]]:
    """The lists in a message, each with its path and how many entries it may have."""
    yield "message.labels", message.labels, validation.MAX_LABELS
    if message.HasField("mms"):
        yield "message.mms.media", message.mms.media, validation.MAX_MEDIA
    elif message.HasField("email"):
        email = message.email
        yield "message.email.to", email.to, validation.MAX_RECIPIENTS
        yield "message.email.cc", email.cc, validation.MAX_RECIPIENTS
        yield "message.email.bcc", email.bcc, validation.MAX_RECIPIENTS
        yield "message.email.headers", email.headers, validation.MAX_HEADERS
        yield "message.email.attachments", email.attachments, validation.MAX_ATTACHMENTS


def _content_from(message: message_pb2.OutboundMessage, channel: str | None) -> Content | None:
    if channel == "sms":
        sms = message.sms
        return Sms(sms.to, sms.body, sms.sender)
    if channel == "mms":
        mms = message.mms
        return Mms(mms.to, mms.body, mms.sender, tuple(_media_from(media) for media in mms.media))
    if channel == "email":
        return _email_from(message.email)
    return None


def _media_from(media: message_pb2.Media) -> Media:
    return Media(media.url, media.data, media.content_type, media.file_name)


def _email_from(email: message_pb2.Email) -> Email:
    return Email(
        to=tuple(email.to),
        cc=tuple(email.cc),
        bcc=tuple(email.bcc),
        subject=email.subject,
        text=email.text,
        html=email.html,
        sender=email.sender,
        reply_to=email.reply_to,
        headers=mapping(email.headers),
        attachments=tuple(Attachment(one.file_name, one.content_type, one.data) for one in email.attachments),
    )


def _options_from(wire: message_pb2.DispatchOptions, found: Violations) -> tuple[DispatchOptions, WaitFor]:
    data = wire.SerializeToString()
    read = _read_options if len(data) <= _KEPT_OPTIONS else _read_options.__wrapped__
    options, wait_for, wrong = read(data)
    found.note(wrong)
    return options, wait_for


@lru_cache(maxsize=256)
def _read_options(data: bytes) -> tuple[DispatchOptions, WaitFor, Violations]:
    """Options, and all that is wrong with them whatever the time is."""
    options, found = message_pb2.DispatchOptions.FromString(data), Violations()
    core = DispatchOptions(
        send_time=time_from(options, "send_time", "options.send_time", found),
        expire_time=time_from(options, "expire_time", "options.expire_time", found),
        priority=_enum_from(options.priority, _PRIORITY, Priority.NORMAL, "options.priority", found),
        delivery_guarantee=_enum_from(
            options.delivery_guarantee,
            _GUARANTEE,
            DeliveryGuarantee.AT_LEAST_ONCE,
            "options.delivery_guarantee",
            found,
        ),
        provider_name=options.provider_name or None,
        # 0 is what a caller who leaves it out sends.
        max_attempts=options.max_attempts or None,
        ignore_suppression=options.ignore_suppression,
    )
    wait_for = _enum_from(options.wait_for, _WAIT_FOR, WaitFor.OUTCOME, "options.wait_for", found)
    validation.check_options(core, found)
    return core, wait_for, found


def _enum_from(value: int, known: Mapping[int, E], default: E, path: str, found: Violations) -> E:
    if value and value not in known:
        found.malformed(path, UNKNOWN_ENUM)
    return known.get(value, default)


def time_from(holder: Message, name: str, path: str, found: Violations) -> int | None:
    """The time in the field `name`, in µs since the epoch; None where it is left out."""
    if not holder.HasField(name):
        return None
    value: timestamp_pb2.Timestamp = getattr(holder, name)
    if not (0 <= value.seconds <= _MAX_SECONDS and 0 <= value.nanos < 1_000_000_000):
        found.malformed(path, "must be a time from 1970 to 9999, with nanos from 0 to 999999999")
        return None
    return value.seconds * _MICROSECONDS + value.nanos // 1000


def mapping(pairs: Mapping[str, str]) -> Mapping[str, str]:
    """A frozen copy of a map, in the order in which the store keeps it: protobuf's own differs from call to call, and a
    provider is to make the same of a message however often it is sent.
    """
    return MappingProxyType(dict(sorted(pairs.items()))) if pairs else EMPTY


def message_to(record: MessageRecord) -> message_pb2.Message:
    """The contract's `Message`."""
    message = message_pb2.Message()
    fill_message(message, record)
    return message


def fill_message(message: message_pb2.Message, record: MessageRecord) -> None:
    """The same, into a message that is empty and may be part of another: protobuf copies what is handed over whole."""
    message.message_id = record.message_id
    message.request_id = record.request_id
    message.channel = CHANNELS[record.channel]
    message.state = STATES[record.state]
    message.revision = record.revision
    set_time(message.create_time, record.create_time)
    set_time(message.update_time, record.update_time)
    set_time(message.expire_time, record.expire_time)
    if record.next_attempt_time is not None:
        set_time(message.next_attempt_time, record.next_attempt_time)
    if record.labels:
        message.labels.update(record.labels)
    attempts = record.attempts
    for attempt in attempts:
        _fill_attempt(message.attempts.add(), attempt)
    if attempts:
        last = attempts[-1]
        message.provider_name = last.provider_name
        message.provider_message_id = last.provider_message_id
        # While an attempt is open, the last that has ended is the one to report.
        ended = last.outcome or next((one.outcome for one in reversed(attempts) if one.outcome), None)
        if ended:
            message.outcome = _OUTCOMES[ended]
    if record.error_code == SUPPRESSED and record.state is MessageState.FAILED:
        message.outcome = message_pb2.OUTCOME_REJECTED
    for one in record.recipients:
        message.recipients.add(
            index=one.index,
            state=STATES[one.state],
            outcome=_OUTCOMES[one.outcome] if one.outcome else message_pb2.OUTCOME_UNSPECIFIED,
            error_code=one.error_code,
            provider_message_id=one.provider_message_id,
        )
    if record.note:
        fill_note(message.note, record.note)
    if record.receipts:
        for receipt in record.receipts:
            _fill_receipt(message.receipts.add(), receipt)
    if (record.error_code or attempts) and (error_code := error_code_of(record)):
        message.error_code = error_code


def error_code_of(record: MessageRecord) -> str:
    """Why a message stands where it does: what decided it later, or else the last attempt that has ended, where that
    is not the good end of it."""
    if record.error_code or record.state in _REPORTED_STATES:
        return record.error_code
    of_attempt = next((one.error_code for one in reversed(record.attempts) if one.outcome), "")
    if not of_attempt and record.state is MessageState.FAILED:  # for some, and the others have had theirs
        return next((one.error_code for one in record.recipients if one.error_code == SUPPRESSED), "")
    return of_attempt


def _fill_receipt(wire: message_pb2.Receipt, receipt: MessageReceipt) -> None:
    wire.provider_name = receipt.provider_name
    wire.attempt_number = receipt.attempt_number
    wire.state = RECEIPT_STATES[receipt.state]
    wire.error_code = receipt.error_code
    set_time(wire.receive_time, receipt.receive_time)
    if receipt.recipient_index is not None:
        wire.recipient_index = receipt.recipient_index


def fill_note(wire: message_pb2.Note, note: Note) -> None:
    """Write a note into one that is empty."""
    wire.action = _ACTIONS[note.action]
    wire.reason = note.reason
    set_time(wire.time, note.time)


def _fill_attempt(wire: message_pb2.Attempt, attempt: Attempt) -> None:
    wire.number = attempt.number
    wire.provider_name = attempt.provider_name
    set_time(wire.start_time, attempt.start_time)
    if attempt.outcome:
        wire.outcome = _OUTCOMES[attempt.outcome]
        if attempt.duration is not None:  # nobody knows it where a crash cut the attempt short
            duration = wire.duration
            duration.seconds, rest = divmod(attempt.duration, _MICROSECONDS)
            duration.nanos = rest * 1000
        if attempt.provider_message_id:
            wire.provider_message_id = attempt.provider_message_id
        if attempt.error_code:
            wire.error_code = attempt.error_code
        if attempt.detail:
            wire.detail = attempt.detail
    if attempt.trace_id:
        wire.trace_id = attempt.trace_id
    if attempt.receipt_overdue:
        wire.receipt_overdue = True


def set_time(wire: timestamp_pb2.Timestamp, microseconds: int) -> None:
    """Write a time that is in µs since the epoch; what is too late for a `Timestamp` as the last that it can hold."""
    # Earlier releases accepted messages that expire after 9999. One of them would keep a whole list from being read.
    if microseconds > MAX_TIME:
        microseconds = MAX_TIME
    wire.seconds, rest = divmod(microseconds, _MICROSECONDS)
    wire.nanos = rest * 1000


def explanation_to(explanation: Explanation) -> dispatch_service_pb2.ExplainRouteResponse:
    """The contract's answer to `ExplainRoute`."""
    route = explanation.route
    wire = dispatch_service_pb2.ExplainRouteResponse(
        route_key=route.key,
        overflow=route.overflow,
        rule=route.rule,
        matched_on=[f"{dotted(path)} = {toml_string(value)}" for path, value in explanation.matched_on],
    )
    if explanation.segments:
        encoding, wire.sms_segments = explanation.segments
        wire.sms_encoding = _SMS_ENCODINGS[encoding]
    for one in explanation.candidates:
        candidate = wire.candidates.add(
            provider_name=one.provider_name,
            tier=one.tier,
            weight=one.weight,
            eligible=one.obstacle is None,
            obstacle=_OBSTACLES[one.obstacle] if one.obstacle else dispatch_service_pb2.ROUTE_OBSTACLE_UNSPECIFIED,
        )
        if one.eligible_time is not None:
            set_time(candidate.eligible_time, one.eligible_time)
    return wire
