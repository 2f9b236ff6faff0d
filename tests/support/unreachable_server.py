"""`postwire serve` with mocks whose vendor never answers a check. Run as a script."""

from __future__ import annotations

import asyncio
import sys
from types import MappingProxyType

from postwire import app
from postwire.cli.serve import serve
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.mock import MockProvider, MockSettings


class Unreachable(MockProvider):
    async def check(self) -> ProviderHealth:
        await asyncio.Event().wait()
        raise AssertionError


if __name__ == "__main__":
    setattr(app, "KINDS", MappingProxyType({"mock": Kind(MockSettings, Unreachable)}))  # noqa: B010  mypy refuses the plain assignment
    sys.exit(serve.main(args=[], standalone_mode=False))
