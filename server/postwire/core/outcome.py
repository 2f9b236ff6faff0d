"""How an attempt ends, and what an attempt's end makes of its message.

The providers speak in these words: a vendor's answer becomes a `DispatchResult` in the vendor's own file, and
everything behind it knows only the five outcomes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


class Outcome(enum.Enum):
    """How an attempt ended, for the message or for one of its recipients."""

    SUCCESS = "success"
    RATE_LIMITED = "rate_limited"
    ERROR = "error"
    REJECTED = "rejected"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """How an attempt ended for one recipient of an email."""

    outcome: Outcome
    error_code: str = ""


@dataclass(frozen=True, slots=True)
class DispatchResult:
    """How an attempt ended, as its provider tells.

    `error_code` is the vendor's own, `detail` ours; both are stored and shown, so neither may hold personal data.
    `retry_after` is in seconds, for `RATE_LIMITED`. `recipients` is empty where all of them fared alike, or else has
    one entry for each recipient that the attempt was for, by position; `outcome` is then `worst(...)` of theirs.
    """

    outcome: Outcome
    provider_message_id: str = ""
    error_code: str = ""
    detail: str = ""
    retry_after: float | None = None
    recipients: tuple[RecipientResult, ...] = ()


_SEVERITY: Final = {
    Outcome.SUCCESS: 0,
    Outcome.REJECTED: 1,
    Outcome.RATE_LIMITED: 2,
    Outcome.ERROR: 3,
    Outcome.UNCERTAIN: 4,
}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome that says most about what is left to do; `SUCCESS` where there are none."""
    return max(outcomes, key=_SEVERITY.__getitem__, default=Outcome.SUCCESS)
