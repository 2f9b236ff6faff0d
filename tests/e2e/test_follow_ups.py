"""The next provider is asked where no receipt comes: over a real socket, and over the end of the server."""

from __future__ import annotations

from typing import Any, Final

from tests.e2e.calls import AT_MOST_ONCE, SENT, dispatch, get, sms, tried, until
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.toml import mock

from postwire.v1.message_pb2 import MESSAGE_STATE_DELIVERED as DELIVERED

NEVER: Final = "delivered_ratio = 0.000000001"
"""It takes receipts, and none comes."""

ALWAYS: Final = "delivered_ratio = 1"
HANGS: Final = 'latency = "1h"'
RULE: Final = '[[routes.sms]]\ntiers = ["one", "two", "three"]\ndelivered_within = "1s"\n'


def chain(serve: Serve, two: tuple[str, ...] = (NEVER,), three: tuple[str, ...] = (ALWAYS,), **settings: Any) -> Server:
    return serve(toml=mock("one", NEVER) + mock("two", *two) + mock("three", *three) + RULE, **settings)


def test_the_next_is_asked_until_one_delivers(serve: Serve) -> None:
    server = chain(serve)
    message = dispatch(server, sms("+15005550006"))
    assert message.state == SENT
    delivered = until(server, message, DELIVERED)
    assert tried(delivered) == [("one", "success"), ("two", "success"), ("three", "success")]
    assert [one.receipt_overdue for one in delivered.attempts] == [False, True, True]


def test_who_would_rather_not_have_it_twice_has_it_once(serve: Serve) -> None:
    server = chain(serve)
    once = dispatch(server, sms("+15005550006"), delivery_guarantee=AT_MOST_ONCE)
    other = dispatch(server, sms("+15005550006"))
    until(server, other, DELIVERED)
    assert tried(get(server, once)) == [("one", "success")]
    assert get(server, once).state == SENT


def test_what_was_under_way_when_the_server_was_killed_is_sent_by_nobody_twice(serve: Serve) -> None:
    server = chain(serve, two=(NEVER, HANGS))
    message = dispatch(server, sms("+15005550006"))
    eventually(lambda: len(get(server, message).attempts) == 2)
    assert get(server, message).state == SENT
    server.kill()
    server.start()
    assert get(server, message).state == SENT
    assert tried(get(server, message))[:2] == [("one", "success"), ("two", "uncertain")]
    delivered = until(server, message, DELIVERED)
    assert tried(delivered) == [("one", "success"), ("two", "uncertain"), ("three", "success")]
    assert delivered.attempts[1].error_code == "orphaned"


def test_what_waits_goes_on_after_a_kill(serve: Serve) -> None:
    server = chain(serve, two=(ALWAYS,))
    messages = [dispatch(server, sms("+15005550006")) for _ in range(5)]
    server.kill()
    server.start()
    for message in messages:
        assert tried(until(server, message, DELIVERED)) == [("one", "success"), ("two", "success")]
