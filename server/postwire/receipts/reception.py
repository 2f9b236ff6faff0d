"""What is done with a vendor's call, in this order: its address is looked at, it is verified, read, and kept. Only then
the vendor is told that it has arrived.

Vendors hardly come again, so that they are answered soon, and in a way that has them come again where that is of use.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from postwire.core.errors import StoreUnavailable
from postwire.core.receipts import Inbound, Receipt
from postwire.core.reference import References
from postwire.providers.receipts.base import Fetch, Forged, ReceiptCall, ReceiptReader, Unreadable
from postwire.receipts.readers import Readers

MAX_UNDER_WAY: Final = 256
"""How many calls of one provider are verified and kept at once: what comes beyond that is to come again. Many, since a
vendor that hardly does may report thousands at a time."""

LARGE: Final = 16 << 10
"""Bytes of a call that is not read on the loop: a whole MiB of small events takes a second, in which nothing would be
sent."""

KEEP_TIME: Final = 0.9
"""Seconds that a vendor is kept waiting while its receipts are kept."""

UNCONFIGURED: Final = "unconfigured"
UNKNOWN_PROVIDER: Final = "provider"
UNREADABLE: Final = "unreadable"
UNUSED: Final = "unused"
UNAVAILABLE: Final = "unavailable"
BUSY: Final = "busy"
"""Why nothing is kept of a call, beside the reasons of `Forged`; for a metric."""

TAKEN: Final = 200
"""Some vendors take no other status for it: "If Mailgun receives a 200 (Success) code it will determine the webhook
POST is successful and not retry" (https://help.mailgun.com/hc/en-us/articles/202236504-Webhooks)."""

TAKEN_WITHOUT_REPLY: Final = 204
"""For messages that came in: whatever else is answered, Twilio takes for a reply in TwiML, and finds fault with it
(https://www.twilio.com/docs/api/errors/12300)."""

Keep = Callable[[str, Sequence[Receipt | Inbound]], Awaitable[None]]
"""Keeps what a provider, by its name, has reported; it is durable when that is done. Raises StoreUnavailable."""


class Refusals(Protocol):
    """Receives what nothing is kept of."""

    def receipt_refused(self, provider_name: str, reason: str) -> None:
        """A call at a provider's address led to nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a vendor is told. `again`: it may come again soon."""

    status: int
    again: bool = False


class Reception:
    """Takes calls of vendors, those of each provider beside those of others."""

    def __init__(
        self,
        readers: Readers,
        references: References,
        *,
        keep: Keep,
        fetch: Fetch,
        observer: Refusals,
        on_fault: Callable[[Exception], None],
    ) -> None:
        self._readers = readers
        self._references = references
        self._keep = keep
        self._fetch = fetch
        self._observer = observer
        self._on_fault = on_fault
        self._under_way: Counter[str] = Counter()
        self._keeping: set[asyncio.Task[None]] = set()
        # One large call of a provider at a time: the loop takes turns with each thread that reads one.
        self._reading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def refuse(self, provider_name: str, reason: str, status: int, *, again: bool = False) -> Answer:
        """Count a call of which nothing is kept. The name of a provider that there is not is not kept either."""
        self._observer.receipt_refused(provider_name if self._readers.knows(provider_name) else "", reason)
        return Answer(status, again)

    def failed(self, provider_name: str, error: Exception) -> Answer:
        """Something of ours has failed, and a vendor is to come again."""
        self._on_fault(error)
        return self.refuse(provider_name, UNAVAILABLE, 503, again=True)

    def look(self, provider_name: str, reference: str | None) -> Answer | None:
        """Why a call to this address cannot be anything of use, whatever it says; None where it may be."""
        if not self._readers.knows(provider_name):
            return self.refuse(provider_name, UNKNOWN_PROVIDER, 404)
        if (reader := self._readers.of(provider_name)) is None:
            return self.refuse(provider_name, UNCONFIGURED, 404)
        if reference is not None and not self._is_reference(reference):
            return self.refuse(provider_name, "reference", reader.refused_status)
        return None

    async def receive(
        self, provider_name: str, reference: str | None, method: str, url: str, headers: dict[str, str], body: bytes,
        *, now: int,
    ) -> Answer:  # fmt: skip
        """Do with a call what is to be done. `headers` are by names in lower case, `now` is in µs since the epoch."""
        if refused := self.look(provider_name, reference):
            return refused
        reader = self._readers.of(provider_name)
        assert reader is not None
        if self._under_way[provider_name] >= MAX_UNDER_WAY:
            return self.refuse(provider_name, BUSY, 503, again=True)
        call = ReceiptCall(method, url, headers, body, reference or "", now, self._is_reference)
        self._under_way[provider_name] += 1
        keeping: asyncio.Task[None] | None = None
        try:
            found = await self._verified(provider_name, reader, call)
            if isinstance(found, Answer):
                return found
            if not found:
                return self.refuse(provider_name, UNUSED, TAKEN)
            keeping = asyncio.create_task(self._kept(provider_name, found))
            self._keeping.add(keeping)
            return await self._answer(provider_name, keeping, found)
        finally:
            if keeping is None or keeping.done():
                self._ended(provider_name, keeping)
            else:  # it goes on, and takes its room until it has ended
                keeping.add_done_callback(lambda task: self._ended(provider_name, task))

    async def stop(self, seconds: float) -> None:
        """Wait for what is being kept."""
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=seconds)

    def _is_reference(self, text: str) -> bool:
        return self._references.read(text) is not None

    async def _verified(
        self, provider_name: str, reader: ReceiptReader, call: ReceiptCall
    ) -> Sequence[Receipt | Inbound] | Answer:
        """What a call reports, if it is the vendor's; or else what it is told."""
        try:
            await reader.verify(call, self._fetch)
        except Forged as forged:
            return self.refuse(provider_name, forged.reason, reader.refused_status)
        except OSError:
            return self.refuse(provider_name, UNAVAILABLE, 503, again=True)
        except Exception as error:  # nothing that cannot be verified is believed
            self._on_fault(error)
            return self.refuse(provider_name, "signature", reader.refused_status)
        try:
            if len(call.body) <= LARGE:
                return reader.read(call, call.now)
            async with self._reading[provider_name]:
                return await asyncio.to_thread(reader.read, call, call.now)
        except Unreadable:
            return self.refuse(provider_name, UNREADABLE, 400)
        except Exception as error:
            self._on_fault(error)
            return self.refuse(provider_name, UNREADABLE, 400)

    async def _kept(self, provider_name: str, found: Sequence[Receipt | Inbound]) -> None:
        await self._keep(provider_name, found)

    async def _answer(
        self, provider_name: str, keeping: asyncio.Task[None], found: Sequence[Receipt | Inbound]
    ) -> Answer:
        done, _ = await asyncio.wait((keeping,), timeout=KEEP_TIME)
        if not done:
            # It may be kept yet. If the vendor comes again, it is known.
            return self.refuse(provider_name, UNAVAILABLE, 503, again=True)
        error = keeping.exception()
        if error is None:
            inbound = any(isinstance(one, Inbound) for one in found)
            return Answer(TAKEN_WITHOUT_REPLY if inbound else TAKEN)
        if isinstance(error, Exception) and not isinstance(error, StoreUnavailable):
            self._on_fault(error)
        return self.refuse(provider_name, UNAVAILABLE, 503, again=True)

    def _ended(self, provider_name: str, keeping: asyncio.Task[None] | None) -> None:
        self._under_way[provider_name] -= 1
        if keeping is not None:
            self._keeping.discard(keeping)
            if not keeping.cancelled():
                keeping.exception()  # so that nobody misses it
