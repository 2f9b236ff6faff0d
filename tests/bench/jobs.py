"""What a load generator is asked to do, and how it went: one line of JSON each way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

SENT: Final = "MESSAGE_STATE_SENT"
SENDING: Final = "MESSAGE_STATE_SENDING"
QUEUED: Final = "MESSAGE_STATE_QUEUED"

RECIPIENT: Final = "+14155550132"
BODY: Final = "Your code is 482913. It is valid for ten minutes; never tell it to anybody, not even to us."


@dataclass(frozen=True, slots=True)
class Calls:
    """`messages` calls of `Dispatch`, `concurrency` at a time over `connections`; each an SMS, or an email.

    Several addresses, with commas between them, have connections in turn. With a `content_type` it is called over HTTP:
    `application/json`, or `application/proto` of Connect's protocol.
    """

    address: str
    messages: int
    concurrency: int
    connections: int
    request_ids: bool = True
    channel: str = "sms"
    token: str = ""
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Streams:
    """`messages` over calls of `DispatchStream`, one a connection, `frame` of them in each frame.

    Each is to be sent `later` seconds from now and waits for its acceptance; or for its outcome, where that is 0.
    `traced` of them go over a call of their own, the one whose trace its caller has sampled: a stream is sampled whole
    or not at all, so that chance alone would have all of a round traced, or nothing of ten.
    """

    address: str
    messages: int
    frame: int
    connections: int
    later: int = 0
    traced: int = 0
    token: str = ""


@dataclass(frozen=True, slots=True)
class Paced:
    """`rate` calls of `Dispatch` a second for `seconds`, each at its time, whatever became of those before it.

    `channel` is `sms` or `email`; each call has a `timeout` (s). Latencies count from when a call was due, and those of
    the first `warm_up` seconds are left out.
    """

    address: str
    rate: int
    seconds: float
    warm_up: float
    channel: str
    timeout: float
    connections: int

    @property
    def messages(self) -> int:
        """How many calls there are."""
        return round(self.rate * self.seconds)


Job = Calls | Streams | Paced
_KINDS: Final[dict[str, type[Any]]] = {kind.__name__: kind for kind in (Calls, Streams, Paced)}


@dataclass(frozen=True, slots=True)
class Round:
    """How a job went. Times are in seconds; latencies are a call's, and a stream has none.

    `answers` counts the messages by what was answered: a state, a gRPC status, or the reason of a rejection.
    """

    wall: float
    p50: float | None
    p99: float | None
    answers: dict[str, int]


def write_job(job: Job) -> bytes:
    """A line for the load generator."""
    return json.dumps([type(job).__name__, asdict(job)]).encode() + b"\n"


def read_job(line: str | bytes) -> Job:
    """The job of a line."""
    kind, fields = json.loads(line)
    job: Job = _KINDS[kind](**fields)
    return job


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which that share of values lies; they are in order."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None
