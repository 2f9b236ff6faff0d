"""How long to wait before the next try: exponential backoff with full jitter.

Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. Of the variants compared there, full
jitter spreads those who wait the furthest: many that failed together do not come back together.
"""

from __future__ import annotations

from typing import Final

_HIGHEST_POWER: Final = 1023
"""Of two, that a float holds. What goes on doubling has met its limit long before."""


def delay(attempt: int, *, base: float, most: float, draw: float) -> float:
    """Seconds to wait once `attempt` has failed, the first being 1: a part of `base`, doubled with each, up to `most`.

    `draw`, in [0, 1), says which part.

    Raises:
        ValueError: the attempt is less than 1.
    """
    if attempt < 1:
        raise ValueError("the first attempt is number 1")
    return draw * min(most, base * 2.0 ** min(attempt - 1, _HIGHEST_POWER))
