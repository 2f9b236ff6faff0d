"""`[nodes]`: how the nodes that share one database know of each other."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Annotated, Final

from postwire.config.types import DurationUnit, format_duration

HEARTBEATS_A_LEASE: Final = 3
"""How many heartbeats fall into a lease, at the least, so that one that is lost does not end it."""

MAX_NAME: Final = 255
"""Characters of a node's name, as many as a host's may have."""


@dataclass(frozen=True, slots=True)
class NodesConfig:
    """`[nodes]`. `lease`: for how long (seconds) a node is taken to live after a heartbeat, `beat`: how often it has
    one, `name`: what it is called; by default, as its host is. For a store in a database only.
    """

    lease: Annotated[float, DurationUnit(least=1.0, longest=600.0)] = 15.0
    beat: Annotated[float, DurationUnit(least=0.1, longest=200.0)] = 3.0
    name: str | None = None

    def check(self) -> None:
        if self.beat * HEARTBEATS_A_LEASE > self.lease:
            raise ValueError(
                f"beat: {format_duration(self.beat)} is more than a third of lease ({format_duration(self.lease)}), "
                "must be at most that"
            )
        if self.name is not None and not (0 < len(self.name) <= MAX_NAME and self.name.isprintable()):
            raise ValueError(f"name: must have 1 to {MAX_NAME} printable characters")

    @property
    def called(self) -> str:
        """What this node is called."""
        return self.name or socket.gethostname()
