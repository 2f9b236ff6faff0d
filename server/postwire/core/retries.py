"""What the attempts of a message so far say of its next one. Pure."""

from __future__ import annotations

import itertools
import math
from typing import Final

from postwire.core.lifecycle import unresolved
from postwire.core.message import UNSETTLED, Attempt, MessageRecord
from postwire.core.outcome import Outcome

DEFERRED_FOR: Final = 300.0
"""Seconds for which a message waits that a provider puts off for the first time in a row. Doubled with each."""

DEFERRED_FOR_MAX: Final = 3600.0
"""Seconds, at most, of any such wait."""

LONGEST_DEFERRAL: Final = 24 * 3600.0
"""Seconds, at most, of what a provider asks for itself: what it said may have been a mistake."""

_JITTER: Final = 0.2
"""By what part of itself the wait may be longer, so that those put off together do not come back together."""

LONGEST_DELAY: Final = LONGEST_DEFERRAL * (1 + _JITTER)
"""Seconds, at most, that `deferral_delay` gives."""

_HIGHEST_POWER: Final = 16


def deferrals(record: MessageRecord) -> int:
    """How often in a row, up to now, its attempts were deferred."""
    return sum(1 for _ in itertools.takewhile(lambda one: one.outcome is Outcome.DEFERRED, reversed(record.attempts)))


def is_deferred(record: MessageRecord) -> bool:
    """Whether the last attempt of a message was put off, for it or for some of those who are left."""
    if record.attempts[-1].outcome is Outcome.DEFERRED:
        return True
    return any(one.outcome is Outcome.DEFERRED and one.state in UNSETTLED for one in record.recipients)


def first_attempt(record: MessageRecord) -> Attempt:
    """The first attempt at the provider of the last one.

    Which recipients it was for is not kept. So counting from it, for those of the last one, may give a time
    that is too long, and never to one that is too short.
    """
    return next(one for one in record.attempts if one.provider_name == record.attempts[-1].provider_name)


def first_same_attempt(record: MessageRecord) -> Attempt:
    """The first attempt under the idempotency key of the last one, at its provider."""
    last = record.attempts[-1]
    return next(
        one for one in record.attempts if one.provider_name == last.provider_name and one.positions == last.positions
    )


def is_same_attempt(before: MessageRecord, after: MessageRecord, *, age: int | None, dedup_window: float) -> bool:
    """Whether one more attempt at the provider of the last would be, to the vendor, that of `before` once more: under
    the same idempotency key, and within `dedup_window` seconds of the first attempt under it.

    `age` is how long ago (µs) that was at the most; None where that is unknown.
    """
    if not dedup_window or unresolved(before) != unresolved(after):
        return False
    return age is not None and age < dedup_window * 1e6


def deferral_delay(deferrals: int, retry_after: float | None, *, draw: float) -> float:
    """Seconds for which a message waits that was put off `deferrals` times in a row, the last time for `retry_after`
    seconds, if the provider said so. `draw`, in [0, 1), says by how much more.

    RFC 5321, section 4.5.4.1, asks mail clients for at least 30 minutes in general, and for two tries in the first hour
    of a message, which is what those who greylist go by.
    """
    if retry_after is not None and math.isfinite(retry_after) and retry_after > 0:
        delay = min(retry_after, LONGEST_DEFERRAL)
    else:  # it said nothing, or a time that has passed
        power = min(max(deferrals, 1) - 1, _HIGHEST_POWER)
        delay = min(DEFERRED_FOR * 2.0**power, DEFERRED_FOR_MAX)
    return delay * (1 + _JITTER * draw)
