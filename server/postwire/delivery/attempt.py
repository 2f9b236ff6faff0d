"""One attempt: a call of a provider, in limited time, whose every end is a result."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

from postwire.core.breaker import Verdict
from postwire.core.message import OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Provider
from postwire.providers.handover import Handover
from postwire.telemetry.logs import EventLog

TIMED_OUT: Final = DispatchResult(Outcome.UNCERTAIN, error_code="timeout", detail="the provider did not answer in time")
NOT_CONNECTED: Final = DispatchResult(
    Outcome.ERROR, error_code="connect_timeout", detail="the provider could not be reached in time"
)
CUT_SHORT: Final = (TIMED_OUT, NOT_CONNECTED)
"""The results of attempts that were ended by their time limit; of a provider's own time-outs there are copies."""

TOO_LATE: Final = DispatchResult(
    Outcome.ERROR, error_code="expired", detail="its time ran out before it could be handed to the provider"
)
UNSUITABLE: Final = DispatchResult(
    Outcome.ERROR, error_code="unsuitable", detail="the provider cannot send to these recipients alone"
)

_VERDICTS: Final = {
    Outcome.SUCCESS: Verdict.SUCCESS,
    Outcome.REJECTED: Verdict.SUCCESS,  # it answered
    Outcome.ERROR: Verdict.FAILURE,
    Outcome.UNCERTAIN: Verdict.FAILURE,
    Outcome.RATE_LIMITED: Verdict.NONE,  # it is healthy, and has no time
    Outcome.DEFERRED: Verdict.NONE,
    Outcome.MISCONFIGURED: Verdict.NONE,
}
"""What an outcome says of its provider's health."""

_log = EventLog()


class _TimeLimit:
    """Cancels the current task after `seconds`, and sets `expired` when it does. To be ended by every way out.

    What `asyncio.timeout` does, at a fifth of its cost: every attempt has one, and hardly any is used.
    """

    __slots__ = ("_taken_back", "_task", "_timer", "expired")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.expired = False
        self._taken_back = False
        self._task = asyncio.current_task(loop)
        self._timer = loop.call_later(seconds, self._expire)

    def end(self) -> None:
        self._timer.cancel()
        if self.expired and not self._taken_back and self._task:
            self._task.uncancel()  # the provider has made something else of it

    def _expire(self) -> None:
        if self._task:
            self.expired = True
            self._task.cancel()

    def is_cancelled_by_others(self) -> bool:
        """After a CancelledError: whether somebody else has asked for it, too. Takes our own request back."""
        if self._task is None:
            return True
        self._taken_back = self.expired
        return (self._task.uncancel() if self.expired else self._task.cancelling()) > 0


async def send(
    provider: Provider,
    message: OutboundMessage,
    handover: Handover,
    loop: asyncio.AbstractEventLoop,
    seconds: float,
) -> DispatchResult:
    """One call of the provider, in at most `seconds`; every way in which it can end is a result."""
    limit = _TimeLimit(loop, seconds)
    try:
        return _checked(await provider.send(message, handover))
    except asyncio.CancelledError as error:
        if limit.is_cancelled_by_others():
            raise  # the grace is over
        # Else something of the provider's own was cancelled, and nobody has cancelled the attempt.
        if limit.expired:
            return NOT_CONNECTED if handover.is_before(error) else TIMED_OUT
        return _failed(provider, error, handover)
    except TimeoutError as error:  # the provider's own
        return replace(NOT_CONNECTED if handover.is_before(error) else TIMED_OUT)
    except Exception as error:
        return _failed(provider, error, handover)
    finally:
        limit.end()


def _checked(result: Any) -> DispatchResult:
    """What a provider gave, if it is a result as far as is looked at before it is recorded."""
    if not isinstance(result.outcome, Outcome):
        raise TypeError("the outcome is none")
    if not (isinstance(result.detail, str) and isinstance(result.error_code, str)):
        raise TypeError("the detail or the code is no text")
    if result.retry_after is not None and not isinstance(result.retry_after, (float, int)):
        raise TypeError("the time is no number")
    return result  # type: ignore[no-any-return]  # what else is wrong with it shows when it is recorded


def _failed(provider: Provider, error: BaseException, handover: Handover) -> DispatchResult:
    """The result of an attempt that an exception ended."""
    if not handover.is_before(error):
        return fault(provider, error)
    # Expected: networks fail. Its text may hold an address, its type does not.
    return DispatchResult(Outcome.ERROR, error_code="connect", detail=f"not connected: {type(error).__name__}")


def fault(provider: Provider, error: BaseException) -> DispatchResult:
    """The result of an attempt in which the provider's own code failed: whether it sent anything is not known."""
    _log.fault(error, provider_name=provider.name)
    return DispatchResult(
        Outcome.UNCERTAIN, error_code="internal", detail=f"the provider's code failed with {type(error).__name__}"
    )


def verdict(result: DispatchResult) -> Verdict:
    """What a result says of its provider's health."""
    found = _VERDICTS[result.outcome]
    return Verdict.NONE if found is Verdict.FAILURE and not result.provider_fault else found
