"""One request id is one message: under races of many callers, while the server is stopped, killed and started again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from tests.support.checker import KEPT, TRIED, check_messages, kept_in
from tests.support.driver import REUSED, SHUTTING_DOWN, in_seconds
from tests.support.reachable import Reachable
from tests.support.server_process import ServerProcess

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import error_reason_pb2, message_pb2
from postwire.v1.message_pb2 import DispatchOptions, Email, Message, OutboundMessage, Sms

CALLERS = 64
FRAME = 4
"""How many of them share a frame of a stream, and so a commit."""

AT_ONCE = 8
"""How many request ids are raced for at a time."""

TOML = """
[providers.one]
kind = "mock"
channels = ["sms", "email"]
latency = "3ms"
"""

PAYLOADS = (
    OutboundMessage(sms=Sms(to="+14155550132", body="Hello")),
    OutboundMessage(sms=Sms(to="+14155550132", body="Hello!")),
    OutboundMessage(sms=Sms(to="+14155550133", body="Hello")),
    OutboundMessage(sms=Sms(to="+14155550132", body="Hello"), labels={"team": "billing"}),
    OutboundMessage(email=Email(to=["ada@example.com"], subject="Hello", text="Hello")),
)
"""The first is most callers'; of the others each differs from it in something else."""


@dataclass
class Race:
    """What the callers of one request id have heard: by payload, the ids of messages, and how many were refused."""

    request_id: str
    messages: dict[int, set[str]] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)

    def heard(self, payload: int, answer: Message | str) -> None:
        """An answer for good."""
        if isinstance(answer, Message):
            assert answer.request_id == self.request_id
            self.messages.setdefault(payload, set()).add(answer.message_id)
        else:
            assert answer == REUSED, answer
            self.refused[payload] = self.refused.get(payload, 0) + 1

    @property
    def winner(self) -> int:
        """The payload that came first: all that had it got one message, and all others were refused."""
        ((payload, found),) = self.messages.items()
        assert len(found) == 1, f"{self.request_id} is {len(found)} messages"
        assert payload not in self.refused, f"{self.request_id} was refused to those whose it is"
        return payload

    @property
    def message_id(self) -> str:
        (message_id,) = self.messages[self.winner]
        return message_id


def asked(request_id: str, payload: int, chance: random.Random) -> pb.DispatchRequest:
    """A call with a payload. How long its caller waits is no part of that."""
    waits = (message_pb2.WAIT_FOR_OUTCOME, message_pb2.WAIT_FOR_ACCEPTANCE)
    return pb.DispatchRequest(
        request_id=request_id, message=PAYLOADS[payload], options=DispatchOptions(wait_for=chance.choice(waits))
    )


class Progress:
    """Counts answers, and has something done once so many are in."""

    def __init__(self) -> None:
        self.answers = 0
        self._more = asyncio.Event()

    def one_more(self) -> None:
        self.answers += 1
        self._more.set()

    async def until(self, answers: int) -> None:
        while self.answers < answers:
            self._more.clear()
            await self._more.wait()


async def race(server: Reachable, race: Race, progress: Progress) -> None:
    """All callers at once: most of them one by one, the others in a frame."""
    chance = random.Random(race.request_id)
    payloads = [chance.choice(range(1, len(PAYLOADS))) if chance.random() < 0.2 else 0 for _ in range(CALLERS)]

    async def call(payload: int) -> None:
        race.heard(payload, await server.dispatch(asked(race.request_id, payload, chance)))
        progress.one_more()

    async with asyncio.TaskGroup() as group:
        group.create_task(by_stream(server, race, payloads[:FRAME], chance))
        for payload in payloads[FRAME:]:
            group.create_task(call(payload))


async def by_stream(server: Reachable, race: Race, payloads: list[int], chance: random.Random) -> None:
    """The same over a stream, in one frame, until all of it is answered."""
    frame = [asked(race.request_id, payload, chance) for payload in payloads]
    while True:
        boot, stub = await server.reach()
        answers: dict[int, Message | str] = {}
        try:
            async for response in stub.DispatchStream(iter([pb.DispatchStreamRequest(requests=frame)])):
                answers |= {one.sequence: answer_of(one) for one in response.results}
        except grpc.aio.AioRpcError as error:
            if not await server.repeats(error, boot):
                raise
            continue
        assert answers.keys() == set(range(len(frame)))
        if SHUTTING_DOWN not in answers.values():
            break
        await server.reach(after=boot)
    for sequence, payload in enumerate(payloads):
        race.heard(payload, answers[sequence])


def answer_of(result: pb.DispatchStreamResult) -> Message | str:
    if result.HasField("message"):
        return result.message
    code = next(one for one in grpc.StatusCode if one.value[0] == result.rejection.code)
    return f"{code.name} {error_reason_pb2.ErrorReason.Name(result.rejection.reason).removeprefix('ERROR_REASON_')}"


@pytest.mark.parametrize(("ids", "ends"), [(24, 3), pytest.param(2000, 60, marks=pytest.mark.long)])
async def test_many_callers_that_race_for_a_request_id_get_one_message_however_the_server_ends(
    tmp_path: Path, note: Callable[[str], None], ids: int, ends: int
) -> None:
    server_process = ServerProcess(tmp_path, TOML)
    server = Reachable(server_process)
    races = [Race(f"race-{number}") for number in range(ids)]
    progress = Progress()
    waiting = iter(races)

    async def racer() -> None:
        for one in waiting:  # shared: each takes the next that is left
            await race(server, one, progress)

    async def ender() -> None:
        for end in range(1, ends + 1):
            await progress.until(ids * (CALLERS - FRAME) * end // (ends + 1))
            await server.end(kill=end % 2 == 0)
            await server.start()

    try:
        await server.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(ender())
            for _ in range(AT_ONCE):
                group.create_task(racer())
        await ask_all_again(server, races)
        await server.end(kill=False)
    finally:
        if not server_process.gone.is_set():
            await server_process.kill()
    server_process.no_faults()

    (state,), messages, attempts = server_process.rows("PRAGMA integrity_check", KEPT, TRIED)
    assert state == ("ok",)
    kept = kept_in(messages, attempts)
    assert len(kept) == ids
    assert {one.request_id: one.message_id for one in kept} == {one.request_id: one.message_id for one in races}
    killed = frozenset(server_process.boots[1:ends:2])
    found = check_messages(kept, server_process.calls(), killed=killed)
    assert found.calls <= ids + found.orphans
    refused = sum(sum(one.refused.values()) for one in races)
    others = sum(one.winner != 0 for one in races)
    note(
        f"request ids: {ids:,} ids x {CALLERS} callers, {ends} ends ({len(killed)} by SIGKILL): {len(kept):,} messages "
        f"({others} of another payload than most), {found.calls:,} calls of providers, {found.orphans} orphans, "
        f"{refused:,} calls refused; broken off: {dict(server.broken_off)}"
    )


async def ask_all_again(server: Reachable, races: list[Race]) -> None:
    """After all is done, every payload once more, and one that differs in an option: nothing has changed."""
    chance = random.Random(0)
    for one in races:
        for payload in range(len(PAYLOADS)):
            one.heard(payload, await server.dispatch(asked(one.request_id, payload, chance)))
        later = asked(one.request_id, one.winner, chance)
        later.options.expire_time.CopyFrom(in_seconds(3600))
        assert await server.dispatch(later) == REUSED
