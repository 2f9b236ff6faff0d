"""Routes as they are configured: lists of names, rules, and a clear line for each mistake."""

# ruff: noqa: E501  # the errors' lines stand here whole, as people see them

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import build
from tests.support.examples import examples

from postwire.config import routes as config_routes
from postwire.config.bind import ConfigError, EnvTree
from postwire.config.schema import effective
from postwire.core.message import Channel
from postwire.core.queue_keys import queue_key
from postwire.core.routing import Match, Route, Tier
from postwire.core.validation import Violations, check_content

SAMPLE = Path(__file__).parents[2] / "postwire.toml"

ALL = ("a", "b", "c", "d", "e")
PROVIDERS = "".join(
    f'[providers.{name}]\nkind = "mock"\nchannels = {["sms", "email"] if name != "e" else ["mms"]}\n' for name in ALL
)
"""Five of them; all but e carry sms and email, and e alone carries mms."""


def tier(**weights: int) -> Tier:
    return Tier(tuple(weights.items()))


# Rules that are in order.


def test_a_rule_has_a_match_tiers_and_overflow(read: Any) -> None:
    config = read(
        PROVIDERS
        + """
        [[routes.sms]]
        match = { prefixes = ["+44", "+353"], labels = { team = "x", "a/b" = "" } }
        tiers = ["a", ["b", "c"], { d = 1000 }]
        overflow = true

        [[routes.sms]]
        tiers = [{ d = 3, a = 1 }]

        [[routes.email]]
        match = { domains = ["Example.com", "*.example.com", "localhost"] }
        tiers = [["d", "a"]]
        """
    )
    labels = MappingProxyType({"team": "x", "a/b": ""})
    assert config.routes == {
        Channel.SMS: (
            Route("sms#1", (tier(a=1), tier(b=1, c=1), tier(d=1000)), Match(("+44", "+353"), (), labels), True),
            Route("sms#2", (tier(d=3, a=1),)),
        ),
        Channel.MMS: (Route("mms", (tier(e=1),)),),
        Channel.EMAIL: (
            Route("email#1", (tier(d=1, a=1),), Match(domains=("example.com", "*.example.com", "localhost"))),
        ),
    }
    assert isinstance(config.routes, MappingProxyType)
    assert isinstance(config.routes[Channel.SMS][0].match.labels, MappingProxyType)


def test_a_route_with_rules_is_shown_rule_by_rule(read: Any) -> None:
    config = read(
        PROVIDERS
        + """
        [[routes.sms]]
        match = { prefixes = ["+44"], labels = { team = 'x"', "a/b" = "" } }
        tiers = ["a", ["b", "c"], { d = 3 }]
        overflow = true
        [[routes.sms]]
        tiers = [{ b = 3, a = 1 }, { c = 1, d = 1 }]
        strict_weights = true
        [[routes.email]]
        match = { domains = ["*.A.test"] }
        tiers = ["a"]
        """
    )
    shown = [(key, value) for key, value in effective(config) if key.startswith("routes.")]
    assert shown == [
        ("routes.sms[0].match.prefixes", '["+44"]'),
        ("routes.sms[0].match.labels", '{ team = "x\\"", "a/b" = "" }'),
        ("routes.sms[0].tiers", '["a", ["b", "c"], { d = 3 }]'),
        ("routes.sms[0].overflow", "true"),
        ("routes.sms[0].strict_weights", "false"),
        ("routes.sms[1].tiers", '[{ b = 3, a = 1 }, ["c", "d"]]'),
        ("routes.sms[1].overflow", "false"),
        ("routes.sms[1].strict_weights", "true"),
        ("routes.mms", '["e"]'),
        ("routes.email[0].match.domains", '["*.a.test"]'),
        ("routes.email[0].tiers", '["a"]'),
        ("routes.email[0].overflow", "false"),
        ("routes.email[0].strict_weights", "false"),
    ]
    given = {key for key, _ in shown} - {
        "routes.sms[0].strict_weights",
        "routes.sms[1].overflow",
        "routes.email[0].overflow",
        "routes.email[0].strict_weights",
    }
    assert {key for key in config.explicit if "[" in key} == given - {"routes.mms"}


def test_a_single_rule_has_a_queue_of_its_own_and_a_list_has_the_channel_s(read: Any) -> None:
    assert [route.key for route in read(PROVIDERS + '[[routes.sms]]\ntiers = ["a"]').routes[Channel.SMS]] == ["sms#1"]
    assert [route.key for route in read(PROVIDERS + '[routes]\nsms = ["a"]').routes[Channel.SMS]] == ["sms"]
    assert [route.key for route in read(PROVIDERS).routes[Channel.SMS]] == ["sms"]


def test_a_match_that_asks_for_nothing_is_none(read: Any) -> None:
    for empty in ("match = {}", "match = { labels = {} }"):
        config = read(PROVIDERS + f'[[routes.sms]]\n{empty}\ntiers = ["a"]')
        assert config.routes[Channel.SMS] == (Route("sms#1", (tier(a=1),)),)


def test_the_queue_of_a_rule_goes_by_what_it_asks_for_and_not_by_its_place(read: Any) -> None:
    one, two = 'match = { prefixes = ["+44"] }\ntiers = ["a"]', 'tiers = ["b", "c"]\noverflow = true'
    header, first = "\n[[routes.sms]]\n", 'match = { labels = { x = "y" } }\ntiers = ["c"]'
    before = read(PROVIDERS + header + one + header + two).routes[Channel.SMS]
    after = read(PROVIDERS + header + first + header + one + header + 'tiers = ["d"]').routes[Channel.SMS]
    assert [route.key for route in after] == ["sms#1", "sms#2", "sms#3"]
    assert [route.queue_key for route in after[1:]] == [route.queue_key for route in before]
    assert before[0].queue_key == queue_key(Channel.SMS, Match(("+44",)))
    assert before[1].queue_key == queue_key(Channel.SMS, Match())
    for short in ('[routes]\nsms = ["a"]', ""):
        (route,) = read(PROVIDERS + short).routes[Channel.SMS]
        assert (route.key, route.queue_key) == ("sms", before[1].queue_key), (
            "a list takes whatever comes, as such a rule"
        )


def test_one_match_may_stand_in_two_channels(read: Any) -> None:
    rules = [
        f'[[routes.{channel}]]\nmatch = {{ labels = {{ x = "y" }} }}\ntiers = ["a"]' for channel in ("sms", "email")
    ]
    routes = read(PROVIDERS + "\n".join(rules)).routes
    assert routes[Channel.SMS][0].queue_key != routes[Channel.EMAIL][0].queue_key


RULES = '[[routes.sms]]\nmatch = { prefixes = ["+44"] }\ntiers = ["a"]\n[[routes.sms]]\ntiers = ["b"]\n'


@pytest.mark.parametrize(("text", "names"), [("c, d", ("c", "d")), ("c", ("c",)), ("", None)])
def test_the_environment_replaces_all_rules_of_a_channel(read: Any, text: str, names: tuple[str, ...] | None) -> None:
    config = read(PROVIDERS + RULES, ROUTES__SMS=text)
    routes = (Route("sms", tuple(Tier(((name, 1),)) for name in names)),) if names else ()
    assert config.routes[Channel.SMS] == routes
    assert not any("[" in key for key in config.explicit)


def test_the_environment_of_one_channel_leaves_the_others(read: Any) -> None:
    config = read(PROVIDERS + RULES, ROUTES__EMAIL="b")
    assert [route.key for route in config.routes[Channel.SMS]] == ["sms#1", "sms#2"]
    assert config.routes[Channel.EMAIL] == (Route("email", (tier(b=1),)),)


def test_the_sample_s_rules_can_be_used(read: Any) -> None:
    _, _, of_routes = SAMPLE.read_text(encoding="utf-8").partition("#[routes]")
    of_routes, _, _ = of_routes.partition("# Hooks:")
    shown = re.findall(r"^#     (.*)$", of_routes, re.MULTILINE)
    names = ("uk-one", "uk-two", "uk-three", "big", "small", "relay")
    providers = "".join(f'[providers.{name}]\nkind = "mock"\nchannels = ["sms", "email"]\n' for name in names)
    config = read(providers + "\n".join(shown))
    assert config.routes[Channel.SMS] == (
        Route(
            "sms#1",
            (Tier((("uk-one", 1),)), Tier((("uk-two", 1), ("uk-three", 1)))),
            Match(("+44", "+353"), (), {"team": "billing"}),
            True,
        ),
        Route("sms#2", (tier(big=3, small=1),)),
    )
    assert config.routes[Channel.EMAIL] == (
        Route("email#1", (tier(relay=1),), Match(domains=("example.com", "*.example.com"))),
    )


@pytest.mark.parametrize(
    "domain",
    [
        *("example.com", "a.b-c.d--e.test", "localhost", "b\u00fccher.test", "xn--bcher-kva.test", "1.test"),
        *("bu\u0308cher.test", "\u0921\u093e\u091f\u093e.\u092d\u093e\u0930\u0924", "a" * 63 + ".test"),
    ],
)
def test_every_domain_that_an_address_may_have_can_be_matched(read: Any, domain: str) -> None:
    content, found = build.email(f"ada@{domain}"), Violations()
    check_content(content, found)
    found.raise_any()
    toml = f'[[routes.email]]\nmatch = {{ domains = ["{domain}", "*.{domain}"] }}\ntiers = ["a"]'
    match = read(PROVIDERS + toml).routes[Channel.EMAIL][0].match
    assert match.domains == (domain, f"*.{domain}")


# What is shown is what was read.

LABEL_KEYS = st.text(st.sampled_from("abcXYZ09._/- \"'"), min_size=1, max_size=5)
LABELS = st.dictionaries(LABEL_KEYS, st.text(max_size=5), max_size=3)
PREFIXES = st.lists(st.from_regex(r"\+[1-9][0-9]{0,14}", fullmatch=True), min_size=0, max_size=3, unique=True)
TENANTS = ("acme", "other-one")
ASKED = st.lists(st.sampled_from([*TENANTS, "default"]), max_size=2, unique=True)
DOMAINS = st.lists(st.sampled_from(["a.test", "*.a.test", "b", "x-y.test"]), max_size=3, unique=True)


@st.composite
def routes(draw: st.DrawFn, channel: Channel) -> tuple[Route, ...]:
    """Some rules for a channel; all but the last have a match."""
    rules: list[Route] = []
    count = draw(st.integers(0, 3))
    for number in range(1, count + 1):
        of = {"domains": tuple(draw(DOMAINS))} if channel is Channel.EMAIL else {"prefixes": tuple(draw(PREFIXES))}
        match = Match(**of, labels=draw(LABELS), tenants=tuple(draw(ASKED)))
        if (match.is_empty and number < count) or queue_key(channel, match) in {one.queue_key for one in rules}:
            match = Match(labels={"n": str(number)})
        left = draw(st.permutations(ALL))
        tiers: list[Tier] = []
        while left and (not tiers or draw(st.booleans())):
            size = draw(st.integers(1, len(left)))
            tiers.append(Tier(tuple((name, draw(st.integers(1, 3) | st.just(1000))) for name in left[:size])))
            left = left[size:]
        key, stored = f"{channel.value}#{number}", queue_key(channel, match)
        within = (
            draw(st.none() | st.sampled_from([1.0, 45.0, 90.0])) if sum(len(one.members) for one in tiers) > 1 else None
        )
        rules.append(Route(key, tuple(tiers), match, draw(st.booleans()), queue_key=stored, delivered_within=within))
    return tuple(rules)


def as_toml(rows: list[tuple[str, str]]) -> str:
    """The rows as a file has them: one pair of double brackets for each rule."""
    lines, last = [], ""
    for key, value in rows:
        head, index, rest = re.fullmatch(r"(routes\.\w+)(?:\[(\d+)\]\.(.+))?", key).groups()  # type: ignore[union-attr]
        if index and f"{head}[{index}]" != last:
            last = f"{head}[{index}]"
            lines.append(f"[[{head}]]")
        lines.append(f"{rest or head} = {value}")
    return "\n".join(lines)


@settings(deadline=None)
@given(st.fixed_dictionaries({channel: routes(channel) for channel in Channel}))
def test_what_is_shown_reads_back(made: dict[Channel, tuple[Route, ...]]) -> None:
    # Plain keys come first: what stands below a [[header]] is part of it.
    rows = sorted(config_routes.rows(made), key=lambda row: "[" in row[0])
    table = tomllib.loads(as_toml(rows)).get("routes", {})
    seen: set[str] = set()
    back = config_routes.read(table, dict.fromkeys(ALL, tuple(Channel)), EnvTree(""), tenants=TENANTS, seen=seen)
    assert back == made
    assert {key for key, _ in rows} <= seen


# Mistakes.


def rule(text: str, channel: str = "sms") -> str:
    return f"{PROVIDERS}[[routes.{channel}]]\n{text}"


def match(text: str, channel: str = "sms") -> str:
    return rule(f'tiers = ["a"]\nmatch = {text}', channel)


SECOND = PROVIDERS + RULES + "[[routes.sms]]\n"
TIERS_LINE = 'a list of tiers such as ["a", ["b", "c"]]'
TIER_LINE = 'a tier such as "a", ["b", "c"] or { d = 3, e = 1 }'
PREFIX_LINE = 'a prefix such as "+44", of + and 1 to 15 digits, the first no 0'
DOMAIN_LINE = 'a domain such as "example.com", or "*.example.com" for all below it'


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        # The form.
        (PROVIDERS + '[routes.sms]\ntiers = ["a"]', 'routes.sms: a table is not a list of providers such as ["a", "b"], write a rule in double brackets'),
        (PROVIDERS + "[routes]\nsms = true", 'routes.sms: true is not a list of providers such as ["a", "b"]'),
        (PROVIDERS + '[routes]\nsms = ["a", { tiers = ["b"] }]', 'routes.sms[0]: "a" stands among rules, write names alone or rules alone'),
        (PROVIDERS + '[routes]\nsms = [{ tiers = ["b"] }, ["a"]]', "routes.sms[1]: a list stands among rules, write names alone or rules alone"),
        (PROVIDERS + '[routes]\nsms = ["a", ["b", "c"]]', 'routes.sms: a list is not supported in this list, write a list of providers such as ["a", "b"]'),
        (rule(""), f"routes.sms[0].tiers: is missing, it must be {TIERS_LINE}"),
        (rule("provider = 'a'"), "routes.sms[0].provider: is not known, known here: match, tiers, overflow, strict_weights, delivered_within"),
        (rule("tier = ['a']"), "routes.sms[0].tier: is not known, did you mean routes.sms[0].tiers?"),
        (
            rule("tiers = ['a']\noverflow = true\nstrict_weights = true"),
            "routes.sms[0].strict_weights: does not go with overflow, which has messages go past who cannot keep up",
        ),
        (
            rule("tiers = ['a']\ndelivered_within = '45s'"),
            "routes.sms[0].delivered_within: does nothing with one provider, name another that is asked where no receipt has come, or leave it out",
        ),
        (rule("tiers = ['a', 'b']\ndelivered_within = '0s'"), 'routes.sms[0].delivered_within: "0s" is too short, must be at least 1s'),
        (rule("tiers = ['a', 'b']\ndelivered_within = 45"), "routes.sms[0].delivered_within: 45 has no unit, write a duration such as 20ms, 1.5s, 5m, 4h or 7d"),
        (rule("tiers = ['a']\noverflow = 'yes'"), 'routes.sms[0].overflow: "yes" is not true or false'),
        (SECOND + 'tiers = ["c"]', "routes.sms[2]: is never reached, give routes.sms[1] a match, or put it last"),
        (match("{}") + '\n[[routes.sms]]\ntiers = ["b"]', "routes.sms[1]: is never reached, give routes.sms[0] a match, or put it last"),
        (SECOND.replace('["b"]', '["b"]\nmatch = { labels = { x = "y" } }') + 'match = { prefixes = ["+44"] }\ntiers = ["c"]', "routes.sms[2].match: is the same as that of routes.sms[0], leave one of them out"),
        (match('{ prefixes = ["+44", "+1"], labels = { a = "1", b = "2" } }') + '\n[[routes.sms]]\nmatch = { labels = { b = "2", a = "1" }, prefixes = ["+1", "+44"] }\ntiers = ["b"]', "routes.sms[1].match: is the same as that of routes.sms[0], leave one of them out"),
        (match('{ domains = ["b\u00fccher.test"] }', "email") + '\n[[routes.email]]\nmatch = { domains = ["XN--bcher-kva.test"] }\ntiers = ["b"]', "routes.email[1].match: is the same as that of routes.email[0], leave one of them out"),
        # Tiers.
        (rule("tiers = 'a'"), f'routes.sms[0].tiers: "a" is not {TIERS_LINE}'),
        (rule("tiers = { a = 1 }"), f"routes.sms[0].tiers: a table is not {TIERS_LINE}"),
        (rule("tiers = []"), f"routes.sms[0].tiers: a list is too short, write {TIERS_LINE}"),
        (rule("tiers = ['a', []]"), f"routes.sms[0].tiers[1]: a list is too short, write {TIER_LINE}"),
        (rule("tiers = [{}]"), f"routes.sms[0].tiers[0]: a table is too short, write {TIER_LINE}"),
        (rule("tiers = ['a', 1]"), f"routes.sms[0].tiers[1]: 1 is not {TIER_LINE}"),
        (rule("tiers = ['a', ['b', 1]]"), "routes.sms[0].tiers[1][1]: 1 is not a provider's name"),
        (rule("tiers = ['a', ['b', ['c']]]"), "routes.sms[0].tiers[1][1]: a list is not a provider's name"),
        (rule("tiers = ['a', 'x']"), 'routes.sms[0].tiers[1]: there is no provider "x", those that carry it: a, b, c, d'),
        (rule("tiers = [['a', '']]"), 'routes.sms[0].tiers[0]: there is no provider "", those that carry it: a, b, c, d'),
        (rule("tiers = [{ a = 1, 'x y' = 1 }]"), 'routes.sms[0].tiers[0]: there is no provider "x y", those that carry it: a, b, c, d'),
        (rule("tiers = [['a', 'e']]"), 'routes.sms[0].tiers[0]: "e" does not carry sms, those that carry it: a, b, c, d'),
        (rule("tiers = ['e']\n[[routes.mms]]\ntiers = ['a']", "mms"), 'routes.mms[1]: is never reached, give routes.mms[0] a match, or put it last'),
        (rule("tiers = ['e', 'a']", "mms"), 'routes.mms[0].tiers[1]: "a" does not carry mms, those that carry it: e'),
        (SECOND.replace('"b"', '"x"') + 'tiers = ["a"]', 'routes.sms[1].tiers[0]: there is no provider "x", those that carry it: a, b, c, d'),
        (rule("tiers = ['a', 'b', 'a']"), 'routes.sms[0].tiers[2]: "a" is there twice, write it once'),
        (rule("tiers = ['b', ['a', 'a']]"), 'routes.sms[0].tiers[1]: "a" is there twice, write it once'),
        (rule("tiers = ['b', { a = 1, b = 1 }]"), 'routes.sms[0].tiers[1]: "b" is there twice, write it once'),
        (rule("tiers = ['b', { a = 0 }]"), "routes.sms[0].tiers[1].a: 0 is not a whole number from 1 to 1000"),
        (rule("tiers = [{ a = 1, b = 1001 }]"), "routes.sms[0].tiers[0].b: 1001 is not a whole number from 1 to 1000"),
        (rule("tiers = [{ a = 0.5 }]"), "routes.sms[0].tiers[0].a: 0.5 is not a whole number from 1 to 1000"),
        (rule("tiers = [{ a = true }]"), "routes.sms[0].tiers[0].a: true is not a whole number from 1 to 1000"),
        (rule("tiers = [{ a = '3' }]"), 'routes.sms[0].tiers[0].a: "3" is not a whole number from 1 to 1000'),
        # Match.
        (match("'+44'"), 'routes.sms[0].match: is not a table, write it as match = { labels = { team = "billing" } }'),
        (match("{ prefix = ['+44'] }"), "routes.sms[0].match.prefix: is not known, did you mean routes.sms[0].match.prefixes?"),
        (match("{ country = 'uk' }"), "routes.sms[0].match.country: is not known, known here: prefixes, domains, labels, tenants"),
        (match("{ prefixes = '+44' }"), 'routes.sms[0].match.prefixes: "+44" is not a list of prefixes such as ["+44"]'),
        (match("{ prefixes = [] }"), 'routes.sms[0].match.prefixes: a list is too short, write a list of prefixes such as ["+44"]'),
        (match("{ prefixes = ['44'] }"), f'routes.sms[0].match.prefixes[0]: "44" is not {PREFIX_LINE}'),
        (match("{ prefixes = ['+44', '+'] }"), f'routes.sms[0].match.prefixes[1]: "+" is not {PREFIX_LINE}'),
        (match("{ prefixes = ['+044'] }"), f'routes.sms[0].match.prefixes[0]: "+044" is not {PREFIX_LINE}'),
        (match("{ prefixes = ['+44 77'] }"), f'routes.sms[0].match.prefixes[0]: "+44 77" is not {PREFIX_LINE}'),
        (match("{ prefixes = ['+\u0664'] }"), f'routes.sms[0].match.prefixes[0]: "+\u0664" is not {PREFIX_LINE}'),
        (match("{ prefixes = ['+1234567890123456'] }"), f'routes.sms[0].match.prefixes[0]: "+1234567890123456" is not {PREFIX_LINE}'),
        (match("{ prefixes = [44] }"), f"routes.sms[0].match.prefixes[0]: 44 is not {PREFIX_LINE}"),
        (match("{ prefixes = ['+44', '+1', '+44'] }"), 'routes.sms[0].match.prefixes[2]: "+44" is there twice, write it once'),
        (match("{ tenants = 'acme' }"), 'routes.sms[0].match.tenants: "acme" is not a list of tenants such as ["acme"]'),
        (match("{ tenants = [] }"), 'routes.sms[0].match.tenants: a list is too short, write a list of tenants such as ["acme"]'),
        (match("{ tenants = ['default', 'default'] }"), 'routes.sms[0].match.tenants[1]: "default" is there twice, write it once'),
        (match("{ tenants = ['default', 'acme'] }"), 'routes.sms[0].match.tenants[1]: there is no tenant "acme", those declared: none'),
        (match("{ prefixes = ['+44'] }", "email"), "routes.email[0].match.prefixes: does not go with email, match on domains or labels"),
        (match("{ domains = ['a.test'] }"), "routes.sms[0].match.domains: does not go with sms, match on prefixes or labels"),
        (rule("tiers = ['e']\nmatch = { domains = ['a.test'] }", "mms"), "routes.mms[0].match.domains: does not go with mms, match on prefixes or labels"),
        (match("{ domains = 'a.test' }", "email"), 'routes.email[0].match.domains: "a.test" is not a list of domains such as ["example.com"]'),
        (match("{ domains = [] }", "email"), 'routes.email[0].match.domains: a list is too short, write a list of domains such as ["example.com"]'),
        (match("{ domains = ['@a.test'] }", "email"), f'routes.email[0].match.domains[0]: "@a.test" is not {DOMAIN_LINE}'),
        (match("{ domains = ['a.test', '*'] }", "email"), f'routes.email[0].match.domains[1]: "*" is not {DOMAIN_LINE}'),
        (match("{ domains = ['*.'] }", "email"), f'routes.email[0].match.domains[0]: "*." is not {DOMAIN_LINE}'),
        (match("{ domains = ['a.*.test'] }", "email"), f'routes.email[0].match.domains[0]: "a.*.test" is not {DOMAIN_LINE}'),
        (match("{ domains = ['a.test.'] }", "email"), f'routes.email[0].match.domains[0]: "a.test." is not {DOMAIN_LINE}'),
        (match("{ domains = ['a..test'] }", "email"), f'routes.email[0].match.domains[0]: "a..test" is not {DOMAIN_LINE}'),
        (match("{ domains = ['-a.test'] }", "email"), f'routes.email[0].match.domains[0]: "-a.test" is not {DOMAIN_LINE}'),
        (match("{ domains = [''] }", "email"), f'routes.email[0].match.domains[0]: "" is not {DOMAIN_LINE}'),
        (match("{ domains = ['a_b.test'] }", "email"), f'routes.email[0].match.domains[0]: "a_b.test" is not {DOMAIN_LINE}'),
        (match("{ domains = ['xn--.test'] }", "email"), f'routes.email[0].match.domains[0]: "xn--.test" is not {DOMAIN_LINE}'),
        (match("{ domains = ['*." + "a" * 64 + "'] }", "email"), f'routes.email[0].match.domains[0]: "*.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..." is not {DOMAIN_LINE}'),
        (match("{ domains = ['*.b\u00fccher.test', '*.XN--Bcher-kva.test'] }", "email"), 'routes.email[0].match.domains[1]: "*.xn--bcher-kva.test" is there twice, write it once'),
        (match("{ domains = ['a.test', 'A.test'] }", "email"), 'routes.email[0].match.domains[1]: "a.test" is there twice, write it once'),
        (match("{ labels = ['team'] }"), 'routes.sms[0].match.labels: a list is not a table of labels such as { team = "billing" }'),
        (match("{ labels = { team = 3 } }"), "routes.sms[0].match.labels.team: 3 is not a string"),
        (match("{ labels = { 'a/b' = ['x'] } }"), 'routes.sms[0].match.labels."a/b": a list is not a string'),
        (match("{ labels = { a.b = 'x' } }"), "routes.sms[0].match.labels.a: a table is not a string"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_rule_is_one_line_that_names_the_key(read: Any, toml: str, line: str) -> None:
    tomllib.loads(toml)
    with pytest.raises(ConfigError) as caught:
        read(toml)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        ("ROUTES__SMS", "e", 'routes.sms (POSTWIRE_ROUTES__SMS): "e" does not carry sms, those that carry it: a, b, c, d'),
        ("ROUTES__SMS", "c,c", 'routes.sms (POSTWIRE_ROUTES__SMS): "c" is there twice, write it once'),
        ("ROUTES__SMS__0__TIERS", "c", "routes.sms (POSTWIRE_ROUTES__SMS__0__TIERS): has no keys below it, set POSTWIRE_ROUTES__SMS itself"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_environment_over_rules_names_the_variable(
    read: Any, variable: str, text: str, line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(PROVIDERS + RULES, **{variable: text})
    assert str(caught.value) == line


RAW = st.recursive(
    st.sampled_from(["a", "e", "x", "", "+44", "a.test", 0, 3, True, 1.5]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["match", "tiers", "overflow", "prefixes", "domains", "labels", "a", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@examples(300)
@given(st.dictionaries(st.sampled_from(["sms", "mms", "email", "fax"]), RAW, max_size=3))
def test_whatever_stands_there_is_routes_or_one_line_below_routes(table: dict[str, Any]) -> None:
    carriers = {"a": (Channel.SMS, Channel.EMAIL), "e": (Channel.MMS,)}
    wrong = None
    try:
        read = config_routes.read(table, carriers, EnvTree(""), tenants=(), seen=set())
    except ConfigError as error:
        wrong, read = str(error), MappingProxyType({})
    assert wrong is None or (re.match(r"routes\.\w+", wrong) and wrong.isprintable())
    for channel, rules in read.items():
        assert all(channel in carriers[name] for route in rules for name in route.names)
        assert all(not route.match.is_empty for route in rules[:-1])
