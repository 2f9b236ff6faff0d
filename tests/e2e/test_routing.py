"""A channel that nobody carries is the operator's fault: told to the caller each time, and to the log once."""

from __future__ import annotations

import grpc
from tests.e2e.calls import SENT, TIMEOUT, email, mms, refused, request, sms
from tests.e2e.conftest import Serve


def test_a_channel_without_a_provider_is_an_internal_error_and_the_others_work(serve: Serve) -> None:
    server = serve(routes__email="")
    one = request(email())
    for asked in (one, one, request(email()), request(email(), provider_name="")):
        error = refused(lambda: server.dispatch.Dispatch(asked, timeout=TIMEOUT))  # noqa: B023  # called at once
        assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INVALID_ROUTING")
        assert error.violations == []
        assert "email" in error.text
        for message in (sms(), mms()):
            assert server.dispatch.Dispatch(request(message), timeout=TIMEOUT).message.state == SENT
    # Whoever names the provider needs no route.
    assert server.dispatch.Dispatch(request(email(), provider_name="email"), timeout=TIMEOUT).message.state == SENT

    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages WHERE channel = 'email'") == [(1,)]
    (line,) = server.log("invalid_routing")
    assert line["channel"] == "email"
    assert line["level"] == "error"
    # The caller was told at once, and has its request id still: with a route it goes.
    server.start(routes__email="email")
    assert server.dispatch.Dispatch(one, timeout=TIMEOUT).message.state == SENT


def test_each_channel_is_logged_once(serve: Serve) -> None:
    server = serve(routes__sms="", routes__mms="", routes__email="")
    for _ in range(3):
        for message in (sms(), mms(), email()):
            assert refused(lambda: server.dispatch.Dispatch(request(message), timeout=TIMEOUT)).reason == (  # noqa: B023
                "INVALID_ROUTING"
            )
    assert server.terminate() == 0
    assert sorted(line["channel"] for line in server.log("invalid_routing")) == ["email", "mms", "sms"]
