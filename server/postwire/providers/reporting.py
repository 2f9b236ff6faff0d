"""Whose receipts are taken."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Set

from postwire.config.bind import ConfigError
from postwire.providers import capabilities
from postwire.providers.registry import Registry


class ReportingProviders(Set[str]):
    """The names of the providers whose receipts are taken: those `called_by` whose vendors call us, and those that
    bring receipts themselves, as they are now. A mock may begin with an update, and end: then `look` is called."""

    def __init__(self, registry: Registry, called_by: Collection[str] = ()) -> None:
        self._called_by = frozenset(called_by)
        others = [entry.provider for entry in registry if hasattr(entry.provider, "reports")]
        # Every message asks, and there may be a thousand mocks: these are looked at where one has changed.
        self._updated = [one for one in others if capabilities.of(one).prepare_update]
        self._asked = {one.name: one for one in others if not capabilities.of(one).prepare_update}
        self.look()

    def look(self) -> None:
        """Find out which of the mocks bring receipts now."""
        self._known = self._called_by.union(one.name for one in self._updated if capabilities.reports_of(one))

    def __contains__(self, name: object) -> bool:
        return name in self._known or (name in self._asked and capabilities.reports_of(self._asked[str(name)]))

    def __iter__(self) -> Iterator[str]:
        yield from self._known
        yield from (name for name in self._asked if name not in self._known and name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def isdisjoint(self, other: Iterable[object]) -> bool:
        """Whether no receipts are taken of any of these; of a set that is found out at once, however large."""
        if not self._known.isdisjoint(other):
            return False
        return not self._asked or not any(name in self for name in other)


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
