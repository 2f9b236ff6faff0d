"""Who a message goes to: by channel, recipient and label; and what callers and operators are told where it is nobody.

A channel that nobody carries is the operator's fault: told to the caller each time, and to the log once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.e2e.calls import (
    QUEUED,
    SENT,
    TIMEOUT,
    dispatch,
    email,
    explain,
    get,
    in_flight,
    mms,
    provider,
    refused,
    request,
    sms,
    tried,
    until,
)
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, values
from tests.e2e.server import Server
from tests.e2e.toml import case, mock, of, rule

from postwire.core.splitmix import SplitMix64, stream
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import OutboundMessage
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResumeProviderRequest


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


# Rules.

RULES = (
    *(mock(name) for name in ("british", "billing", "ops", "relay-one", "relay-two", "spare", "big", "small")),
    rule("sms", '["british"]', match='{ prefixes = ["+44", "+353"] }'),
    rule("sms", '["billing"]', match='{ labels = { team = "billing" } }'),
    rule("sms", '["ops"]', match='{ prefixes = ["+1"], labels = { team = "ops", shift = "night" } }'),
    rule("sms", "[{ big = 3, small = 1 }]"),
    rule("email", '[["relay-one", "relay-two"], "spare"]', match='{ domains = ["example.com", "*.example.org"] }'),
)


def labelled(message: OutboundMessage, **labels: str) -> OutboundMessage:
    message.labels.update(labels)
    return message


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ruled")
    (folder / "postwire.toml").write_text("\n".join(RULES), encoding="utf-8")
    with Server(folder) as running:
        yield running


def candidates(route: pb.ExplainRouteResponse) -> list[tuple[str, int, int]]:
    return [(one.provider_name, one.tier, one.weight) for one in route.candidates]


SHARED = [("big", 1, 3), ("small", 1, 1)]
RELAYS = [("relay-one", 1, 1), ("relay-two", 1, 1), ("spare", 2, 1)]
ROUTED: Mapping[str, tuple[OutboundMessage, str, list[tuple[str, int, int]]]] = {
    "a prefix": (sms("+447700900123"), "sms#1", [("british", 1, 1)]),
    "another prefix": (sms("+353861234567"), "sms#1", [("british", 1, 1)]),
    "the first rule of two": (labelled(sms("+447700900123"), team="billing"), "sms#1", [("british", 1, 1)]),
    "a label": (labelled(sms(), team="billing", shift="day"), "sms#2", [("billing", 1, 1)]),
    "a prefix and labels": (labelled(sms(), team="ops", shift="night"), "sms#3", [("ops", 1, 1)]),
    "one label of two": (labelled(sms(), team="ops"), "sms#4", SHARED),
    "labels without the prefix": (labelled(sms("+33612345678"), team="ops", shift="night"), "sms#4", SHARED),
    "another label": (labelled(sms(), team="Billing"), "sms#4", SHARED),
    "nothing": (sms(), "sms#4", SHARED),
    "a domain": (email("ada@example.com", cc=["eve@EXAMPLE.com"]), "email#1", RELAYS),
    "a domain below": (email("ada@mail.eu.example.org", bcc=["eve@example.com"]), "email#1", RELAYS),
    "a channel without rules": (
        mms("+447700900123"),
        "mms",
        [
            (name, tier, 1)
            for tier, name in enumerate(
                ("british", "billing", "ops", "relay-one", "relay-two", "spare", "big", "small"), 1
            )
        ],
    ),
}


@pytest.mark.parametrize(("message", "key", "wanted"), ROUTED.values(), ids=ROUTED.keys())
def test_the_first_rule_that_matches_is_the_messages(
    ruled: Server, message: OutboundMessage, key: str, wanted: list[tuple[str, int, int]]
) -> None:
    shown = explain(ruled, message)
    assert (shown.route_key, candidates(shown), shown.overflow) == (key, wanted, False)
    channel, _, number = key.partition("#")
    assert shown.rule == f"routes.{channel}" + (f"[{int(number) - 1}]" if number else "")
    assert {(one.eligible, one.obstacle) for one in shown.candidates} == {(True, 0)}
    # And so it goes.
    first_tier = {name for name, tier, _ in wanted if tier == 1}
    assert dispatch(ruled, message).attempts[0].provider_name in first_tier


@pytest.mark.parametrize(
    ("name", "matched_on"),
    [
        ("a prefix", ['prefixes = "+44"']),
        ("a label", ['labels.team = "billing"']),
        ("a prefix and labels", ['prefixes = "+1"', 'labels.team = "ops"', 'labels.shift = "night"']),
        ("nothing", []),
        ("a domain below", ['domains = "example.com"', 'domains = "*.example.org"']),
        ("a channel without rules", []),
    ],
)
def test_a_rule_says_what_it_matched_on(ruled: Server, name: str, matched_on: list[str]) -> None:
    assert list(explain(ruled, ROUTED[name][0]).matched_on) == matched_on


def test_a_pinned_provider_has_no_rule(ruled: Server) -> None:
    shown = explain(ruled, provider_name="spare")
    assert (shown.route_key, shown.rule, list(shown.matched_on)) == ("@spare", "", [])


@pytest.mark.parametrize(
    "message",
    [email("ada@example.org"), email("ada@example.com", "eve@example.net"), email("ada@notexample.com")],
    ids=["above the domain", "one recipient of two", "another domain"],
)
def test_what_no_rule_matches_has_no_route(ruled: Server, message: OutboundMessage) -> None:
    for call in (lambda: explain(ruled, message), lambda: dispatch(ruled, message)):
        error = refused(call)
        assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INVALID_ROUTING")
    assert explain(ruled, message, provider_name="spare").route_key == "@spare"
    assert tried(dispatch(ruled, message, provider_name="spare")) == [("spare", "success")]


def test_weights_share_messages_out_and_the_seed_decides_how(serve: Serve) -> None:
    server = serve(toml="\n".join(RULES), delivery__seed="42")

    def shared(count: int) -> list[str]:
        return [dispatch(server).provider_name for _ in range(count)]

    weights = stream(42, "weights sms#4")
    predicted = ["big" if weights.next_unit() < 0.75 else "small" for _ in range(100)]
    assert 60 < predicted.count("big") < 90
    assert shared(50) == predicted[:50]
    # Neither other routes nor those who only ask use up a draw.
    for _ in range(3):
        dispatch(server, email("ada@example.com"))
        dispatch(server, provider_name="small")
        explain(server)
    assert shared(50) == predicted[50:]
    server.restart()
    assert shared(50) == predicted[:50]
    server.restart(delivery__seed="43")
    assert shared(50) != predicted[:50]


def test_what_waits_goes_by_the_rules_of_the_next_boot(serve: Serve) -> None:
    mocks = mock("old") + mock("new")
    server = serve(toml=mocks + case("a", '["old"]') + case("b", '["old"]'))
    server.providers.DrainProvider(DrainProviderRequest(name="old"), timeout=TIMEOUT)
    moved, left, pinned = (
        dispatch(server, of("a", sms())),
        dispatch(server, of("b", sms())),
        dispatch(server, of("a", sms()), provider_name="old"),
    )
    assert [(one.state, tried(one)) for one in (moved, left, pinned)] == [(QUEUED, [])] * 3
    toml = server.folder / "postwire.toml"

    toml.write_text(mocks + case("a", '["new"]'), encoding="utf-8")
    server.restart()
    assert tried(until(server, moved, SENT)) == [("new", "success")]
    # Where there is no route any more it waits for one to come back, and nothing is written meanwhile.
    for one in (left, pinned):
        assert get(server, one) == one
        assert not one.HasField("next_attempt_time")

    # Nor does the provider that its caller has pinned get what it does not carry any more.
    toml.write_text(mocks.replace('["sms", ', "[", 1) + case("b", '["new"]'), encoding="utf-8")
    server.restart()
    server.providers.ResumeProvider(ResumeProviderRequest(name="old"), timeout=TIMEOUT)
    assert tried(until(server, left, SENT)) == [("new", "success")]
    assert tried(dispatch(server, email(), provider_name="old")) == [("old", "success")]
    assert get(server, pinned) == pinned

    toml.write_text(mocks, encoding="utf-8")
    server.restart()
    assert tried(until(server, pinned, SENT)) == [("old", "success")]


QUEUE: Final = "SELECT message_id, queue, revision FROM messages ORDER BY message_id"


def test_a_rule_that_is_put_before_theirs_moves_nothing_that_waits(serve: Serve) -> None:
    mocks, everything = mock("old") + mock("new"), rule("sms", '["old"]')
    server = serve(toml=mocks + case("a", '["old"]') + everything, **METRICS)
    server.providers.DrainProvider(DrainProviderRequest(name="old"), timeout=TIMEOUT)
    waiting = [dispatch(server, one) for one in (of("a", sms()), sms(), of("a", sms()))]
    assert [(one.state, tried(one)) for one in waiting] == [(QUEUED, [])] * 3
    assert server.terminate() == 0
    kept = server.rows(QUEUE)

    first = rule("sms", '["new"]', match='{ prefixes = ["+1"] }')
    toml = server.folder / "postwire.toml"
    toml.write_text(mocks + first + case("a", '["old"]') + everything, encoding="utf-8")
    server.start()
    assert [get(server, one) for one in waiting] == waiting
    assert explain(server, of("a", sms())).route_key == "sms#1", "what comes now goes by the new rule"
    assert tried(dispatch(server, of("a", sms()))) == [("new", "success")]
    depths = {key: count for (key,), count in values(server, "postwire_queue_depth").items() if key.startswith("sms")}
    assert depths == {"sms#1": 0, "sms#2": 2, "sms#3": 1}
    assert list(provider(server, "old").unserved_route_keys) == ["sms#2", "sms#3"]
    assert server.terminate() == 0
    assert server.rows(QUEUE)[:3] == kept

    server.start()
    server.providers.ResumeProvider(ResumeProviderRequest(name="old"), timeout=TIMEOUT)
    for one in waiting:
        assert tried(until(server, one, SENT)) == [("old", "success")]


def test_a_rule_that_asks_for_something_else_moves_what_waited_for_it_alone(serve: Serve) -> None:
    mocks = mock("old") + mock("new")
    server = serve(toml=mocks + case("a", '["old"]') + case("b", '["old"]') + rule("sms", '["old"]'))
    server.providers.DrainProvider(DrainProviderRequest(name="old"), timeout=TIMEOUT)
    moved, other, rest = (dispatch(server, one) for one in (of("a", sms()), of("b", sms()), sms()))
    assert server.terminate() == 0
    kept = server.rows(QUEUE)

    toml = mocks + rule("sms", '["new"]', match='{ prefixes = ["+1"], labels = { case = "a" } }')
    toml += case("b", '["old"]') + rule("sms", '["old"]')
    (server.folder / "postwire.toml").write_text(toml, encoding="utf-8")
    server.start()
    assert tried(until(server, moved, SENT)) == [("new", "success")]
    assert [get(server, one) for one in (other, rest)] == [other, rest]
    assert server.terminate() == 0
    assert server.rows(QUEUE)[1:] == kept[1:]


def test_what_a_release_left_that_numbered_its_queues_goes_by_what_the_rules_ask_for(serve: Serve) -> None:
    mocks = mock("old") + mock("new") + mock("own")
    server = serve(toml=mocks + case("a", '["old"]') + case("b", '["old"]'))
    for name in ("old", "own"):
        server.providers.DrainProvider(DrainProviderRequest(name=name), timeout=TIMEOUT)
    messages = [of("a", sms()), of("b", sms()), of("a", sms()), email()]
    pins = [{}, {}, {"provider_name": "own"}, {"provider_name": "own"}]
    first, second, *pinned = [dispatch(server, one, **pin) for one, pin in zip(messages, pins, strict=True)]
    assert server.terminate() == 0
    for one, queue in ((first, "sms#1"), (second, "sms#2"), *((one, "@own") for one in pinned)):
        server.write(f"UPDATE messages SET queue = '{queue}' WHERE message_id = unhex('{one.message_id}', '-')")
    server.write("UPDATE facts SET value = 'of another form' WHERE name = 'routes'")

    (server.folder / "postwire.toml").write_text(mocks + case("b", '["new"]') + case("a", '["old"]'), encoding="utf-8")
    server.start()
    assert tried(until(server, second, SENT)) == [("new", "success")]
    assert [get(server, one) for one in (first, *pinned)] == [first, *pinned]
    for name in ("old", "own"):
        server.providers.ResumeProvider(ResumeProviderRequest(name=name), timeout=TIMEOUT)
    assert tried(until(server, first, SENT)) == [("old", "success")]
    for one in pinned:
        assert tried(until(server, one, SENT)) == [("own", "success")]


# Only asking.


def test_to_ask_for_a_route_sends_nothing_and_changes_nothing(serve: Serve) -> None:
    seeded = {"providers__sms_mms__seed": "7", "providers__sms_mms__error_ratio": "0.5"}
    server = serve(routes__email="", **seeded, **METRICS)
    before = provider(server, "sms-mms")
    for _ in range(20):
        shown = explain(server, sms("+15005550002"), wait_for="WAIT_FOR_OUTCOME")
        assert (shown.route_key, candidates(shown)) == ("sms", [("sms-mms", 1, 1)])
        assert refused(lambda: explain(server, email())).reason == "INVALID_ROUTING"
    assert provider(server, "sms-mms") == before
    assert in_flight(server) == 0
    assert values(server, "postwire_routing_invalid_total")["email",] == 0, "no message came"
    draws = SplitMix64(7)
    for _ in range(5):
        outcome = "error" if draws.next_unit() < 0.5 else "success"
        assert tried(dispatch(server, max_attempts=1)) == [("sms-mms", outcome)]
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages") == [(5,)]
    assert server.log("invalid_routing") == []


ASKED: Mapping[str, tuple[OutboundMessage, dict[str, Any]]] = {
    "no content": (OutboundMessage(), {}),
    "a bad number": (sms("nobody"), {}),
    "too long a text": (sms(body="x" * 1_601), {}),
    "a provider that is not there": (sms(), {"provider_name": "nobody"}),
    "a provider of another channel": (sms(), {"provider_name": "email"}),
    "too late": (sms(), {"expire_time": Timestamp(seconds=1)}),
    "sent after it has expired": (
        sms(),
        {"send_time": Timestamp(seconds=5_000_000_000), "expire_time": Timestamp(seconds=4_999_999_999)},
    ),
}


@pytest.mark.parametrize(("message", "options"), ASKED.values(), ids=ASKED.keys())
def test_whoever_asks_is_refused_as_whoever_sends(
    server: Server, message: OutboundMessage, options: dict[str, Any]
) -> None:
    asking = refused(lambda: explain(server, message, **options))
    sending = refused(lambda: dispatch(server, message, **options))
    assert asking.code is sending.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (asking.reason, asking.violations) == (sending.reason, sending.violations)
    assert asking.fields
