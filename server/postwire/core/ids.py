"""Message ids: UUIDs of version 7 (RFC 9562, section 5.7) that rise strictly within a process."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable

_SEQUENCE_BITS = 12
_SEQUENCE = (1 << _SEQUENCE_BITS) - 1
_RANDOM_BITS = 62
_NUMBER = struct.Struct("<Q")


class MessageIds:
    """Makes ids. `random_bits(n)` gives n random bits; time is handed in with each call.

    The 12 bits after the milliseconds count the ids of one millisecond (RFC 9562, section 6.2, method 1), so ids sort
    by the order in which they were made, even where the wall clock steps back: the last millisecond is then kept.
    """

    __slots__ = ("_last", "_random_bits")

    def __init__(self, random_bits: Callable[[int], int]) -> None:
        self._random_bits = random_bits
        self._last = 0

    def next(self, now: int) -> str:
        """The next id. `now` is in µs since the epoch."""
        self._last = last = max((now // 1000) << _SEQUENCE_BITS, self._last + 1)
        milliseconds = last >> _SEQUENCE_BITS
        low = (0b10 << _RANDOM_BITS) | self._random_bits(_RANDOM_BITS)
        # In one step, since to cut the hyphens' places out of the digits takes longer than all the rest.
        return "%08x-%04x-7%03x-%04x-%012x" % (  # noqa: UP031
            milliseconds >> 16,
            milliseconds & 0xFFFF,
            last & _SEQUENCE,
            low >> 48,
            low & 0xFFFFFFFFFFFF,
        )


class RandomBits:
    """Gives random bits out of larger pieces: asking the system for each id costs more than all the rest of it."""

    __slots__ = ("_numbers", "_random_bytes")

    PIECE = 4096

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        """`random_bytes(n)` gives n random bytes: `os.urandom`."""
        self._random_bytes = random_bytes
        self._numbers = _NUMBER.iter_unpack(b"")

    def __call__(self, bits: int) -> int:
        """So many random bits, at most 64."""
        for (number,) in self._numbers:  # the next one
            return int(number) >> (64 - bits)
        self._numbers = _NUMBER.iter_unpack(self._random_bytes(self.PIECE))
        return self(bits)


def is_message_id(text: str) -> bool:
    """Whether `text` is a UUID in the canonical form: 36 characters, lower case."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def idempotency_key(message_id: str, positions: tuple[int, ...] | None) -> str:
    """The key under which a vendor is to send a message once, to the recipients at `positions`; None is all of them.

    The message id, or for some recipients the UUID of version 5 (RFC 9562, section 5.5) of their positions, ascending,
    in the namespace of the message id. Under one key for different recipients, a vendor that deduplicates would call
    those sent that it never had.
    """
    if positions is None:
        return message_id
    return str(uuid.uuid5(uuid.UUID(message_id), ",".join(map(str, positions))))
