"""`EraseMessages` through a real server."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode
from tests.e2e.calls import SENT, TIMEOUT, dispatch, dispatch_ahead, get, refused, sms
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.e2e.test_audit import events
from tests.support.access import bearer, declared, made_key

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import Message, OutboundMessage

UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"
CUSTOMER = {"customer": "canary-4711"}


def labelled(body: str = "canary-body", **labels: str) -> OutboundMessage:
    message = sms(body=body)
    message.labels.update(CUSTOMER | labels)
    return message


def erase(server: Server, **asked: Any) -> pb.EraseMessagesResponse:
    return server.dispatch.EraseMessages(pb.EraseMessagesRequest(**asked), timeout=TIMEOUT)


def test_a_customer_is_erased_and_the_records_stay(serve: Serve) -> None:
    server = serve(store__content_retention="1d")
    sent = [dispatch(server, labelled()) for _ in range(3)]
    other = dispatch(server, labelled(customer="another"))
    waiting = dispatch_ahead(server, labelled(), send_after=1000.0)
    assert {one.state for one in sent} == {SENT}
    counted = erase(server, labels=CUSTOMER, dry_run=True)
    assert (counted.erased, counted.skipped_unsettled, counted.next_page_token) == (3, 1, "")
    assert events(server) == []
    done = erase(server, labels=CUSTOMER, reason="request 12")
    assert done == counted
    for message in sent:
        after = get(server, message)
        assert (dict(after.labels), after.revision) == ({}, message.revision + 1)
        before = Message()
        before.CopyFrom(message)
        before.ClearField("labels")
        before.revision = after.revision
        assert after == before
    assert dict(get(server, other).labels) == {"customer": "another"}
    assert dict(get(server, waiting).labels) == CUSTOMER
    found = events(server)
    assert {one.target for one in found} == {one.message_id for one in sent}
    assert {(one.result, one.reason, one.tenant) for one in found} == {("OK", "request 12", "default")}
    again = erase(server, labels=CUSTOMER)
    assert (again.erased, again.skipped_unsettled) == (0, 1)
    assert len(events(server)) == 3
    server.stop()
    assert len(server.rows("SELECT key FROM contents WHERE length(content) > 0")) == 2
    assert len(server.rows("SELECT key FROM labels WHERE labels <> ''")) == 2


def test_by_ids_what_is_not_there_is_passed_over(server: Server) -> None:
    sent = dispatch(server, labelled())
    done = erase(server, message_ids=[sent.message_id, UNKNOWN_ID, sent.message_id])
    assert (done.erased, done.skipped_unsettled, done.next_page_token) == (1, 0, "")
    assert erase(server, message_ids=[sent.message_id]).erased == 0


def test_another_tenants_messages_are_not_there(serve: Serve) -> None:
    acme, globex = made_key(), made_key()
    server = serve(
        toml=declared(acme, "acme", "send", "operate") + "\n" + declared(globex, "globex", "send", "operate")
    )
    asked = pb.DispatchRequest(message=labelled())
    message = server.dispatch.Dispatch(asked, metadata=bearer(acme), timeout=TIMEOUT).message
    choices: tuple[dict[str, Any], ...] = ({"message_ids": [message.message_id]}, {"labels": CUSTOMER})
    for choice in choices:
        request = pb.EraseMessagesRequest(**choice)
        foreign = server.dispatch.EraseMessages(request, metadata=bearer(globex), timeout=TIMEOUT)
        assert foreign == pb.EraseMessagesResponse()
    own = pb.EraseMessagesRequest(labels=CUSTOMER)
    assert server.dispatch.EraseMessages(own, metadata=bearer(acme), timeout=TIMEOUT).erased == 1


BAD: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "neither": ({}, "INVALID_MESSAGE", ["message_ids", "labels"]),
    "both": ({"message_ids": [UNKNOWN_ID], "labels": CUSTOMER}, "INVALID_MESSAGE", ["message_ids", "labels"]),
    "no id": ({"message_ids": [UNKNOWN_ID, "x"]}, "INVALID_MESSAGE", ["message_ids[1]"]),
    "too many ids": ({"message_ids": [UNKNOWN_ID] * 1_001}, "INVALID_MESSAGE", ["message_ids"]),
    "too many labels": ({"labels": {str(one): "x" for one in range(17)}}, "INVALID_MESSAGE", ["labels"]),
    "a token with ids": ({"message_ids": [UNKNOWN_ID], "page_token": "x"}, "INVALID_MESSAGE", ["page_token"]),
    "a token that is none": ({"labels": CUSTOMER, "page_token": "x"}, "INVALID_PAGE", ["page_token"]),
    "no reason": ({"labels": CUSTOMER, "reason": "a\nb"}, "INVALID_MESSAGE", ["reason"]),
}


@pytest.mark.parametrize(("asked", "reason", "fields"), BAD.values(), ids=BAD.keys())
def test_a_bad_request_is_refused(server: Server, asked: dict[str, Any], reason: str, fields: list[str]) -> None:
    error = refused(lambda: erase(server, **asked))
    assert (error.code, error.reason, error.fields) == (StatusCode.INVALID_ARGUMENT, reason, fields)
