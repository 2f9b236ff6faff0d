"""Whose receipts are taken."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from postwire.config.bind import ConfigError
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


def refuse_unreported(registry: Registry, reporting: Collection[str]) -> None:
    """See that a receipt can be missing where a rule of a route has the next provider asked because of it. A mock may
    begin to send some.

    Raises:
        ConfigError: nobody of the rule sends any.
    """
    for route in registry.all_routes():
        if route.delivered_within is not None and not any(
            name in reporting or hasattr(registry.entry(name).provider, "reports") for name in route.names
        ):
            names = ", ".join(route.names)
            problem = f"does nothing, since no receipts are taken of {names}: configure these, or take it out"
            raise ConfigError(f"{route.rule}.delivered_within", problem)
