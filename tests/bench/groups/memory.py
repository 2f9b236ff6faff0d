"""Whether the service grows: its RSS while it dispatches, with all of its telemetry on.

The page cache of SQLite fills first, up to 64 MiB; that is no growth. So there are messages in the store already, which
has it touch more pages, and what is dispatched until it is warm does not count. From there on half of the messages come
by calls of `Dispatch`, and half by streams, so that what either keeps is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Final

from tests.bench.bench import Bench, sampling
from tests.bench.figures import Figure, slope, target
from tests.bench.jobs import SENT
from tests.bench.prefill import fill
from tests.bench.processes import BenchError, Server, collector, postwire_server, store_of
from tests.bench.progress import say
from tests.bench.report import Result
from tests.bench.rounds import EXPORT_DELAY_MS
from tests.bench.stores import check_stored

MILLION: Final = 1_000_000
STEPS: Final = 80
"""How often RSS is read: its level varies by a MiB or so from one time to the next, which so many even out."""
SAMPLED: Final = 0.01
MIB: Final = 1024 * 1024


def measure(bench: Bench) -> Result:
    """See the module."""
    scale = bench.scale
    fill(bench, "memory", scale.stored)
    step = scale.dispatched // STEPS
    points: list[tuple[float, float]] = []
    with collector(bench.folder / "collector.log") as spans:
        environ = sampling(spans.address, SAMPLED, EXPORT_DELAY_MS) | {
            "POSTWIRE_TELEMETRY__METRICS_LISTEN": "127.0.0.1:0"
        }
        with postwire_server("memory", bench.folder, environ) as server:
            booted = server.rss()
            _dispatch(bench, server, scale.warm_up)
            for number in range(STEPS):
                say(f"memory: {number * step:,} of {scale.dispatched:,} dispatched")
                points.append((number * step, server.rss()))
                _dispatch(bench, server, step)
            points.append((STEPS * step, server.rss()))
    sent = scale.stored + scale.warm_up + STEPS * step
    check_stored("memory", store_of("memory", bench.folder), messages=sent, sent=sent)
    drift, low, high = (rise * MILLION / MIB for rise in slope(points))
    levels = quarters([rss / MIB for _, rss in points])
    note = f"{booted / MIB:.0f} MiB at boot; by quarters {', '.join(f'{level:.1f}' for level in levels)}"
    if scale.dispatched == MILLION:
        note += "; all of them done"
    else:
        note += f"; scaled up from {scale.dispatched:,}: --full does them all"
    facts = {
        "rss_at_boot": booted / MIB,
        **{f"rss_in_quarter_{number}": level for number, level in enumerate(levels, 1)},
        "rss_warm": points[-1][1] / MIB,
        "bytes_per_message": store_of("memory", bench.folder).stat().st_size / sent,
    }
    return Result([Figure(target("memory"), drift, low, high, note, estimated=True)], facts=facts)


def quarters(values: Sequence[float]) -> list[float]:
    """The median of each quarter, in order: what still settles rises in the first alone, and a leak in all of them."""
    ends = [len(values) * number // 4 for number in range(5)]
    return [median(values[start:end]) for start, end in pairwise(ends)]


def _dispatch(bench: Bench, server: Server, messages: int) -> None:
    called = messages // 2
    streams = replace(bench.streams(server), messages=messages - called, traced=round(SAMPLED * messages / 2))
    for job in (replace(bench.calls(server), messages=called), streams):
        done = bench.load.run(job)
        if done.answers != {SENT: job.messages}:
            raise BenchError(f"memory: of {job.messages} messages all should be {SENT}: {done.answers}")
