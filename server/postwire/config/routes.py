"""`[routes]`: which providers carry a channel, as a list of names or as rules; read and checked once.

[routes]
sms = ["a", "b"]                              # b where a cannot; in the environment "a,b"

[[routes.email]]                              # or rules, and the first that matches is the message's
match = { domains = ["*.example.com"], labels = { team = "billing" }, tenants = ["acme"] }
tiers = ["a", ["b", "c"], { d = 3, e = 1 }]   # a; else b or c, as often the one; else d, and e a third as often
overflow = true                               # to the next tier already where one is at its limits
strict_weights = false                        # or true: of a tier, wait for the one whose turn it is by weight
delivered_within = "45s"                      # ask the next one if no receipt has come by then; by default, never
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final

from postwire.config.bind import ConfigError, EnvTree, Mistakes, bind
from postwire.config.tables import EXAMPLE_LABELS, LABELS
from postwire.config.types import DurationUnit, Flag, KeyPath, ListOf, Refused, Unit, dotted, toml_string, whole
from postwire.core.addresses import domain_to_ascii
from postwire.core.message import DEFAULT_TENANT, EMPTY, Channel
from postwire.core.queue_keys import queue_key
from postwire.core.routing import Match, Route, Tier, domain_key

Carriers = Mapping[str, Collection[Channel]]
"""Every provider's channels, in the order of declaration."""


def _read_at(key: str | int, unit: Unit, raw: object) -> Any:
    """What the unit reads from an item of a list or a value of a table. Its refusals name that place."""
    try:
        return unit.read(raw)
    except Refused as wrong:
        raise Refused(wrong.culprit, wrong.problem, at=(key, *wrong.at)) from None


class _NamesOrRules(ListOf):
    """A list of names, as a tuple of strings; or an array of tables, as a tuple of those."""

    def read(self, raw: object) -> tuple[Any, ...]:
        if isinstance(raw, dict):
            raise Refused(raw, f"is not {self.wants}, write a rule in double brackets")
        if not isinstance(raw, list) or not any(isinstance(item, dict) for item in raw):
            return ListOf.read(self, raw)
        for index, item in enumerate(raw):
            if not isinstance(item, dict):
                raise Refused(item, "stands among rules, write names alone or rules alone", at=(index,))
        return tuple(raw)


class _Each(ListOf):
    """A list of one item or more, without repeats. Its refusals name the item."""

    def read(self, raw: object) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            raise Refused(raw, f"is not {self.wants}")
        if not raw:  # no prefix at all: would that be no number, or every number?
            raise Refused(raw, f"is too short, write {self.wants}")
        items: list[Any] = []
        seen: set[str] = set()
        for index, item in enumerate(raw):
            items.append(_read_at(index, self.item, item))
            for name in self.names(items[-1]):
                if name in seen:
                    raise Refused(name, "is there twice, write it once", at=(index,))
                seen.add(name)
        return tuple(items)

    def names(self, item: Any) -> tuple[str, ...]:
        """What of an item may not be in the list twice."""
        return (item,)


class _Prefix(Unit):
    def word(self, text: str) -> str:
        if not re.fullmatch(r"\+[1-9][0-9]{0,14}", text):
            raise ValueError
        return text


class _Domain(Unit):
    def word(self, text: str) -> str:
        domain_to_ascii(text.removeprefix("*."))  # raises ValueError
        return text.lower()


class _Domains(_Each):
    def names(self, item: Any) -> tuple[str, ...]:
        return (domain_key(item),)


class _Tier(Unit):
    """A name, a list of names of the same weight, or a table of weights."""

    def read(self, raw: object) -> Tier:
        if isinstance(raw, str):
            return Tier(((raw, 1),))
        if not isinstance(raw, list | dict):
            raise Refused(raw, f"is not {self.wants}")
        if not raw:
            raise Refused(raw, f"is too short, write {self.wants}")
        if isinstance(raw, dict):
            return Tier(tuple((name, _read_at(name, _WEIGHT, weight)) for name, weight in raw.items()))
        return Tier(tuple((_read_at(index, _NAME, name), 1) for index, name in enumerate(raw)))

    def show(self, value: Any) -> str:
        if any(weight != 1 for _, weight in value.members):
            return f"{{ {', '.join(f'{name} = {weight}' for name, weight in value.members)} }}"
        names = [_NAME.show(name) for name, _ in value.members]
        return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


class _Tiers(_Each):
    def names(self, item: Any) -> tuple[str, ...]:
        return tuple(name for name, _ in item.members)


_NAME: Final = Unit("a provider's name")
_WEIGHT: Final = whole(1, 1000)
_CHAIN: Final = _NamesOrRules('a list of providers such as ["a", "b"]', _NAME)
_PREFIXES: Final = _Each(
    'a list of prefixes such as ["+44"]', _Prefix('a prefix such as "+44", of + and 1 to 15 digits, the first no 0')
)
_DOMAINS: Final = _Domains(
    'a list of domains such as ["example.com"]',
    _Domain('a domain such as "example.com", or "*.example.com" for all below it'),
)
_TENANTS: Final = _Each('a list of tenants such as ["acme"]', Unit("a tenant's name"))
_TIERS: Final = _Tiers(
    'a list of tiers such as ["a", ["b", "c"]]', _Tier('a tier such as "a", ["b", "c"] or { d = 3, e = 1 }')
)
_CONDITIONS: Final = (("prefixes", _PREFIXES), ("domains", _DOMAINS), ("labels", LABELS), ("tenants", _TENANTS))
_OVERFLOW: Final = Flag()
_STRICT: Final = Flag()
_WITHIN: Final = DurationUnit(least=1.0)


@dataclass(frozen=True, slots=True)
class _RoutesTable:
    sms: Annotated[tuple[Any, ...], _CHAIN] | None = None
    mms: Annotated[tuple[Any, ...], _CHAIN] | None = None
    email: Annotated[tuple[Any, ...], _CHAIN] | None = None


@dataclass(frozen=True, slots=True)
class _MatchTable:
    prefixes: Annotated[tuple[str, ...], _PREFIXES] = ()
    domains: Annotated[tuple[str, ...], _DOMAINS] = ()
    labels: Annotated[Mapping[str, str], LABELS] = field(default_factory=lambda: EMPTY)
    tenants: Annotated[tuple[str, ...], _TENANTS] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _RuleTable:
    match: _MatchTable = field(default_factory=_MatchTable)
    tiers: Annotated[tuple[Tier, ...], _TIERS]
    overflow: Annotated[bool, _OVERFLOW] = False
    strict_weights: Annotated[bool, _STRICT] = False
    delivered_within: Annotated[float, _WITHIN] | None = None


def read(
    table: object, carriers: Carriers, env: EnvTree, *, tenants: Collection[str], seen: set[str]
) -> Mapping[Channel, tuple[Route, ...]]:
    """The routes of every channel, first choice first; none where nobody carries it. Raises ConfigError.

    Rules may ask for `tenants` that there are. A channel that is left out has one route: every provider that carries
    it, in order. The dotted keys that were given are added to `seen`.
    """
    given = bind(_RoutesTable, table, ("routes",), env, seen=seen)
    routes: dict[Channel, tuple[Route, ...]] = {}
    mistakes = Mistakes()
    for channel in Channel:
        items: tuple[Any, ...] | None = getattr(given, channel.value)
        if items is None:
            items = tuple(name for name, channels in carriers.items() if channel in channels)
        with mistakes.caught():
            if any(isinstance(item, dict) for item in items):
                routes[channel] = _rules(channel, items, carriers, tenants, seen)
            else:
                node = env.at(channel.value)
                variable = node.variable if node.text is not None else None
                _refuse_others(items, channel, carriers, ("routes", channel.value), variable)
                tiers = tuple(Tier(((name, 1),)) for name in items)
                rule = dotted(("routes", channel.value))
                key = queue_key(channel, Match())
                routes[channel] = (Route(channel.value, tiers, rule=rule, queue_key=key),) if tiers else ()
    mistakes.raise_if_any()
    return MappingProxyType(routes)


def _rules(
    channel: Channel,
    tables: tuple[dict[str, object], ...],
    carriers: Carriers,
    tenants: Collection[str],
    seen: set[str],
) -> tuple[Route, ...]:
    routes: list[Route] = []
    mistakes = Mistakes()
    for index, table in enumerate(tables):
        with mistakes.caught():
            routes.append(_rule(channel, index, table, routes, carriers, tenants, seen))
    mistakes.raise_if_any()
    return tuple(routes)


def _rule(
    channel: Channel,
    index: int,
    table: dict[str, object],
    before: Sequence[Route],
    carriers: Carriers,
    tenants: Collection[str],
    seen: set[str],
) -> Route:
    path: KeyPath = ("routes", channel.value, index)
    if len(before) == index > 0 and before[-1].match.is_empty:
        last = dotted((*path[:-1], index - 1))
        raise ConfigError(dotted(path), f"is never reached, give {last} a match, or put it last")
    if not isinstance(table.get("match", {}), dict):
        problem = f"is not a table, write it as match = {{ labels = {EXAMPLE_LABELS} }}"
        raise ConfigError(dotted((*path, "match")), problem)
    rule = bind(_RuleTable, table, path, seen=seen)
    foreign, ours = ("prefixes", "domains") if channel is Channel.EMAIL else ("domains", "prefixes")
    if getattr(rule.match, foreign):
        problem = f"does not go with {channel.value}, match on {ours} or labels"
        raise ConfigError(dotted((*path, "match", foreign)), problem)
    for at, name in enumerate(rule.match.tenants):
        if name not in tenants and name != DEFAULT_TENANT:
            problem = f"there is no tenant {toml_string(name)}, those declared: {', '.join(tenants) or 'none'}"
            raise ConfigError(dotted((*path, "match", "tenants", at)), problem)
    match = Match(rule.match.prefixes, rule.match.domains, rule.match.labels, rule.match.tenants)
    if rule.overflow and rule.strict_weights:
        problem = "does not go with overflow, which has messages go past who cannot keep up"
        raise ConfigError(dotted((*path, "strict_weights")), problem)
    key, stored = f"{channel.value}#{index + 1}", queue_key(channel, match)
    for other in before:
        if other.queue_key == stored:
            raise ConfigError(dotted((*path, "match")), f"is the same as that of {other.rule}, leave one of them out")
    if rule.delivered_within is not None and sum(len(tier.members) for tier in rule.tiers) < 2:
        problem = (
            "does nothing with one provider, name another that is asked where no receipt has come, or leave it out"
        )
        raise ConfigError(dotted((*path, "delivered_within")), problem)
    route = Route(
        key,
        rule.tiers,
        match,
        rule.overflow,
        dotted(path),
        rule.strict_weights,
        stored,
        delivered_within=rule.delivered_within,
    )
    for number, tier in enumerate(rule.tiers):
        _refuse_others(_TIERS.names(tier), channel, carriers, (*path, "tiers", number))
    return route


def _refuse_others(
    names: Collection[str], channel: Channel, carriers: Carriers, path: KeyPath, variable: str | None = None
) -> None:
    """Raise ConfigError for those that are no providers of the channel."""
    mistakes = Mistakes()
    for name in names:
        if channel in carriers.get(name, ()):
            continue
        what = f"{toml_string(name)} does not carry {channel.value}"
        if name not in carriers:
            what = f"there is no provider {toml_string(name)}"
        able = ", ".join(name for name, channels in carriers.items() if channel in channels)
        mistakes.add(ConfigError(dotted(path), f"{what}, those that carry it: {able or 'none'}", variable=variable))
    mistakes.raise_if_any()


def rows(routes: Mapping[Channel, tuple[Route, ...]]) -> list[tuple[str, str]]:
    """The keys of the routes, with their values as TOML writes them. A match has the keys that it asks for."""
    found: list[tuple[str, str]] = []
    for channel, rules in routes.items():
        if not rules or rules[0].key == channel.value:
            names = rules[0].names if rules else ()
            found.append((dotted(("routes", channel.value)), _CHAIN.show(names)))
            continue
        for index, rule in enumerate(rules):
            path: KeyPath = ("routes", channel.value, index)
            for key, unit in _CONDITIONS:
                if value := getattr(rule.match, key):
                    found.append((dotted((*path, "match", key)), unit.show(value)))
            found.append((dotted((*path, "tiers")), _TIERS.show(rule.tiers)))
            found.append((dotted((*path, "overflow")), _OVERFLOW.show(rule.overflow)))
            found.append((dotted((*path, "strict_weights")), _STRICT.show(rule.strict_weights)))
            if rule.delivered_within is not None:
                found.append((dotted((*path, "delivered_within")), _WITHIN.show(rule.delivered_within)))
    return found
