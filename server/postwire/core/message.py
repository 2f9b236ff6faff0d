"""What callers ask to be sent, and the record of what became of it.

Every value here is frozen, as `core.values` has it. Those that hold somebody's data (a recipient, a body, a subject)
never show it in their `repr`, so that no log line, traceback or assertion can leak it by accident.

Times are whole microseconds: since the Unix epoch for points in time, plain for durations. One integer is exact in
SQLite, in the contract's `Timestamp`, and in comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Final

from postwire.core.outcome import Outcome
from postwire.core.receipts import MessageReceipt
from postwire.core.values import Private, Word, frozen

EMPTY: Final[Mapping[str, str]] = MappingProxyType({})
"""The mapping of what has no labels, or no headers."""


def _empty() -> Mapping[str, str]:
    return EMPTY


MAX_TIME: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999, µs since the epoch: no later time fits into the contract's `Timestamp`."""

DEFAULT_TENANT: Final = "default"
"""Whom everything belongs to where the configuration names no tenants, and what was there before it did."""


class Channel(Word):
    """What kind of message it is."""

    SMS = "sms"
    MMS = "mms"
    EMAIL = "email"


class MessageState(Word):
    """Where a message stands. Every state but `QUEUED` and `SENDING` is settled."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


UNSETTLED: Final = frozenset({MessageState.QUEUED, MessageState.SENDING})


class Priority(Word):
    """Which message goes first where several wait for the same providers."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class DeliveryGuarantee(Word):
    """What follows when it is not known whether an attempt sent the message."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class WaitFor(Word):
    """When `Dispatch` answers."""

    OUTCOME = "outcome"
    ACCEPTANCE = "acceptance"


@frozen(repr=False)
class Sms(Private):
    """A text message to one phone; `to` is in E.164 form, an empty `sender` is the provider's own."""

    to: str
    body: str
    sender: str = ""


@frozen(repr=False)
class Media(Private):
    """One piece of media: at an address, or as bytes. Exactly one of `url` and `data` is not empty."""

    url: str = ""
    data: bytes = b""
    content_type: str = ""
    file_name: str = ""


@frozen(repr=False)
class Mms(Private):
    """A message with media to one phone."""

    to: str
    body: str = ""
    sender: str = ""
    media: tuple[Media, ...] = ()


@frozen(repr=False)
class Attachment(Private):
    """One file attached to an email."""

    file_name: str
    content_type: str
    data: bytes


@frozen(repr=False)
class Email(Private):
    """An email. Its recipients, by position, are `to`, then `cc`, then `bcc`."""

    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    html: str = ""
    sender: str = ""
    reply_to: str = ""
    headers: Mapping[str, str] = field(default_factory=_empty)
    attachments: tuple[Attachment, ...] = ()

    @property
    def recipients(self) -> tuple[str, ...]:
        """Every address, in the order by which recipients are numbered."""
        return self.to + self.cc + self.bcc


Content = Sms | Mms | Email

_CHANNEL_OF: Final[Mapping[type, Channel]] = {Sms: Channel.SMS, Mms: Channel.MMS, Email: Channel.EMAIL}


@frozen(repr=False)
class OutboundMessage(Private):
    """What a caller asks to be sent."""

    content: Content
    labels: Mapping[str, str] = field(default_factory=_empty)

    @property
    def channel(self) -> Channel:
        """The channel, which the kind of content decides."""
        return _CHANNEL_OF[type(self.content)]


@frozen
class DispatchOptions:
    """How to send it. None stands for what the caller left out; times are microseconds since the epoch."""

    send_time: int | None = None
    expire_time: int | None = None
    priority: Priority = Priority.NORMAL
    delivery_guarantee: DeliveryGuarantee = DeliveryGuarantee.AT_LEAST_ONCE
    provider_name: str | None = None
    max_attempts: int | None = None
    ignore_suppression: bool = False


NO_OPTIONS: Final = DispatchOptions()


@frozen
class DispatchCommand:
    """A call of `Dispatch` that is well formed. `size` is the call's, in bytes; an empty `request_id` is left out."""

    message: OutboundMessage
    request_id: str = ""
    options: DispatchOptions = NO_OPTIONS
    wait_for: WaitFor = WaitFor.OUTCOME
    size: int = 0
    tenant: str = DEFAULT_TENANT


@frozen
class Attempt:
    """One try of one message at one provider. `outcome` and `duration` (µs) are None while it is open.

    `positions` are those of the recipients of an email that it was for; None for all of them. `receipt_overdue`: it was
    made since no receipt of an earlier one had come in time.
    """

    number: int
    provider_name: str
    start_time: int
    outcome: Outcome | None = None
    duration: int | None = None
    provider_message_id: str = ""
    error_code: str = ""
    detail: str = ""
    trace_id: str = ""
    positions: tuple[int, ...] | None = None
    receipt_overdue: bool = False


@frozen
class RecipientStatus:
    """Where an email stands with the recipient at position `index`.

    `maybe_sent`: an attempt was `uncertain` for this recipient, so that an end which denies sending would be a lie.
    `provider_message_id` is the vendor's, where it gives each recipient's message one of its own.
    """

    index: int
    state: MessageState
    outcome: Outcome | None = None
    error_code: str = ""
    maybe_sent: bool = False
    provider_message_id: str = ""


class NoteAction(Word):
    """What an operator has done to a message or a provider."""

    CANCEL = "cancel"
    RESOLVE = "resolve"
    DRAIN = "drain"
    RESUME = "resume"
    RESET = "reset"


@frozen
class Note:
    """What an operator did, why, and when (µs since the epoch). The reason is free text, and nobody else's to read."""

    action: NoteAction
    reason: str = field(repr=False)
    time: int


@frozen
class MessageRecord:
    """What the service keeps of a message: everything but its content.

    Times are microseconds since the epoch, by the wall clock; but `deadline` and, unless it is the `send_time` that the
    caller gave, `next_attempt_time` are by the due clock: `core.waiting` compares them. Where there is a `deadline`, it
    is in force, and `expire_time` is what was expected of it. `revision` rises with every change. `queue` is the key of
    the queue that it waits in while it is `QUEUED`: that of its route. `note` is what an operator did to it last.
    `tenant` is whose message it is. `receipts` are what providers reported later, oldest first, and the last of them.
    `error_code` says why it stands where it does, where that is not what the last attempt says. `follow_up_time` is
    when (µs, due clock) a further attempt follows unless a receipt comes: see `core.follow_up`.
    """

    message_id: str
    request_id: str
    channel: Channel
    state: MessageState
    create_time: int
    update_time: int
    expire_time: int
    attempts: tuple[Attempt, ...] = ()
    recipients: tuple[RecipientStatus, ...] = ()
    labels: Mapping[str, str] = field(default_factory=_empty, repr=False)
    next_attempt_time: int | None = None
    revision: int = 1
    queue: str = ""
    note: Note | None = None
    send_time: int | None = None
    deadline: int | None = None
    tenant: str = DEFAULT_TENANT
    receipts: tuple[MessageReceipt, ...] = ()
    error_code: str = ""
    follow_up_time: int | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state not in UNSETTLED
