"""What is special about a provider, as far as it says so: the one place that looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from postwire.core.errors import FieldViolation
from postwire.core.message import OutboundMessage
from postwire.providers.base import Preview, Provider, ProviderHealth
from postwire.providers.handover import Handover


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What `Simulated`, `Updatable` and `Seeded` of `providers.base` offer; None for what a provider has not."""

    simulated: bool = False
    prepare_update: Callable[[Mapping[str, Any]], Callable[[], None]] | None = None
    seed: int | None = None
    seeded: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """Those that the contract shows."""
        held = {"simulated": self.simulated, "update": self.prepare_update is not None}
        return tuple(word for word, is_held in held.items() if is_held)


Carries = Callable[[OutboundMessage, tuple[int, ...] | None], FieldViolation | None]
"""See `Selective.carries`."""


def carries_of(provider: Provider) -> Carries | None:
    """The provider's `carries`; None where it carries every message of its channels."""
    return getattr(provider, "carries", None) if getattr(provider, "selective", True) is not False else None


def dedup_window_of(provider: Provider) -> float:
    """The provider's `dedup_window`, in seconds; 0 where it has none."""
    window: float = getattr(provider, "dedup_window", 0.0)
    return window


def open_of(provider: Provider) -> Callable[[], Awaitable[ProviderHealth | None]] | None:
    """The provider's `open`, if it has one."""
    return getattr(provider, "open", None)


def close_of(provider: Provider) -> Callable[[], Awaitable[None]] | None:
    """The provider's `close`, if it has one."""
    return getattr(provider, "close", None)


def renew_of(provider: Provider) -> Callable[[Any], None] | None:
    """The provider's `renew`, if it has one."""
    return getattr(provider, "renew", None)


def preview_of(provider: Provider) -> Callable[[OutboundMessage, Handover], Preview] | None:
    """The provider's `preview`, if it has one."""
    return getattr(provider, "preview", None)


def reports_of(provider: Provider) -> bool:
    """Whether the provider brings receipts itself, as it is now."""
    return getattr(provider, "reports", False) is True


def of(provider: Provider) -> Capabilities:
    """Look up what `provider` declares, as it is now."""
    # By attribute, since `isinstance` of a protocol would ask no more than this either, and takes longer.
    if getattr(provider, "simulated", False) is not True:
        return Capabilities()
    return Capabilities(
        simulated=True,
        prepare_update=getattr(provider, "prepare_update", None),
        seed=getattr(provider, "seed", None),
        seeded=getattr(provider, "seeded", False),
    )
