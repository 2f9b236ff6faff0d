"""What an answer means where the vendor's own table says nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from postwire.core.message import OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.http.messages import HttpResponse

_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_ID: Final = re.compile(r"[!-~]{1,255}")

_OURS: Final = frozenset({401, 402, 403, 404, 405, 301, 302, 307, 308})
"""Our account, our key or our address is wrong, whatever the message."""
_UNKNOWN: Final = frozenset({303, 408, 425})
"""Somebody gave up waiting, or shows where the result is: what has become of the request is not said."""
TAKEN: Final = frozenset({201, 202})
"""Says by its head alone that the message was taken."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a vendor's code means. `detail` is ours, in a few words; so are those of a result."""

    outcome: Outcome
    detail: str
    provider_fault: bool = True
    opted_out: bool = False


Table = Mapping[str, Meaning]
"""The meanings of a vendor's codes. Each row is to name the page that says so."""

NO_TABLE: Final[Table] = MappingProxyType({})


def rejected(detail: str) -> Meaning:
    """The message will never be taken."""
    return Meaning(Outcome.REJECTED, detail)


def opted_out(detail: str) -> Meaning:
    """The recipient wants no more messages from this sender."""
    return Meaning(Outcome.REJECTED, detail, opted_out=True)


def account(detail: str) -> Meaning:
    """Our account or key is refused, whatever the message."""
    return Meaning(Outcome.MISCONFIGURED, detail)


def throttled(detail: str = "the vendor asks for less") -> Meaning:
    """Too much at once, and this message was not taken."""
    return Meaning(Outcome.RATE_LIMITED, detail)


def failed(detail: str) -> Meaning:
    """Not taken, by a fault of the vendor's."""
    return Meaning(Outcome.ERROR, detail)


def not_here(detail: str) -> Meaning:
    """Not taken by this vendor, who is healthy; another may take it."""
    return Meaning(Outcome.ERROR, detail, provider_fault=False)


def unknown(detail: str) -> Meaning:
    """May have been taken."""
    return Meaning(Outcome.UNCERTAIN, detail)


def sender_refused(message: OutboundMessage) -> Meaning:
    """The vendor does not let us send as whom the message is from.

    That is a fault of the configuration, unless the caller has chosen: nobody is to have a provider passed over for all
    others by naming a sender.
    """
    if message.content.sender:
        return not_here("the vendor does not accept the sender that the message names")
    return account("the vendor does not accept the sender of the configuration")


def code_of(value: object) -> str:
    """A vendor's code as it may be kept: what could be a sentence or an address is none."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return text if _CODE.fullmatch(text) else ""


def id_of(value: object) -> str:
    """A vendor's id of a message, as it may be kept."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return text if _ID.fullmatch(text) else ""


def judge(
    response: HttpResponse,
    *,
    now: int,
    code: str = "",
    message_id: str = "",
    taken: bool = False,
    table: Table = NO_TABLE,
) -> DispatchResult:
    """The result of an attempt that has this answer.

    `code` is the vendor's, out of the body, and is looked up in `table`, then the status. `message_id` is the vendor's
    for what was taken; without one, an answer of 200 counts as not legible, unless `taken` says that it is. `now` is in
    µs since the epoch.
    """
    status = response.status
    if code and (meaning := table.get(code)):
        return result(meaning, code, response.retry_after(now))
    if 200 <= status < 300:
        if taken or message_id or status in TAKEN:
            return DispatchResult(Outcome.SUCCESS, provider_message_id=message_id)
        return result(unknown("the vendor's answer cannot be read"), code or str(status))
    meaning = table.get(str(status)) or _by_status(status, has_retry_after=response.retry_after(now) is not None)
    return result(meaning, code or str(status), response.retry_after(now))


def result(meaning: Meaning, code: str, retry_after: float | None = None) -> DispatchResult:
    """The result that a meaning makes of an attempt."""
    is_put_off = meaning.outcome in (Outcome.RATE_LIMITED, Outcome.DEFERRED)
    return DispatchResult(
        meaning.outcome,
        error_code=code,
        detail=meaning.detail,
        retry_after=retry_after if is_put_off else None,
        provider_fault=meaning.provider_fault,
        opted_out=meaning.opted_out,
    )


def _by_status(status: int, *, has_retry_after: bool) -> Meaning:
    if status == 429 or (status == 503 and has_retry_after):
        return throttled()
    if status in _OURS:
        return account(f"the vendor answers {status}: check the account, the key and the address")
    if status in _UNKNOWN or status < 400 or status >= 500:
        return unknown(f"the vendor answers {status}, which does not say whether it took the message")
    return not_here(f"the vendor answers {status}, for a reason that is not known to be final")
