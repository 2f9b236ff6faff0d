"""What of receipts observers ask for, and how many there were."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from statistics import median_low
from typing import Final

from postwire.core.message import Attempt, MessageRecord
from postwire.core.receipts import MessageReceipt, ReceiptState
from postwire.telemetry.base import SilentObserver


def attempt_of(record: MessageRecord, receipt: MessageReceipt) -> Attempt | None:
    """The attempt that a receipt is about."""
    return next((one for one in record.attempts if one.number == receipt.attempt_number), None)


def delay_of(record: MessageRecord, receipt: MessageReceipt) -> int | None:
    """How long after the end of its attempt a receipt came in, in µs; None where that is not known."""
    attempt = attempt_of(record, receipt)
    if attempt is None or attempt.duration is None:
        return None
    return max(receipt.receive_time - attempt.start_time - attempt.duration, 0)


LATEST: Final = 100
"""Of how many receipts the delay is that people see."""


class ReceiptFigures(SilentObserver):
    """How many receipts there were, and how late they came, for whoever looks at a provider."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counter[ReceiptState]] = defaultdict(Counter)
        self._delays: defaultdict[str, deque[int]] = defaultdict(lambda: deque(maxlen=LATEST))

    def counts(self, provider_name: str) -> Mapping[ReceiptState, int]:
        """How many of a provider there were, by what they reported."""
        return self._counts.get(provider_name, {})

    def delay(self, provider_name: str) -> int | None:
        """How long after the end of their attempts the last ones came in, in µs: the median. None: there were none."""
        delays = self._delays.get(provider_name)
        return median_low(delays) if delays else None

    def receipt_applied(self, record: MessageRecord, receipt: MessageReceipt) -> None:
        """See `Observer.receipt_applied`."""
        self._counts[receipt.provider_name][receipt.state] += 1
        if (delay := delay_of(record, receipt)) is not None:
            self._delays[receipt.provider_name].append(delay)
