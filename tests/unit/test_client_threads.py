"""What is the blocking client's own: its threads."""

from __future__ import annotations

import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.support.scripted import ScriptedServer, serving
from tests.support.waiting import PATIENCE

from postwire_client import Client, ClientClosed, DispatchRequest, DispatchResult, OutboundMessage, Sms

HELLO = OutboundMessage(sms=Sms(to="+15005550006", body="Hello"))


@pytest.fixture
def target() -> Iterator[str]:
    with serving(ScriptedServer()) as address:
        yield address


def requests(number: int) -> list[DispatchRequest]:
    return [DispatchRequest(message=HELLO, request_id=str(n)) for n in range(number)]


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("postwire-")]


CALLS: dict[str, tuple[str, Callable[[Client], object]]] = {
    "one": ("GetMessage", lambda client: client.get_message("00000000-0000-7000-8000-000000000000")),
    "many": ("DispatchStream", lambda client: next(client.dispatch_many(requests(1)))),
    "a watch": ("WatchMessages", lambda client: next(client.watch_messages())),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_begins_while_another_thread_closes_the_client_is_told_so(
    target: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    method, call = CALLS[name]
    with Client(target) as client:
        begin = getattr(client._calls.messages, method)

        def closed_just_before(*args: Any, **named: Any) -> Any:
            client.close()
            return begin(*args, **named)

        monkeypatch.setattr(client._calls.messages, method, closed_just_before)
        with pytest.raises(ClientClosed):
            call(client)


def test_threads_end_with_what_they_are_for(target: str) -> None:
    with Client(target) as client:
        results = client.dispatch_many(requests(10))
        assert ours() == [], "nothing before the first is wanted"
        next(results)
        running = ours()
        assert {thread.name for thread in running} <= {"postwire-requests", "postwire-watchdog"}
        results.close()
        assert len(list(client.dispatch_many(requests(10)))) == 10
        for thread in running + ours():
            thread.join(PATIENCE)
    assert ours() == []


def test_one_client_serves_many_threads(target: str) -> None:
    def send(client: Client) -> list[DispatchResult]:
        return list(client.dispatch_many(requests(300), frame_size=10, window=30))

    with Client(target) as client, ThreadPoolExecutor(6) as pool:
        for results in pool.map(send, [client] * 6):
            assert sorted(one.index for one in results) == list(range(300))
            assert [one.message.request_id for one in results if one.message] == [str(one.index) for one in results]


def test_the_callers_context_is_there_where_requests_are_made(target: str) -> None:
    who = contextvars.ContextVar("who", default="nobody")
    seen = []

    def asked() -> Iterator[DispatchRequest]:
        seen.append(who.get())
        yield from requests(1)

    token = who.set("the caller")
    with Client(target) as client:
        list(client.dispatch_many(asked()))
    who.reset(token)
    assert seen == ["the caller"]


def test_requests_that_never_come_do_not_hold_up_the_end_of_the_program(target: str) -> None:
    program = """
import sys, threading
from postwire_client import Client, DispatchRequest, OutboundMessage, Sms

def requests():
    yield DispatchRequest(message=OutboundMessage(sms=Sms(to="+15005550006", body="Hello")))
    threading.Event().wait()

with Client(sys.argv[1]) as client:
    for result in client.dispatch_many(requests()):
        print(result.index)
        break
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, target],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
