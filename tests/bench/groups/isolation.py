"""What a provider that hangs does to messages that another carries: the p99 of these with the hang, over that without.

Both have calls at a steady pace, whatever becomes of them. Only how long the one provider takes differs.
"""

from __future__ import annotations

from typing import Final

from tests.bench.bench import Bench
from tests.bench.figures import figure
from tests.bench.jobs import QUEUED, SENDING, SENT, Paced
from tests.bench.processes import BenchError, LoadGenerator, load_generator, postwire_server, store_of
from tests.bench.progress import say
from tests.bench.report import Result
from tests.bench.stores import count

HEALTHY_RATE: Final = 200
HANGING_RATE: Final = 50
"""Messages a second."""

HANG: Final = 30
"""Seconds that each attempt would take at the provider that hangs. By default it is given up after ten."""

WARM_UP: Final = 2.0
"""Seconds, in which as many attempts come to hang as may be under way."""

HEALTHY_TIMEOUT: Final = 30.0
HANGING_TIMEOUT: Final = 3.0
"""Seconds. Shortly before, the service answers with how the message stands."""

LATE: Final = "DEADLINE_EXCEEDED"
"""On a busy machine that answer may come too late, which is not what is measured."""

MAX_CONCURRENT: Final = 64
"""The default of the configuration."""


def measure(bench: Bench) -> Result:
    """See the module. Each time a service of its own, so that nothing is left of the time before."""
    without, with_hang = [], []
    pairs = bench.scale.pairs
    with load_generator() as other:
        for pair in range(pairs):
            say(f"isolation, {pair + 1} of {pairs}: both healthy")
            without.append(_p99(bench, other, f"healthy-{pair}", 0))
            say(f"isolation, {pair + 1} of {pairs}: one hangs")
            with_hang.append(_p99(bench, other, f"hanging-{pair}", HANG))
    shown = [", ".join(f"{p99 * 1e3:.1f}" for p99 in those) for those in (with_hang, without)]
    note = f"p99 {shown[0]} ms, and {shown[1]} without"
    return Result([figure("isolation", [one / two for one, two in zip(with_hang, without, strict=True)], note)])


def _p99(bench: Bench, other: LoadGenerator, name: str, hang: int) -> float:
    seconds = WARM_UP + bench.scale.paced_for
    connections = bench.scale.connections
    environ = {"POSTWIRE_SERVER__GRACE": "500ms"}  # what hangs is not waited for at the end
    with postwire_server(name, bench.folder, environ, config=_config(hang)) as server:
        hanging = Paced(server.address, HANGING_RATE, seconds, WARM_UP, "sms", HANGING_TIMEOUT, connections)
        healthy = Paced(server.address, HEALTHY_RATE, seconds, WARM_UP, "email", HEALTHY_TIMEOUT, connections)
        other.begin(hanging)
        done = bench.load.run(healthy)
        hung = other.end()
    title = f"isolation with a latency of {hang} s"
    if done.answers != {SENT: healthy.messages}:
        raise BenchError(f"{title}: of {healthy.messages} messages beside it all should be {SENT}: {done.answers}")
    allowed = {QUEUED, SENDING, LATE} if hang else {SENT}
    if set(hung.answers) - allowed or sum(hung.answers.values()) != hanging.messages:
        raise BenchError(
            f"{title}: of {hanging.messages} messages all should be {' or '.join(sorted(allowed))}: {hung.answers}"
        )
    store = store_of(name, bench.folder)
    found = {
        "healthy": count(store, "messages WHERE channel = 'email' AND state = 'sent'"),
        "hanging": count(store, "messages WHERE channel = 'sms'"),
        "hanging and sent": count(store, "messages WHERE channel = 'sms' AND state = 'sent'"),
        "tried": min(MAX_CONCURRENT, count(store, "attempts WHERE provider_name = 'slow'")),
    }
    expected = (healthy.messages, hanging.messages, 0 if hang else hanging.messages, MAX_CONCURRENT)
    if tuple(found.values()) != expected:
        raise BenchError(f"{title}: the store is to hold {expected}, and holds {found}")
    assert done.p99
    return done.p99


def _config(latency: int) -> str:
    return (
        f'[providers.slow]\nkind = "mock"\nchannels = ["sms"]\nlatency = "{latency}s"\n'
        '[providers.healthy]\nkind = "mock"\nchannels = ["email"]\n'
    )
