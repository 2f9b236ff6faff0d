"""Every kind of provider that there is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from postwire.providers.base import Kind
from postwire.providers.mock import MockProvider, MockSettings

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "mock": Kind(settings=MockSettings, make=MockProvider),
    }
)
"""By the name that `providers.NAME.kind` uses."""
