"""The callers of the peer: have messages sent and wait for what becomes of them, in a process of their own.

Run as `python -m tests.bench.peer.load`, in the environment of the peer: takes one `Calls` of `tests.bench.jobs` a line
on stdin, answers each with one `Round` on stdout, and ends with stdin.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

from tests.bench.jobs import BODY, RECIPIENT, Calls, Round, percentile, read_job
from tests.bench.peer.tasks import OUTCOMES, app, send, store

TIMEOUT: Final = 60.0
"""Seconds, after which a caller gives up."""

_waiting: Final[dict[str, SimpleQueue[str]]] = {}
"""Where a message's state goes, by request id."""


def run(job: Calls) -> Round:
    """As many callers at a time as the job says, each a thread."""
    started = time.perf_counter()
    with ThreadPoolExecutor(job.concurrency) as callers:
        answers, latencies = zip(*callers.map(_call, range(job.messages)), strict=True)
    wall = time.perf_counter() - started
    ordered = sorted(latencies)
    return Round(wall, percentile(ordered, 0.5), percentile(ordered, 0.99), dict(Counter(answers)))


def _call(_: int) -> tuple[str, float]:
    request_id, state = str(uuid.uuid4()), SimpleQueue[str]()
    _waiting[request_id] = state
    since = time.perf_counter()
    send.apply_async((RECIPIENT, BODY), task_id=request_id)
    reported = state.get(timeout=TIMEOUT)
    return reported, time.perf_counter() - since


def _listen(outcomes: Any) -> None:
    for published in outcomes.listen():
        request_id, state = json.loads(published["data"])
        if waits := _waiting.pop(request_id, None):
            waits.put(state)


def main() -> None:
    """Take jobs until stdin ends."""
    app.conf.broker_pool_limit = 1000  # so that no caller waits for a connection
    outcomes = store.pubsub()
    outcomes.subscribe(OUTCOMES)
    outcomes.get_message(timeout=TIMEOUT)  # that we listen
    Thread(target=_listen, args=(outcomes,), daemon=True).start()
    for line in sys.stdin:
        job = read_job(line)
        assert isinstance(job, Calls)
        print(json.dumps(asdict(run(job))), flush=True)


if __name__ == "__main__":
    main()
