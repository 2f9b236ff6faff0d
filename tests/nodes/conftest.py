"""What tests of several nodes need."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pytest
from tests.nodes.chaos import LocalChaos

from postwire.cli.demo.local_postgres import NoPostgres

T = TypeVar("T", bound=LocalChaos)


def with_postgres(make: Callable[[], T]) -> T:
    """Make nodes with a database; skips the test where there is no PostgreSQL, as `tests.support.postgres` does."""
    try:
        return make()
    except NoPostgres as error:
        if os.environ.get("POSTWIRE_TEST_COMPLETE"):
            raise
        pytest.skip(str(error))
