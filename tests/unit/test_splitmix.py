"""The generator, held to vectors that were computed by the reference in C (Vigna's `splitmix64.c`), not by our code."""

from __future__ import annotations

import pytest

from postwire.core.splitmix import SplitMix64

REFERENCE = {
    0: (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC, 0x1B39896A51A8749B),
    1234567: (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821),
    2**64 - 1: (0xE4D971771B652C20, 0xE99FF867DBF682C9, 0x382FF84CB27281E9),
}

# (next() >> 11) * 0x1.0p-53, as C prints it with %a.
UNIT_DRAWS_OF_42 = (
    "0x1.7bae644c5fd6dp-1",
    "0x1.477f199d93378p-3",
    "0x1.1d499d5c4c3e6p-2",
    "0x1.607387fc392b8p-2",
    "0x1.378b0b448904p-5",
    "0x1.bc8863f47901bp-1",
    "0x1.bf4b38e229bb4p-3",
    "0x1.99ec6bdd3d3c5p-1",
    "0x1.5c16e1dc2cf5ep-2",
    "0x1.3ca9ae7052feep-1",
    "0x1.a3a39253bad8cp-3",
    "0x1.f8d2283914594p-2",
    "0x1.06dbdb12fe7c8p-1",
    "0x1.0a3f2ee68fdadp-1",
    "0x1.548fc63805cf1p-1",
    "0x1.a0a2962a6be18p-3",
    "0x1.a83d752f35eb8p-4",
    "0x1.fb64000fd9fe6p-2",
    "0x1.7eadff448a868p-4",
    "0x1.60bd943452e57p-1",
)


@pytest.mark.parametrize("seed", REFERENCE)
def test_draws_are_those_of_the_reference(seed: int) -> None:
    generator = SplitMix64(seed)
    assert tuple(generator.next_u64() for _ in REFERENCE[seed]) == REFERENCE[seed]


def test_the_first_twenty_unit_draws_of_seed_42() -> None:
    generator = SplitMix64(42)
    assert [generator.next_unit() for _ in range(20)] == [float.fromhex(draw) for draw in UNIT_DRAWS_OF_42]


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_beyond_64_bits_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        SplitMix64(seed)


def test_a_unit_draw_never_reaches_one() -> None:
    class Highest(SplitMix64):
        def next_u64(self) -> int:
            return 2**64 - 1

    assert Highest(0).next_unit() < 1.0
