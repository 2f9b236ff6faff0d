"""SplitMix64: the generator behind everything that must replay.

Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014, and Vigna's public-domain
reference `splitmix64.c`. Eight lines in any language, so that others can foretell our draws; the standard library's
generator promises no stability of its methods between versions.
"""

from __future__ import annotations

import hashlib
from typing import Final

_MASK: Final = 0xFFFFFFFFFFFFFFFF
_TO_UNIT: Final = 2.0**-53


class SplitMix64:
    """A stream of draws that one 64-bit seed decides."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        if not 0 <= seed <= _MASK:
            raise ValueError("a seed is a whole number of 64 bits, not negative")
        self._state = seed

    def next_u64(self) -> int:
        """The next draw, as a whole number of 64 bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def next_unit(self) -> float:
        """The next draw, as a float of 53 bits in [0, 1)."""
        return (self.next_u64() >> 11) * _TO_UNIT


def stream(seed: int, name: str) -> SplitMix64:
    """The generator of one purpose, so that draws for one never shift those for another.

    Its seed is `seed` XOR the first 8 bytes, little endian, of the SHA-256 of the name in UTF-8. So
    `stream(42, "weights")` is `SplitMix64(0xED0AA0D9389012B0)`.

    Raises:
        ValueError: the seed is not a whole number of 64 bits.
    """
    return SplitMix64(seed ^ int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
