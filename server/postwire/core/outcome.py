"""How an attempt ends, and what an attempt's end makes of its message.

The providers speak in these words: a vendor's answer becomes a `DispatchResult` in the vendor's own file, and
everything behind it knows only these outcomes. The contract has the first five; the other two are kept as what they
are, and shown as one of those.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from postwire.core.values import Word, frozen


class Outcome(Word):
    """How an attempt ended, for the message or for one of its recipients."""

    SUCCESS = "success"
    RATE_LIMITED = "rate_limited"
    ERROR = "error"
    REJECTED = "rejected"
    UNCERTAIN = "uncertain"
    DEFERRED = "deferred"
    """The provider puts the message off, as a mail server that greylists: it is to come again, much later."""
    MISCONFIGURED = "misconfigured"
    """The provider refuses our account or key, whatever the message."""

    @property
    def reported(self) -> Outcome:
        """As callers and operators see it: one of the contract's five."""
        return _REPORTED.get(self, self)


_REPORTED: Final = {Outcome.DEFERRED: Outcome.RATE_LIMITED, Outcome.MISCONFIGURED: Outcome.ERROR}

UNCOUNTED: Final = frozenset({Outcome.RATE_LIMITED, Outcome.DEFERRED, Outcome.MISCONFIGURED})
"""The outcomes of attempts that do not count in `max_attempts`: the message was not looked at."""


@frozen
class RecipientResult:
    """How an attempt ended for one recipient of an email: as a `DispatchResult` of its own."""

    outcome: Outcome
    error_code: str = ""
    provider_message_id: str = ""
    detail: str = ""


@frozen
class DispatchResult:
    """How an attempt ended, as its provider reports.

    `error_code` is the vendor's own, `detail` ours; both are stored and shown, so neither may hold personal data.
    `retry_after` is in seconds, for `RATE_LIMITED` and `DEFERRED`. A failure without `provider_fault` says nothing of
    the provider's health: it is the message's, or the receiver's. `recipients` is empty where all of them fared alike,
    or else has one entry for each recipient that the attempt was for, by position; `outcome` is then `worst(...)` of
    theirs. `opted_out`: it was rejected since the recipient wants no more messages from this sender.
    """

    outcome: Outcome
    provider_message_id: str = ""
    error_code: str = ""
    detail: str = ""
    retry_after: float | None = None
    recipients: tuple[RecipientResult, ...] = ()
    provider_fault: bool = True
    opted_out: bool = False


_SEVERITY: Final = {
    Outcome.SUCCESS: 0,
    Outcome.REJECTED: 1,
    Outcome.DEFERRED: 2,
    Outcome.RATE_LIMITED: 3,
    Outcome.ERROR: 4,
    Outcome.MISCONFIGURED: 5,
    Outcome.UNCERTAIN: 6,
}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome that says most about what is left to do; `SUCCESS` where there are none."""
    return max(outcomes, key=_SEVERITY.__getitem__, default=Outcome.SUCCESS)
