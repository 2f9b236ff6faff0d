"""What every group is given: how much is to be done, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.jobs import Calls, Streams
from tests.bench.processes import LoadGenerator, Server

FRAME: Final = 100
"""How many messages a frame of a stream has."""

HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done."""

    rounds: int = 5
    messages: int = 3_000
    """A round of Dispatch."""
    streamed: int = 10_000
    """A round of DispatchStream."""
    concurrency: int = 64
    connections: int = 4
    request_ids: bool = True
    waiting: int = 1_000_000
    """In the outbox."""
    suppressed: int = 1_000_000
    providers: int = 1_000
    stored: int = 1_000_000
    """Before RSS is watched."""
    warm_up: int = 120_000
    """Dispatched before that counts: RSS was seen to rise until 110,000 were, and to stay there afterwards."""
    dispatched: int = 40_000
    """Dispatched while it is watched."""
    recovered: int = 100_000
    """Waiting when the service was killed."""
    recoveries: int = 3
    boots: int = 5
    pairs: int = 3
    """Of a service with a provider that hangs, and one without."""
    paced_for: float = 10.0
    """Seconds, each time."""
    before: str = ""
    """A checkout of a version before, where latencies are to be compared with it."""


QUICK: Final = Scale(
    rounds=2,
    messages=300,
    streamed=1_000,
    waiting=10_000,
    suppressed=10_000,
    stored=1_000,
    warm_up=400,
    dispatched=2_000,
    recovered=2_000,
    recoveries=1,
    boots=2,
    pairs=1,
    paced_for=2.0,
)
"""Shows that it works, not how well."""


@dataclass(frozen=True, slots=True)
class Bench:
    """`folder` is empty at first, and gone at the end; each group has one of its own."""

    folder: Path
    load: LoadGenerator
    scale: Scale

    def calls(self, server: Server, *, token: str = "") -> Calls:
        """A round of Dispatch, with a token where the server asks for one."""
        scale = self.scale
        return Calls(
            server.address, scale.messages, scale.concurrency, scale.connections, scale.request_ids, token=token
        )

    def streams(self, server: Server, *, later: int = 0, sampled: float = 0.0, token: str = "") -> Streams:
        """A round of DispatchStream, with a share of the messages sampled."""
        scale = self.scale
        traced = round(scale.streamed * sampled)
        return Streams(server.address, scale.streamed, FRAME, scale.connections, later, traced, token)

    def total(self, a_round: int) -> int:
        """How many messages all rounds come to, with the one that warms up."""
        return (self.scale.rounds + 1) * a_round


def sampling(collector: str, share: float, export_delay_ms: int) -> dict[str, str]:
    """The environment of a service that exports spans to a collector, of that share of calls."""
    return {
        "POSTWIRE_TELEMETRY__OTLP_ENDPOINT": f"http://{collector}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(share),
        "OTEL_BSP_SCHEDULE_DELAY": str(export_delay_ms),
    }
