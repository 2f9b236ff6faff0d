"""Receipts by a real server: from the call of a vendor to the record, and little of them anywhere else."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from tests.conformance import test_twilio as twilio_answers
from tests.e2e.calls import SENT, TIMEOUT, dispatch, get, provider, sms, until
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, fetch, values
from tests.e2e.server import Server, eventually
from tests.e2e.test_disk_full import Limited
from tests.support.http_counterpart import CounterpartThread, HttpReply, counterpart_thread
from tests.support.otlp import Collector
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from postwire.v1.message_pb2 import (
    MESSAGE_STATE_DELIVERED,
    MESSAGE_STATE_UNDELIVERED,
    RECEIPT_STATE_DELIVERED,
    RECEIPT_STATE_UNDELIVERED,
)

TOKEN: Final = "t0ken-0f-0urs"
PUBLIC: Final = "https://hooks.example.com/pw"
NUMBER: Final = "+14155559876"
"""Whose it is is nobody's to see."""

ONE: Final = """
[receipts]
listen = "127.0.0.1:0"
public_url = "{public}"
"""
TWILIO: Final = """
[providers.{name}]
kind = "twilio"
channels = ["sms"]
account_sid = "{sid}"
auth_token = "{token}"
sender = "+15005550006"
base_url = "{url}"
"""


@pytest.fixture
def vendor() -> Iterator[CounterpartThread]:
    with counterpart_thread(HttpReply.of_json(201, twilio_answers.MESSAGE)) as thread:
        yield thread


def toml(vendor: CounterpartThread, *names: str, more: str = "") -> str:
    tables = (
        TWILIO.format(name=name, sid=twilio_answers.SID, token=TOKEN, url=vendor.counterpart.url)
        for name in names or ("twilio",)
    )
    return ONE.format(public=PUBLIC) + more + "".join(tables)


def address(server: Server) -> tuple[str, int]:
    host, port = server.wait_for_event("serving")["receipts_listen"].rsplit(":", 1)
    return host, int(port)


def post(server: Server, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, str]]:
    """Call the listener; the status, and the headers of the answer."""
    connection = http.client.HTTPConnection(*address(server), timeout=TIMEOUT)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded", **named})
        answer = connection.getresponse()
        return answer.status, dict(answer.headers)
    finally:
        connection.close()


def report(
    server: Server, url: str, status: str, *, sid: str = "", token: str = TOKEN, **fields: str
) -> tuple[int, dict[str, str]]:
    """Report to a callback address as Twilio does."""
    said = {"MessageSid": sid or twilio_answers.MESSAGE["sid"], "MessageStatus": status, "To": NUMBER, **fields}
    signature = RequestValidator(token).compute_signature(url, said)
    return post(server, url.removeprefix(PUBLIC), urlencode(said).encode(), X_Twilio_Signature=signature)


def callback(vendor: CounterpartThread) -> str:
    """The address that the vendor was given last, without what is for the vendor itself."""
    return dict(vendor.counterpart.calls[-1].form())["StatusCallback"].partition("#")[0]


def test_what_a_vendor_reports_is_in_the_record_once_it_was_told_so(serve: Serve, vendor: CounterpartThread) -> None:
    with Collector() as collector:
        server = serve(toml=toml(vendor, "twilio", "other"), **METRICS, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        message = dispatch(server, sms(NUMBER), provider_name="twilio")
        assert message.state == SENT
        url = callback(vendor)
        assert url.startswith(f"{PUBLIC}/receipts/twilio/")
        assert report(server, url, "delivered") == (200, {"content-length": "0"})
        message = until(server, message, MESSAGE_STATE_DELIVERED)
        (receipt,) = message.receipts
        assert (receipt.provider_name, receipt.attempt_number, receipt.state) == ("twilio", 1, RECEIPT_STATE_DELIVERED)
        # Again, and late: nothing changes any more, and what is new is listed.
        assert report(server, url, "delivered")[0] == 200
        assert report(server, url, "undelivered", ErrorCode="30003")[0] == 200
        eventually(lambda: len(get(server, message).receipts) == 2)
        found = get(server, message)
        assert (found.state, found.receipts[1].state) == (MESSAGE_STATE_DELIVERED, RECEIPT_STATE_UNDELIVERED)
        assert found.receipts[1].error_code == "30003"

        counts = {one.state: one.count for one in provider(server, "twilio").receipts}
        assert counts == {RECEIPT_STATE_DELIVERED: 1, RECEIPT_STATE_UNDELIVERED: 1}
        assert not provider(server, "other").receipts
        seen = values(server, "postwire_receipts_total")
        assert seen == {("twilio", "delivered"): 1, ("twilio", "undelivered"): 1}
        assert sum(values(server, "postwire_receipt_delay_seconds_count").values()) == 2
        metrics = fetch(server)
        assert server.terminate() == 0
        assert [one.name for one in collector.spans()].count("receipt twilio") == 2
        lines = server.log("receipt")
        assert [(line["receipt"], line["message_id"]) for line in lines] == [
            ("delivered", message.message_id),
            ("undelivered", message.message_id),
        ]
        for text in (server.log_text(), metrics, collector.everything()):
            assert NUMBER.lstrip("+") not in text
            assert TOKEN not in text
            assert url.rpartition("/")[2] not in text


def test_each_step_that_fails_has_its_own_answer(serve: Serve, vendor: CounterpartThread) -> None:
    server = serve(toml=toml(vendor, "twilio", "other"), **METRICS)
    message = dispatch(server, sms(NUMBER), provider_name="twilio")
    url = callback(vendor)
    path = url.removeprefix(PUBLIC)
    assert post(server, "/receipts/nobody", b"")[0] == 404
    assert post(server, path, bytes((1 << 20) + 1))[0] == 413
    assert report(server, url, "delivered", token="an0ther")[0] == 401
    assert post(server, path, b"MessageStatus=delivered")[0] == 401
    assert post(server, path, b"MessageStatus=delivered", X_Twilio_Signature="gefälscht")[0] == 401
    assert report(server, url[:-1] + ("A" if url[-1] != "A" else "B"), "delivered")[0] == 401
    assert report(server, url.replace("/twilio/", "/nobody/"), "delivered")[0] == 404
    assert report(server, url, "queued")[0] == 200, "it is of no use, and taken"
    assert report(server, f"{PUBLIC}/receipts/twilio", "delivered", sid="SM" + "0" * 32)[0] == 200, "it may turn up"
    eventually(lambda: values(server, "postwire_receipts_held") == {(): 1})
    refused = values(server, "postwire_receipts_refused_total")
    assert refused == {
        ("provider",): 2,
        ("twilio", "too_large"): 1,
        ("twilio", "signature"): 2,
        ("twilio", "missing"): 1,
        ("twilio", "reference"): 1,
        ("twilio", "unused"): 1,
    }
    assert get(server, message) == message
    # The address of another provider, which has signed it: it names an attempt that was not its own.
    other = url.replace("/twilio/", "/other/")
    assert report(server, other, "undelivered")[0] == 200
    assert report(server, url, "undelivered")[0] == 200
    assert len(until(server, message, MESSAGE_STATE_UNDELIVERED).receipts) == 1
    assert NUMBER.lstrip("+") not in server.log_text()
    assert {line["reason"] for line in server.log("receipt_refused")} >= {"signature", "reference", "provider"}


def test_what_cannot_be_kept_may_come_again(serve: Serve, vendor: CounterpartThread, tmp_path: Path) -> None:
    server = serve(toml=toml(vendor))
    disk = Limited(tmp_path)
    message = dispatch(server, sms(NUMBER))
    url = callback(vendor)
    disk.fill(server)
    status, headers = report(server, url, "delivered")
    assert (status, headers["retry-after"]) == (503, "5")
    disk.free(server)
    server.wait_for_event("store_available")
    eventually(lambda: report(server, url, "delivered")[0] == 200)
    assert len(until(server, message, MESSAGE_STATE_DELIVERED).receipts) == 1
    server.kill()
    server.start()
    assert get(server, message).state == MESSAGE_STATE_DELIVERED


def test_idle_and_slow_callers_hold_up_neither_others_nor_the_end(serve: Serve, vendor: CounterpartThread) -> None:
    server = serve(toml=toml(vendor), server__grace="30s")
    message = dispatch(server, sms(NUMBER))
    url = callback(vendor)
    held = [socket.create_connection(address(server), timeout=TIMEOUT) for _ in range(50)]
    try:
        for number, one in enumerate(held):
            if number % 2:
                one.sendall(b"POST /receipts/twilio HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
        assert report(server, url, "delivered")[0] == 200
        until(server, message, MESSAGE_STATE_DELIVERED)
        assert server.terminate() == 0
    finally:
        for one in held:
            one.close()
    assert server.log("internal_error") == []


def test_a_flood_of_forged_calls_leaves_grpc_and_true_ones_alone(serve: Serve, vendor: CounterpartThread) -> None:
    server = serve(toml=toml(vendor, "twilio", "other"))
    message = dispatch(server, sms(NUMBER), provider_name="other")
    url = callback(vendor)
    flood = [socket.create_connection(address(server), timeout=TIMEOUT) for _ in range(20)]
    forged = b"POST /receipts/twilio HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\na=b"
    try:
        for one in flood:
            one.sendall(forged * 50)
        assert report(server, url, "delivered")[0] == 200
        until(server, message, MESSAGE_STATE_DELIVERED)
        assert dispatch(server, sms(), provider_name="twilio").state == SENT
        for one in flood:
            answers = b""
            while answers.count(b"HTTP/1.1 401") < 50:
                answers += (got := one.recv(65536))
                assert got
    finally:
        for one in flood:
            one.close()
    assert len(server.log("receipt_refused")) <= 10, "at a limited rate"


def test_who_is_not_set_up_is_told_of_at_boot(serve: Serve) -> None:
    more = '[providers.mailer]\nkind = "mailgun"\nchannels = ["email"]\napi_key = "k"\ndomain = "example.com"\n'
    server = serve(toml=ONE.format(public=PUBLIC) + more)
    details = [line["detail"] for line in server.log("warning")]
    assert [one for one in details if "providers.mailer" in one and "receipts are not taken" in one]


def test_without_a_listener_nothing_listens_and_nothing_is_given_to_vendors(
    serve: Serve, vendor: CounterpartThread
) -> None:
    table = TWILIO.format(name="twilio", sid=twilio_answers.SID, token=TOKEN, url=vendor.counterpart.url)
    server = serve(toml=table)
    dispatch(server, sms(NUMBER))
    form: dict[str, Any] = dict(vendor.counterpart.calls[-1].form())
    assert "StatusCallback" not in form
    assert "receipts_listen" not in server.wait_for_event("serving")
    assert "receipts" not in json.dumps(server.log())
