"""Waits that end: for what tells of itself once it has happened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 100.0
"""Seconds after which something that has to happen counts as not happening. Never waited for in a good run, on however
slow a machine."""


class Limit(float):
    """Seconds that something may take, and that a test may change: whoever adds them to a time gets the latest."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __radd__(self, time: float) -> float:
        return time + self.seconds


async def within(happening: Awaitable[T], patience: float = PATIENCE) -> T:
    """Wait for it, and fail where it does not come."""
    async with asyncio.timeout(patience):
        return await happening
