"""Store files for tests of what operators do with them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.providers import FakeProvider
from tests.support.waiting import within

from postwire.core.ids import MessageIds
from postwire.core.message import DeliveryGuarantee, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import Outbox, OutboxError
from postwire.outbox.sqlite import SqliteOutbox


def boot(outbox: Outbox, number: int, **fields: Any) -> Harness:
    """The harness of a later boot: its message ids are its own."""
    return Harness(outbox, ids=MessageIds(random.Random(number).getrandbits), **fields)


async def fill(path: Path) -> None:
    """Make a store with seven messages in many states, one of which was being sent, and a provider that is drained."""
    outbox = await SqliteOutbox.open(str(path))
    harness = Harness(outbox, provider=FakeProvider())
    for outcome in (Outcome.SUCCESS, Outcome.SUCCESS, Outcome.REJECTED, Outcome.UNCERTAIN, Outcome.ERROR):
        harness.provider.answer = DispatchResult(outcome)
        await harness.send(
            build.command(build.email(text="x" * 3_000), delivery_guarantee=DeliveryGuarantee.AT_MOST_ONCE)
        )
    await harness.send(build.command(send_time=START + build.HOUR))
    await outbox.set_drained("sms-mms", True)
    held = boot(outbox, 2, provider=FakeProvider(held=True))
    await held.send(build.command(wait_for=WaitFor.ACCEPTANCE))
    await within(held.provider.calls())
    await held.drain(0.0)
    await outbox.close()


@contextmanager
def database(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    try:
        yield connection
    finally:
        connection.close()


def change(path: Path, *statements: str) -> None:
    """Change a store that nobody serves."""
    with database(path) as connection:
        for statement in statements:
            connection.execute(statement)


def refused(call: Callable[[], object]) -> str:
    """The one line of a call that has to fail."""
    with pytest.raises(OutboxError) as caught:
        call()
    line = str(caught.value)
    assert line
    assert "\n" not in line
    return line


def left_in(folder: Path) -> set[str]:
    """What is in a folder beside the store itself."""
    return {one.name for one in folder.iterdir() if not one.name.startswith("postwire.db")}
