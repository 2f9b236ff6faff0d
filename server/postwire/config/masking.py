"""Settings whose secrets are struck out, for what people are shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from postwire.config.bind import entries

MASK: Final = "***"

T = TypeVar("T")


def masked(settings: T) -> T:
    """The same settings with `MASK` in place of every secret.

    In a table that may hold secrets, texts with a `{placeholder}` stay: they are what is to be filled in.
    """
    changes: dict[str, Any] = {}
    for entry in entries(type(settings)):
        value = getattr(settings, entry.name)
        if entry.table:
            changes[entry.name] = masked(value)
        elif entry.secret and value is not None:
            changes[entry.name] = _masked(value)
    made: Any = settings  # mypy does not know that it is a dataclass
    return dataclasses.replace(made, **changes) if changes else settings


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return value if "{" in value else MASK
    if isinstance(value, Mapping):
        return {name: _masked(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_masked, value))
    return value
