"""The names of the queues in which messages wait, as a store keeps them.

They go by what a rule asks for and not by where it stands, so that no other rule that comes, goes or changes places
moves a message. Callers and operators see `Route.key` instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final, NamedTuple

from postwire.core.message import Channel
from postwire.core.routing import Match, Route, Tier, domain_key

DIGITS: Final = 16
"""How many hexadecimal digits of the hash a key has."""


class QueueKey(NamedTuple):
    """What messages wait in: those of one tenant whose `MessageRecord.queue` is `name`."""

    tenant: str
    name: str


def queue_key(channel: Channel, match: Match, unsuitable: Collection[str] = ()) -> str:
    """Return the key of the queue of those messages of `channel` for which `match` holds.

    `unsuitable` are the names of providers of the route that cannot carry them: such messages have a queue of their
    own, because they wait for others.

    The key is the channel, a colon, and the first 16 hexadecimal digits of the SHA-256 of this JSON, which is written
    in ASCII, without spaces, and with the keys of every object sorted by code point:

        {"channel":"sms","match":{"labels":{"team":"billing"},"prefixes":["+353","+44"]},"tenants":[],"unsuitable":[]}

    `match` has the keys `domains`, `labels` and `prefixes`, and of these only what it asks for. Every list is sorted
    and without repeats. Domains are in lower case and in A-labels (`xn--…`). `tenants` are those that it asks for; they
    are not in `match`. Who carries the messages, and in which order, is not in it.

    A stored key lives as long as what waits. Were this form to change, everything that waits would be put into another
    queue at the next boot.
    """
    asked: dict[str, Any] = {
        "prefixes": sorted(set(match.prefixes)),
        "domains": sorted(set(map(domain_key, match.domains))),
        "labels": dict(match.labels),
    }
    form = {
        "channel": channel.value,
        "match": {name: value for name, value in asked.items() if value},
        "tenants": sorted(set(match.tenants)),
        "unsuitable": sorted(set(unsuitable)),
    }
    text = json.dumps(form, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return f"{channel.value}:{hashlib.sha256(text.encode('ascii')).hexdigest()[:DIGITS]}"


def variant(route: Route, channel: Channel, unsuitable: Collection[str]) -> Route:
    """Return the route of those messages of a route of `channel` that some of its providers cannot carry.

    It leads to the others, and has a queue of its own. Names that the route does not have make no difference; where it
    has none of them, it is returned itself. It has no tiers where it has no others.
    """
    left_out = route.members.intersection(unsuitable)
    if not left_out:
        return route
    tiers = [Tier(tuple(member for member in tier.members if member[0] not in left_out)) for tier in route.tiers]
    return replace(
        route,
        tiers=tuple(tier for tier in tiers if tier.members),
        queue_key=queue_key(channel, route.match, left_out),
        whole=route,
    )
