"""`postwire stats`, `tenants` and `whoami`, against a server in this process that answers as it is told to."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.support.scripted_server import ScriptedServer, serving
from tests.support.waiting import PATIENCE
from tests.unit.test_cli_watch import ESCAPE, Terminal, terminal

from postwire.cli import stats
from postwire.cli.failure import Failed
from postwire.cli.options import Connection
from postwire.cli.root import root
from postwire.cli.stats import Figures
from postwire.cli.watching import show_changes
from postwire.v1.admin_service_pb2 import (
    Backlog,
    ChannelStats,
    GetCallerRequest,
    GetCallerResponse,
    ListTenantsRequest,
    ListTenantsResponse,
    StatsInterval,
    Tenant,
    WatchStatsRequest,
    WatchStatsResponse,
)
from postwire.v1.message_pb2 import Channel, Priority

__all__ = ["terminal"]

START = 1_800_000_000
"""Seconds, a multiple of 5."""

SMS, EMAIL = Channel.CHANNEL_SMS, Channel.CHANNEL_EMAIL


def interval(after: int, *channels: ChannelStats) -> StatsInterval:
    made = StatsInterval(channels=channels)
    made.start_time.FromSeconds(START + after)
    return made


def change(after: int, *intervals: StatsInterval, backlog: Backlog | None = None) -> WatchStatsResponse:
    made = WatchStatsResponse(intervals=intervals, backlog=backlog)
    made.time.FromSeconds(START + after)
    return made


def waiting(unsettled: int = 3, due: int = 2) -> Backlog:
    made = Backlog(unsettled=unsettled, max_unsettled=1_000, due=due, store_available=True, store_bytes=4_096)
    if due:
        made.oldest_due_time.FromSeconds(START)
    return made


def reported() -> list[WatchStatsResponse]:
    """What a server tells at first, and two changes of it."""
    return [
        change(
            12,
            interval(0, ChannelStats(channel=SMS, accepted=5, sent=4, failed=1)),
            interval(10, ChannelStats(channel=SMS, accepted=1), ChannelStats(channel=EMAIL, accepted=2, uncertain=1)),
            backlog=waiting(),
        ),
        change(13, interval(10, ChannelStats(channel=SMS, accepted=3, sent=3, delivered=1))),
        change(14, backlog=waiting(0, 0)),
    ]


@pytest.fixture
def scripted() -> ScriptedServer:
    scripted = ScriptedServer()
    scripted.answer = reported()
    return scripted


@pytest.fixture
def target(scripted: ScriptedServer) -> Iterator[str]:
    with serving(scripted) as target:
        yield target


Call = Callable[..., Result]


@pytest.fixture
def call(target: str) -> Call:
    """Runs a command against the server."""
    return lambda name, *args: CliRunner().invoke(root, [name, "--server", target, *args])


def cells(result: Result) -> list[list[str]]:
    assert (result.exit_code, result.stderr) == (0, "")
    return [line.split() for line in result.stdout.splitlines()]


# Once.


def test_what_was_sent_lately_is_a_table_and_what_waits_is_below_it(call: Call, scripted: ScriptedServer) -> None:
    assert cells(call("stats")) == [
        ["CHANNEL", "ACCEPTED", "SENT", "DELIVERED", "FAILED", "UNCERTAIN"],
        ["sms", "6", "4", "0", "1", "0"],
        ["mms", "0", "0", "0", "0", "0"],
        ["email", "2", "0", "0", "0", "1"],
        [],
        ["unsettled", "3", "of", "1000"],
        ["due", "2"],
        ["oldest_due_time", "2027-01-15T08:00:00.000Z"],
        ["store", "available"],
        ["store_bytes", "4096"],
    ]
    assert scripted.asked == [WatchStatsRequest()]


def test_of_what_is_longer_ago_than_asked_for_nothing_is_counted(call: Call) -> None:
    assert cells(call("stats", "--last", "12s"))[1] == ["sms", "1", "0", "0", "0", "0"]
    assert cells(call("stats", "--last", "12001ms"))[1] == ["sms", "6", "4", "0", "1", "0"]


@pytest.mark.parametrize("last", ["0s", "16m", "soon"])
def test_more_than_a_server_tells_is_refused(call: Call, last: str) -> None:
    result = call("stats", "--last", last)
    assert result.exit_code == 2
    assert "--last" in result.stderr


def test_a_store_that_takes_its_time_is_waited_for(call: Call, scripted: ScriptedServer) -> None:
    first, second, _ = reported()
    second.backlog.CopyFrom(first.backlog)
    first.ClearField("backlog")
    scripted.answer = [first, second]
    shown = cells(call("stats"))
    assert shown[1] == ["sms", "8", "7", "1", "1", "0"]
    assert shown[6] == ["due", "2"]


def test_for_programs_it_is_what_a_server_tells(call: Call) -> None:
    shown = json.loads(call("stats", "--json").stdout)
    assert [one["start_time"] for one in shown["intervals"]] == ["2027-01-15T08:00:00Z", "2027-01-15T08:00:10Z"]
    assert shown["intervals"][0]["channels"][0] == {
        "channel": "CHANNEL_SMS",
        "accepted": "5",
        "sent": "4",
        "delivered": "0",
        "failed": "1",
        "uncertain": "0",
    }
    assert (shown["backlog"]["due"], shown["time"]) == ("2", "2027-01-15T08:00:12Z")
    kept = json.loads(call("stats", "--json", "--last", "5s").stdout)["intervals"]
    assert [one["start_time"] for one in kept] == ["2027-01-15T08:00:10Z"]


# Again and again.


def test_elsewhere_than_on_a_terminal_each_interval_is_a_line_for_each_channel(call: Call, target: str) -> None:
    result = call("stats", "--watch")
    assert result.exit_code == 3
    assert result.stderr == f"postwire: no answer from {target} any more: it is shutting down\n"
    day = "2027-01-15T08:00:"
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["TIME", "CHANNEL", "ACCEPTED", "SENT", "DELIVERED", "FAILED", "UNCERTAIN", "UNSETTLED", "DUE"],
        [f"{day}00.000Z", "sms", "5", "4", "0", "1", "0", "3", "2"],
        [f"{day}10.000Z", "sms", "1", "0", "0", "0", "0", "3", "2"],
        [f"{day}10.000Z", "email", "2", "0", "0", "0", "1", "3", "2"],
        [f"{day}10.000Z", "sms", "3", "3", "1", "0", "0", "3", "2"],
        [f"{day}14.000Z", "-", "-", "-", "-", "-", "-", "0", "0"],
    ]


def test_for_programs_each_change_is_an_object_in_a_line(call: Call) -> None:
    shown = [json.loads(line) for line in call("stats", "--watch", "--json").stdout.splitlines()]
    assert [len(one["intervals"]) for one in shown] == [2, 1, 0]
    assert [one.get("backlog", {}).get("unsettled") for one in shown] == ["3", None, "0"]


def test_ctrl_c_is_the_usual_end(call: Call, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once something was shown: gRPC hangs if it is interrupted while it makes a call."""
    shown = threading.Event()

    class Noting(stats._JsonLines):
        def show(self, change: WatchStatsResponse) -> None:
            super().show(change)
            shown.set()

    def endless(request: Any, context: Any) -> Iterator[WatchStatsResponse]:
        over = threading.Event()
        context.add_callback(over.set)
        yield reported()[0]
        assert shown.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(PATIENCE)

    monkeypatch.setattr(stats, "_JsonLines", Noting)
    scripted.answer = endless
    result = call("stats", "--watch", "--json")
    assert (result.exit_code, result.stderr) == (0, "")


def test_on_a_terminal_it_is_one_table_drawn_over_and_over(terminal: Terminal, target: str) -> None:
    connection = Connection(target, 10.0, as_json=False)
    with redirect_stdout(terminal), pytest.raises(Failed):
        show_changes(connection, stats._view(connection, Figures(900.0)), lambda client: client.watch_stats())
    drawn = terminal.getvalue()
    last = drawn.rpartition(f"{ESCAPE}[1A")[2]
    assert f"{ESCAPE}[1A" in drawn, "it moves up to draw in the same place"
    assert "0 of 1000" in drawn
    assert "oldest_due_time" in drawn
    assert "oldest_due_time" not in last, "nothing is due any more"


def test_what_is_longer_ago_is_forgotten() -> None:
    figures = Figures(900.0)
    for after in range(0, 3_600, 5):
        figures.take(change(after, interval(after, ChannelStats(channel=SMS, sent=1))))
    assert figures.rows()[0] == ("sms", "0", "180", "0", "0", "0")
    assert len(figures.reported().intervals) == 180


# Who calls, and for whom.


def test_whoever_asks_is_told_who_he_is(call: Call, scripted: ScriptedServer) -> None:
    scripted.answer = GetCallerResponse(
        principal="ops", tenant="acme", roles=["operate", "read"], server_version="1.2.3", authenticated=True
    )
    assert cells(call("whoami")) == [
        ["principal", "ops"],
        ["tenant", "acme"],
        ["roles", "operate,", "read"],
        ["authenticated", "yes"],
        ["server_version", "1.2.3"],
    ]
    assert json.loads(call("whoami", "--json").stdout)["roles"] == ["operate", "read"]
    assert scripted.asked == [GetCallerRequest()] * 2


def test_tenants_are_shown_with_what_they_have_of_what_they_may(call: Call, scripted: ScriptedServer) -> None:
    limited = Tenant(
        name="acme",
        unsettled=7,
        max_unsettled=10,
        rate=2.5,
        burst=3,
        in_flight=1,
        max_in_flight=4,
        weight=2,
        max_priority=Priority.PRIORITY_NORMAL,
    )
    free = Tenant(name="default", weight=1, max_priority=Priority.PRIORITY_HIGH)
    scripted.answer = ListTenantsResponse(tenants=[limited, free])
    assert cells(call("tenants")) == [
        ["TENANT", "UNSETTLED", "IN_FLIGHT", "RATE", "BURST", "WEIGHT", "MAX_PRIORITY"],
        ["acme", "7/10", "1/4", "2.5/s", "3", "2", "normal"],
        ["default", "0", "0", "-", "-", "1", "high"],
    ]
    assert [one["name"] for one in json.loads(call("tenants", "--json").stdout)["tenants"]] == ["acme", "default"]
    assert scripted.asked == [ListTenantsRequest()] * 2
