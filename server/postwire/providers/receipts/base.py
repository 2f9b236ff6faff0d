"""The seam to the readers of receipts: two functions a vendor, one that says whether a call is the vendor's, and a pure
one that says what it reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.core.receipts import Inbound, Receipt


def _never(_: str) -> bool:
    """What nobody can check does not hold."""
    return False


@dataclass(frozen=True, slots=True, repr=False)
class ReceiptCall:
    """A call of a vendor, as it came in. All of it is unproven, and may be somebody's data.

    `url` is where the vendor was told to call, with the query that it has called with: it begins with
    `receipts.public_url`, never with what the call says of its host. The names of `headers` are in lower case.
    `reference` is the last part of the path, if that is a reference of ours that holds (its HMAC was verified), or else
    empty. `now` is when the call came in (µs since the epoch). `is_reference` says whether a text is one that holds,
    for vendors that sign nothing and quote it elsewhere.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    reference: str
    now: int
    is_reference: Callable[[str], bool] = _never


class Forged(Exception):
    """The call is not the vendor's, as far as can be told. `reason` is one of a few words, for a metric: `signature`,
    `missing`, `stale`, `credentials`, `reference`, `topic`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unreadable(Exception):
    """The call is the vendor's, and cannot be read. The text says what is wrong, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to a `Fetch`: a body of at most 64 KiB."""

    status: int
    body: bytes


Fetch = Callable[[str], Awaitable[Fetched]]
"""Gets what is at an https address, for vendors that publish what they sign with, in limited time and without
redirects. Raises OSError where it cannot be had."""


class ReceiptReader(Protocol):
    """Reads the receipts of one provider."""

    @property
    def refused_status(self) -> int:
        """The HTTP status that tells this vendor not to come again with what was forged: 401, but for a few."""
        ...

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        """Return if the call is the vendor's. Bytes are compared in constant time, and decoded strictly.

        Raises:
            Forged: it is not, or not for sure.
            OSError: what it is to be checked by cannot be fetched now.
        """
        ...

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt | Inbound]:
        """What a verified call reports; empty where it reports nothing that is used. `now` is in µs since the epoch.
        Large calls are read in a thread of their own.

        Raises:
            Unreadable: it is not what this vendor sends.
        """
        ...


def _nothing(_: object) -> str:
    """Where no key of the kind's own asks for receipts."""
    return ""


@dataclass(frozen=True, slots=True)
class ReceiptSupport:
    """What a kind declares of receipts, as `Kind.receipts`.

    `keys` are those of `[providers.NAME.receipts]` that it takes; others stop the boot. `make(settings, config)` is
    given the kind's own settings and that table, and makes the reader; None where not enough is configured for receipts
    to be believed, so that none are taken. It raises ValueError, led by a key of that table, where what is there is of
    no use.
    `in_address`: the vendor can be told an address for each message (`Handover.callback_url`). `asked_by(settings)` is
    the key of the kind's own settings that is of use only where receipts are taken, if it is given; else empty.
    """

    keys: Collection[str]
    make: Callable[[Any, ProviderReceiptsConfig], ReceiptReader | None]
    in_address: bool = False
    asked_by: Callable[[Any], str] = _nothing
