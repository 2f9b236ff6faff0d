"""The load generator: sends messages, in a process of its own so that its CPU is not counted.

Run as `python -m tests.bench.load`: takes one job of `tests.bench.jobs` a line on stdin, answers each with one `Round`
on stdout, and ends with stdin.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

import grpc
from tests.bench import payload
from tests.bench.http_load import run_calls
from tests.bench.jobs import Calls, Job, Paced, Round, Streams, percentile, read_job
from tests.bench.loops import loop_factory

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import error_reason_pb2, message_pb2
from postwire_client.request_ids import new_request_id

CALL_TIMEOUT: Final = 30.0
STREAM_TIMEOUT: Final = 300.0
LEAD: Final = 0.1
"""Seconds from the start of a paced job to its first call."""

OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)  # else all channels to one address share a connection


async def run(job: Job) -> Round:
    """Do a job, with connections of its own that are up before the clock starts."""
    if isinstance(job, Calls):
        return await (run_calls(job, CALL_TIMEOUT) if job.content_type else _run_calls(job))
    if isinstance(job, Streams):
        return await _run_streams(job)
    return await _run_paced(job)


@asynccontextmanager
async def _connected(address: str, count: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    addresses = address.split(",")
    channels = [grpc.aio.insecure_channel(addresses[n % len(addresses)], options=OPTIONS) for n in range(count)]
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            await asyncio.gather(*(channel.channel_ready() for channel in channels))
        yield channels
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


class _Caller:
    """Calls `Dispatch`, and keeps count."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.latencies: list[float] = []

    async def call(
        self,
        channel: grpc.aio.Channel,
        request: pb.DispatchRequest,
        since: float,
        timeout: float = CALL_TIMEOUT,
        token: str = "",
    ) -> None:
        """One call. Its latency counts from `since`, on `time.perf_counter`."""
        dispatch: Any = channel.unary_unary(
            f"/{payload.SERVICE}/{payload.DISPATCH}",
            request_serializer=pb.DispatchRequest.SerializeToString,
            response_deserializer=pb.DispatchResponse.FromString,
        )
        try:
            response = await dispatch(request, timeout=timeout, metadata=_bearer(token))
        except grpc.aio.AioRpcError as error:
            self.answers[error.code().name] += 1
            return
        self.latencies.append(time.perf_counter() - since)
        self.answers[message_pb2.MessageState.Name(response.message.state)] += 1

    def round(self, wall: float) -> Round:
        """How it went, after so many seconds."""
        ordered = sorted(self.latencies)
        return Round(wall, percentile(ordered, 0.5), percentile(ordered, 0.99), dict(self.answers))


async def _run_calls(job: Calls) -> Round:
    caller = _Caller()
    turns = iter(range(job.messages))  # shared by all callers, so each takes the next that is left
    async with _connected(job.address, job.connections) as channels:
        started = time.perf_counter()
        await asyncio.gather(
            *(_call_in_turn(channels[n % len(channels)], turns, job, caller) for n in range(job.concurrency))
        )
        return caller.round(time.perf_counter() - started)


async def _call_in_turn(channel: grpc.aio.Channel, turns: Iterator[int], job: Calls, caller: _Caller) -> None:
    request = payload.request(job.channel)
    for _ in turns:
        if job.request_ids:
            request.request_id = new_request_id()
        await caller.call(channel, request, time.perf_counter(), token=job.token)


async def _run_paced(job: Paced) -> Round:
    warm_up, measured = _Caller(), _Caller()
    async with _connected(job.address, job.connections) as channels:
        started = time.perf_counter()
        calls = []
        for number in range(job.messages):
            after = number / job.rate
            due = started + LEAD + after
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            request = payload.request(job.channel)
            request.request_id = new_request_id()
            caller = warm_up if after < job.warm_up else measured
            calls.append(asyncio.create_task(caller.call(channels[number % len(channels)], request, due, job.timeout)))
        await asyncio.gather(*calls)
        wall = time.perf_counter() - started
    measured.answers += warm_up.answers
    return measured.round(wall)


async def _run_streams(job: Streams) -> Round:
    # Written before the clock starts and read after it has stopped, so that the server is what everything waits for.
    shares = [len(range(n, job.messages - job.traced, job.connections)) for n in range(job.connections)]
    untraced = [_frames(job, share) for share in shares]
    traced = _frames(job, job.traced)
    async with _connected(job.address, job.connections) as channels:
        started = time.perf_counter()
        responses: list[bytes] = []
        errors = await asyncio.gather(
            *(
                _stream(channel, frames, "00", responses, job.token)
                for channel, frames in zip(channels, untraced, strict=True)
            ),
            *([_stream(channels[0], traced, "01", responses, job.token)] if traced else []),
        )
        wall = time.perf_counter() - started
    answers = Counter(error for error in errors if error)
    for response in responses:
        answers.update(map(_answer, pb.DispatchStreamResponse.FromString(response).results))
    return Round(wall, None, None, dict(answers))


def _bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


async def _stream(
    channel: grpc.aio.Channel, frames: Sequence[bytes], flags: str, responses: list[bytes], token: str
) -> str | None:
    """One call; what went wrong with it, if anything did."""

    async def requests() -> AsyncIterator[bytes]:
        for frame in frames:
            yield frame

    call: Any = channel.stream_stream(f"/{payload.SERVICE}/{payload.DISPATCH_STREAM}")
    trace = (("traceparent", f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{flags}"),)
    try:
        responses += [
            response async for response in call(requests(), metadata=trace + _bearer(token), timeout=STREAM_TIMEOUT)
        ]
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return None


def _frames(job: Streams, messages: int) -> list[bytes]:
    request = payload.request()
    if job.later:
        request.options.wait_for = message_pb2.WAIT_FOR_ACCEPTANCE
        request.options.send_time.FromSeconds(int(time.time()) + job.later)
    frames = []
    for first in range(0, messages, job.frame):
        frame = pb.DispatchStreamRequest()
        for _ in range(min(job.frame, messages - first)):
            request.request_id = new_request_id()
            frame.requests.append(request)
        frames.append(frame.SerializeToString())
    return frames


def _answer(result: pb.DispatchStreamResult) -> str:
    if result.HasField("message"):
        return message_pb2.MessageState.Name(result.message.state)
    return error_reason_pb2.ErrorReason.Name(result.rejection.reason)


def main() -> None:
    """Take jobs until stdin ends."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        for line in sys.stdin:
            print(json.dumps(asdict(runner.run(run(read_job(line))))), flush=True)


if __name__ == "__main__":
    main()
