"""One result of several parts, each of which the vendor has answered to by itself."""

from __future__ import annotations

from collections.abc import Sequence

from postwire.core.outcome import DispatchResult, Outcome, worst
from postwire.providers.http.verdicts import result, unknown


def combined(parts: Sequence[DispatchResult]) -> DispatchResult:
    """The result of a message, from those of its parts.

    All were taken: success, with all their ids. None was: as the worst of them. Otherwise nobody knows what the phone
    will show. The ids of what was taken are not kept then: receipts for these would have it that all was delivered.
    """
    refused = [one for one in parts if one.outcome is not Outcome.SUCCESS]
    if not refused:
        ids = ",".join(filter(None, (one.provider_message_id for one in parts)))
        return DispatchResult(Outcome.SUCCESS, provider_message_id=ids)
    outcome = worst(one.outcome for one in refused)
    first = next(one for one in refused if one.outcome is outcome)
    if len(refused) < len(parts):
        return result(unknown("some parts of the message were taken, and others were not"), first.error_code)
    return first
