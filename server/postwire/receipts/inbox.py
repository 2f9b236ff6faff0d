"""Where receipts come in, whichever way: by a call of a vendor, or from a provider that is told of them itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from postwire.clock import Clock
from postwire.core.errors import StoreUnavailable
from postwire.core.lifecycle import MAX_VENDOR_TEXT
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.delivery.receipts import ReceiptTracker
from postwire.outbox.base import HeldKey, ReceiptFate, ReceiptReport, ReceiptStore
from postwire.telemetry.base import Observer

MAX_HELD: Final = 10_000
"""How many receipts are held whose messages are not known, of all providers."""

AT_ONCE: Final = 200
"""How many receipts are kept in one commit: others wait for that."""

UNKNOWN: Final = "unknown"
"""Why nothing is kept of a receipt whose message or attempt is none of its provider's."""

EVENT_BYTES: Final = 16

_MAX_CODE: Final = 128
"""How many characters of a vendor's code are kept."""

TO_REPORT: Final = frozenset({ReceiptState.UNDELIVERED, ReceiptState.COMPLAINED, ReceiptState.OPTED_OUT})
"""What may have an address suppressed."""

OnInbound = Callable[[str, Inbound], Awaitable[bool]]
"""Called with the name of the provider, and what came in by it; says whether that has led to anything."""


class ReceiptInbox:
    """Keeps what providers report, before anybody is told that it was received."""

    def __init__(
        self,
        *,
        outbox: ReceiptStore,
        tracker: ReceiptTracker,
        clock: Clock,
        observer: Observer,
        address_hash: Callable[[str], bytes],
        reports: bool = False,
        on_inbound: OnInbound | None = None,
        max_held: int = MAX_HELD,
    ) -> None:
        """`reports`: whoever suppresses is to hear of what may have an address suppressed."""
        self._outbox = outbox
        self._tracker = tracker
        self._clock = clock
        self._observer = observer
        self._address_hash = address_hash
        self._reports = reports
        self._on_inbound = on_inbound
        self._max_held = max_held
        self._keeping: set[asyncio.Task[None]] = set()

    async def keep(self, provider_name: str, reported: Sequence[Receipt | Inbound]) -> None:
        """Keep what a provider reports. It is on disk when this is done. A caller who is cancelled changes nothing.

        Raises:
            StoreUnavailable: it may not be, and is to come again.
        """
        task = asyncio.get_running_loop().create_task(self._keep(provider_name, reported))
        self._keeping.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Return once nothing is being kept any more."""
        if self._keeping:
            await asyncio.wait(self._keeping)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._keeping.discard(task)
        if not task.cancelled():
            task.exception()  # it is the caller's, who may be gone

    async def _keep(self, provider_name: str, reported: Sequence[Receipt | Inbound]) -> None:
        receipts = [one for one in reported if isinstance(one, Receipt)]
        for at in range(0, len(receipts), AT_ONCE):
            # Made for one commit at a time: for thousands they take a third of a second, which holds the loop.
            await self._keep_some(
                provider_name, [self._report(provider_name, one) for one in receipts[at : at + AT_ONCE]]
            )
        for one in reported:
            if isinstance(one, Inbound):
                await self._take_inbound(provider_name, one)

    async def _take_inbound(self, provider_name: str, inbound: Inbound) -> None:
        """Have a message that came in looked at. What has led to something once does not again: it may be sent once
        more by the vendor, or by whoever has seen it, after something else was said."""
        if self._on_inbound is None:
            return
        event = event_of_inbound(inbound)
        if event and await self._outbox.is_inbound_known(provider_name, event):
            return
        if await self._on_inbound(provider_name, inbound) and event:
            await self._outbox.keep_inbound(provider_name, event, self._clock.wall())

    async def _keep_some(self, provider_name: str, reports: Sequence[ReceiptReport]) -> None:
        # Before the commit: what they wait for may be in the next one.
        keys = [key for one in reports for key in _keys(one)]
        self._tracker.expect(keys)
        try:
            kept = await self._outbox.keep_receipts(reports, self._max_held)
        except StoreUnavailable:
            self._tracker.forget(keys)
            raise
        self._tracker.kept(one.message_id for one in kept if one.fate is ReceiptFate.KEPT)
        for report, one in zip(reports, kept, strict=True):
            if one.fate is ReceiptFate.HELD:
                self._tracker.held(_keys(report))
            else:
                self._tracker.forget(_keys(report))
            if one.dropped:
                self._observer.receipt_refused(one.dropped, UNKNOWN)
            if one.fate is ReceiptFate.REFUSED:
                self._observer.receipt_refused(provider_name, UNKNOWN)

    def _report(self, provider_name: str, receipt: Receipt) -> ReceiptReport:
        named = self._tracker.addresses.references.read(receipt.reference) if receipt.reference else None
        message_id, attempt = named or ("", 0)
        recipient_hash = self._address_hash(receipt.recipient) if receipt.recipient else b""
        return ReceiptReport(
            provider_name=provider_name,
            event=event_of(receipt, recipient_hash),
            state=receipt.state,
            receive_time=self._clock.wall(),
            message_id=message_id,
            attempt_number=attempt,
            provider_message_id=_text(receipt.provider_message_id)[:MAX_VENDOR_TEXT],
            recipient_hash=recipient_hash,
            code=_text(receipt.code)[:_MAX_CODE],
            time=receipt.time,
            permanent=receipt.permanent,
            to_report=self._reports and receipt.state in TO_REPORT,
        )


def event_of(receipt: Receipt, recipient_hash: bytes) -> bytes:
    """By what a receipt is known when it comes again: the vendor's id of it, or else what it says. One event of a
    vendor may be about several recipients."""
    said = (
        ("event", receipt.event_id)
        if receipt.event_id
        else ("said", receipt.reference, receipt.provider_message_id, receipt.code)
    )
    made = hashlib.sha256()
    for part in (*said, receipt.state.value):
        text = part.encode("utf-8", "surrogatepass")
        made.update(len(text).to_bytes(4, "big") + text)
    made.update(recipient_hash)
    return made.digest()[:EVENT_BYTES]


def event_of_inbound(inbound: Inbound) -> bytes:
    """By what a message that came in is known when it comes again; empty where the vendor gives it no id."""
    text = inbound.event_id.encode("utf-8", "surrogatepass")
    return hashlib.sha256(b"inbound" + text).digest()[:EVENT_BYTES] if text else b""


def _keys(report: ReceiptReport) -> list[HeldKey]:
    """Under what a receipt is held, if it comes to that."""
    found = [HeldKey(report.provider_name, report.provider_message_id)] if report.provider_message_id else []
    return [*found, HeldKey("", report.message_id)] if report.message_id else found


def _text(text: str) -> str:
    """What a vendor says, without halves of characters."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
