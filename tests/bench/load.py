"""The load generator: calls `Dispatch` at a fixed concurrency, in a process of its own so that its CPU is not counted.

Run as `python -m tests.bench.load`: takes one `Job` a line on stdin, as JSON, answers each with one `Round` on stdout,
and ends with stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import grpc
from tests.bench import payload
from tests.bench.loops import loop_factory

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2

CALL_TIMEOUT: Final = 30.0
OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)  # else all channels to one address share a connection


@dataclass(frozen=True, slots=True)
class Job:
    """`messages` calls of the server at `address`, `concurrency` at a time over `channels` connections."""

    address: str
    messages: int
    concurrency: int
    channels: int
    request_ids: bool


@dataclass(frozen=True, slots=True)
class Round:
    """How a job went. Times are in seconds; `sent` counts the answers that were OK and SENT, `bad` tells the others."""

    wall: float
    p50: float
    p99: float
    sent: int
    bad: dict[str, int]


class _Tally:
    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.sent = 0
        self.bad: dict[str, int] = {}

    def note_bad(self, what: str) -> None:
        self.bad[what] = self.bad.get(what, 0) + 1


async def run(job: Job) -> Round:
    """Do a job, with connections of its own that are up before the clock starts."""
    channels = [grpc.aio.insecure_channel(job.address, options=OPTIONS) for _ in range(job.channels)]
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            await asyncio.gather(*(channel.channel_ready() for channel in channels))
        turns = iter(range(job.messages))
        tally = _Tally()
        started = time.perf_counter()
        callers = (_call(channels[n % len(channels)], turns, job, tally) for n in range(job.concurrency))
        await asyncio.gather(*callers)
        wall = time.perf_counter() - started
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))
    latencies = sorted(tally.latencies)
    return Round(wall, _percentile(latencies, 0.5), _percentile(latencies, 0.99), tally.sent, tally.bad)


async def _call(channel: grpc.aio.Channel, turns: Iterator[int], job: Job, tally: _Tally) -> None:
    dispatch: Any = channel.unary_unary(
        f"/{payload.SERVICE}/{payload.METHOD}",
        request_serializer=pb.DispatchRequest.SerializeToString,
        response_deserializer=pb.DispatchResponse.FromString,
    )
    request = payload.request()
    for _ in turns:  # shared by all callers, so each takes the next that is left
        if job.request_ids:
            request.request_id = str(uuid.uuid4())
        started = time.perf_counter()
        try:
            response = await dispatch(request, timeout=CALL_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            tally.note_bad(error.code().name)
            continue
        tally.latencies.append(time.perf_counter() - started)
        if response.message.state == message_pb2.MESSAGE_STATE_SENT:
            tally.sent += 1
        else:
            tally.note_bad(message_pb2.MessageState.Name(response.message.state))


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def main() -> None:
    """Take jobs until stdin ends."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        for line in sys.stdin:
            print(json.dumps(asdict(runner.run(run(Job(**json.loads(line)))))), flush=True)


if __name__ == "__main__":
    main()
