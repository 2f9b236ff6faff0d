"""What a mail server's answers mean (RFC 5321, section 4.2; RFC 3463 for enhanced codes)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst

_ENHANCED: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?!\S)")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, of which nothing is kept but its codes: its text may quote anybody."""

    code: int
    enhanced: str = ""

    @classmethod
    def of(cls, code: int, text: str) -> Reply:
        """Take the codes of an answer."""
        match = _ENHANCED.match(text)
        return cls(code, match[0] if match else "")

    @property
    def error_code(self) -> str:
        """Both codes, as they stand in an answer."""
        return f"{self.code} {self.enhanced}".rstrip()

    @property
    def is_positive(self) -> bool:
        """Whether it is 2xx."""
        return self.code // 100 == 2

    @property
    def is_transient(self) -> bool:
        """Whether it is 4xx."""
        return self.code // 100 == 4

    @property
    def is_permanent(self) -> bool:
        """Whether it is 5xx."""
        return self.code // 100 == 5


CLOSING: Final = 421
"""The code of a server that ends the connection."""
TOO_LARGE: Final = 552
"""The code for an email that is too large."""
_NOT_LOGGED_IN: Final = (530, 534, 535, 538)
"""The codes for who has not logged in, or not well enough (RFC 4954, section 6)."""


class Ended(Exception):
    """An attempt has come to its end: `result` says to which. It has no text."""

    def __init__(self, result: DispatchResult) -> None:
        super().__init__()
        self.result = result


def sender_refused(reply: Reply, *, chosen: bool) -> DispatchResult:
    """The result where MAIL was refused. `chosen`: its sender is one that the message names, not one of the settings.

    Nobody is to have a provider passed over for all others by naming a sender.
    """
    if reply.code == TOO_LARGE:
        return DispatchResult(
            Outcome.REJECTED, error_code=reply.error_code, detail="the email is larger than the server takes"
        )
    if reply.is_permanent and chosen and reply.code not in _NOT_LOGGED_IN:
        return DispatchResult(
            Outcome.ERROR,
            error_code=reply.error_code,
            detail="the server does not take the sender that the message names",
            provider_fault=False,
        )
    if reply.is_permanent:
        return DispatchResult(
            Outcome.MISCONFIGURED, error_code=reply.error_code, detail="the server does not take emails of this sender"
        )
    return DispatchResult(
        Outcome.ERROR, error_code=reply.error_code, detail="the server takes no emails of this sender now"
    )


def verdict(reply: Reply, subject: str, message_id: str = "") -> RecipientResult:
    """What an answer to RCPT, to DATA or to the email means for a recipient.

    `subject` is what it is that was refused: `the recipient`, `the email`.
    """
    if reply.is_positive:
        return RecipientResult(Outcome.SUCCESS, provider_message_id=message_id)
    if reply.is_transient:
        return RecipientResult(Outcome.DEFERRED, reply.error_code, detail=f"the server puts {subject} off")
    if reply.is_permanent:
        return RecipientResult(Outcome.REJECTED, reply.error_code, detail=f"the server refuses {subject}")
    return RecipientResult(Outcome.UNCERTAIN, reply.error_code, detail="the server's answer says nothing")


def result_of(each: list[RecipientResult]) -> DispatchResult:
    """The result of an attempt, from those for its recipients."""
    outcome = worst(one.outcome for one in each)
    first = next(one for one in each if one.outcome is outcome)
    taken = next((one.provider_message_id for one in each if one.provider_message_id), "")
    alike = all(one == first for one in each)
    return DispatchResult(
        outcome,
        provider_message_id=taken,
        error_code=first.error_code,
        detail=first.detail,
        recipients=() if alike else tuple(each),
    )
