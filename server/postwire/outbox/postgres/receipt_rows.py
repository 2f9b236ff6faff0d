"""Between receipts and rows."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from postwire.core.receipts import KeptReceipt
from postwire.outbox.base import ReceiptReport
from postwire.outbox.postgres.queries import Record
from postwire.outbox.postgres.rows import Row, plain
from postwire.outbox.texts import RECEIPT_STATES, UNMATCHED

COLUMNS: Final = 12
"""Of a row of `receipt_row`, and of one of `held_row`."""


def receipt_row(report: ReceiptReport, message_id: UUID, attempt: int, recipient: int) -> Row:
    """The row of `insert_receipts`."""
    return (
        report.provider_name,
        report.event,
        message_id,
        attempt,
        recipient,
        report.state.value,
        plain(report.code),
        plain(report.provider_message_id),
        report.time,
        report.permanent,
        report.receive_time,
        report.to_report,
    )


def kept_from(row: Record) -> KeptReceipt:
    """The receipt of a row of `RECEIPT`."""
    recipient: int = row["recipient"]
    return KeptReceipt(
        number=row["receipt"],
        provider_name=row["provider_name"],
        attempt_number=row["attempt"],
        state=RECEIPT_STATES[row["state"]],
        receive_time=row["receive_time"],
        code=row["code"],
        recipient_index=recipient if recipient >= 0 else None,
        is_unmatched=recipient == UNMATCHED,
        part=row["part"],
        time=row["time"],
        permanent=row["permanent"],
        is_applied=row["applied"],
        to_report=row["to_report"],
    )


def held_row(report: ReceiptReport) -> Row:
    """The row of `hold_receipts`."""
    return (
        report.provider_name,
        report.event,
        UUID(report.message_id) if report.message_id else None,
        report.attempt_number,
        plain(report.provider_message_id),
        report.recipient_hash,
        report.state.value,
        plain(report.code),
        report.time,
        report.permanent,
        report.receive_time,
        report.to_report,
    )


def report_from(row: Record) -> ReceiptReport:
    """The report of a row of `HELD`."""
    return ReceiptReport(
        provider_name=row["provider_name"],
        event=row["event"],
        state=RECEIPT_STATES[row["state"]],
        receive_time=row["receive_time"],
        message_id=str(row["message_id"]) if row["message_id"] else "",
        attempt_number=row["attempt"],
        provider_message_id=row["provider_message_id"],
        recipient_hash=row["recipient_hash"],
        code=row["code"],
        time=row["time"],
        permanent=row["permanent"],
        to_report=row["to_report"],
    )
