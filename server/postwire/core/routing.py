"""Which providers a message is offered to, in what order, and which of them takes it now.

A channel has routes, and the first whose `Match` holds is the message's. A route has tiers, tried in order; the members
of one tier share its messages by weight. `choose` then asks their gates: who is blocked is passed over, who is only
busy is waited for (design, 6).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from postwire.core.addresses import domain_to_ascii
from postwire.core.message import EMPTY, Content, Email, OutboundMessage
from postwire.core.obstacles import WAITED_FOR, Obstacle
from postwire.core.values import frozen

Order = Iterable[Iterable[str]]
"""The names of a route's providers, by tier, each tier in the order in which its members are asked."""

_MANY: Final = 32
"""How many picks of a tier are stepped around before who is left is listed anew."""


Condition = tuple[tuple[str, ...], str]
"""A part of a `Match`: its key, as a path, and the value there."""


def _no_labels() -> Mapping[str, str]:
    return EMPTY


def domain_key(domain: str) -> str:
    """Return the form in which domains are compared, and patterns such as `*.example.com`: lower case, in A-labels."""
    if domain.isascii():
        return domain.lower()
    below = "*." if domain.startswith("*.") else ""
    try:
        return below + domain_to_ascii(domain.removeprefix(below))
    except ValueError:  # a message that an earlier release accepted may have one that is refused today
        return domain.lower()


@dataclass(frozen=True, slots=True)
class Match:
    """What a message must be like for a route to be its route. What is empty asks for nothing.

    `prefixes` are of E.164 numbers ("+44"): the recipient starts with one of them. `domains` are "example.com", which
    is that domain alone, or "*.example.com", which are all below it, however they are written (in capitals, as
    "xn--…"): every recipient of an email is in one of them. `labels` are all on the message, with these values. It is
    sent for one of `tenants`.
    """

    prefixes: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=_no_labels)
    tenants: tuple[str, ...] = ()
    is_empty: bool = field(init=False, repr=False, compare=False)
    _exact: frozenset[str] = field(init=False, repr=False, compare=False)
    _suffixes: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        domains = [domain_key(domain) for domain in self.domains]
        object.__setattr__(self, "is_empty", not (self.prefixes or self.domains or self.labels or self.tenants))
        object.__setattr__(self, "_exact", frozenset(domains))
        object.__setattr__(self, "_suffixes", tuple(domain[1:] for domain in domains if domain.startswith("*.")))

    def holds(self, message: OutboundMessage, tenant: str) -> bool:
        """Whether the message is as this asks."""
        if self.is_empty:
            return True
        if self.tenants and tenant not in self.tenants:
            return False
        return self._holds_for_labels(message.labels) and self._holds_for_recipients(message.content)

    def met_by(self, message: OutboundMessage, tenant: str) -> tuple[Condition, ...]:
        """What a message for which this holds has of it: the tenant, and every prefix, domain and label that is true of
        the message."""
        found = [
            *((("tenants",), name, Match(tenants=(name,))) for name in self.tenants),
            *((("prefixes",), prefix, Match(prefixes=(prefix,))) for prefix in self.prefixes),
            *((("labels", key), value, Match(labels={key: value})) for key, value in self.labels.items()),
        ]
        met = [(path, value) for path, value, condition in found if condition.holds(message, tenant)]
        if isinstance(message.content, Email):  # of whom each is in one of the domains, and not all in the same
            recipients = message.content.recipients
            in_one = [one for one in self.domains if any(map(Match(domains=(one,))._in_domains, recipients))]
            met += ((("domains",), domain) for domain in in_one)
        return tuple(met)

    def _holds_for_labels(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.labels.items())

    def _holds_for_recipients(self, content: Content) -> bool:
        # A number has no domain, and an address no prefix: what asks for one it cannot have holds for none of these.
        if isinstance(content, Email):
            return not self.prefixes and (not self.domains or all(map(self._in_domains, content.recipients)))
        return not self.domains and (not self.prefixes or content.to.startswith(self.prefixes))

    def _in_domains(self, address: str) -> bool:
        domain = domain_key(address.rpartition("@")[2])
        return domain in self._exact or domain.endswith(self._suffixes)


@dataclass(frozen=True, slots=True)
class Tier:
    """Providers that share messages: `members` are (name, weight), and a weight is 1 or more.

    `names` are theirs, and `ends` where each one's interval of the sum of all weights ends.
    """

    members: tuple[tuple[str, int], ...]
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(name for name, _ in self.members))
        object.__setattr__(self, "ends", tuple(accumulate(weight for _, weight in self.members)))


class TierOrder:
    """The names of a tier by weighted sampling without replacement, each found when it is asked for.

    A member is first as often as its weight is of the sum, and so on among those that are left. The draw is uniform in
    [0, 1), and where it lies within the interval of the one it picks is uniform again: so one draw decides everything.
    Each pick uses up some of its 53 bits, which last for 18 members of the same weight. Nearly always the first is
    taken: a pick costs little, however many there are.
    """

    __slots__ = ("_draw", "_found", "_left", "_picked", "_total")

    def __init__(self, tier: Tier, draw: float) -> None:
        self._draw = draw
        self._found: list[str] = []
        self._left = tier
        self._picked: list[int] = []  # of `_left`, in the order of its members
        self._total = tier.ends[-1] if tier.ends else 0

    def __iter__(self) -> Iterator[str]:
        found, index = self._found, 0
        while index < len(found) or self._pick():
            yield found[index]
            index += 1

    def rest(self) -> float:
        """The draw that is left when all are found."""
        while self._pick():
            pass
        return self._draw

    def _pick(self) -> bool:
        """Find the next; False where there is none."""
        left, picked, found = self._left, self._picked, self._found
        ends = left.ends
        end = len(ends)
        if end - len(picked) < 2 or not self._draw:  # a draw that is used up picks the first who is left, each time
            self._list_anew()
            found += self._left.names
            self._left = _NOBODY
            return end > 0
        # With draw <= 1 - 2**-53 no step rounds up to the end of an interval: `point` stays below the total, its
        # distance from the whole number `low` is exact, and the next draw is below 1.
        point = self._draw * self._total
        whole = int(point)
        start = passed = 0
        for at in picked:  # behind each of them, the intervals of who is left begin sooner
            weight = left.members[at][1]
            if whole < ends[at] - weight - passed:
                end = at
                break
            start, passed = at + 1, passed + weight
        index = bisect_right(ends, whole + passed, start, end)
        name, weight = left.members[index]
        found.append(name)
        self._draw = (point - (ends[index] - weight - passed)) / weight
        self._total -= weight
        insort(picked, index)
        if len(picked) == _MANY:
            self._list_anew()
        return True

    def _list_anew(self) -> None:
        """Forget those picked, instead of stepping around them."""
        if picked := {*self._picked}:
            self._left = Tier(tuple(one for at, one in enumerate(self._left.members) if at not in picked))
            self._picked = []


class RouteOrder:
    """The names of a route's tiers, each tier begun when it is come to. One draw, uniform in [0, 1), decides all."""

    __slots__ = ("_begun", "_draw", "_tiers")

    def __init__(self, tiers: Sequence[Tier], draw: float) -> None:
        self._tiers = tiers
        self._draw = draw
        self._begun: list[TierOrder] = []

    def __iter__(self) -> Iterator[Iterable[str]]:
        begun = self._begun
        for index, tier in enumerate(self._tiers):
            if index == len(begun):
                begun.append(TierOrder(tier, begun[-1].rest() if begun else self._draw))
            yield begun[index]


_NOBODY: Final = Tier(())


@dataclass(frozen=True, slots=True)
class Route:
    """Providers by tier, for the messages that `match`.

    `key` is its name for people: "sms" for a channel's only route, "sms#1", "sms#2", … for rules, "@name" for a
    provider that callers pin. `queue_key` is that of the queue of those who wait for it, as the store has it (see
    `core.queue_keys`); the same as `key` unless it is given. With `overflow`, messages go on to the next tier while one
    is at its limits. With `strict_weights`, a member of a tier that is at its limits is waited for, though others are
    free. `rule` is where the configuration has it, such as "routes.sms[0]"; empty for a pinned one. `whole` is the
    route of which this is a variant, without those who cannot carry some messages. `delivered_within` is in how many
    seconds a receipt of a message is to have come: else the next provider is asked (see `core.follow_up`). `names` are
    all providers, as declared, `declared` is the same by tier, and `members` without an order; `weighted` says whether
    `order` makes use of its draw.
    """

    key: str
    tiers: tuple[Tier, ...]
    match: Match = Match()
    overflow: bool = False
    rule: str = field(default="", repr=False, compare=False)
    strict_weights: bool = field(default=False, repr=False)
    queue_key: str = field(default="", repr=False, compare=False)
    whole: Route | None = field(default=None, repr=False, compare=False)
    delivered_within: float | None = field(default=None, repr=False)
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    members: frozenset[str] = field(init=False, repr=False, compare=False)
    declared: tuple[tuple[str, ...], ...] = field(init=False, repr=False, compare=False)
    weighted: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "declared", tuple(tier.names for tier in self.tiers))
        object.__setattr__(self, "names", tuple(name for names in self.declared for name in names))
        object.__setattr__(self, "members", frozenset(self.names))
        object.__setattr__(self, "weighted", any(len(names) > 1 for names in self.declared))
        object.__setattr__(self, "queue_key", self.queue_key or self.key)

    def order(self, draw: float) -> Order:
        """The order in which the providers are asked, by tier. One `draw`, uniform in [0, 1), decides all of it."""
        if not self.weighted:
            return self.declared
        return RouteOrder(self.tiers, draw) if len(self.tiers) > 1 else (TierOrder(self.tiers[0], draw),)


def matching(routes: Sequence[Route], message: OutboundMessage, tenant: str) -> Route | None:
    """The route of a tenant's message: the first that matches. None if there is none."""
    for route in routes:
        if route.match.holds(message, tenant):
            return route
    return None


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A provider that a message went past, and why."""

    provider_name: str
    obstacle: Obstacle


@frozen
class Choice:
    """Who takes the message now. If nobody is `chosen`, it waits for the one of `waits_for` that is free first.

    If there is nobody to wait for either, every gate is blocked, and the message is parked. `passed_over` are the
    blocked gates that were come across, in order; who is only busy is not among them.
    """

    chosen: str | None
    waits_for: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()


def choose(
    order: Order,
    *,
    overflow: bool,
    strict: bool = False,
    obstacle: Callable[[str], Obstacle | None],
    tried: Collection[str] = (),
) -> Choice:
    """The first provider in order that has no obstacle, unless there is one in an earlier tier to wait for.

    Within a tier, one at its limits is waited for only if no other member can take the message, unless the order is
    `strict`; with `overflow`, only if nobody at all can. Those `tried` before in this pass are left out, and no
    gate is asked twice.
    """
    waits_for: list[str] = []
    passed_over: list[PassedOver] = []
    for tier in order:
        for name in tier:
            if name in tried:
                continue
            found = obstacle(name)
            if found is None:
                return Choice(name, (), tuple(passed_over))
            if found in WAITED_FOR:
                waits_for.append(name)
                if strict:
                    break
            else:
                passed_over.append(PassedOver(name, found))
        if waits_for and not overflow:
            break
    return Choice(None, tuple(waits_for), tuple(passed_over))
