"""What every outbox keeps to about who shares it."""

from __future__ import annotations

from tests.support.outboxes import Reopen

from postwire.outbox.base import Outbox


async def test_who_is_alone_leads(outbox: Outbox) -> None:
    assert list(await outbox.members()) == [outbox.member]
    assert (outbox.member.rank, outbox.member.is_leader) == (0, True)


async def test_each_opening_has_a_number_of_its_own(reopen: Reopen) -> None:
    numbers = [(await reopen()).member.number for _ in range(4)]
    assert numbers == sorted(set(numbers))
