"""Settings whose secrets are struck out, for what people are shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from postwire.config.bind import entries
from postwire.config.tables import PLACEHOLDER

MASK: Final = "***"

T = TypeVar("T")


def masked(settings: T) -> T:
    """The same settings with `MASK` in place of every secret.

    Of a table that may hold secrets, names and `PLACEHOLDERS` stay: they are what is to be filled in.
    """
    changes: dict[str, Any] = {}
    for entry in entries(type(settings)):
        value = getattr(settings, entry.name)
        if entry.table and value is not None:
            changes[entry.name] = masked(value)
        elif entry.secret and value is not None:
            changes[entry.name] = _masked(value)
    made: Any = settings  # mypy does not know that it is a dataclass
    return dataclasses.replace(made, **changes) if changes else settings


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _template(one) for name, one in value.items()}
    return [MASK] * len(value) if isinstance(value, list | tuple) else MASK


def _template(value: Any) -> Any:
    """What stands in a table: of a text, the placeholders stay."""
    if isinstance(value, Mapping):
        return {name: _template(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_template(one) for one in value]
    if isinstance(value, str) and PLACEHOLDER.search(value):
        # Of the pieces, each second one is the name in a placeholder.
        pieces = PLACEHOLDER.split(value)
        return "".join(f"{{{one}}}" if at % 2 else one and MASK for at, one in enumerate(pieces))
    return MASK
