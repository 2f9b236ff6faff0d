"""What is asked of whoever writes: changes of records, and messages that are accepted. For whatever store there is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from postwire.core.audit import AuditEvent
from postwire.core.message import MessageRecord
from postwire.outbox.base import ProviderMessageId

Future = asyncio.Future[Any]

Pair = tuple[MessageRecord, MessageRecord]
"""A record before and after a change."""


@dataclass(slots=True, eq=False)
class Change:
    """Changes of records that are kept together. The result is a list of whether each was, or that of the one.

    `event` is kept with it if it is. The one applies the `receipts` with these numbers, and comes with what a provider
    has given as its ids.
    """

    pairs: Sequence[Pair]
    several: bool
    future: Future
    event: AuditEvent | None = None
    receipts: Sequence[int] = ()
    provider_ids: Sequence[ProviderMessageId] = ()
    result: object = None
