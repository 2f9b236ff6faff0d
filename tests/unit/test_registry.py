"""The providers of a server and its routes, as the configuration declares them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.providers import FakeProvider, registry_of
from tests.support.providers import route as made

from postwire.config.schema import Config, load
from postwire.core.breaker import BreakerState, Transition, Verdict
from postwire.core.errors import FieldViolation, InvalidMessage, InvalidProvider, InvalidRouting, ProviderNotFound
from postwire.core.message import DEFAULT_TENANT, Channel, Content, Email, Mms, OutboundMessage, Sms
from postwire.core.obstacles import Obstacle
from postwire.core.queue_keys import queue_key
from postwire.core.routing import Match, Route
from postwire.providers import registry as providers_registry
from postwire.providers.builtin import KINDS
from postwire.providers.mock import MockProvider
from postwire.providers.registry import ProviderEntry, Registry

THREE = """
[delivery]
attempt_timeout = "7s"

[providers.phone]
kind = "mock"
channels = ["mms", "sms"]
seed = 5

[providers.spare]
kind = "mock"
channels = ["sms"]
attempt_timeout = "3s"

[providers.post]
kind = "mock"
channels = ["email"]
error_ratio = 0.5
"""


def config_of(folder: Path, text: str) -> Config:
    file = folder / "postwire.toml"
    file.write_text(text, encoding="utf-8")
    return load(path=file, environ={}, kinds=KINDS)


def build(folder: Path, text: str, seed: int = 7) -> Registry:
    return Registry.build(config_of(folder, text), KINDS, random_seed=itertools.count(100).__next__, seed=seed)


def route(registry: Registry, content: Content, pinned: str | None = None, **labels: str) -> Route:
    return registry.route(OutboundMessage(content, labels), DEFAULT_TENANT, pinned)


def names(entries: tuple[ProviderEntry, ...]) -> list[str]:
    return [entry.provider.name for entry in entries]


SMS = Sms("+4420", "Hi")
MMS = Mms("+4420", "Look")
EMAIL = Email(("a@a.test",), text="Hi")


def mock_of(registry: Registry, name: str) -> MockProvider:
    provider = registry.entry(name).provider
    assert isinstance(provider, MockProvider)
    return provider


def test_every_declared_provider_is_made_in_order(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE)
    assert [(entry.provider.name, entry.provider.channels, entry.attempt_timeout) for entry in registry] == [
        ("phone", (Channel.MMS, Channel.SMS), 7.0),
        ("spare", (Channel.SMS,), 3.0),
        ("post", (Channel.EMAIL,), 7.0),
    ]
    assert [entry.gate.name for entry in registry] == ["phone", "spare", "post"]
    assert [entry.gate.in_flight for entry in registry] == [0, 0, 0]


def test_a_provider_gets_its_own_settings(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE)
    assert mock_of(registry, "post").settings.error_ratio == 0.5
    assert mock_of(registry, "phone").settings.error_ratio == 0.0


def test_a_seed_is_drawn_only_for_providers_that_have_none(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE)
    assert [(mock_of(registry, name).seed, mock_of(registry, name).seeded) for name in ("phone", "spare", "post")] == [
        (5, True),
        (100, False),
        (101, False),
    ]


def test_without_routes_those_that_carry_a_channel_are_tried_in_order_of_declaration(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE)
    assert route(registry, SMS).names == ("phone", "spare")
    assert names(registry.carriers(Channel.SMS)) == ["phone", "spare"]
    assert route(registry, EMAIL).names == ("post",)


def test_a_route_decides_who_is_tried_and_in_what_order(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE + '[routes]\nsms = ["spare", "phone"]\nmms = []')
    assert route(registry, SMS).names == ("spare", "phone")
    assert registry.routes(Channel.MMS) == ()
    assert registry.carriers(Channel.MMS) == ()
    with pytest.raises(InvalidRouting, match=r"routes\.mms") as caught:
        route(registry, MMS)
    assert caught.value.channel is Channel.MMS


RULES = """
[[routes.sms]]
match = { prefixes = ["+44"], labels = { team = "auth" } }
tiers = ["spare"]

[[routes.sms]]
match = { prefixes = ["+44"] }
tiers = [{ phone = 3, spare = 1 }]
"""


def test_the_first_rule_that_matches_is_taken_and_without_one_there_is_no_route(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE + RULES)
    assert route(registry, SMS, team="auth").key == "sms#1"
    assert route(registry, SMS).key == "sms#2"
    with pytest.raises(InvalidRouting):
        route(registry, Sms("+1500", "Hi"))
    assert names(registry.carriers(Channel.SMS)) == ["spare", "phone"], "each once"


def test_every_route_is_found_by_the_key_of_its_queue(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE + RULES)
    pinned = [route(registry, content, name) for name, content in (("phone", SMS), ("spare", SMS), ("post", EMAIL))]
    routes = [*registry.all_routes(), *pinned]
    assert all(registry.route_by_queue_key(one.queue_key) is one for one in routes)
    assert {one.key: one.queue_key for one in routes} == {
        "sms#1": queue_key(Channel.SMS, Match(("+44",), labels={"team": "auth"})),
        "sms#2": queue_key(Channel.SMS, Match(("+44",))),
        "mms": queue_key(Channel.MMS, Match()),
        "email": queue_key(Channel.EMAIL, Match()),
        "@phone": "@phone",
        "@spare": "@spare",
        "@post": "@post",
    }
    for nobodys in ("sms", "sms#1", "@nobody", queue_key(Channel.SMS, Match())):
        assert registry.route_by_queue_key(nobodys) is None


def test_a_route_without_some_of_its_providers_is_found_by_the_key_of_its_queue_once_there_is_a_message() -> None:
    def unsuitable(message: OutboundMessage, _: object) -> list[str]:
        return list(message.labels)

    registry = registry_of(FakeProvider("a"), FakeProvider("b"), unsuitable=unsuitable)
    (whole,) = registry.routes(Channel.SMS)
    assert route(registry, SMS) is whole
    without = route(registry, SMS, a="")
    assert (without.names, without.key) == (("b",), whole.key)
    assert route(registry, Sms("+1500", "Hi"), a="x") is without, "and it is made once"
    assert registry.route_by_queue_key(without.queue_key) is without
    assert whole in registry.all_routes()
    assert without not in registry.all_routes()
    for pinned, labels in (("a", ["a"]), (None, ["b", "a"])):
        with pytest.raises(InvalidMessage) as caught:
            route(registry, SMS, pinned, **dict.fromkeys(labels, ""))
        assert caught.value.violations == (FieldViolation("message", "is not for a"),), "the first of them says why"


def test_the_route_of_a_queue_that_was_left_is_told_by_a_message() -> None:
    match = Match(labels={"x": "y"})
    rules = [
        replace(made(*name, key=f"sms#{number}", match=one), queue_key=queue_key(Channel.SMS, one))
        for number, (name, one) in enumerate((("b", Match(("+44",))), (("a", "b"), match)), 1)
    ]

    def build_one() -> Registry:
        return registry_of(
            FakeProvider("a"),
            FakeProvider("b"),
            routes={Channel.SMS: rules},
            unsuitable=lambda message, _: ["a"] if message.content == SMS else [],
        )

    message, left = OutboundMessage(SMS, {"x": "y"}), queue_key(Channel.SMS, match, ["a"])
    registry = build_one()
    assert registry.route(message, DEFAULT_TENANT, None).queue_key == rules[0].queue_key
    assert registry.route_by_queue_key(left) is None
    found = registry.adopt(left, message, DEFAULT_TENANT)
    assert found is not None
    assert (found.key, found.names) == ("sms#2", ("b",))
    assert registry.route_by_queue_key(left) is found
    for other in (OutboundMessage(SMS), OutboundMessage(Sms("+4420", "Other"), {"x": "y"}), OutboundMessage(EMAIL)):
        assert build_one().adopt(left, other, DEFAULT_TENANT) is None
    for key in ("sms", "@a", queue_key(Channel.SMS, match, ["b"])):
        assert registry.adopt(key, message, DEFAULT_TENANT) is None


def test_a_pinned_provider_is_the_only_candidate_even_beside_the_route(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE + '[routes]\nsms = ["phone"]\nmms = []')
    pinned = route(registry, SMS, "spare")
    assert (pinned.key, pinned.names) == ("@spare", ("spare",))
    assert route(registry, MMS, "phone").names == ("phone",)


@pytest.mark.parametrize(
    ("content", "pinned", "description"),
    [
        (SMS, "nobody", "must name a provider that exists; ListProviders names them all"),
        (SMS, "Phone", "must name a provider that exists; ListProviders names them all"),
        (SMS, "", "must name a provider that exists; ListProviders names them all"),
        (EMAIL, "phone", "must name a provider that carries email"),
    ],
)
def test_a_pin_that_cannot_be_kept_is_the_callers_fault(
    content: Content, pinned: str, description: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidProvider) as caught:
        route(build(tmp_path, THREE), content, pinned)
    assert [(one.field, one.description) for one in caught.value.violations] == [("options.provider_name", description)]


def test_slots_are_found_by_name(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE)
    assert registry.entry("post").provider.name == "post"
    with pytest.raises(ProviderNotFound):
        registry.entry("nobody")


LIMITED = """
[delivery]
attempt_timeout = "2s"
backoff_base = "4s"

[providers.phone]
kind = "mock"
channels = ["sms"]
max_concurrent = 2
rate = 10.0
burst = 4

[providers.phone.breaker]
minimum_calls = 1
open_for = "8s"
"""


def test_a_provider_gets_its_own_limits(tmp_path: Path) -> None:
    gate = build(tmp_path, LIMITED).entry("phone").gate
    permits = [gate.enter(0.0) for _ in range(2)]
    assert gate.obstacle(0.0) is Obstacle.CONCURRENCY
    for permit in permits:
        permit.close(Verdict.SUCCESS, 0.0)
    for _ in range(2):
        gate.enter(0.0).close(Verdict.SUCCESS, 0.0)
    assert gate.obstacle(0.0) is Obstacle.RATE
    assert gate.obstacle(0.1) is None


def test_a_probe_that_never_reports_counts_as_failed_after_twice_its_time_limit(tmp_path: Path) -> None:
    gate = build(tmp_path, LIMITED).entry("phone").gate
    gate.enter(0.0).close(Verdict.FAILURE, 0.0)
    gate.enter(10.0)
    assert gate.breaker.state is BreakerState.HALF_OPEN
    assert gate.breaker.next_probe_time(10.0) == 14.0


def opening(registry: Registry, name: str) -> float:
    """For how long the breaker of a provider opens."""
    gate = registry.entry(name).gate
    for permit in [gate.enter(0.0) for _ in range(10)]:
        permit.close(Verdict.FAILURE, 0.0)
    until = gate.until(0.0)
    assert until is not None
    return until


def cool_down(registry: Registry, name: str) -> float:
    """For how long a provider is left alone that throttles without saying how long."""
    gate = registry.entry(name).gate
    gate.cool_down(0.0, None)
    until = gate.until(0.0)
    assert until is not None
    return until


@pytest.mark.parametrize("jittered", [opening, cool_down])
def test_the_seed_decides_all_jitter_for_each_provider_apart(
    jittered: Callable[[Registry, str], float], tmp_path: Path
) -> None:
    once = [jittered(build(tmp_path, THREE), name) for name in ("phone", "spare")]
    again = build(tmp_path, THREE)
    assert [jittered(again, name) for name in ("phone", "spare")] == once, "what one draws shifts no other's"
    assert once[0] != once[1]
    assert jittered(build(tmp_path, THREE, seed=8), "phone") != once[0]


def test_transitions_are_told_and_wake_those_who_wait_whatever_the_listener_does(tmp_path: Path) -> None:
    reported: list[tuple[str, Transition]] = []
    faults: list[Exception] = []

    def listener(name: str, transition: Transition) -> None:
        reported.append((name, transition))
        raise ValueError("telemetry is down")

    registry = Registry.build(
        config_of(tmp_path, LIMITED),
        KINDS,
        random_seed=lambda: 1,
        seed=1,
        on_transition=listener,
        on_fault=faults.append,
    )
    gate, woken = registry.entry("phone").gate, []
    gate.on_free = lambda: woken.append(gate.breaker.state)
    gate.breaker.force_open(0.0)
    assert reported == [("phone", Transition(BreakerState.CLOSED, BreakerState.FORCED_OPEN))]
    assert woken == [BreakerState.FORCED_OPEN]
    assert [str(fault) for fault in faults] == ["telemetry is down"]


async def test_providers_are_closed_last_made_first() -> None:
    closed: list[str] = []

    class Noted(FakeProvider):
        async def close(self) -> None:
            closed.append(self.name)

    await registry_of(Noted("a"), Noted("b"), Noted("c")).close()
    assert closed == ["c", "b", "a"]


async def test_one_that_hangs_when_it_is_closed_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers_registry, "CLOSE_TIMEOUT", 0.01)
    closed: list[str] = []

    class Hangs(FakeProvider):
        async def close(self) -> None:
            await asyncio.Event().wait()

    class Cancelled(FakeProvider):
        async def close(self) -> None:
            raise asyncio.CancelledError

    class Noted(FakeProvider):
        async def close(self) -> None:
            closed.append(self.name)

    with pytest.raises(ExceptionGroup) as caught:
        await registry_of(Noted("a"), Cancelled("b"), Hangs("c")).close()
    assert closed == ["a"]
    assert [type(error) for error in caught.value.exceptions] == [TimeoutError, RuntimeError]


async def test_one_without_anything_to_close_is_left_alone() -> None:
    class Plain(FakeProvider):
        close: Any = None

    first = FakeProvider("a")
    await registry_of(first, Plain("b")).close()
    assert first.closed == 1


async def test_one_that_fails_to_close_keeps_no_other_from_closing() -> None:
    class Broken(FakeProvider):
        async def close(self) -> None:
            raise OSError("a connection that is gone")

    first = FakeProvider("a")
    with suppress(OSError, ExceptionGroup):  # it may be told, once all are closed
        await registry_of(first, Broken("b")).close()
    assert first.closed == 1
