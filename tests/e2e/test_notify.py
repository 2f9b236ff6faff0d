"""Hooks of a real server, and receivers that are well, slow, away or of another opinion."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    NO_RETRY,
    SENT,
    TIMEOUT,
    dispatch,
    dispatch_all,
    email,
    get,
    request,
    sms,
)
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, fetch, values
from tests.e2e.server import Server, eventually
from tests.support.access import bearer, declared, made_key
from tests.support.http_counterpart import HEADLESS, HttpCall, HttpCounterpart, HttpReply, counterpart_thread
from tests.support.receiver import OTHER_SECRET, SECRET, data_of, event_of, hook, reported

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import Message, OutboundMessage

CANARY: Final = "zq9canary7"
PHONE: Final = "+15005550187"


@pytest.fixture
def receiver() -> Iterator[HttpCounterpart]:
    with counterpart_thread(HttpReply()) as there:
        yield there.counterpart


@pytest.fixture
def other() -> Iterator[HttpCounterpart]:
    with counterpart_thread(HttpReply()) as there:
        yield there.counterpart


def labelled(message: OutboundMessage, **labels: str) -> OutboundMessage:
    message.labels.update(labels)
    return message


def heard(receiver: HttpCounterpart, *messages: Message) -> bool:
    """Whether the last state of each message has been posted."""
    revisions = reported(list(receiver.calls))
    return all(revisions.get(one.message_id, [0])[-1] >= one.revision for one in messages)


def came(receiver: HttpCounterpart, count: int) -> bool:
    """Whether so many requests have come."""
    return len(receiver.calls) >= count


def lost(server: Server, name: str) -> dict[str, float]:
    """What a hook has lost, by reason."""
    found = values(server, "postwire_notify_lost_total")
    return {reason: count for (hook_name, reason), count in found.items() if hook_name == name and count}


def test_what_becomes_of_a_message_is_posted_as_a_signed_cloud_event(serve: Serve, receiver: HttpCounterpart) -> None:
    server = serve(toml=hook("billing", f"{receiver.url}/in?a=b", 'states = ["sent"]'))
    message = dispatch(server, labelled(sms(), team="café"))
    eventually(lambda: receiver.calls)
    (call,) = receiver.calls
    assert call.target == "/in?a=b"
    assert event_of(call) == {
        "specversion": "1.0",
        "type": "postwire.message.state",
        "source": "/postwire/default",
        "id": f"{message.message_id}-{message.revision}",
        "time": event_of(call)["time"],
        "subject": message.message_id,
        "datacontenttype": "application/json",
        "data": {
            "message_id": message.message_id,
            "state": "MESSAGE_STATE_SENT",
            "revision": message.revision,
            "labels": {"team": "café"},
        },
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event_of(call)["time"])


def test_only_what_is_asked_for_is_posted_and_revisions_rise(serve: Serve, receiver: HttpCounterpart) -> None:
    toml = hook("all", f"{receiver.url}/all") + hook(
        "few", f"{receiver.url}/few", 'states = ["sent", "failed"]', 'labels = { team = "a" }'
    )
    server = serve(toml=toml)
    a, b = labelled(sms(), team="a"), labelled(email(), team="b")
    messages = dispatch_all(server, [a, b] * 10)

    def of(target: str) -> list[HttpCall]:
        return [call for call in list(receiver.calls) if call.target == target]

    eventually(lambda: {one["message_id"] for one in data_of(of("/few"))} == {m.message_id for m in messages[::2]})
    eventually(lambda: all(reported(of("/all")).get(m.message_id, [0])[-1] == m.revision for m in messages))
    assert {one["state"] for one in data_of(of("/few"))} == {"MESSAGE_STATE_SENT"}
    for revisions in reported(of("/all")).values():
        assert revisions == sorted(set(revisions))


@pytest.mark.long
def test_a_receiver_that_was_away_has_everything_once_it_is_back(serve: Serve, receiver: HttpCounterpart) -> None:
    receiver.reply = HEADLESS
    server = serve(toml=hook("billing", receiver.url), **METRICS)
    messages = dispatch_all(server, [sms() for _ in range(30)])
    server.wait_for_event("notify_breaker")
    assert values(server, "postwire_notify_lag_seconds")[("billing",)] > 0
    before = len(receiver.calls)
    receiver.reply = HttpReply(204)
    eventually(lambda: heard(receiver, *messages))
    assert len(receiver.calls) - before <= len(messages) + 8
    eventually(lambda: values(server, "postwire_notify_lag_seconds")[("billing",)] == 0)
    assert not lost(server, "billing")


def test_the_same_event_has_the_same_id_and_body_each_time(serve: Serve, receiver: HttpCounterpart) -> None:
    receiver.replies = [HttpReply(500), HttpReply(503)]
    server = serve(toml=hook("billing", receiver.url, 'states = ["sent"]'))
    dispatch(server)
    eventually(lambda: len(receiver.calls) == 3)
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
    assert len({call.body for call in receiver.calls}) == 1
    for call in receiver.calls:
        event_of(call)


def test_one_that_hangs_holds_up_neither_another_nor_dispatches_nor_the_shutdown(
    serve: Serve, receiver: HttpCounterpart, other: HttpCounterpart
) -> None:
    receiver.reply = HttpReply(silent=True)
    toml = hook("slow", receiver.url, 'timeout = "1h"', "max_concurrent = 8") + hook(
        "quick", other.url, 'states = ["sent"]'
    )
    server = serve(toml=toml, server__grace="500ms")
    messages = dispatch_all(server, [sms() for _ in range(30)])
    assert {one.state for one in messages} == {SENT}
    eventually(lambda: heard(other, *messages))
    eventually(lambda: len(receiver.calls) == 8)
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 8, "each of another message"
    started = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - started < TIMEOUT / 2
    receiver.reply = HttpReply()
    server.start()
    eventually(lambda: heard(receiver, *messages))


def test_a_kill_repeats_no_more_than_was_on_its_way(serve: Serve, receiver: HttpCounterpart) -> None:
    """One at a time: the event that nobody knows about is the only one that comes twice."""

    def slow(call: HttpCall) -> HttpReply:
        time.sleep(0.005)  # so that the kill comes in the middle
        return HttpReply()

    receiver.reply = slow
    server = serve(toml=hook("billing", receiver.url, 'states = ["sent"]'))
    everything: list[Message] = []
    kills = 3
    for _ in range(kills):
        everything += dispatch_all(server, [sms() for _ in range(40)], wait_for=ACCEPTANCE)
        eventually(partial(came, receiver, len(receiver.calls) + 10))
        server.kill()
        server.start()
    eventually(lambda: all(get(server, one).state == SENT for one in everything))
    everything = [get(server, one) for one in everything]
    eventually(lambda: heard(receiver, *everything))
    ids = [call.headers["webhook-id"] for call in receiver.calls]
    assert len(ids) - len(set(ids)) <= kills
    for revisions in reported(receiver.calls).values():
        assert revisions == sorted(revisions)


def test_what_the_feed_has_dropped_meanwhile_is_counted(serve: Serve, receiver: HttpCounterpart) -> None:
    server = serve(toml=hook("billing", receiver.url, 'states = ["sent"]'), **METRICS)
    first = dispatch(server)
    eventually(lambda: heard(receiver, first))
    receiver.reply = HEADLESS
    dispatch_all(server, [sms() for _ in range(20)])
    assert server.terminate() == 0
    ((dropped,),) = server.rows("SELECT count(*) FROM changes WHERE change <= (SELECT max(change) FROM changes) - 5")
    server.write("DELETE FROM changes WHERE change <= (SELECT max(change) FROM changes) - 5")
    receiver.reply = HttpReply()
    server.start()
    last = dispatch(server)
    eventually(lambda: heard(receiver, last))
    assert 0 < lost(server, "billing")["dropped"] <= dropped
    assert server.wait_for_event("notify_lost")["reason"] == "dropped"


@pytest.mark.long
def test_what_is_refused_for_good_is_given_up_and_counted_and_others_go_on(
    serve: Serve, receiver: HttpCounterpart
) -> None:
    def picky(call: HttpCall) -> HttpReply:
        return HttpReply(422) if b'"bad"' in call.body else HttpReply()

    receiver.reply = picky
    server = serve(toml=hook("billing", receiver.url, 'states = ["sent"]'), **METRICS)
    bad = dispatch(server, labelled(sms(), kind="bad"))

    def given_up() -> bool:
        one = dispatch(server)
        eventually(lambda: heard(receiver, one))
        return lost(server, "billing") == {"refused": 1}

    eventually(given_up)
    assert server.wait_for_event("notify_lost")["message_id"] == bad.message_id


def test_an_answer_that_does_not_end_is_one_all_the_same(serve: Serve, receiver: HttpCounterpart) -> None:
    receiver.reply = HttpReply(200, b"thanks", endless=True)
    server = serve(toml=hook("billing", receiver.url), **METRICS)
    message = dispatch(server)
    eventually(lambda: heard(receiver, message))

    def tries() -> dict[str, float]:
        return {outcome: count for (_, outcome), count in values(server, "postwire_notify_attempts_total").items()}

    eventually(lambda: any(tries().values()))
    assert tries()["error"] == 0


def test_tenants_hear_of_their_own_alone(serve: Serve, receiver: HttpCounterpart, other: HttpCounterpart) -> None:
    keys = {tenant: made_key() for tenant in ("acme", "globex")}
    toml = (
        hook("acme", receiver.url, 'tenant = "acme"')
        + hook("globex", other.url, 'tenant = "globex"', secret=OTHER_SECRET)
        + "".join(declared(key, tenant, "send", "read") for tenant, key in keys.items())
    )
    server = serve(toml=toml)
    sent: dict[str, Message] = {}
    for tenant, key in keys.items():
        asked = request(sms())
        sent[tenant] = server.dispatch.Dispatch(asked, timeout=TIMEOUT, metadata=bearer(key)).message
    eventually(lambda: heard(receiver, sent["acme"]))
    eventually(
        lambda: any(one["revision"] == sent["globex"].revision for one in data_of(list(other.calls), OTHER_SECRET))
    )
    assert {one["message_id"] for one in data_of(receiver.calls)} == {sent["acme"].message_id}
    assert {one["message_id"] for one in data_of(other.calls, OTHER_SECRET)} == {sent["globex"].message_id}
    assert {event_of(call)["source"] for call in receiver.calls} == {"/postwire/acme"}


def test_secrets_are_renewed_while_it_runs_and_the_rest_needs_a_restart(
    serve: Serve, receiver: HttpCounterpart, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    server = serve(toml=hook("billing", receiver.url, f'secret_file = "{file}"'))
    message = dispatch(server)
    eventually(lambda: heard(receiver, message))
    path = tmp_path / "postwire.toml"
    settings = (f'secret = "{OTHER_SECRET}"', f'previous_secret = "{SECRET}"', 'states = ["sent"]')
    path.write_text(hook("billing", receiver.url, *settings))
    server.send_signal(signal.SIGHUP)
    reloaded = server.wait_for_event("reloaded")
    assert "notify.billing.secret" in reloaded["changed"]
    assert reloaded["needs_restart"] == ["notify.billing.states"]
    receiver.calls.clear()
    message = dispatch(server)
    eventually(lambda: heard(receiver, message))
    for call in receiver.calls:
        assert event_of(call, SECRET) == event_of(call, OTHER_SECRET)


def test_a_secret_that_stands_in_a_file_is_read_again(serve: Serve, receiver: HttpCounterpart, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    server = serve(toml=hook("billing", receiver.url, f'secret_file = "{file}"'))
    file.write_text(OTHER_SECRET)
    server.wait_for_event("reloaded")
    message = dispatch(server)
    eventually(lambda: any(one["revision"] == message.revision for one in data_of(list(receiver.calls), OTHER_SECRET)))


def test_nothing_of_a_message_or_an_address_or_a_secret_is_told(serve: Serve, receiver: HttpCounterpart) -> None:
    receiver.replies = [HttpReply(500, CANARY.encode()), HttpReply(400, CANARY.encode()), HEADLESS]
    toml = hook("billing", f"{receiver.url}/{CANARY}?token={CANARY}") + hook("away", f"http://127.0.0.1:1/{CANARY}")
    server = serve(toml=toml, telemetry__log_level="debug", **METRICS, **NO_RETRY)
    message = dispatch(server, sms(to=PHONE, body=CANARY))
    eventually(lambda: heard(receiver, message))
    server.wait_for_event("notify_failed")
    page = fetch(server)
    assert "postwire_notify_attempts_total" in page
    assert server.terminate() == 0
    for call in receiver.calls:
        assert PHONE not in call.body.decode()
        assert CANARY not in call.body.decode()
    for text in (server.log_text(), page):
        assert CANARY not in text
        assert PHONE not in text
        assert SECRET.removeprefix("whsec_") not in text


def test_a_hook_begins_with_what_comes_from_then_on(serve: Serve, receiver: HttpCounterpart, tmp_path: Path) -> None:
    server = serve()
    before = dispatch(server)
    (tmp_path / "postwire.toml").write_text(hook("billing", receiver.url))
    server.restart()
    after = dispatch(server)
    eventually(lambda: heard(receiver, after))
    assert before.message_id not in reported(receiver.calls)


def test_without_hooks_there_is_nothing_of_them(serve: Serve) -> None:
    server = serve(**METRICS)
    server.dispatch.Dispatch(pb.DispatchRequest(message=sms()), timeout=TIMEOUT)
    assert "postwire_notify" not in fetch(server)
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM facts WHERE name LIKE 'notify%'") == [(0,)]
