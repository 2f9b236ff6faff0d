"""What tests of several nodes need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tests.nodes.chaos import LocalChaos
from tests.support.postgres import skipped_without_postgres

T = TypeVar("T", bound=LocalChaos)


def with_postgres(make: Callable[[], T]) -> T:
    """Make nodes with a database; skips the test where there is no PostgreSQL."""
    with skipped_without_postgres():
        return make()
