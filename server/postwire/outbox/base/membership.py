"""Who has the store open."""

from __future__ import annotations

from typing import Protocol


class Membership(Protocol):
    """Tells whose attempts are whose."""

    @property
    def boot(self) -> int:
        """This opening's number; attempts of a lower one are left from a process that is gone."""
        ...
