"""Routing: which rule is a message's, in what order its providers are asked, and which of them takes it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import build
from tests.support.examples import examples

from postwire.core.message import DEFAULT_TENANT, EMPTY, Content, Mms, OutboundMessage, Sms
from postwire.core.obstacles import WAITED_FOR, Obstacle
from postwire.core.routing import Choice, Condition, Match, PassedOver, Route, Tier, choose, matching

LABELS = {"team": "billing", "tier": "gold"}
NOTHING: Mapping[str, str] = {}

# Matching.


def to(*recipients: str) -> Content:
    return build.email(*recipients) if "@" in recipients[0] else Sms(to=recipients[0], body="Hello")


@pytest.mark.parametrize(
    ("match", "content", "labels", "holds"),
    [
        (Match(), to("+15005550006"), NOTHING, True),
        (Match(), to("ada@example.com"), LABELS, True),
        (Match(prefixes=("+44",)), to("+447700900001"), NOTHING, True),
        (Match(prefixes=("+44",)), to("+15005550006"), NOTHING, False),
        (Match(prefixes=("+44",)), to("+4"), NOTHING, False),
        (Match(prefixes=("+44",)), to("+14455550006"), NOTHING, False),
        (Match(prefixes=("+447700900001",)), to("+447700900001"), NOTHING, True),
        (Match(prefixes=("+44", "+353")), to("+353855550006"), NOTHING, True),
        (Match(prefixes=("+44",)), Mms(to="+447700900001", body="Look"), NOTHING, True),
        (Match(prefixes=("+44",)), to("ada@example.com"), NOTHING, False),
        (Match(prefixes=("+44",)), to("+44@example.com"), NOTHING, False),
        (Match(domains=("example.com",)), to("ada@example.com"), NOTHING, True),
        (Match(domains=("example.com",)), to("ada@mail.example.com"), NOTHING, False),
        (Match(domains=("example.com",)), to("ada@badexample.com"), NOTHING, False),
        (Match(domains=("example.com",)), to("ada@example.com.evil.test"), NOTHING, False),
        (Match(domains=("example.com",)), to("ada@EXAMPLE.Com"), NOTHING, True),
        (Match(domains=("EXAMPLE.Com",)), to("ada@example.com"), NOTHING, True),
        (Match(domains=("*.Example.com",)), to("ada@MAIL.example.COM"), NOTHING, True),
        (Match(domains=("*.example.com",)), to("ada@a.b.example.com"), NOTHING, True),
        (Match(domains=("*.example.com",)), to("ada@example.com"), NOTHING, False),
        (Match(domains=("*.example.com",)), to("ada@badexample.com"), NOTHING, False),
        (Match(domains=("*.example.com",)), to("ada.example.com@evil.test"), NOTHING, False),
        (Match(domains=("a.test", "*.a.test")), to("x@a.test", "x@b.a.test"), NOTHING, True),
        (Match(domains=("a.test", "b.test")), to("x@a.test", "x@b.test"), NOTHING, True),
        (Match(domains=("a.test",)), to("x@a.test", "x@b.test"), NOTHING, False),
        (Match(domains=("a.test",)), build.email("x@a.test", cc=("x@a.test",)), NOTHING, True),
        (Match(domains=("a.test",)), build.email("x@a.test", cc=("x@b.test",)), NOTHING, False),
        (Match(domains=("a.test",)), build.email("x@a.test", bcc=("x@b.test",)), NOTHING, False),
        (Match(domains=("b\u00fccher.test",)), to("x@B\u00dcCHER.test"), NOTHING, True),
        (Match(domains=("b\u00fccher.test",)), to("x@bu\u0308cher.test", "x@XN--BCHER-KVA.test"), NOTHING, True),
        (Match(domains=("XN--bcher-kva.test",)), to("x@b\u00fccher.test"), NOTHING, True),
        (Match(domains=("*.B\u00dcCHER.test",)), to("x@a.xn--bcher-kva.test", "x@a.bu\u0308cher.test"), NOTHING, True),
        (Match(domains=("*.xn--bcher-kva.test",)), to("x@a.b\u00fccher.test"), NOTHING, True),
        (Match(domains=("*.b\u00fccher.test",)), to("x@b\u00fccher.test"), NOTHING, False),
        # Of earlier releases: no domains to us, and they wait all the same.
        (Match(domains=("*.example.com",)), to("x@under_score.EXAMPLE.com"), NOTHING, True),
        (Match(domains=("*.example.com",)), to("x@\u00dcnder_score.EXAMPLE.com"), NOTHING, True),
        (Match(domains=("*.b\u00fccher.test",)), to("x@a\u200b.b\u00fccher.test"), NOTHING, False),
        (Match(domains=("example.com",)), to("+15005550006"), NOTHING, False),
        (Match(labels={"team": "billing"}), to("+15005550006"), LABELS, True),
        (Match(labels=LABELS), to("ada@example.com"), LABELS, True),
        (Match(labels={"team": "Billing"}), to("+15005550006"), LABELS, False),
        (Match(labels={"team": "billing", "x": "y"}), to("+15005550006"), LABELS, False),
        (Match(labels={"team": "billing"}), to("+15005550006"), NOTHING, False),
        (Match(labels={"team": ""}), to("+15005550006"), NOTHING, False),
        (Match(prefixes=("+44",), labels=LABELS), to("+447700900001"), LABELS, True),
        (Match(prefixes=("+44",), labels=LABELS), to("+15005550006"), LABELS, False),
        (Match(prefixes=("+44",), labels=LABELS), to("+447700900001"), NOTHING, False),
        (Match(domains=("example.com",), labels=LABELS), to("ada@example.com"), LABELS, True),
        (Match(domains=("example.com",), labels=LABELS), to("ada@example.org"), LABELS, False),
    ],
)
def test_a_match_asks_for_a_recipient_and_for_labels(
    match: Match, content: Content, labels: Mapping[str, str], holds: bool
) -> None:
    assert match.holds(OutboundMessage(content, labels), DEFAULT_TENANT) is holds


MET: list[tuple[Match, Content, list[Condition]]] = [
    (Match(), to("+15005550006"), []),
    (Match(prefixes=("+44", "+1", "+1500")), to("+15005550006"), [(("prefixes",), "+1"), (("prefixes",), "+1500")]),
    (Match(labels=LABELS), to("ada@example.com"), [(("labels", key), value) for key, value in LABELS.items()]),
    (
        Match(prefixes=("+1",), labels={"team": "billing"}),
        to("+15005550006"),
        [(("prefixes",), "+1"), (("labels", "team"), "billing")],
    ),
    (Match(tenants=("other", DEFAULT_TENANT)), to("+15005550006"), [(("tenants",), DEFAULT_TENANT)]),
    (
        Match(domains=("a.test", "*.b.test", "c.test")),
        build.email("x@A.test", bcc=("x@mail.b.test",)),
        [(("domains",), "a.test"), (("domains",), "*.b.test")],
    ),
]


@pytest.mark.parametrize(("match", "content", "met"), MET)
def test_a_match_says_what_of_it_a_message_meets(match: Match, content: Content, met: list[Condition]) -> None:
    message = OutboundMessage(content, LABELS)
    assert match.holds(message, DEFAULT_TENANT)
    assert list(match.met_by(message, DEFAULT_TENANT)) == met


def only(name: str, match: Match | None = None) -> Route:
    return Route(name, (Tier(((name, 1),)),), match or Match())


def test_the_first_route_that_matches_is_the_message_s() -> None:
    british, billing, rest = only("x", Match(("+44",))), only("y", Match(labels={"team": "billing"})), only("z")
    routes = [british, billing, rest]
    assert matching(routes, OutboundMessage(to("+447700900001"), LABELS), DEFAULT_TENANT) is british
    assert matching(routes, OutboundMessage(to("+15005550006"), LABELS), DEFAULT_TENANT) is billing
    assert matching(routes, OutboundMessage(to("+15005550006")), DEFAULT_TENANT) is rest
    assert matching(routes[:2], OutboundMessage(to("+15005550006")), DEFAULT_TENANT) is None
    assert matching([], OutboundMessage(to("+15005550006")), DEFAULT_TENANT) is None


def test_a_rule_may_be_for_some_tenants_alone() -> None:
    acme, both = only("x", Match(tenants=("acme",))), only("y", Match(("+44",), tenants=("acme", "other")))
    rest = only("z")
    message = OutboundMessage(to("+447700900001"))
    assert not acme.match.is_empty
    assert [matching([acme, both, rest], message, tenant) for tenant in ("acme", "other", "third")] == [
        acme,
        both,
        rest,
    ]
    assert matching([both, rest], OutboundMessage(to("+15005550006")), "acme") is rest
    assert matching([acme], message, "other") is None


@pytest.mark.parametrize(
    ("match", "empty"),
    [(Match(), True), (Match(("+1",)), False), (Match((), ("a.test",)), False), (Match((), (), LABELS), False)],
)
def test_a_match_that_asks_for_nothing_is_empty(match: Match, empty: bool) -> None:
    assert match.is_empty is empty


def test_matches_and_routes_are_values() -> None:
    assert Match(("+1",)) == Match(("+1",), (), EMPTY) != Match(("+2",))
    assert Match(domains=("a.test",)) != Match(domains=("b.test",))
    assert only("a") == only("a") != only("b")
    assert Route("k", (), overflow=True) != Route("k", ())
    for value in (Match(), only("a"), Tier(())):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, None)
    assert repr(only("a", Match(("+1",)))) == (
        "Route(key='a', tiers=(Tier(members=(('a', 1),)),), "
        "match=Match(prefixes=('+1',), domains=(), labels=mappingproxy({}), tenants=()), overflow=False)"
    )


def test_a_match_that_is_made_while_the_server_runs_holds_as_well() -> None:
    # The table above is made when the tests are collected, before a mutant is looked at.
    assert Match().is_empty
    assert not Match(domains=("Example.COM",)).is_empty
    exact, below = Match(domains=("Example.COM",)), Match(domains=("*.Example.com",))
    assert exact.holds(OutboundMessage(to("ada@example.com")), DEFAULT_TENANT)
    assert not exact.holds(OutboundMessage(to("ada@mail.example.com")), DEFAULT_TENANT)
    assert below.holds(OutboundMessage(to("ada@mail.EXAMPLE.com")), DEFAULT_TENANT)
    assert not below.holds(OutboundMessage(to("ada@example.com")), DEFAULT_TENANT)
    assert not below.holds(OutboundMessage(to("ada@anexample.com")), DEFAULT_TENANT)
    assert not Match(domains=("other.com",)).holds(OutboundMessage(to("ada@example.com")), DEFAULT_TENANT)
    in_german = Match(domains=("*.b\u00fccher.test",))
    assert in_german.holds(OutboundMessage(to("ada@a.xn--bcher-kva.test")), DEFAULT_TENANT)
    assert not in_german.holds(OutboundMessage(to("ada@xn--bcher-kva.test")), DEFAULT_TENANT)
    assert Match(domains=("a_b.b\u00dccher.test",)).holds(
        OutboundMessage(to("ada@A_b.b\u00fccher.test")), DEFAULT_TENANT
    )


# Who is chosen.


@pytest.mark.parametrize(
    ("order", "obstacles", "overflow", "tried", "chosen", "waits_for", "passed_over"),
    [
        # One tier.
        ("a", {}, False, "", "a", "", ""),
        ("abc", {}, False, "", "a", "", ""),
        ("a", {"a": "open"}, False, "", None, "", "a"),
        ("a", {"a": "concurrency_limit"}, False, "", None, "a", ""),
        ("abc", {"a": "open"}, False, "", "b", "", "a"),
        ("abc", {"a": "open", "b": "drained"}, False, "", "c", "", "ab"),
        ("abc", {"a": "rate_limit"}, False, "", "b", "", ""),
        ("abc", {"a": "rate_limit", "b": "cooling_down"}, False, "", "c", "", "b"),
        ("abc", {"a": "rate_limit", "b": "half_open", "c": "concurrency_limit"}, False, "", None, "ac", "b"),
        # Two tiers.
        ("a b", {}, False, "", "a", "", ""),
        ("a b", {"a": "open"}, False, "", "b", "", "a"),
        ("a b", {"a": "half_open"}, False, "", "b", "", "a"),
        ("a b", {"a": "drained"}, False, "", "b", "", "a"),
        ("a b", {"a": "cooling_down"}, False, "", "b", "", "a"),
        ("a b", {"a": "retry_budget"}, False, "", "b", "", "a"),
        ("a b", {"a": "concurrency_limit"}, False, "", None, "a", ""),
        ("a b", {"a": "rate_limit"}, False, "", None, "a", ""),
        ("a b", {"a": "open", "b": "rate_limit"}, False, "", None, "b", "a"),
        ("a b", {"a": "open", "b": "open"}, False, "", None, "", "ab"),
        ("ab c", {"a": "rate_limit", "b": "open"}, False, "", None, "a", "b"),
        ("ab c", {"a": "rate_limit"}, False, "", "b", "", ""),
        # With overflow.
        ("a b", {}, True, "", "a", "", ""),
        ("a b", {"a": "concurrency_limit"}, True, "", "b", "", ""),
        ("a b", {"a": "rate_limit"}, True, "", "b", "", ""),
        ("a b", {"a": "rate_limit", "b": "open"}, True, "", None, "a", "b"),
        ("a b", {"a": "open", "b": "rate_limit"}, True, "", None, "b", "a"),
        ("a b", {"a": "rate_limit", "b": "concurrency_limit"}, True, "", None, "ab", ""),
        ("a b", {"a": "open", "b": "drained"}, True, "", None, "", "ab"),
        ("ab cd", {"a": "rate_limit", "b": "rate_limit", "c": "open"}, True, "", "d", "", "c"),
        ("ab cd e", {"a": "open", "b": "rate_limit", "c": "open", "d": "rate_limit"}, True, "", "e", "", "ac"),
        # Those who were tried.
        ("a b", {}, False, "a", "b", "", ""),
        ("a b", {"a": "open"}, False, "a", "b", "", ""),
        ("a b", {"a": "rate_limit"}, False, "a", "b", "", ""),
        ("ab c", {"b": "rate_limit"}, False, "a", None, "b", ""),
        ("ab c", {"b": "rate_limit"}, True, "a", "c", "", ""),
        ("a b", {"b": "rate_limit"}, False, "a", None, "b", ""),
        ("a b", {}, False, "ab", None, "", ""),
        ("a b", {}, True, "ba", None, "", ""),
        ("", {}, False, "", None, "", ""),
    ],
)  # fmt: skip
def test_the_first_that_can_takes_it_and_only_those_at_a_limit_are_waited_for(
    order: str,
    obstacles: dict[str, str],
    overflow: bool,
    tried: str,
    chosen: str | None,
    waits_for: str,
    passed_over: str,
) -> None:
    gate_models = {name: Obstacle(obstacle) for name, obstacle in obstacles.items()}
    choice = choose(tuple(map(tuple, order.split())), overflow=overflow, obstacle=gate_models.get, tried=set(tried))
    assert choice == Choice(
        chosen, tuple(waits_for), tuple(PassedOver(name, gate_models[name]) for name in passed_over)
    )


def test_every_obstacle_is_either_waited_for_or_passed_over() -> None:
    for obstacle in Obstacle:
        choice = choose((("a",),), overflow=False, obstacle={"a": obstacle}.get)
        assert (choice.waits_for == ("a",)) == (obstacle in WAITED_FOR)
        assert (choice.passed_over == (PassedOver("a", obstacle),)) == (obstacle not in WAITED_FOR)
    assert {Obstacle.CONCURRENCY, Obstacle.RATE} == WAITED_FOR


@st.composite
def situations(draw: st.DrawFn) -> tuple[tuple[tuple[str, ...], ...], dict[str, Obstacle], set[str]]:
    sizes = draw(st.lists(st.integers(1, 3), max_size=4))
    names = iter("abcdefghijkl")
    order = tuple(tuple(itertools.islice(names, size)) for size in sizes)
    everyone = [name for tier in order for name in tier]
    obstacles = {name: draw(st.none() | st.sampled_from(Obstacle)) for name in everyone}
    tried = draw(st.sets(st.sampled_from(everyone))) if everyone else set()
    return order, {name: found for name, found in obstacles.items() if found}, tried


@examples(300)
@given(situations(), st.booleans())
def test_a_choice_keeps_its_promises(
    situation: tuple[tuple[tuple[str, ...], ...], dict[str, Obstacle], set[str]], overflow: bool
) -> None:
    order, obstacles, tried = situation
    asked: list[str] = []

    def obstacle(name: str) -> Obstacle | None:
        asked.append(name)
        return obstacles.get(name)

    choice = choose(order, overflow=overflow, obstacle=obstacle, tried=tried)

    left = [name for tier in order for name in tier if name not in tried]
    tier_of = {name: number for number, tier in enumerate(order) for name in tier}
    at_a_limit = [name for name in left if obstacles.get(name) in WAITED_FOR]
    assert asked == left[: len(asked)], "every door at most once, in order, and none of those tried"
    assert choice.passed_over == tuple(
        PassedOver(name, obstacles[name]) for name in asked if name in obstacles and name not in at_a_limit
    )
    if choice.chosen is not None:
        assert choice.chosen not in obstacles
        assert choice.waits_for == ()
        assert asked[-1] == choice.chosen, "no door is asked after the one that is open"
    else:
        assert set(asked) <= set(obstacles)
        assert choice.waits_for == tuple(name for name in asked if name in at_a_limit)
    if overflow:
        assert choice.chosen == next((name for name in left if name not in obstacles), None)
    elif at_a_limit:
        first = tier_of[at_a_limit[0]]
        assert all(tier_of[name] <= first for name in asked), "nobody beyond the tier where one is at a limit"
        if choice.chosen is None:
            assert {tier_of[name] for name in choice.waits_for} == {first}
    if not choice.waits_for and choice.chosen is None:
        assert asked == left
        assert not at_a_limit
