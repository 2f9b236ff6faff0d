"""The receipts of a mock: which ones it sends.

Draws: two for each message that it may have taken (for each recipient, where an email has several), from a generator of
their own, `core.splitmix.stream(seed, "receipts")`, and taken on entry to `send`, so that receipts are the same for the
same seed, whenever they come. The first is compared against the ratios of delivered and undelivered, in this order:
above both there is no receipt. The second is below the ratio of doubled ones where the receipt comes twice. Where both
ratios are 0 nothing is drawn.
"""

from __future__ import annotations

from typing import Protocol

from postwire.core.receipts import ReceiptState
from postwire.core.splitmix import stream


class ReceiptSettings(Protocol):
    """What of a mock's settings is about receipts."""

    @property
    def delivered_ratio(self) -> float: ...
    @property
    def undelivered_ratio(self) -> float: ...
    @property
    def doubled_receipt_ratio(self) -> float: ...


class ReceiptDraws:
    """The stream of receipts that a seed decides, in the proportions of the settings."""

    __slots__ = ("_generator",)

    def __init__(self, seed: int) -> None:
        self._generator = stream(seed, "receipts")

    def next(self, settings: ReceiptSettings) -> tuple[ReceiptState | None, int]:
        """Take two draws: what is reported, None for nothing, and how often."""
        u, v = self._generator.next_unit(), self._generator.next_unit()
        times = 2 if v < settings.doubled_receipt_ratio else 1
        if u < settings.delivered_ratio:
            return ReceiptState.DELIVERED, times
        return (ReceiptState.UNDELIVERED if u < settings.delivered_ratio + settings.undelivered_ratio else None), times
