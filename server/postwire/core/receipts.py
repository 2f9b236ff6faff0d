"""What providers report of a message after they took it."""

from __future__ import annotations

from dataclasses import field

from postwire.core.values import Word, frozen


class ReceiptState(Word):
    """What a receipt reports."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    COMPLAINED = "complained"
    OPTED_OUT = "opted_out"


@frozen
class Receipt:
    """One report of a vendor, in our words, as the vendor's reader makes it.

    It belongs to the attempt that `reference` names (see `core.reference`), or else to that from which the provider has
    the id `provider_message_id`; a reader gives what the vendor sends, which may be both. `recipient` is the address
    that it is about, where the vendor says so, and is nobody's to see. `code` is the vendor's own. `event_id` is the
    vendor's id of this report, by which it is known when it comes again. `time` is the vendor's, in µs since the epoch.
    `permanent`: the vendor will not reach this recipient, ever (a hard bounce).
    """

    state: ReceiptState
    reference: str = ""
    provider_message_id: str = ""
    recipient: str = field(default="", repr=False)
    code: str = ""
    event_id: str = ""
    time: int | None = None
    permanent: bool = False


@frozen
class Inbound:
    """A message that somebody has sent to us, as the vendor's reader makes it: from a phone to a number of ours.

    All of it is somebody's data. Nothing of the text is kept: see `core.inbound`.
    """

    sender: str = field(repr=False)
    recipient: str = field(repr=False)
    text: str = field(repr=False)
    event_id: str = ""


@frozen
class MessageReceipt:
    """A receipt as the record of its message keeps it. `receive_time` is in µs since the epoch, `recipient_index` the
    position of the recipient that it is about, or None for all of the attempt's."""

    provider_name: str
    attempt_number: int
    state: ReceiptState
    error_code: str
    receive_time: int
    recipient_index: int | None = None


@frozen
class KeptReceipt:
    """A receipt as the store keeps it, whose attempt is known. Times are in µs since the epoch.

    `number` is the store's. `part` is the vendor's id of what it is about. `is_unmatched`: it is about a recipient who
    is none of the attempt's as far as is known, so that it is listed and changes nothing. `is_applied`: its message has
    what it says. `to_report`: whoever suppresses is still to hear of it.
    """

    number: int
    provider_name: str
    attempt_number: int
    state: ReceiptState
    receive_time: int
    code: str = ""
    recipient_index: int | None = None
    is_unmatched: bool = False
    part: str = ""
    time: int | None = None
    permanent: bool = False
    is_applied: bool = False
    to_report: bool = False

    @property
    def listed(self) -> MessageReceipt:
        """As the record of its message lists it."""
        return MessageReceipt(
            self.provider_name, self.attempt_number, self.state, self.code, self.receive_time, self.recipient_index
        )
