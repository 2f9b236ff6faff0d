"""The mocks report what became of messages, and callers hear of it."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.calls import NO_RETRY, QUEUED, SENT, dispatch, email, sms
from tests.e2e.server import Server, eventually

from postwire.v1.dispatch_service_pb2 import GetMessageRequest, WatchMessagesRequest
from postwire.v1.message_pb2 import (
    MESSAGE_STATE_DELIVERED,
    MESSAGE_STATE_UNDELIVERED,
    RECEIPT_STATE_DELIVERED,
    Message,
    MessageState,
)
from postwire.v1.provider_service_pb2 import GetProviderRequest, UpdateMockProviderRequest

DELIVERED, UNDELIVERED = MESSAGE_STATE_DELIVERED, MESSAGE_STATE_UNDELIVERED
LIMIT = 60.0
"""Seconds after which a test gives up."""


def states(server: Server, message_id: str, last: MessageState.ValueType) -> list[MessageState.ValueType]:
    """The states that a message is seen in until it is in the last of them."""
    seen: list[MessageState.ValueType] = []
    for answer in server.dispatch.WatchMessages(WatchMessagesRequest(message_ids=[message_id]), timeout=LIMIT):
        if answer.HasField("message") and answer.message.state not in seen[-1:]:
            seen.append(answer.message.state)
        if last in seen:
            break
    return seen


def get(server: Server, message_id: str) -> Message:
    return server.dispatch.GetMessage(GetMessageRequest(message_id=message_id)).message


def mocks(folder: Path, *names: str, **settings: str) -> Server:
    """A server whose default mocks of these names have settings."""
    each = {f"providers__{name}__{key}": value for name in names for key, value in settings.items()}
    return Server(folder, **NO_RETRY, **each)


def test_a_message_goes_from_sent_to_delivered(tmp_path: Path) -> None:
    settings = {"delivered_ratio": "1", "receipt_delay": "500ms", "doubled_receipt_ratio": "1", "seed": "42"}
    with mocks(tmp_path, "sms_mms", **settings) as server:
        sent = dispatch(server, sms())
        assert sent.state == SENT
        assert states(server, sent.message_id, DELIVERED) in ([SENT, DELIVERED], [DELIVERED])
        shown = get(server, sent.message_id)
        (receipt,) = shown.receipts
        assert (receipt.provider_name, receipt.attempt_number) == ("sms-mms", 1)
        assert receipt.state == RECEIPT_STATE_DELIVERED
        assert not receipt.HasField("recipient_index")
        assert receipt.receive_time.ToMicroseconds() >= sent.update_time.ToMicroseconds()
        provider = server.providers.GetProvider(GetProviderRequest(name="sms-mms")).provider
        assert [(one.state, one.count) for one in provider.receipts] == [(RECEIPT_STATE_DELIVERED, 1)]


def test_a_mock_begins_to_report_when_it_is_asked_to(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        assert dispatch(server, email()).state == SENT
        server.providers.UpdateMockProvider(UpdateMockProviderRequest(name="email", undelivered_ratio=1.0))
        content = email()
        content.email.to.append("bob@example.com")
        sent = dispatch(server, content)
        assert states(server, sent.message_id, UNDELIVERED)[-1] == UNDELIVERED
        eventually(lambda: len(get(server, sent.message_id).receipts) == 2)
        shown = get(server, sent.message_id)
        assert [one.recipient_index for one in shown.receipts] == [0, 1]
        assert [one.state for one in shown.recipients] == [UNDELIVERED, UNDELIVERED]
        assert shown.error_code == "mock_undelivered"


def test_a_receipt_says_what_became_of_a_message_that_is_uncertain(tmp_path: Path) -> None:
    with mocks(tmp_path, "sms_mms", delivered_ratio="1", receipt_delay="100ms") as server:
        sent = dispatch(server, sms(to="+15005550004"))
        assert sent.state == QUEUED
        assert states(server, sent.message_id, DELIVERED)[-1] == DELIVERED
        assert len(get(server, sent.message_id).attempts) == 1


def test_what_came_in_is_there_after_a_restart(tmp_path: Path) -> None:
    with mocks(tmp_path, "sms_mms", undelivered_ratio="1") as server:
        sent = dispatch(server, sms())
        assert states(server, sent.message_id, UNDELIVERED)[-1] == UNDELIVERED
        server.restart()
        shown = get(server, sent.message_id)
        assert (shown.state, shown.error_code) == (UNDELIVERED, "mock_undelivered")
        assert [one.error_code for one in shown.receipts] == ["mock_undelivered"]
