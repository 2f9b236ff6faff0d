"""Outboxes for the tests of this folder: whatever holds for one of them holds for all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.new_stores import new_stores  # noqa: F401  # a fixture
from tests.support.outboxes import LASTING, PLACES, Reopen, but_at_length

from postwire.outbox.base import Outbox


@pytest.fixture(params=but_at_length(PLACES, "file"))
async def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Outbox]:
    opened = await PLACES[request.param](tmp_path)
    yield opened
    await opened.close()


@pytest.fixture(params=but_at_length(PLACES, "file"))
async def closing(request: pytest.FixtureRequest, tmp_path: Path) -> Outbox:
    """One that the test closes."""
    return await PLACES[request.param](tmp_path)


@pytest.fixture(params=LASTING)
async def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Reopen]:
    """Opens an outbox, and each time after that closes it and opens it again."""
    opened: list[Outbox] = []

    async def again() -> Outbox:
        if opened:
            await opened.pop().close()
        opened.append(await PLACES[request.param](tmp_path))
        return opened[0]

    yield again
    for left in opened:
        await left.close()
