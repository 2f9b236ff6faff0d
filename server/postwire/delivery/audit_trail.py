"""What is kept of who changed what: what is read of it, and the calls that were refused."""

from __future__ import annotations

from contextlib import suppress

from postwire.clock import Clock
from postwire.core import audit
from postwire.core.audit import AuditedMethod, AuditFilter, AuditPage, AuditPosition, RefusedCalls
from postwire.core.errors import Refusal, StoreUnavailable
from postwire.core.principal import Principal
from postwire.core.validation import Violations, check_reason
from postwire.outbox.base import AuditLog


class AuditTrail:
    """Reads events, and keeps those of refused calls. Those of changes are kept with the changes."""

    def __init__(self, log: AuditLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._refused_calls = RefusedCalls()

    async def events(self, chosen: AuditFilter, size: int, after: AuditPosition | None) -> AuditPage:
        """A page of events: see `AuditLog.events`."""
        return await self._log.events(chosen, size, after)

    async def keep_refused(
        self, method: AuditedMethod, by: Principal, named: str, reason: str, refusal: Refusal
    ) -> None:
        """Keep that a call was refused: who has called, what he has `named`, and the `reason` that he has given.

        Where the store cannot commit, nothing is kept; and if that is what it was refused for, whether it has changed
        something is not known either. Of many refusals not all are kept: see `RefusedCalls`.
        """
        if isinstance(refusal, StoreUnavailable) or not self._refused_calls.admit(by, self._clock.monotonic()):
            return
        with suppress(StoreUnavailable):
            target = audit.target_of(named)
            await self._log.add_event(
                audit.event(method, by, target, _well_formed(reason), now=self._clock.wall(), result=refusal.reason)
            )


def _well_formed(reason: str) -> str:
    """A reason, if it is one: a refused call may have anything in its place."""
    found = Violations()
    check_reason(reason, found)
    return "" if found else reason
