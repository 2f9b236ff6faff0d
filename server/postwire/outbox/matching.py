"""Whom a receipt is about, and under what it is held where that is not known. For whatever store there is."""

from __future__ import annotations

from collections.abc import Sequence

from postwire.outbox.base import HeldKey, ReceiptReport
from postwire.outbox.texts import ALL, UNMATCHED


def meant_by(
    report: ReceiptReport, of_attempt: Sequence[int], count: int, by_id: int, hashes: Sequence[bytes]
) -> Sequence[int]:
    """The positions that a receipt is about, of the `count` recipients of its message; `by_id` is what the vendor's id
    says of that."""
    if not count:
        return (ALL,)
    if report.recipient_hash:
        if matching := [at for at in of_attempt if at < len(hashes) and hashes[at] == report.recipient_hash]:
            return matching
        if by_id < 0 and len(of_attempt) > 1:
            return (UNMATCHED,)
    if by_id >= 0:
        return (by_id,)
    return tuple(of_attempt) if len(of_attempt) == 1 else (ALL,)


def keys_of(provider_name: str, provider_message_id: str, message_id: str) -> list[HeldKey]:
    """Under what a receipt is held."""
    found = [HeldKey(provider_name, provider_message_id)] if provider_message_id else []
    return [*found, HeldKey("", message_id)] if message_id else found
