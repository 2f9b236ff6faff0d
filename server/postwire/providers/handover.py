"""What a provider is given with a message, and where it says whether the message may have left."""

from __future__ import annotations

from typing import Final, Self

from postwire.core.message import DEFAULT_TENANT

_CAUSES_AT_MOST: Final = 10
"""How far back an exception is followed to what caused it."""


class Handover:
    """One attempt, as a provider sees it.

    `key` is the idempotency key, the same for every attempt of one message to the same recipients, for vendors that
    take one; `positions` are those of the recipients of an email that are still to get it (from 0, in `to`, then `cc`,
    then `bcc`), None for all of them. `message_id` is the message's, whoever of its recipients the attempt is for, and
    `tenant` whose message it is.

    Times are in µs since the epoch: `created` is when the message was accepted, or for when its caller has scheduled
    it; `now`, when this attempt began; `deadline`, when the message expires. A vendor that deduplicates is to get the
    same from identical attempts: nothing that depends on `now`.

    `reference` is what a receipt is to quote, and `callback_url` where it is to be sent; both are empty while none are
    taken. `traceparent` is the W3C trace context, for vendors that pass it on; it may be empty.

    An attempt counts as handed over: whatever cuts it short leaves it `UNCERTAIN`. Only what ends it inside
    `with handover.connecting():` has surely sent nothing, so that the attempt is an `ERROR` and others may be asked at
    once. Put name resolution, connecting, TLS and logging in there, and nothing that could have a message sent. A
    second block says that nothing was sent up to its end, either.
    """

    __slots__ = (
        "_ended_by",
        "callback_url",
        "created",
        "deadline",
        "key",
        "message_id",
        "now",
        "positions",
        "reference",
        "tenant",
        "traceparent",
    )

    def __init__(
        self,
        key: str,
        positions: tuple[int, ...] | None = None,
        deadline: int = 0,
        reference: str = "",
        callback_url: str = "",
        traceparent: str = "",
        *,
        message_id: str = "",
        created: int = 0,
        now: int = 0,
        tenant: str = DEFAULT_TENANT,
    ) -> None:
        self.key = key
        self.message_id = message_id
        self.created = created
        self.now = now
        self.positions = positions
        self.deadline = deadline
        self.reference = reference
        self.callback_url = callback_url
        self.traceparent = traceparent
        self.tenant = tenant
        self._ended_by: BaseException | None = None

    @property
    def validity(self) -> int | None:
        """For how many seconds from `now` on the message is worth delivering, at least 1; None without a deadline."""
        return max((self.deadline - self.now) // 1_000_000, 1) if self.deadline else None

    def connecting(self) -> _Connecting:
        """A context manager for what comes before the message leaves."""
        return _Connecting(self)

    def is_before(self, error: BaseException) -> bool:
        """Whether `error`, which ended the attempt, came out of `connecting()`: nothing was sent, then.

        One that the provider has made of such an error counts (`raise … from error`, as asyncio and aiohttp do). One
        that merely came after it does not: the provider may have sent the message some other way meanwhile.
        """
        found: BaseException | None = error
        for _ in range(_CAUSES_AT_MOST):
            if found is None or self._ended_by is None:
                return False
            if found is self._ended_by:
                return True
            found = found.__cause__
        return False


class _Connecting:
    __slots__ = ("_handover",)

    def __init__(self, handover: Handover) -> None:
        self._handover = handover

    def __enter__(self) -> Self:
        self._handover._ended_by = None
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        self._handover._ended_by = error
