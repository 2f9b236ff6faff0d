"""What the bench's groups work out for themselves."""

from __future__ import annotations

import pytest
from tests.bench.groups.cost import sizes_up_to


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (1_000_000, [0, 1_000, 10_000, 100_000, 1_000_000]),
        (10_000, [0, 1_000, 10_000]),
        (2_500, [0, 1_000, 2_500]),
        (300, [0, 300]),
    ],
)
def test_the_cost_is_measured_at_nothing_at_powers_of_ten_and_at_the_most(most: int, sizes: list[int]) -> None:
    assert sizes_up_to(most) == sizes
