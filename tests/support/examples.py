"""How many examples of chance a test is given."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import settings

_ALL: Final = 100
"""What the profile `explore` gives a test that does not say."""


def examples(count: int, **others: Any) -> settings:
    """So many in `make test-long`, which draws new ones; `make test` always draws the same, a quarter as many."""
    return settings(max_examples=count * settings().max_examples // _ALL, **others)
