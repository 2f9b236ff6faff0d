"""Whether a store can commit, which every part of the seam reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Availability(Protocol):
    """Whether the store can commit."""

    @property
    def available(self) -> bool:
        """Whether the store can commit, as far as is known."""
        ...

    def on_availability(self, listener: Callable[[bool], None]) -> None:
        """Have `listener` called, on the loop, whenever `available` changes."""
        ...

    async def wait_available(self) -> None:
        """Return once the store can commit."""
        ...
