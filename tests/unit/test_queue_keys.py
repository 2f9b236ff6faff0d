"""The keys of the queues, as stores keep them: a change of their form would put all that waits into other queues."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.core.message import Channel
from postwire.core.queue_keys import queue_key, variant
from postwire.core.routing import Match, Route, Tier, domain_key

UK = Match(prefixes=("+44", "+353"), labels={"team": "billing", "a": "\u00fc\U0001f600"})
EXAMPLE = Match(domains=("example.com", "*.B\u00fccher.test"))

FORMS = {
    '{"channel":"sms","match":{},"tenants":[],"unsuitable":[]}': queue_key(Channel.SMS, Match()),
    '{"channel":"sms","match":{"labels":{"a":"\\u00fc\\ud83d\\ude00","team":"billing"},"prefixes":["+353","+44"]},'
    '"tenants":[],"unsuitable":[]}': queue_key(Channel.SMS, UK),
    '{"channel":"sms","match":{"prefixes":["+44"]},"tenants":["acme","b-c"],"unsuitable":[]}': queue_key(
        Channel.SMS, Match(prefixes=("+44",), tenants=("b-c", "acme"))
    ),
    '{"channel":"email","match":{"domains":["*.xn--bcher-kva.test","example.com"]},"tenants":[],'
    '"unsuitable":["a","b"]}': queue_key(Channel.EMAIL, EXAMPLE, ("b", "a")),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_a_hash_of_what_the_rule_asks_for(form: str) -> None:
    channel, digits = FORMS[form].split(":")
    assert f'{{"channel":"{channel}"' == form.split(",")[0]
    assert digits == hashlib.sha256(form.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("key", "pinned"),
    [
        (queue_key(Channel.SMS, Match()), "sms:5856a907089340c4"),
        (queue_key(Channel.MMS, Match()), "mms:7d7cca5a334052b3"),
        (queue_key(Channel.EMAIL, Match()), "email:e696ad4f787c6d23"),
        (queue_key(Channel.SMS, UK), "sms:93664be1fe717afb"),
        (queue_key(Channel.EMAIL, EXAMPLE), "email:43f6db9887242e30"),
        (queue_key(Channel.EMAIL, EXAMPLE, ["relay"]), "email:7db4fa4949e016cc"),
    ],
)
def test_the_keys_that_stores_have_stay_what_they_are(key: str, pinned: str) -> None:
    assert key == pinned


MATCHES = st.builds(
    Match,
    st.lists(st.sampled_from(["+44", "+4420", "+1"]), max_size=3, unique=True).map(tuple),
    st.lists(st.sampled_from(["a.test", "*.a.test", "b\u00fccher.test"]), max_size=3, unique=True).map(tuple),
    st.dictionaries(st.sampled_from("ab\u00fc"), st.sampled_from(["x", "", "\u00fc"]), max_size=3),
    st.lists(st.sampled_from(["acme", "b"]), max_size=2, unique=True).map(tuple),
)
NAMES = st.sets(st.sampled_from(["a", "b", "a-b"]))


@given(MATCHES, MATCHES, st.sampled_from(Channel), st.sampled_from(Channel), NAMES, NAMES)
def test_two_keys_are_the_same_where_all_that_they_are_made_of_is(
    one: Match, other: Match, channel: Channel, another: Channel, names: set[str], others: set[str]
) -> None:
    def made_of(match: Match) -> object:
        return set(match.prefixes), set(map(domain_key, match.domains)), match.labels, set(match.tenants)

    same = (channel, made_of(one), names) == (another, made_of(other), others)
    assert (queue_key(channel, one, names) == queue_key(another, other, others)) is same


@given(MATCHES)
def test_in_which_order_and_how_it_is_written_does_not_matter(match: Match) -> None:
    domains = tuple(domain.upper() if domain.isascii() else domain_key(domain) for domain in match.domains[::-1])
    same = Match(match.prefixes[::-1], domains, dict(list(match.labels.items())[::-1]), match.tenants[::-1])
    assert queue_key(Channel.EMAIL, same) == queue_key(Channel.EMAIL, match)


# Routes without some of their providers.

TIERS = (Tier((("a", 3), ("b", 1))), Tier((("c", 1),)), Tier((("d", 1), ("e", 2))))
RULE = Route("sms#2", TIERS, UK, overflow=True, rule="routes.sms[1]", queue_key=queue_key(Channel.SMS, UK))


def test_a_route_without_some_of_its_providers_leads_to_the_others_and_has_a_queue_of_its_own() -> None:
    without = variant(RULE, Channel.SMS, ("c", "a", "nobody"))
    assert without.tiers == (Tier((("b", 1),)), Tier((("d", 1), ("e", 2))))
    assert without.names == ("b", "d", "e")
    assert without.queue_key == queue_key(Channel.SMS, UK, ("a", "c"))
    assert (without.key, without.rule, without.match, without.overflow) == ("sms#2", "routes.sms[1]", UK, True)
    assert variant(RULE, Channel.SMS, ("nobody",)) is RULE
    assert variant(RULE, Channel.SMS, RULE.names).tiers == ()


@given(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_messages_share_a_queue_where_the_same_providers_cannot_carry_them(one: set[str], other: set[str]) -> None:
    keys = [variant(RULE, Channel.SMS, names).queue_key for names in (one, other)]
    assert (keys[0] == keys[1]) is (one & set(RULE.names) == other & set(RULE.names))
