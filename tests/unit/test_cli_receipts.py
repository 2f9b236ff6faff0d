"""`postwire receipts tail`, and receipts in `postwire messages get`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli.root import root
from postwire.v1.dispatch_service_pb2 import GetMessageResponse, WatchMessagesResponse
from postwire.v1.message_pb2 import Message, Receipt, ReceiptState
from postwire.v1.provider_service_pb2 import GetProviderResponse, Provider

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
OTHER = "01890a5d-ac96-774b-bcce-b302099a8058"
NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
LONG_AGO = -13 * 365 * 86400.0
DELIVERED, UNDELIVERED = ReceiptState.RECEIPT_STATE_DELIVERED, ReceiptState.RECEIPT_STATE_UNDELIVERED


def receipt(state: ReceiptState.ValueType, after: float = 0.0, provider: str = "one", **fields: Any) -> Receipt:
    made = Receipt(provider_name=provider, attempt_number=1, state=state, **fields)
    made.receive_time.FromDatetime(NOW + timedelta(seconds=after))
    return made


def change(message_id: str, *receipts: Receipt, after: float = 0.0) -> WatchMessagesResponse:
    message = Message(message_id=message_id, receipts=receipts)
    message.update_time.FromDatetime(NOW + timedelta(seconds=after))
    return WatchMessagesResponse(message=message, resume_token="t")


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


Call = Callable[..., Result]


@pytest.fixture
def call(scripted: ScriptedServer) -> Iterator[Call]:
    with serving(scripted) as target:
        yield lambda *args: CliRunner().invoke(root, [*args, "--server", target])


def saying(*changes: WatchMessagesResponse) -> Callable[[Any, Any], Iterator[WatchMessagesResponse]]:
    """Tells of changes, and then refuses to go on."""

    def answer(_: Any, context: grpc.ServicerContext) -> Iterator[WatchMessagesResponse]:
        yield from changes
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "that is all")

    return answer


CHANGES = (
    change("0" * 36, after=-60),
    change(ID),
    change(ID, first := receipt(DELIVERED, 1), after=1),
    WatchMessagesResponse(resume_token="a beat"),
    change(ID, first, after=2),
    change(ID, first, receipt(UNDELIVERED, 3, "two", error_code="30003"), after=3),
    change(OTHER, receipt(DELIVERED, LONG_AGO), receipt(UNDELIVERED, 4, "one"), after=4),
)


def test_each_receipt_is_one_line_as_it_comes(scripted: ScriptedServer, call: Call) -> None:
    scripted.answer = saying(*CHANGES)
    head, *lines = call("receipts", "tail").stdout.splitlines()
    assert head.split() == ["TIME", "PROVIDER", "STATE", "CODE", "MESSAGE_ID", "ATTEMPT"]
    assert [line.split() for line in lines] == [
        ["2030-01-31T12:00:01.000Z", "one", "delivered", "-", ID, "1"],
        ["2030-01-31T12:00:03.000Z", "two", "undelivered", "30003", ID, "1"],
        ["2030-01-31T12:00:04.000Z", "one", "undelivered", "-", OTHER, "1"],
    ], "without what had come before"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--provider", "two"], [(ID, "two")]),
        (["--state", "delivered"], [(ID, "one")]),
        (["--state", "delivered", "--state", "undelivered", "--provider", "one"], [(ID, "one"), (OTHER, "one")]),
        (["--provider", "nobody"], []),
    ],
)
def test_it_shows_those_that_are_asked_for(
    scripted: ScriptedServer, call: Call, options: list[str], shown: list[tuple[str, str]]
) -> None:
    scripted.answer = saying(*CHANGES)
    lines = [json.loads(line) for line in call("receipts", "tail", "--json", *options).stdout.splitlines()]
    assert [(line["message_id"], line["receipt"]["provider_name"]) for line in lines if "receipt" in line] == shown


def test_with_json_it_is_as_the_contract_has_it(scripted: ScriptedServer, call: Call) -> None:
    scripted.answer = saying(*CHANGES)
    line = call("receipts", "tail", "--json", "--provider", "two").stdout.splitlines()[0]
    assert json.loads(line) == {
        "message_id": ID,
        "receipt": {
            "provider_name": "two",
            "attempt_number": 1,
            "state": "RECEIPT_STATE_UNDELIVERED",
            "error_code": "30003",
            "receive_time": "2030-01-31T12:00:03Z",
        },
    }


def test_a_state_that_there_is_not_is_refused(call: Call) -> None:
    result = call("receipts", "tail", "--state", "lost")
    assert result.exit_code == 2
    assert "complained" in result.stderr


def test_a_message_is_shown_with_its_receipts(scripted: ScriptedServer, call: Call) -> None:
    message = Message(message_id=ID, error_code="30003")
    message.receipts.append(receipt(UNDELIVERED, error_code="30003", recipient_index=2))
    message.receipts.append(receipt(DELIVERED))
    scripted.answer = GetMessageResponse(message=message)
    text = call("messages", "get", ID).stdout
    assert ["code", "30003"] in [line.split() for line in text.splitlines()]
    head, *rows = [line.split() for line in text.splitlines()][-3:]
    assert head == ["RECEIPT", "PROVIDER", "ATTEMPT", "RECIPIENT", "RECEIVED", "CODE"]
    assert rows == [
        ["undelivered", "one", "1", "2", "2030-01-31T12:00:00.000Z", "30003"],
        ["delivered", "one", "1", "-", "2030-01-31T12:00:00.000Z", "-"],
    ]


def test_a_provider_is_shown_with_the_count_of_its_receipts(scripted: ScriptedServer, call: Call) -> None:
    provider = Provider(name="one", kind="mock")
    provider.receipts.add(state=DELIVERED, count=3)
    provider.receipts.add(state=UNDELIVERED, count=1)
    scripted.answer = GetProviderResponse(provider=provider)
    text = call("providers", "get", "one").stdout
    assert ["receipts", "delivered=3", "undelivered=1"] in [line.split() for line in text.splitlines()]
