"""Guards of a real server: never one message too many, whoever calls, whatever happens to the server or its clock."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc
import pytest
from tests.e2e.calls import ACCEPTANCE, TIMEOUT, Refused, dispatch, email, mms, refusal_of, refused, request, sms
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, values
from tests.e2e.server import Server
from tests.e2e.test_bulk_file import command, file_of, line
from tests.e2e.test_clock import HOUR, Stepped
from tests.support.access import bearer, declared, made_key
from tests.support.client_adapters import CLIENT_ADAPTERS, connect

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import OutboundMessage
from postwire_client import Client, DispatchRequest, DispatchResult, TryAgain

TO: Final = "+447700900123"
CALLERS: Final = 64


def guards(**settings: str) -> dict[str, str]:
    return {f"guards__{key}": value for key, value in settings.items()}


def refusal(server: Server, message: OutboundMessage) -> Refused:
    """What a call is refused with that cannot go through."""
    return refused(lambda: dispatch(server, message))


def attempt(server: Server, count: int, message: Callable[[], OutboundMessage] = lambda: sms(TO)) -> Counter[str]:
    """What becomes of so many calls by 64 callers at once: of each the reason, or OK."""

    def call(_: int) -> str:
        try:
            server.dispatch.Dispatch(request(message(), wait_for=ACCEPTANCE), timeout=TIMEOUT)
        except grpc.RpcError as error:
            return refusal_of(error).reason or "none"
        return "OK"

    with ThreadPoolExecutor(CALLERS) as callers:
        return Counter(callers.map(call, range(count)))


def rejections(server: Server, requests: list[pb.DispatchRequest]) -> list[pb.DispatchRejection | None]:
    """What becomes of a frame: of each why it is refused, or None."""
    frame = pb.DispatchStreamRequest(requests=requests)
    results = [
        one for answer in server.dispatch.DispatchStream(iter([frame]), timeout=TIMEOUT) for one in answer.results
    ]
    results.sort(key=lambda one: one.sequence)
    return [one.rejection if one.HasField("rejection") else None for one in results]


def test_numbers_that_are_not_allowed_get_nothing(serve: Serve) -> None:
    server = serve(**guards(allow_prefixes="+44,+1"))
    dispatch(server, email())
    for message, field in ((sms("+881612345678"), "message.sms.to"), (mms("+881612345678"), "message.mms.to")):
        found = refusal(server, message)
        assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RECIPIENT_NOT_ALLOWED")
        assert found.fields == [field]
        assert "8816" not in found.text
        first, second = rejections(server, [request(message), request(sms(TO))])
        assert first is not None
        assert (first.code, first.field_violations[0].field) == (grpc.StatusCode.FAILED_PRECONDITION.value[0], field)
        assert second is None


def test_what_is_owned_is_answered_whatever_the_guards_say_now(serve: Serve) -> None:
    server = serve(**guards(max_per_recipient="1/24h"))
    asked = request(sms(TO))
    first = server.dispatch.Dispatch(asked, timeout=TIMEOUT).message
    assert refusal(server, sms(TO)).reason == "QUOTA_EXCEEDED"
    assert server.dispatch.Dispatch(asked, timeout=TIMEOUT).message == first
    assert rejections(server, [asked, request(sms(TO))])[0] is None
    server.restart(**guards(allow_prefixes="+1"))
    assert refusal(server, sms(TO)).reason == "RECIPIENT_NOT_ALLOWED"
    assert server.dispatch.Dispatch(asked, timeout=TIMEOUT).message.message_id == first.message_id
    assert rejections(server, [asked]) == [None]


def test_a_refusal_names_rule_and_field_and_says_when_there_is_room_and_not_to_come_back_before(serve: Serve) -> None:
    server = serve(**guards(max_per_prefix="+44=2/1h", max_per_recipient="1/24h"))
    assert attempt(server, 1) == {"OK": 1}
    found = refusal(server, sms(TO))
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert found.text.startswith("guards.max_per_recipient: message.sms.to: ")
    assert found.fields == ["message.sms.to"]
    assert found.retry_delay is not None
    assert 24 * HOUR - TIMEOUT <= found.retry_delay <= 24 * HOUR * 61 / 60
    assert found.trailers["grpc-retry-pushback-ms"] == "-1"
    dispatch(server, sms("+447700900124"))
    found = refusal(server, sms("+447700900125"))
    assert found.text.startswith("guards.max_per_prefix: message.sms.to: ")
    dispatch(server, email("a@example.com"))
    assert refusal(server, email("b@example.com", cc=["A@Example.com"])).fields == ["message.email.cc[0]"]
    first, second, third = rejections(
        server, [request(sms(TO)), request(email("b@example.com")), request(sms("+12025550123"))]
    )
    assert first is not None
    assert (first.reason, first.HasField("retry_delay")) == (18, True)
    assert second is third is None
    assert server.terminate() == 0
    assert TO[1:] not in server.log_text()
    stored = b"".join(path.read_bytes() for path in server.folder.glob("postwire.db*"))
    assert TO.encode() not in stored
    assert b"a@example.com" not in stored.lower()


def test_of_64_callers_at_once_never_one_too_many_gets_through(serve: Serve) -> None:
    server = serve(**guards(max_per_prefix="+44=100/24h"))
    assert attempt(server, 300) == {"OK": 100, "QUOTA_EXCEEDED": 200}
    server.restart()
    assert attempt(server, CALLERS) == {"QUOTA_EXCEEDED": CALLERS}
    assert attempt(server, CALLERS, lambda: sms("+12025550123")) == {"OK": CALLERS}


def test_a_server_that_is_killed_in_the_middle_has_counted_what_it_has_accepted(serve: Serve) -> None:
    server = serve(**guards(max_per_recipient="150/24h"))

    def call(number: int) -> bool:
        if number == 100:
            server.send_signal(signal.SIGKILL)
        try:
            server.dispatch.Dispatch(request(sms(TO), wait_for=ACCEPTANCE), timeout=TIMEOUT)
        except grpc.RpcError:
            return False
        return True

    with ThreadPoolExecutor(CALLERS) as callers:
        accepted = sum(callers.map(call, range(200)))
    assert server.wait() == -signal.SIGKILL
    ((stored,),) = server.rows("SELECT count(*) FROM messages")
    assert accepted <= stored <= 150
    server.start()
    assert attempt(server, 200) == {"OK": 150 - stored, "QUOTA_EXCEEDED": 50 + stored}


def test_each_tenant_has_counts_of_its_own(serve: Serve) -> None:
    keys = {tenant: made_key() for tenant in ("acme", "globex")}
    toml = '[guards]\nmax_per_recipient = "1/24h"\n' + "".join(
        f"[tenants.{tenant}]\n{declared(key, tenant, 'send', 'read')}" for tenant, key in keys.items()
    )
    server = serve(toml=toml)
    for key in keys.values():
        metadata = bearer(key)
        server.dispatch.Dispatch(request(sms(TO)), timeout=TIMEOUT, metadata=metadata)
        with pytest.raises(grpc.RpcError) as raised:
            server.dispatch.Dispatch(request(sms(TO)), timeout=TIMEOUT, metadata=metadata)
        found = refusal_of(raised.value)
        assert found.reason == "QUOTA_EXCEEDED"


def test_other_guards_are_taken_over_without_a_restart(serve: Serve) -> None:
    toml = '[guards]\nmax_per_recipient = "{}/24h"\n'
    server = serve(toml=toml.format(1))
    assert attempt(server, 3) == {"OK": 1, "QUOTA_EXCEEDED": 2}
    (server.folder / "postwire.toml").write_text(toml.format(3) + 'allow_prefixes = ["+44"]\n', encoding="utf-8")
    server.send_signal(signal.SIGHUP)
    reloaded = server.wait_for_event("reloaded")
    assert reloaded["changed"] == ["guards.allow_prefixes", "guards.max_per_recipient"]
    assert reloaded["needs_restart"] == []
    assert attempt(server, 3) == {"OK": 2, "QUOTA_EXCEEDED": 1}
    assert refusal(server, sms("+12025550123")).reason == "RECIPIENT_NOT_ALLOWED"


# The clock.


@pytest.fixture
def stepped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stepped]:
    monkeypatch.setitem(os.environ, "CLOCK_OFFSET", str(tmp_path / "offset"))
    running = Stepped(tmp_path, **guards(max_per_recipient="4/2h"))
    running.set_clock(0)
    with running:
        yield running


@pytest.mark.parametrize("ahead", [5 * HOUR, -24 * HOUR])
@pytest.mark.parametrize("how", ["running", "restarted", "killed", "down"])
def test_a_clock_that_is_set_gives_no_room_and_takes_none(stepped: Stepped, ahead: int, how: str) -> None:
    assert attempt(stepped, 3) == {"OK": 3}
    if how == "down":
        assert stepped.terminate() == 0
    stepped.set_clock(ahead)
    if how == "killed":  # before anybody has seen that it was set
        stepped.kill()
    elif how != "down":
        stepped.wait_for_event("clock_stepped")
    if how == "restarted":
        stepped.restart()
    elif how != "running":
        stepped.start()
    assert attempt(stepped, 9) == {"OK": 1, "QUOTA_EXCEEDED": 8}
    found = refusal(stepped, sms(TO))
    assert found.retry_delay is not None
    assert 2 * HOUR - TIMEOUT <= found.retry_delay <= 2 * HOUR * 61 / 60


# Our clients.


@pytest.fixture(params=CLIENT_ADAPTERS)
def client_of(request: pytest.FixtureRequest) -> Callable[[str], Client]:
    return lambda address: connect(request.param, address, timeout=TIMEOUT, retry=True)


def refusals(server: Server) -> Mapping[tuple[str, ...], float]:
    return {key: count for key, count in values(server, "postwire_refused_total").items() if count}


def test_clients_do_not_come_back(serve: Serve, client_of: Callable[[str], Client]) -> None:
    server = serve(**guards(max_per_recipient="1/24h"), **METRICS)
    with client_of(server.address) as client:
        client.dispatch(sms(TO))
        with pytest.raises(TryAgain) as raised:
            client.dispatch(sms(TO))
        assert raised.value.reason == "QUOTA_EXCEEDED"
        assert raised.value.retry_delay is not None
        assert raised.value.retry_delay > HOUR
        assert refusals(server) == {("QUOTA_EXCEEDED",): 1}
        found: list[DispatchResult] = sorted(
            client.dispatch_many(DispatchRequest(message=sms(to)) for to in (TO, "+447700900124", TO, "+447700900125")),
            key=lambda one: one.index,
        )
        assert [one.error.reason if one.error else None for one in found] == ["QUOTA_EXCEEDED", None] * 2
        assert refusals(server) == {("QUOTA_EXCEEDED",): 3}


def test_a_file_is_sent_but_for_what_is_refused_and_that_is_named(serve: Serve, tmp_path: Path) -> None:
    server = serve(**guards(max_per_recipient="2/24h", allow_prefixes="+44"), **METRICS)
    path = file_of(
        tmp_path, [line(f"guarded {n}", to) for n, to in enumerate((TO, TO, TO, "+447700900124", "+12025550123"))]
    )
    done = command(server, "send", "--file", str(path), "--json")
    reported = json.loads(done.stdout)
    assert (done.returncode, reported["states"]) == (1, {"sent": 3, "refused": 2})
    assert {one["line"]: one["reason"].partition(":")[0] for one in reported["failed"]} == {
        3: "QUOTA_EXCEEDED",
        5: "RECIPIENT_NOT_ALLOWED",
    }
    assert TO not in done.stdout + done.stderr
    assert refusals(server) == {("QUOTA_EXCEEDED",): 1, ("RECIPIENT_NOT_ALLOWED",): 1}
    # The same command again sends nothing twice, and counts nothing twice either.
    server.restart(**guards(max_per_recipient="3/24h"))
    done = command(server, "send", "--file", str(path), "--json")
    assert json.loads(done.stdout)["states"] == {"sent": 1, "refused": 1}
    done = command(server, "send", "sms", "--to", TO, "--body", "Hello")
    assert done.returncode == 3
    assert "message.sms.to" in done.stderr
    assert "there is room again in" in done.stderr
