"""Parts of a record as stores keep them: as text, and hashes in one piece. For whatever store there is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from postwire.core.message import Channel, DeliveryGuarantee, MessageState, Note, NoteAction, RecipientStatus
from postwire.core.outcome import Outcome
from postwire.core.receipts import MessageReceipt, ReceiptState
from postwire.core.suppression import SuppressionReason

ALL: Final = -1
"""In place of a position: all recipients of the attempt."""

UNMATCHED: Final = -2
"""One that is none of them as far as is known."""

HASH_BYTES: Final = 32

CHANNELS: Final = {channel.value: channel for channel in Channel}
STATES: Final = {state.value: state for state in MessageState}
OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}
GUARANTEES: Final = {guarantee.value: guarantee for guarantee in DeliveryGuarantee}
RECEIPT_STATES: Final = {state.value: state for state in ReceiptState}
SUPPRESSION_REASONS: Final = {reason.value: reason for reason in SuppressionReason}
"""By what stands for each word in a store."""

_ACTIONS: Final = {action.value: action for action in NoteAction}


def note_text(note: Note) -> str:
    """A note as it is stored."""
    return json.dumps((note.action.value, note.reason, note.time))


def note_from(text: str) -> Note:
    """The note of a text of `note_text`."""
    action, reason, time = json.loads(text)
    return Note(_ACTIONS[action], reason, time)


def recipients_text(recipients: Sequence[RecipientStatus]) -> str | None:
    """The recipients of a record as they are stored; None for none."""
    # By position: the index is not written. A list a recipient is a third of the size of an object a recipient.
    if not recipients:
        return None
    return json.dumps(
        [
            (
                one.state.value,
                one.outcome.value if one.outcome else "",
                one.error_code,
                *_optional(one),
            )
            for one in recipients
        ]
    )


def recipients_from(text: str | None) -> tuple[RecipientStatus, ...]:
    """The recipients of a text of `recipients_text`."""
    if not text:
        return ()
    return tuple(
        RecipientStatus(
            index,
            STATES[state],
            OUTCOMES[outcome] if outcome else None,
            error_code,
            bool(optional and optional[0]),
            optional[1] if len(optional) > 1 else "",
        )
        for index, (state, outcome, error_code, *optional) in enumerate(json.loads(text))
    )


def _optional(one: RecipientStatus) -> tuple[int | str, ...]:
    """What is seldom there: whether it may have been sent, and the vendor's id."""
    if one.provider_message_id:
        return int(one.maybe_sent), one.provider_message_id
    return (1,) if one.maybe_sent else ()


def listed_text(receipts: Sequence[MessageReceipt]) -> str | None:
    """The receipts that a record lists, as they are stored."""
    if not receipts:
        return None
    return json.dumps(
        [
            (
                one.provider_name,
                one.attempt_number,
                one.state.value,
                one.error_code,
                one.receive_time,
                one.recipient_index,
            )
            for one in receipts
        ]
    )


def listed_from(text: str) -> tuple[MessageReceipt, ...]:
    """The receipts of a text of `listed_text`."""
    return tuple(
        MessageReceipt(provider_name, attempt, RECEIPT_STATES[state], code, receive_time, recipient)
        for provider_name, attempt, state, code, receive_time, recipient in json.loads(text)
    )


def hashes_from(blob: bytes | None) -> tuple[bytes, ...]:
    """The hashes of recipients, by position."""
    return tuple(blob[at : at + HASH_BYTES] for at in range(0, len(blob), HASH_BYTES)) if blob else ()
