"""Suppressions against a model: any order of additions, removals, expiries and sweeps, and after each of them nobody is
written to whom the model has, and everybody else is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run
from tests.support import build
from tests.support.clock import START
from tests.support.postgres import new_database

from postwire.core.message import MessageState
from postwire.core.suppression import ANY_SENDER, Suppression, SuppressionPosition, SuppressionReason
from postwire.outbox.base import NewMessage, Outbox
from postwire.outbox.postgres import PostgresOutbox
from postwire.outbox.sqlite import SqliteOutbox

T = TypeVar("T")

TENANTS: Final = ("default", "acme")
SENDERS: Final = (ANY_SENDER, "p", "q")
WHO: Final = tuple(number.to_bytes(4) * 8 for number in range(4))

Key = tuple[str, bytes, str]
SOME = st.lists(st.tuples(st.sampled_from(WHO), st.sampled_from(SENDERS)), min_size=1, max_size=4)
REASONS = st.sampled_from(SuppressionReason)


def lasts_longer(one: Suppression, other: Suppression) -> bool:
    return (one.expire_time or math.inf) > (other.expire_time or math.inf)


class SuppressionMachine(RuleBasedStateMachine):
    """`there` is the model: all that was added and not removed; the expired, too, until others take their place."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.outbox = self.run(self.open())
        self.there: dict[Key, Suppression] = {}
        self.now = START

    async def open(self) -> Outbox:
        return await SqliteOutbox.open(":memory:")

    def teardown(self) -> None:
        self.run(self.outbox.close())
        self.runner.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def in_force(self, key: Key) -> Suppression | None:
        one = self.there.get(key)
        return one if one and (one.expire_time is None or one.expire_time > self.now) else None

    @rule(
        tenant=st.sampled_from(TENANTS),
        some=SOME,
        reason=REASONS,
        lasts=st.none() | st.integers(1, 5),
        only_new=st.booleans(),
    )
    def add(
        self, tenant: str, some: list[tuple[bytes, str]], reason: SuppressionReason, lasts: int | None, only_new: bool
    ) -> None:
        made = [
            Suppression(who, reason, "s", self.now, "k", None if lasts is None else self.now + lasts, sender)
            for who, sender in some
        ]

        async def add() -> int:
            return await self.outbox.add_suppressions({tenant: made}, only_new=only_new)

        expected = 0
        for one in {(one.address_hash, one.sender): one for one in made}.values():
            key = tenant, one.address_hash, one.sender
            known = self.in_force(key)
            expected += known is None
            if known is None:
                self.there[key] = one
            elif not only_new or lasts_longer(one, known):
                self.there[key] = replace(one, create_time=known.create_time)
        assert self.run(add()) == expected

    @rule(
        tenants=st.lists(st.sampled_from(TENANTS), min_size=1, unique=True),
        who=st.lists(st.sampled_from(WHO), min_size=1, unique=True),
        senders=st.none() | st.lists(st.sampled_from(SENDERS), unique=True),
        reason=st.none() | REASONS,
    )
    def remove(
        self, tenants: list[str], who: list[bytes], senders: list[str] | None, reason: SuppressionReason | None
    ) -> None:
        gone = [
            key
            for key, one in self.there.items()
            if key[0] in tenants
            and key[1] in who
            and (senders is None or key[2] in senders)
            and (reason is None or one.reason is reason)
        ]
        expected = len({key[:2] for key in gone if self.in_force(key)})
        for key in gone:
            del self.there[key]

        async def remove() -> int:
            return await self.outbox.remove_suppressions(who, tenants, self.now, senders=senders, reason=reason)

        assert self.run(remove()) == expected

    @rule(by=st.integers(1, 4))
    def pass_time(self, by: int) -> None:
        self.now += by

    @rule(limit=st.integers(1, 3))
    def sweep(self, limit: int) -> None:
        removed = self.run(self.outbox.remove_expired_suppressions(self.now, limit))
        expired = [key for key in self.there if not self.in_force(key)]
        assert removed == min(limit, len(expired))
        if removed == len(expired):
            for key in expired:
                del self.there[key]
        else:  # which of them went is not for anybody to know: let go of all
            while self.run(self.outbox.remove_expired_suppressions(self.now, 10)):
                pass
            for key in expired:
                del self.there[key]

    @rule(tenant=st.sampled_from(TENANTS), who=st.sampled_from(WHO), scope=st.sampled_from(SENDERS[1:]))
    def accept(self, tenant: str, who: bytes, scope: str) -> None:
        command = build.command(tenant=tenant)
        record = build.accepted(command, now=self.now)
        new = replace(build.new_message(command, record=record), recipient_hashes=(who,), scope=scope)

        async def accept(new: NewMessage) -> MessageState:
            return (await self.outbox.accept(new)).record.state

        is_suppressed = any(self.in_force((tenant, who, sender)) for sender in (ANY_SENDER, scope))
        assert (self.run(accept(new)) is MessageState.FAILED) is is_suppressed

    @invariant()
    def what_is_listed_and_found_is_what_the_model_has(self) -> None:
        for tenant in TENANTS:
            expected = [one for key in self.there if key[0] == tenant and (one := self.in_force(key))]
            found = self.run(self.outbox.suppressions(WHO, tenant, self.now))
            assert _sorted(found) == _sorted(expected)
            assert _sorted(self.run(self._listed(tenant))) == _sorted(expected)
        assert self.outbox.has_suppressions or not self.there

    async def _listed(self, tenant: str) -> list[Suppression]:
        found: list[Suppression] = []
        after: SuppressionPosition | None = None
        while True:
            page = await self.outbox.list_suppressions(2, after, tenant, self.now)
            found += page.suppressions
            if (after := page.next_after) is None:
                assert [one.create_time for one in found] == sorted((one.create_time for one in found), reverse=True)
                return found


def _sorted(some: Any) -> list[Suppression]:
    return sorted(some, key=lambda one: (one.address_hash, one.sender))


class InPostgres(SuppressionMachine):
    async def open(self) -> Outbox:
        return await PostgresOutbox.open(await new_database())


MACHINES = pytest.mark.parametrize(
    ("machine", "examples"), [(SuppressionMachine, 12), (InPostgres, 2)], ids=["memory", "postgres"]
)


@MACHINES
def test_it_holds_what_the_model_holds(machine: type[SuppressionMachine], examples: int) -> None:
    run(machine, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None))


@pytest.mark.long
@MACHINES
def test_it_does_so_for_long(machine: type[SuppressionMachine], examples: int) -> None:
    run(machine, settings=settings(max_examples=examples * 24, stateful_step_count=50, deadline=None))
