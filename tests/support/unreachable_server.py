"""`postwire serve` with mocks whose vendor never answers a check."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import MappingProxyType

from postwire import app
from postwire.cli import main
from postwire.providers.base import ProviderHealth
from postwire.providers.mock import KIND, MockProvider


class Unreachable(MockProvider):
    async def check(self) -> ProviderHealth:
        await asyncio.Event().wait()
        raise AssertionError


def run() -> None:
    setattr(app, "KINDS", MappingProxyType({"mock": replace(KIND, make=Unreachable)}))  # noqa: B010  mypy refuses the plain assignment
    main()
