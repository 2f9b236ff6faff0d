"""Calls of `Dispatch` over HTTP, for the load generator."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import aiohttp
from google.protobuf import json_format
from tests.bench import payload
from tests.bench.jobs import Calls, Round, percentile

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire_client.request_ids import new_request_id

JSON = "application/json"


async def run_calls(job: Calls, timeout: float) -> Round:
    """Do a job. Connections are kept, as a browser and curl keep them, and there are as many as calls at once."""
    answers: Counter[str] = Counter()
    latencies: list[float] = []
    turns = iter(range(job.messages))  # shared by all callers, so each takes the next that is left
    url = f"http://{job.address}/{payload.SERVICE}/{payload.DISPATCH}"
    headers = {"content-type": job.content_type}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(timeout), headers=headers
    ) as session:
        started = time.perf_counter()

        async def call_in_turn(turns: Iterator[int]) -> None:
            request = payload.request(job.channel)
            for _ in turns:
                if job.request_ids:
                    request.request_id = new_request_id()
                body = _body(request, job.content_type)
                since = time.perf_counter()
                async with session.post(url, data=body) as response:
                    found = await response.read()
                latencies.append(time.perf_counter() - since)
                answers[_state(found, job.content_type) if response.status == 200 else str(response.status)] += 1

        await asyncio.gather(*(call_in_turn(turns) for _ in range(job.concurrency)))
        wall = time.perf_counter() - started
    latencies.sort()
    return Round(wall, percentile(latencies, 0.5), percentile(latencies, 0.99), dict(answers))


def _body(request: pb.DispatchRequest, content_type: str) -> bytes:
    return json_format.MessageToJson(request).encode() if content_type == JSON else request.SerializeToString()


def _state(answer: bytes, content_type: str) -> str:
    if content_type == JSON:
        response = json_format.Parse(answer, pb.DispatchResponse())
    else:
        response = pb.DispatchResponse.FromString(answer)
    return message_pb2.MessageState.Name(response.message.state)
