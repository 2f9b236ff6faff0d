"""What a provider that hangs does to messages that another carries: the p99 of these with the hang, over that without.

Both providers have calls at a steady pace, whatever becomes of them. Only how long the one takes differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.bench import Bench
from tests.bench.figures import figure
from tests.bench.jobs import QUEUED, SENDING, SENT, Paced
from tests.bench.processes import BenchError, LoadGenerator, load_generator, postwire_server, store_of
from tests.bench.progress import say
from tests.bench.report import Result
from tests.bench.stores import count

HEALTHY_RATE: Final = 200
SLOW_RATE: Final = 50
"""Messages a second."""

HANG: Final = 30
"""Seconds that each attempt would take at the provider that hangs. By default it is given up after ten."""

WARM_UP: Final = 2.0
"""Seconds, in which as many attempts come to hang as may be under way."""

HEALTHY_TIMEOUT: Final = 30.0
SLOW_TIMEOUT: Final = 3.0
"""Seconds. Shortly before, the service answers with how the message stands."""

LATE: Final = "DEADLINE_EXCEEDED"
"""On a busy machine that answer may come too late, which is not what is measured."""

MAX_CONCURRENT: Final = 64
"""The default of the configuration."""


def measure(bench: Bench) -> Result:
    """See the module."""
    ratios, shown = [], []
    for pair in range(bench.scale.pairs):
        say(f"isolation, {pair + 1} of {bench.scale.pairs}")
        # At the same time, so that a noisy spell hits both alike.
        with ExitStack() as running:
            sides = [running.enter_context(_side(bench, f"{pair}-{hang}", hang)) for hang in (0, HANG)]
            without, with_hang = [side.p99() for side in sides]
        for side in sides:
            side.check()
        ratios.append(with_hang / without)
        shown.append(f"{with_hang * 1e3:.1f} against {without * 1e3:.1f}")
    return Result([figure("isolation", ratios, f"p99 in ms: {', '.join(shown)}")])


@contextmanager
def _side(bench: Bench, name: str, hang: int) -> Iterator[_Side]:
    """A service of its own, with calls of both channels under way."""
    environ = {"POSTWIRE_SERVER__GRACE": "500ms"}  # what hangs is not waited for at the end
    seconds, connections = WARM_UP + bench.scale.paced_for, bench.scale.connections
    with (
        load_generator() as to_slow,
        load_generator() as to_healthy,
        postwire_server(name, bench.folder, environ, config=_config(hang)) as server,
    ):
        slow = Paced(server.address, SLOW_RATE, seconds, WARM_UP, "sms", SLOW_TIMEOUT, connections)
        healthy = Paced(server.address, HEALTHY_RATE, seconds, WARM_UP, "email", HEALTHY_TIMEOUT, connections)
        to_slow.begin(slow)
        to_healthy.begin(healthy)
        yield _Side(hang, slow, healthy, to_slow, to_healthy, store_of(name, bench.folder))


@dataclass(frozen=True, slots=True)
class _Side:
    hang: int
    slow: Paced
    healthy: Paced
    to_slow: LoadGenerator
    to_healthy: LoadGenerator
    store: Path

    def p99(self) -> float:
        """The p99 of the healthy provider's messages (s), once all calls are over and were answered as they should be.

        Raises:
            BenchError: they were not.
        """
        healthy, slow = self.to_healthy.end(), self.to_slow.end()
        if healthy.answers != {SENT: self.healthy.messages} or healthy.p99 is None:
            raise BenchError(f"of {self.healthy.messages} messages beside it all should be {SENT}: {healthy.answers}")
        allowed = {QUEUED, SENDING, LATE} if self.hang else {SENT}
        if set(slow.answers) - allowed or sum(slow.answers.values()) != self.slow.messages:
            words = " or ".join(sorted(allowed))
            raise BenchError(f"of {self.slow.messages} messages all should be {words}: {slow.answers}")
        return healthy.p99

    def check(self) -> None:
        """Make sure that it has hung, or has not, once the service has ended.

        Raises:
            BenchError: it is not so.
        """
        found = {
            "healthy": count(self.store, "messages WHERE channel = 'email' AND state = 'sent'"),
            "slow": count(self.store, "messages WHERE channel = 'sms'"),
            "slow and sent": count(self.store, "messages WHERE channel = 'sms' AND state = 'sent'"),
            "tried": min(MAX_CONCURRENT, count(self.store, "attempts WHERE provider_name = 'slow'")),
        }
        sent = 0 if self.hang else self.slow.messages
        expected = (self.healthy.messages, self.slow.messages, sent, MAX_CONCURRENT)
        if tuple(found.values()) != expected:
            raise BenchError(f"with a hang of {self.hang} s the store is to hold {expected}, and holds {found}")


def _config(latency: int) -> str:
    return (
        f'[providers.slow]\nkind = "mock"\nchannels = ["sms"]\nlatency = "{latency}s"\n'
        '[providers.healthy]\nkind = "mock"\nchannels = ["email"]\n'
    )
