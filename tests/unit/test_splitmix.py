"""The generator, held to vectors that were computed by the reference in C (Vigna's `splitmix64.c`), not by our code."""

from __future__ import annotations

import hashlib

import pytest

from postwire.core.splitmix import SplitMix64, stream

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


# Streams. The vector: `printf weights | sha256sum` begins with 9a 12 90 38 d9 a0 0a ed; read from the last of these
# bytes to the first, XOR 42, it is the seed, and what follows are the draws of the reference in C for it.

SEED_OF_42_AND_WEIGHTS = 0xED0AA0D9389012B0
DRAWS_OF_42_AND_WEIGHTS = (0x1E0ACC61C7F80883, 0x3F6886E2314B18C2, 0x3D6267F6163DA5F5, 0x0AC2BFF0272F5CD8)


def draws(generator: SplitMix64, count: int = 4) -> tuple[int, ...]:
    return tuple(generator.next_u64() for _ in range(count))


def test_the_stream_weights_of_seed_42() -> None:
    first_bytes = reversed(bytes.fromhex(hashlib.sha256(b"weights").hexdigest()[:16]))
    assert int("".join(f"{byte:02x}" for byte in first_bytes), 16) ^ 42 == SEED_OF_42_AND_WEIGHTS
    assert draws(stream(42, "weights")) == DRAWS_OF_42_AND_WEIGHTS
    assert draws(SplitMix64(SEED_OF_42_AND_WEIGHTS)) == DRAWS_OF_42_AND_WEIGHTS
    assert stream.__doc__ is not None
    assert f"SplitMix64(0x{SEED_OF_42_AND_WEIGHTS:X})" in stream.__doc__, "others foretell our draws by what it says"


def test_the_same_name_gives_the_same_stream_and_another_name_another() -> None:
    assert draws(stream(42, "backoff")) == draws(stream(42, "backoff"))
    each = {draws(stream(seed, name)) for seed in (0, 42, 2**64 - 1) for name in ("weights", "backoff", "jitter", "")}
    assert len(each) == 12


def test_draws_of_one_purpose_shift_none_of_another() -> None:
    weights, backoff = stream(42, "weights"), stream(42, "backoff")
    drawn = []
    for one in draws(stream(42, "weights")):
        drawn.append(weights.next_u64())
        draws(backoff, one % 7)
    assert tuple(drawn) == DRAWS_OF_42_AND_WEIGHTS


def test_a_name_counts_in_utf_8() -> None:
    seed = int.from_bytes(hashlib.sha256(b"\xc3\xbc").digest()[:8], "little")
    assert draws(stream(0, "\u00fc")) == draws(SplitMix64(seed))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_stream_of_a_seed_beyond_64_bits_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        stream(seed, "weights")
