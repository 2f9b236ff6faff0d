"""What is special about a provider, as far as it says so: the one place that looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from postwire.providers.base import Provider


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What `Simulated`, `Updatable` and `Seeded` of `providers.base` offer; None for what a provider has not."""

    simulated: bool = False
    update: Callable[[Mapping[str, Any]], None] | None = None
    seed: int | None = None
    seeded: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """Those that the contract shows."""
        held = {"simulated": self.simulated, "update": self.update is not None}
        return tuple(word for word, is_held in held.items() if is_held)


def is_selective(provider: Provider) -> bool:
    """Whether there is a message of its channels that a provider cannot carry. One that is not is never asked."""
    return getattr(provider, "selective", True) is not False


def of(provider: Provider) -> Capabilities:
    """Look up what `provider` declares, as it is now."""
    # By attribute, since `isinstance` of a protocol would ask no more than this either, and takes longer.
    if getattr(provider, "simulated", False) is not True:
        return Capabilities()
    return Capabilities(
        simulated=True,
        update=getattr(provider, "update", None),
        seed=getattr(provider, "seed", None),
        seeded=getattr(provider, "seeded", False),
    )
