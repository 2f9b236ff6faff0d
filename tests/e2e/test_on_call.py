"""What who is on call asks of a server: a message by its request id, why somebody did what, and who is left without a
provider.
"""

from __future__ import annotations

from typing import Any

import grpc
from tests.e2e.calls import (
    AT_MOST_ONCE,
    FAILED,
    SENT,
    TIMEOUT,
    dispatch,
    get,
    provider,
    providers,
    refused,
    request,
    sms,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.e2e.streams import later, sent_through

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import (
    MESSAGE_STATE_CANCELLED,
    NOTE_ACTION_CANCEL,
    NOTE_ACTION_DRAIN,
    NOTE_ACTION_RESET,
    NOTE_ACTION_RESOLVE,
    NOTE_ACTION_RESUME,
    Message,
    Note,
)
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResetBreakerRequest, ResumeProviderRequest

NOBODY = "018bcfe5-6800-7000-8000-000000000000"
MAYBE = "+15005550004"
TOO_LONG, CONTROLS = "x" * 257, ("a\nb", "a\x7f", "a\x85", "a\u2028b", "\0")


def get_by(server: Server, **fields: Any) -> Message:
    return server.dispatch.GetMessage(pb.GetMessageRequest(**fields), timeout=TIMEOUT).message


def cancel(server: Server, message: Message, reason: str = "") -> Message:
    asked = pb.CancelMessageRequest(message_id=message.message_id, reason=reason)
    return server.dispatch.CancelMessage(asked, timeout=TIMEOUT).message


def resolve(server: Server, message: Message, reason: str = "", resolution: Any = pb.RESOLUTION_FAILED) -> Message:
    asked = pb.ResolveMessageRequest(message_id=message.message_id, resolution=resolution, reason=reason)
    return server.dispatch.ResolveMessage(asked, timeout=TIMEOUT).message


def waiting(server: Server) -> Message:
    (accepted,) = sent_through(server, later())
    return accepted.message


def uncertain(server: Server) -> Message:
    return dispatch(server, sms(MAYBE), delivery_guarantee=AT_MOST_ONCE)


def of(note: Note) -> tuple[Any, str]:
    assert note.HasField("time")
    return note.action, note.reason


# By request id.


def test_a_message_is_found_by_its_request_id(server: Server) -> None:
    asked = request(request_id="order 1 ~")
    sent = server.dispatch.Dispatch(asked, timeout=TIMEOUT).message
    assert get_by(server, request_id="order 1 ~") == get(server, sent) == sent
    for request_id in ("order 1", "Order 1 ~", "x" * 128):
        error = refused(lambda: get_by(server, request_id=request_id))  # noqa: B023  # called at once
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "MESSAGE_NOT_FOUND")
        assert error.text.startswith("request_id: ")


def test_exactly_one_id_authenticates(server: Server) -> None:
    for fields in ({}, {"message_id": NOBODY, "request_id": "r"}):
        error = refused(lambda: get_by(server, **fields))  # noqa: B023
        assert (error.reason, error.fields) == ("INVALID_MESSAGE", ["message_id", "request_id"])
    for request_id in ("x" * 129, "a\n", "\u00e9"):
        error = refused(lambda: get_by(server, request_id=request_id))  # noqa: B023
        assert (error.reason, error.fields) == ("INVALID_MESSAGE", ["request_id"])
        assert request_id not in error.text
    assert refused(lambda: get_by(server, message_id="m")).fields == ["message_id"]


def test_a_list_of_request_ids_is_found_among_many(server: Server) -> None:
    ids = [f"batch-{number}" for number in range(5)]
    sent = [server.dispatch.Dispatch(request(request_id=one), timeout=TIMEOUT).message for one in ids]
    for _ in range(20):
        dispatch(server)
    chosen = pb.MessageFilter(request_ids=[*ids, *(f"nobody-{number}" for number in range(995))])
    found, token = [], ""
    while True:
        page = server.dispatch.ListMessages(
            pb.ListMessagesRequest(filter=chosen, page_size=2, page_token=token), timeout=TIMEOUT
        )
        found += list(page.messages)
        if not (token := page.next_page_token):
            break
    assert found == sent[::-1]
    chosen.request_ids.append("one too many")
    error = refused(lambda: server.dispatch.ListMessages(pb.ListMessagesRequest(filter=chosen), timeout=TIMEOUT))
    assert (error.reason, error.fields) == ("INVALID_PAGE", ["filter.request_ids"])


# Why.


def test_a_cancelled_message_says_why_and_again_changes_nothing(server: Server) -> None:
    message = waiting(server)
    assert not message.HasField("note")
    cancelled = cancel(server, message, "a typo \u00fc")
    assert cancelled.state == MESSAGE_STATE_CANCELLED
    assert of(cancelled.note) == (NOTE_ACTION_CANCEL, "a typo \u00fc")
    assert cancelled.note.time == cancelled.update_time
    assert get(server, message) == cancel(server, message, "another reason") == cancelled
    assert of(cancel(server, waiting(server)).note) == (NOTE_ACTION_CANCEL, "")


def test_a_resolved_message_says_why_over_a_restart(server: Server) -> None:
    message = uncertain(server)
    assert not message.HasField("note")
    resolved = resolve(server, message, "x" * 256)
    assert (resolved.state, of(resolved.note)) == (FAILED, (NOTE_ACTION_RESOLVE, "x" * 256))
    sent = resolve(server, uncertain(server), resolution=pb.RESOLUTION_SENT)
    assert (sent.state, of(sent.note)) == (SENT, (NOTE_ACTION_RESOLVE, ""))
    assert server.terminate() == 0
    server.start()
    assert [get(server, one) for one in (resolved, sent)] == [resolved, sent]


def test_a_provider_says_why_over_a_restart(server: Server) -> None:
    assert not provider(server, "email").HasField("note")
    drained = server.providers.DrainProvider(
        DrainProviderRequest(name="email", reason="incident 4711"), timeout=TIMEOUT
    ).provider
    assert of(drained.note) == (NOTE_ACTION_DRAIN, "incident 4711")
    server.kill()
    server.start()
    assert provider(server, "email").note == drained.note
    again = server.providers.DrainProvider(DrainProviderRequest(name="email"), timeout=TIMEOUT).provider
    assert again.note == drained.note, "it has said nothing new"
    resumed = server.providers.ResumeProvider(
        ResumeProviderRequest(name="email", reason="they are back"), timeout=TIMEOUT
    ).provider
    assert of(resumed.note) == (NOTE_ACTION_RESUME, "they are back")
    reset = server.providers.ResetBreaker(ResetBreakerRequest(name="email"), timeout=TIMEOUT).provider
    assert of(reset.note) == (NOTE_ACTION_RESET, "")
    assert server.terminate() == 0
    server.start()
    assert provider(server, "email").note == reset.note
    assert "4711" not in server.log_text()


def test_a_reason_that_is_no_good_is_refused_and_nothing_is_done(server: Server) -> None:
    messages, email = [waiting(server), uncertain(server)], provider(server, "email")
    cancelled, resolved = (one.message_id for one in messages)
    for reason in (TOO_LONG, *CONTROLS):
        calls: list[tuple[Any, Any]] = [
            (server.dispatch.CancelMessage, pb.CancelMessageRequest(message_id=cancelled, reason=reason)),
            (
                server.dispatch.ResolveMessage,
                pb.ResolveMessageRequest(message_id=resolved, resolution=pb.RESOLUTION_SENT, reason=reason),
            ),
            (server.providers.DrainProvider, DrainProviderRequest(name="email", reason=reason)),
            (server.providers.ResumeProvider, ResumeProviderRequest(name="email", reason=reason)),
            (server.providers.ResetBreaker, ResetBreakerRequest(name="email", reason=reason)),
        ]
        for method, asked in calls:
            error = refused(lambda: method(asked, timeout=TIMEOUT))  # noqa: B023
            expected = "MESSAGE_TOO_LARGE" if reason == TOO_LONG else "INVALID_MESSAGE"
            assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, expected)
            assert error.fields == ["reason"]
            assert reason not in error.text
    assert [get(server, one) for one in messages] == messages
    assert provider(server, "email") == email


# Who is left without a provider.


def test_draining_the_last_provider_of_a_route_says_so(serve: Serve) -> None:
    server = serve()
    drained = server.providers.DrainProvider(DrainProviderRequest(name="sms-mms"), timeout=TIMEOUT).provider
    assert list(drained.unserved_route_keys) == ["sms", "mms"]
    assert {name: list(one.unserved_route_keys) for name, one in providers(server).items()} == {
        "sms-mms": ["sms", "mms"],
        "email": [],
    }
    assert server.terminate() == 0
    assert [line["route_key"] for line in server.log("route_unserved")] == ["sms", "mms"]
    server.start()
    assert [line["route_key"] for line in server.log("route_unserved")] == ["sms", "mms"], "and a boot says so, too"
    resumed = server.providers.ResumeProvider(ResumeProviderRequest(name="sms-mms"), timeout=TIMEOUT).provider
    assert list(resumed.unserved_route_keys) == []
