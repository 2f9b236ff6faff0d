"""Whose receipts are taken."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from postwire.providers import capabilities
from postwire.providers.registry import Registry


class ReportingProviders(Collection[str]):
    """The names of the providers whose receipts are taken: those `called_by` whose vendors call us, and those that
    bring receipts themselves, as they are now. A mock may begin at any time, and end."""

    def __init__(self, registry: Registry, called_by: Collection[str] = ()) -> None:
        self._called_by = frozenset(called_by)
        self._others = {entry.provider.name: entry.provider for entry in registry if hasattr(entry.provider, "reports")}

    def __contains__(self, name: object) -> bool:
        if name in self._called_by:
            return True
        # Asked of every attempt, and most servers have none of these.
        return bool(self._others) and name in self._others and capabilities.reports_of(self._others[str(name)])

    def __iter__(self) -> Iterator[str]:
        yield from self._called_by
        yield from (name for name in self._others if name not in self._called_by and name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
