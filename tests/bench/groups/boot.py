"""From the start of the process to the line that says that it serves, with its defaults: `/metrics` included."""

from __future__ import annotations

from statistics import median

from tests.bench.bench import Bench
from tests.bench.figures import figure
from tests.bench.jobs import SENT, Calls
from tests.bench.processes import BenchError, postwire_server, store_of
from tests.bench.progress import say
from tests.bench.report import Result
from tests.bench.stores import check_stored


def measure(bench: Bench) -> Result:
    """See the module. The first boot makes the store, the others find it."""
    seconds, of_cpu = [], []
    boots = bench.scale.boots
    for number in range(boots + 1):
        say(f"boot {number} of {boots}")
        with postwire_server("boot", bench.folder, {"POSTWIRE_TELEMETRY__METRICS_LISTEN": "127.0.0.1:0"}) as server:
            seconds.append(server.boot)
            of_cpu.append(server.cpu())
            done = bench.load.run(Calls(server.address, messages=1, concurrency=1, connections=1))
            if done.answers != {SENT: 1}:
                raise BenchError(f"boot: the server serves, but a message was {done.answers}")
    check_stored("boot", store_of("boot", bench.folder), messages=boots + 1, sent=boots + 1)
    note = f"{median(of_cpu[1:]):.2f} s of CPU; {seconds[0]:.2f} s with a new store"
    return Result([figure("boot", seconds[1:], note)])
