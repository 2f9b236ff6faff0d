"""In what order a route's providers are asked: by weight, from one draw, and each found only when it is asked for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from postwire.core.routing import Route, Tier, TierOrder

DRAWS = 10_000


def evenly_spaced() -> Iterator[float]:
    """The middles of equal parts of [0, 1), so that none is on a border between two members."""
    return ((2 * i + 1) / (2 * DRAWS) for i in range(DRAWS))


def drawn(tier: Tier, draw: float) -> tuple[tuple[str, ...], float]:
    """A tier's order, and the draw to go on with."""
    order = TierOrder(tier, draw)
    return tuple(order), order.rest()


def order_of(route: Route, draw: float) -> tuple[tuple[str, ...], ...]:
    return tuple(map(tuple, route.order(draw)))


def plainly_drawn(tier: Tier, draw: float) -> tuple[tuple[str, ...], float]:
    """The same, all at once, with a look at everybody who is left: what `TierOrder` comes to, to the last bit."""
    left = list(tier.members)
    total = sum(weight for _, weight in left)
    names = []
    while len(left) > 1:
        point = draw * total
        low = index = 0
        while point >= low + left[index][1]:
            low += left[index][1]
            index += 1
        name, weight = left.pop(index)
        names.append(name)
        draw = (point - low) / weight
        total -= weight
    names += (name for name, _ in left)
    return tuple(names), draw


def chance(names: tuple[str, ...], weights: Mapping[str, int]) -> Fraction:
    """How likely an order is: each is drawn by its weight among those that are left."""
    left, product = sum(weights.values()), Fraction(1)
    for name in names:
        product *= Fraction(weights[name], left)
        left -= weights[name]
    return product


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 1, "b": 1},
        {"a": 3, "b": 1},
        {"a": 1, "b": 999},
        {"a": 1000, "b": 1000},
        {"a": 1, "b": 1, "c": 1, "d": 1},
        {"a": 5, "b": 3, "c": 2},
        {"a": 7, "b": 1, "c": 10, "d": 2},
    ],
    ids=lambda weights: "-".join(map(str, weights.values())),
)
def test_shares_are_exactly_those_of_the_weights(weights: dict[str, int]) -> None:
    tier = Tier(tuple(weights.items()))
    counts = Counter(drawn(tier, draw)[0] for draw in evenly_spaced())
    first: Counter[str] = Counter()
    for names, count in counts.items():
        first[names[0]] += count
    total = sum(weights.values())
    assert first == {name: DRAWS * weight // total for name, weight in weights.items()}
    assert DRAWS % total == 0, "or the shares are no whole numbers"

    # Each order has an interval of [0, 1) of its own; where its ends lie between two draws, it has one more or less.
    for names in itertools.permutations(weights):
        assert abs(counts[names] - chance(names, weights) * DRAWS) <= 1, names
    assert sum(counts.values()) == DRAWS


def test_the_draw_is_uniform_again_after_an_order_was_drawn() -> None:
    tier = Tier((("a", 3), ("b", 2), ("c", 5)))
    left: dict[tuple[str, ...], list[float]] = {}
    for draw in evenly_spaced():
        names, rest = drawn(tier, draw)
        left.setdefault(names, []).append(rest)
    for rests in left.values():
        rests.sort()
        expected = [(2 * i + 1) / (2 * len(rests)) for i in range(len(rests))]
        assert rests == pytest.approx(expected, abs=1 / len(rests))


def test_tiers_are_drawn_apart_from_each_other() -> None:
    tiers = (Tier((("a", 1), ("b", 1))), Tier((("c", 1),)), Tier((("d", 1), ("e", 3))))
    counts = Counter(order_of(Route("k", tiers), draw) for draw in evenly_spaced())
    assert counts == {
        (("a", "b"), ("c",), ("d", "e")): DRAWS // 8,
        (("a", "b"), ("c",), ("e", "d")): DRAWS * 3 // 8,
        (("b", "a"), ("c",), ("d", "e")): DRAWS // 8,
        (("b", "a"), ("c",), ("e", "d")): DRAWS * 3 // 8,
    }


@pytest.mark.parametrize(
    ("draw", "names", "rest"),
    [
        (0.0, ("a", "b", "c"), 0.0),
        (0.25, ("b", "a", "c"), 0.0),  # of 1, 2 and 1: b from 1/4 to 3/4, and then a, as long as the draw is below 1/2
        (0.5, ("b", "c", "a"), 0.0),
        (0.4375, ("b", "a", "c"), 0.75),
        (0.75, ("c", "a", "b"), 0.0),
        (0.9375, ("c", "b", "a"), 0.625),
    ],
)
def test_an_interval_begins_with_its_first_number_and_ends_before_its_last(
    draw: float, names: tuple[str, ...], rest: float
) -> None:
    assert drawn(Tier((("a", 1), ("b", 2), ("c", 1))), draw) == (names, rest)


def test_a_route_without_weights_has_one_order_and_makes_none() -> None:
    route = Route("sms", (Tier((("a", 1),)), Tier((("b", 7),))))
    assert route.order(0.0) == (("a",), ("b",))
    assert route.order(0.999) is route.order(0.0) is route.declared
    assert (route.weighted, route.names, route.members) == (False, ("a", "b"), frozenset("ab"))
    assert Route("sms", ()).order(0.5) == ()


def test_a_route_names_its_providers_as_declared() -> None:
    route = Route("sms#1", (Tier((("b", 1), ("a", 3))), Tier((("c", 1),))))
    assert (route.weighted, route.names, route.declared) == (True, ("b", "a", "c"), (("b", "a"), ("c",)))


TIERS = st.lists(st.lists(st.integers(1, 1000), min_size=1, max_size=12), max_size=4).map(
    lambda weights: tuple(
        Tier(tuple((f"{row}-{column}", weight) for column, weight in enumerate(tier)))
        for row, tier in enumerate(weights)
    )
)
LAST = 1 - 2.0**-53
"""The largest number that a draw can be."""


@settings(deadline=None)
@given(TIERS, st.floats(0, LAST))
@example((Tier((("a", 513), ("b", 1), ("c", 1000), ("d", 5))),) * 3, LAST)
@example((Tier(tuple((str(i), 1) for i in range(60))),), LAST)
def test_an_order_is_a_permutation_of_each_tier_whatever_the_draw(tiers: tuple[Tier, ...], draw: float) -> None:
    order = order_of(Route("k", tiers), draw)
    assert [sorted(names) for names in order] == [sorted(name for name, _ in tier.members) for tier in tiers]
    for tier in tiers:
        assert 0 <= drawn(tier, draw)[1] <= LAST


LARGE = st.integers(1, 150).flatmap(
    lambda size: st.lists(st.sampled_from([1, 2, 3, 7, 64, 999]), min_size=size, max_size=size)
)
DRAWN = st.floats(0, LAST) | st.integers(0, 2**53 - 1).map(lambda bits: bits * 2.0**-53)


@examples(300)
@given(st.lists(LARGE, min_size=1, max_size=3), DRAWN)
@example([[1] * 1000], LAST)
@example([[3] * 1000, [1, 1]], 1 / 3)
def test_an_order_is_found_as_if_everybody_were_looked_at(weights: list[list[int]], draw: float) -> None:
    tiers = tuple(Tier(tuple((f"{row}-{at}", one) for at, one in enumerate(tier))) for row, tier in enumerate(weights))
    expected, left = [], draw
    for tier in tiers:
        names, left = plainly_drawn(tier, left)
        assert drawn(tier, draw) == plainly_drawn(tier, draw)
        expected.append(names)
    route = Route("k", tiers)
    assert order_of(route, draw) == tuple(expected)
    assert [next(iter(tier)) for tier in route.order(draw)] == [names[0] for names in expected], "whoever is asked for"


@given(LARGE, DRAWN, st.data())
def test_an_order_is_the_same_each_time_it_is_gone_through(
    weights: list[int], draw: float, data: st.DataObject
) -> None:
    tier = Tier(tuple((str(at), one) for at, one in enumerate(weights)))
    names, rest = plainly_drawn(tier, draw)
    order = TierOrder(tier, draw)
    for count in data.draw(st.lists(st.integers(0, len(weights)), max_size=5)):
        assert tuple(itertools.islice(order, count)) == names[:count]
    assert (order.rest(), tuple(order)) == (rest, names)


def test_a_choice_by_weight_looks_at_no_more_than_it_needs() -> None:
    looked: list[int] = []

    class Watched(tuple[Any, ...]):
        def __getitem__(self, index: Any) -> Any:
            looked.append(index)
            return super().__getitem__(index)

        def __iter__(self) -> Iterator[Any]:
            raise AssertionError("it looks at everybody")

    tier = Tier(tuple((str(at), 3) for at in range(1000)))
    for name in ("members", "names", "ends"):
        object.__setattr__(tier, name, Watched(getattr(tier, name)))
    order = iter(TierOrder(tier, 1 / 7))
    names = [next(order) for _ in range(3)]
    assert names == list(plainly_drawn(Tier(tuple((str(at), 3) for at in range(1000))), 1 / 7)[0][:3])
    assert len(looked) < 60
