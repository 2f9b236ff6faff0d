"""Who shares the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Member:
    """A process that has the store open. `number` is given to one opening and never again; ranks count from 0."""

    number: int
    rank: int
    is_leader: bool


class Membership(Protocol):
    """Tells who shares the store. What a member that has gone had under way is an orphan.

    The leader is who does what is to be done once: the sweeps through the whole store.
    """

    @property
    def member(self) -> Member:
        """This process, as it stands now."""
        ...

    async def members(self) -> Sequence[Member]:
        """All of them, by rank."""
        ...
