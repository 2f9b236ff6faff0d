"""Killed at random moments, and at every step of a message's path: nothing is lost, and nothing is sent in silence."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.audit import (
    nothing_is_missing,
    nothing_received_is_lost,
    on_record,
    settle,
    the_watch_has_missed_nothing,
)
from tests.support.call_log import KILLED
from tests.support.driver import AT_MOST_ONCE, Book, drive, in_seconds
from tests.support.failpoints import POINTS
from tests.support.server_process import ServerProcess

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.message_pb2 import DispatchOptions, Email, OutboundMessage, Sms

TROUBLE = """
error_ratio = 0.1
rate_limited_ratio = 0.02
uncertain_ratio = 0.05
rejected_ratio = 0.02
latency = "5ms"
retry_after = "20ms"
delivered_ratio = 0.7
undelivered_ratio = 0.1
doubled_receipt_ratio = 0.3
receipt_delay = "10ms"
"""
TOML = f"""
[server]
max_wait = "5s"
[delivery]
backoff_base = "20ms"
backoff_max = "100ms"
[routes]
sms = ["sms-a", "sms-b"]
[providers.sms-a]
kind = "mock"
channels = ["sms"]
{TROUBLE}
[providers.sms-b]
kind = "mock"
channels = ["sms"]
{TROUBLE}
[providers.post]
kind = "mock"
channels = ["email"]
{TROUBLE}
"""
PROVIDERS = ("sms-a", "sms-b", "post")

COUNTS = {
    "accept": 200,
    "accept_all": 15,
    "send": 300,
    "record": 200,
    "failover": 25,
    "requeue": 15,
    "resume": 15,
    "receive": 100,
    "recover": 1,
    "store.log": 800,
    "store.sync": 60,
    "store.file": 300,
}
"""How often a place is come by before the end, at the most: as often as it is in the first moments of a boot."""

SHORTEST, LONGEST = 0.2, 0.8
"""Seconds that a server has that is killed from outside. There has to be something under way."""

TOO_LATE = 10.0
"""Seconds after which a failpoint counts as not come by."""

MAX_ATTEMPTS = 5


def request(number: int) -> pb.DispatchRequest:
    """One of many kinds, by its number."""
    chance = random.Random(number)
    if chance.random() < 0.8:
        message = OutboundMessage(sms=Sms(to="+14155550132", body=f"Hello {number}"))
    else:
        message = OutboundMessage(email=Email(to=["ada@example.com"], subject="Hi", text=f"Hello {number}"))
    options = DispatchOptions(
        wait_for=chance.choice((message_pb2.WAIT_FOR_OUTCOME, message_pb2.WAIT_FOR_ACCEPTANCE)),
        max_attempts=MAX_ATTEMPTS,
    )
    if chance.random() < 0.3:
        options.delivery_guarantee = AT_MOST_ONCE
    if chance.random() < 0.05:
        options.send_time.CopyFrom(in_seconds(chance.random() * 0.3))
    return pb.DispatchRequest(request_id=f"kill-{number}", message=message, options=options)


def leaves_orphans(server_process: ServerProcess) -> bool:
    """Whether the next boot has attempts to recover that are still open."""
    (((count,),),) = server_process.rows("SELECT count(*) FROM attempts WHERE outcome IS NULL")
    return bool(count)


def ends(kills: int, sooner: int) -> Iterator[str]:
    """How each boot ends: at a failpoint, or ("") at a random moment, which leaves orphans to the next.

    A failpoint is come by so much `sooner` than after `COUNTS`.
    """
    chance = random.Random(kills)
    points: list[str] = []
    for number in range(kills):
        if number % 4 == 0:
            yield ""
            continue
        points = points or list(POINTS)
        # What is recovered is what an end that came as a surprise has left.
        recovering = [point for point in points if point.startswith("recover")] if number % 4 == 1 else []
        point = recovering[0] if recovering else chance.choice([one for one in points if not one.startswith("recover")])
        points.remove(point)
        step = point.partition(".")[0]
        most = (COUNTS.get(point) or COUNTS[step]) // sooner
        yield f"{point}:{chance.randint(1, max(most, 1))}"


@pytest.mark.parametrize(("kills", "sooner"), [(20, 2), pytest.param(200, 1, marks=pytest.mark.long)])
async def test_nothing_is_lost_or_sent_in_silence_however_often_the_server_is_killed(
    tmp_path: Path, note: Callable[[str], None], kills: int, sooner: int
) -> None:
    server_process = ServerProcess(tmp_path, TOML)
    book = Book(request)
    chance = random.Random(kills)
    busy, opened = 0.0, 0
    expected: list[str] = []
    try:
        for failpoint in ends(kills, sooner):
            if failpoint.startswith("recover") and not leaves_orphans(server_process):
                failpoint = ""  # the end before came when nothing was under way: there is nothing to recover
            if failpoint:
                expected.append(failpoint.partition(":")[0])
            if await server_process.start(failpoint):
                started = time.monotonic()
                moment = TOO_LATE if failpoint else chance.uniform(SHORTEST, LONGEST)
                alarm = asyncio.get_running_loop().call_later(moment, server_process.send_signal, signal.SIGKILL)
                await drive(server_process.address, book, server_process.gone)
                alarm.cancel()
                busy += time.monotonic() - started
            assert await server_process.wait() == -signal.SIGKILL
            nothing_is_missing(server_process, book)
        opened = len(server_process.boots)
        assert await server_process.start()
        records = await settle(server_process, book, PROVIDERS)
        assert await server_process.terminate() == 0
    finally:
        if not server_process.gone.is_set():
            await server_process.kill()
    server_process.no_faults()

    met = [line.key for line in server_process.lines() if line.event == KILLED]
    assert met == expected
    received = nothing_received_is_lost(server_process)
    assert received > len(records) / 4
    found = on_record(server_process, book, killed=frozenset(server_process.boots[:-1]))
    the_watch_has_missed_nothing(book, records)
    note(
        f"kill: {kills} kills ({len(set(met))} failpoints), {opened} boots that opened the store, "
        f"{len(records):,} messages, {found.calls:,} calls of providers, {found.orphans:,} orphans ({found.cut:,} cut "
        f"off in mid-call, {found.unheard:,} answered and not recorded, {found.unasked:,} not asked), {found.twice:,} "
        f"sent twice and said so, {received:,} receipts received, "
        f"{len(book.shots) / busy:,.0f} messages/s while up; broken off: {dict(book.failures)}"
    )
