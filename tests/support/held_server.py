"""`postwire serve` with mocks that are held up until a test lets them answer.

A mock's `latency` is how long it takes at most: once it is changed, the attempts that are under way end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from postwire import app
from postwire.cli import main
from postwire.core.message import OutboundMessage
from postwire.core.outcome import DispatchResult
from postwire.providers.base import Context
from postwire.providers.handover import Handover
from postwire.providers.mock import KIND, MockProvider, MockSettings


class Held(MockProvider):
    """A mock whose attempts under way end once its latency is changed."""

    def __init__(self, context: Context, settings: MockSettings) -> None:
        super().__init__(context, settings)
        self._answers = asyncio.Event()

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        result = self._decide(message, handover)
        assert result
        if self.settings.latency:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.latency):
                    await self._answers.wait()
        return result

    def prepare_update(self, changes: Mapping[str, Any]) -> Callable[[], None]:
        prepared = super().prepare_update(changes)

        def update() -> None:
            prepared()
            if "latency" in changes:
                self._answers.set()
                self._answers = asyncio.Event()

        return update


def run() -> None:
    setattr(app, "KINDS", MappingProxyType({"mock": replace(KIND, make=Held)}))  # noqa: B010  mypy refuses the plain assignment
    main()


if __name__ == "__main__":
    run()
