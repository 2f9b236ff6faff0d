"""What tenants there are, and how much of what they may have is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from postwire.core.admission import Admission
from postwire.core.backlog import Backlog
from postwire.core.quotas import Quota, Quotas


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """What a tenant may have, how many of its messages are not settled, and how many are in flight here."""

    name: str
    quota: Quota
    unsettled: int
    in_flight: int


class Tenants:
    """The tenants that are declared; none where callers are not told apart."""

    def __init__(self, quotas: Quotas, backlog: Backlog, admission: Admission) -> None:
        self._quotas = quotas
        self._backlog = backlog
        self._admission = admission

    def list(self) -> Sequence[TenantUsage]:
        """All of them, by their names, as they stand now."""
        return [
            # Of what others have taken and was settled here, less than nothing is counted for a while.
            TenantUsage(
                name, self._quotas.of(name), max(self._backlog.of_tenant(name), 0), self._admission.of_tenant(name)
            )
            for name in sorted(self._quotas.tenants)
        ]
