"""Between receipts and rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from postwire.core.receipts import KeptReceipt
from postwire.outbox.base import ProviderMessageId, ReceiptReport
from postwire.outbox.sqlite.queries import Row
from postwire.outbox.texts import ALL, RECEIPT_STATES, UNMATCHED


def receipt_row(report: ReceiptReport, message_id: bytes, attempt: int, recipient: int) -> Row:
    """The row of `insert_receipt`."""
    return (
        report.provider_name,
        report.event,
        message_id,
        attempt,
        recipient,
        report.state.value,
        report.code,
        report.provider_message_id,
        report.time,
        int(report.permanent),
        report.receive_time,
        int(report.to_report),
    )


def kept_from(row: Sequence[Any]) -> KeptReceipt:
    """The receipt of a row of `RECEIPT`."""
    (
        number,
        provider_name,
        attempt,
        state,
        receive_time,
        code,
        recipient,
        part,
        time,
        permanent,
        applied,
        to_report,
    ) = row
    return KeptReceipt(
        number=number,
        provider_name=provider_name,
        attempt_number=attempt,
        state=RECEIPT_STATES[state],
        receive_time=receive_time,
        code=code,
        recipient_index=recipient if recipient >= 0 else None,
        is_unmatched=recipient == UNMATCHED,
        part=part,
        time=time,
        permanent=bool(permanent),
        is_applied=bool(applied),
        to_report=bool(to_report),
    )


def held_row(report: ReceiptReport) -> Row:
    """The row of `hold_receipt`: of `HELD`, in its order."""
    return (
        report.provider_name,
        report.event,
        report.state.value,
        report.receive_time,
        UUID(report.message_id).bytes if report.message_id else b"",
        report.attempt_number,
        report.provider_message_id,
        report.recipient_hash,
        report.code,
        report.time,
        int(report.permanent),
        int(report.to_report),
    )


def report_from(row: Sequence[Any]) -> ReceiptReport:
    """The report of a row of `HELD`."""
    (
        provider_name,
        event,
        state,
        receive_time,
        message_id,
        attempt,
        provider_id,
        hash_,
        code,
        time,
        permanent,
        is_to_report,
    ) = row
    return ReceiptReport(
        provider_name=provider_name,
        event=event,
        state=RECEIPT_STATES[state],
        receive_time=receive_time,
        message_id=str(UUID(bytes=message_id)) if message_id else "",
        attempt_number=attempt,
        provider_message_id=provider_id,
        recipient_hash=hash_,
        code=code,
        time=time,
        permanent=bool(permanent),
        to_report=bool(is_to_report),
    )


def provider_id_row(message_id: bytes, one: ProviderMessageId) -> Row:
    """The row of `insert_provider_ids`."""
    recipient = ALL if one.recipient_index is None else one.recipient_index
    return one.provider_name, one.provider_message_id, message_id, one.attempt_number, recipient
