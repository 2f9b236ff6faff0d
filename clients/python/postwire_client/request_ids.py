"""Request ids, for those who give none of their own."""

from __future__ import annotations

import secrets
import time
import uuid


def new_request_id() -> str:
    """A request id that nobody else has: a UUID of version 7, which rises with time.

    The server finds messages by it. What comes in order goes into one place of its index, and what does not into
    as many as there are messages: with a million of them, three times the time and six times as much to write.
    """
    milliseconds, random_bits = time.time_ns() // 1_000_000, secrets.randbits(74)
    head = milliseconds << 16 | 7 << 12 | random_bits >> 62
    return str(uuid.UUID(int=head << 64 | 0b10 << 62 | random_bits & ((1 << 62) - 1)))
