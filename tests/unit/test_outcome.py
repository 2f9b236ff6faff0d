"""Which of several recipients' outcomes speaks for the attempt."""

from __future__ import annotations

from itertools import combinations

import pytest

from postwire.core.outcome import Outcome, worst

# From the least that is left to do to the most: what may have been sent needs the most care.
ORDER = (
    *(Outcome.SUCCESS, Outcome.REJECTED, Outcome.DEFERRED, Outcome.RATE_LIMITED, Outcome.ERROR),
    *(Outcome.MISCONFIGURED, Outcome.UNCERTAIN),
)


def test_every_outcome_is_ordered() -> None:
    assert set(ORDER) == set(Outcome)


@pytest.mark.parametrize(("milder", "graver"), list(combinations(ORDER, 2)))
def test_the_graver_outcome_wins_in_either_order(milder: Outcome, graver: Outcome) -> None:
    assert worst([milder, graver]) is graver
    assert worst([graver, milder, milder]) is graver


def test_no_outcome_at_all_is_a_success() -> None:
    assert worst([]) is Outcome.SUCCESS
