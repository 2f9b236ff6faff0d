"""`postwire serve` with mocks whose vendor never answers a check."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

from postwire import app
from postwire.cli import main
from postwire.providers.base import ProviderHealth
from postwire.providers.mock import KIND, MockProvider


class _Open(MockProvider):
    """Opens without a check."""

    async def open(self) -> ProviderHealth:
        return ProviderHealth(ok=True)


class Unreachable(_Open):
    async def check(self) -> ProviderHealth:
        await asyncio.Event().wait()
        raise AssertionError


class Stubborn(_Open):
    """Swallows its cancellation."""

    async def check(self) -> ProviderHealth:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


class OnThread(_Open):
    """Waits on a thread, as a library does that looks up names."""

    async def check(self) -> ProviderHealth:
        await asyncio.to_thread(threading.Event().wait)
        raise AssertionError


def _run(make: type[MockProvider]) -> None:
    setattr(app, "KINDS", MappingProxyType({"mock": replace(KIND, make=make)}))  # noqa: B010  mypy refuses the plain assignment
    main()


def run() -> None:
    _run(Unreachable)


def run_stubborn() -> None:
    _run(Stubborn)


def run_on_thread() -> None:
    _run(OnThread)
