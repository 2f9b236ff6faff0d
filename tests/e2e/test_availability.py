"""Providers that cannot be reached, are there late, or refuse our account: the server serves, and the others carry."""

from __future__ import annotations

from click.testing import CliRunner
from tests.e2e.calls import (
    ACCEPTANCE,
    SENT,
    TIMEOUT,
    dispatch,
    dispatch_all,
    email,
    explain,
    get,
    provider,
    refused,
    request,
    sms,
    tried,
    until,
    update,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import eventually

from postwire.cli.root import root
from postwire.v1 import dispatch_service_pb2, message_pb2
from postwire.v1 import provider_service_pb2 as pb

TWO = """
[providers.first]
kind = "mock"
channels = ["sms", "email"]
seed = 1
{first}
[providers.second]
kind = "mock"
channels = ["sms", "email"]
seed = 1
{second}
[routes]
sms = ["first", "second"]
email = ["first", "second"]
"""


def two(first: str = "", second: str = "") -> str:
    return TWO.format(first=first, second=second)


def test_one_that_is_never_opened_holds_up_nobody(serve: Serve) -> None:
    server = serve(toml=two('open_delay = "1h"'))
    assert tried(dispatch(server)) == [("second", "success")]
    assert provider(server, "first").availability == pb.AVAILABILITY_UNAVAILABLE
    assert provider(server, "second").availability == pb.AVAILABILITY_AVAILABLE
    first, second = explain(server).candidates
    assert first.obstacle == dispatch_service_pb2.ROUTE_OBSTACLE_UNAVAILABLE
    assert second.eligible
    eventually(lambda: server.log("provider_availability"))
    (line,) = server.log("provider_availability")
    assert (line["provider_name"], line["availability"]) == ("first", "unavailable")


def test_what_waits_for_one_that_is_there_late_goes_once_it_is(serve: Serve) -> None:
    server = serve(providers__email__open_delay="700ms")
    parked = dispatch(server, email(), wait_for=ACCEPTANCE)
    assert tried(until(server, parked, SENT)) == [("email", "success")]
    eventually(lambda: len(server.log("provider_availability")) == 2)
    assert [line["availability"] for line in server.log("provider_availability")] == ["unavailable", "available"]


def test_a_black_hole_fails_over_and_opens_its_breaker(serve: Serve) -> None:
    server = serve(toml=two("connect_error_ratio = 1", ""), providers__first__connect_timeout="10ms")
    for message in dispatch_all(server, [sms()] * 10):
        assert tried(message) == [("first", "error"), ("second", "success")]
        assert message.attempts[0].error_code == "connect_timeout"
    assert provider(server, "first").breaker.state == pb.BREAKER_STATE_OPEN
    assert tried(dispatch(server)) == [("second", "success")]


def test_one_that_refuses_our_account_is_passed_over_until_somebody_says_that_it_is_mended(serve: Serve) -> None:
    server = serve(toml=two())
    update(server, "first", misconfigured=True)
    message = dispatch(server, max_attempts=1)
    assert tried(message) == [("first", "error"), ("second", "success")], "it is no attempt that counts"
    assert message.attempts[0].error_code == "mock_misconfigured"
    assert tried(dispatch(server)) == [("second", "success")]
    stands = provider(server, "first")
    assert (stands.availability, stands.breaker.calls) == (pb.AVAILABILITY_MISCONFIGURED, 0)
    first, _ = explain(server).candidates
    assert first.obstacle == dispatch_service_pb2.ROUTE_OBSTACLE_MISCONFIGURED
    assert first.HasField("eligible_time")
    eventually(lambda: server.log("provider_availability"))
    (line,) = server.log("provider_availability")
    assert line["availability"] == "misconfigured"

    update(server, "first", misconfigured=False)
    server.providers.ResetBreaker(pb.ResetBreakerRequest(name="first"), timeout=TIMEOUT)
    assert tried(dispatch(server)) == [("first", "success")]
    assert provider(server, "first").availability == pb.AVAILABILITY_AVAILABLE


def test_one_that_is_misconfigured_from_the_start_says_so(serve: Serve) -> None:
    server = serve(toml=two("misconfigured = true"))
    assert tried(dispatch(server)) == [("second", "success")]
    eventually(lambda: provider(server, "first").availability == pb.AVAILABILITY_MISCONFIGURED)


def test_what_is_put_off_waits_long_and_goes_to_nobody_else(serve: Serve) -> None:
    server = serve(toml=two("deferred_ratio = 1", ""))
    message = dispatch(server)
    assert (message.state, tried(message)) == (message_pb2.MESSAGE_STATE_QUEUED, [("first", "rate_limited")])
    assert message.attempts[0].error_code == "mock_deferred"
    waits = message.next_attempt_time.ToNanoseconds() - message.update_time.ToNanoseconds()
    assert 300e9 <= waits <= 361e9
    assert provider(server, "first").breaker.state == pb.BREAKER_STATE_CLOSED
    server.restart()
    assert get(server, message).attempts == message.attempts


def test_recipients_have_ids_of_their_own(serve: Serve) -> None:
    server = serve()
    message = dispatch(server, email("a@example.com", "rejected@simulator.postwire.test"))
    ids = [one.provider_message_id for one in message.recipients]
    assert ids == [f"mock-{message.message_id}-0", ""]
    assert get(server, message) == message


def test_a_sub_set_has_a_key_of_its_own(serve: Serve) -> None:
    """Three recipients, of whom one may have got it: the retry is to the vendor another message, and one alone."""
    server = serve(providers__email__dedup_window="1h", delivery__backoff_base="1ms", delivery__backoff_max="1ms")
    addresses = [f"{word}@simulator.postwire.test" for word in ("success", "uncertain", "success")]
    asked = request(email(*addresses), max_attempts=3, wait_for=ACCEPTANCE)
    message = server.dispatch.Dispatch(asked, timeout=TIMEOUT).message
    message = until(server, message, message_pb2.MESSAGE_STATE_UNCERTAIN)
    assert len(message.attempts) == 3
    assert message.attempts[0].provider_message_id == f"mock-{message.message_id}"
    assert [one.state for one in message.recipients] == [SENT, message_pb2.MESSAGE_STATE_UNCERTAIN, SENT]


def test_what_one_provider_cannot_carry_goes_to_those_who_can_and_else_is_refused(serve: Serve) -> None:
    server = serve(toml=two("max_recipients = 2", "max_recipients = 3"))
    addresses = [f"{number}@example.com" for number in range(4)]
    assert tried(dispatch(server, email(*addresses[:2]))) == [("first", "success")]
    assert tried(dispatch(server, email(*addresses[:3]))) == [("second", "success")]
    first, second = explain(server, email(*addresses[:3])).candidates
    assert (first.obstacle, first.eligible) == (dispatch_service_pb2.ROUTE_OBSTACLE_UNSUITABLE, False)
    assert second.eligible
    error = refused(lambda: dispatch(server, email(*addresses)))
    assert (error.reason, error.fields) == ("INVALID_MESSAGE", ["message.email.to"])
    assert [one.obstacle for one in explain(server, email(*addresses)).candidates] == [
        dispatch_service_pb2.ROUTE_OBSTACLE_UNSUITABLE
    ] * 2


def test_a_route_that_nobody_can_carry_is_explained_on_the_command_line(serve: Serve) -> None:
    server = serve(toml=two("max_recipients = 2", "max_recipients = 3"))
    to = [word for number in range(4) for word in ("--to", f"{number}@example.com")]
    done = CliRunner().invoke(root, ["route", "explain", "email", *to, "--body", "x", "--server", server.address])
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()[-2:]] == [
        ["1", "first", "1", "no", "unsuitable", "-"],
        ["2", "second", "1", "no", "unsuitable", "-"],
    ]
