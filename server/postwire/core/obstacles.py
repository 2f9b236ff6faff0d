"""Why a provider cannot be asked now."""

from __future__ import annotations

from typing import Final

from postwire.core.values import Word


class Obstacle(Word):
    """Why a provider cannot be asked now."""

    OPEN = "open"
    HALF_OPEN = "half_open"
    """Every probe is out."""
    DRAINED = "drained"
    """Forced open, by an operator."""
    COOLING_DOWN = "cooling_down"
    RETRY_BUDGET = "retry_budget"
    CONCURRENCY = "concurrency_limit"
    RATE = "rate_limit"
    UNSUITABLE = "unsuitable"
    """It cannot carry the message, now or later."""
    UNAVAILABLE = "unavailable"
    """It has not been opened yet."""
    MISCONFIGURED = "misconfigured"
    """It refuses our account or key."""


WAITED_FOR: Final = frozenset({Obstacle.CONCURRENCY, Obstacle.RATE})
"""The obstacles that are waited for; a provider with any other is passed over (design, section 6)."""
