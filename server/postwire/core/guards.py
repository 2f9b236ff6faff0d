"""Guards: which numbers messages go to, and how many go to a prefix, or to one recipient, within a window.

A window slides in 60 steps: what was counted in a step leaves it with the end of that step, never before. So no stretch
of time that is as long as the window ever has one too many, and there is room again a step too late at the most.

Times are in µs, on a clock that goes on evenly from boot to boot: see `GuardClock`.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from postwire.core.errors import GuardExceeded, RecipientNotAllowed
from postwire.core.message import Email, OutboundMessage
from postwire.core.suppression import normalized
from postwire.core.values import Word

STEPS: Final = 60
"""In how many steps a window slides."""

_PURPOSE: Final = b"postwire/guard/1"


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `count` messages, 1 or more, within `window` µs."""

    count: int
    window: int


class Rule(Word):
    """What is counted, by the key in `[guards]`."""

    PREFIX = "max_per_prefix"
    RECIPIENT = "max_per_recipient"


@dataclass(frozen=True, slots=True)
class GuardRules:
    """What `[guards]` says. Without `allow_prefixes`, every number is allowed."""

    allow_prefixes: tuple[str, ...] | None = None
    max_per_prefix: Mapping[str, Cap] = field(default_factory=lambda: MappingProxyType({}))
    max_per_recipient: Cap | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Counted:
    """One of the counts that a message is in: that of a `subject`, a prefix or an address, which is in a `field`."""

    rule: Rule
    subject: str
    field: str
    cap: Cap


@dataclass(frozen=True, slots=True, repr=False)
class Guarded:
    """All counts that a message is in, and when (due clock) it came. It is accepted where there is room in each."""

    now: int
    counts: tuple[Counted, ...]


class Guards:
    """Finds what applies to a message."""

    __slots__ = ("_applies", "_lengths", "_rules")

    def __init__(self, rules: GuardRules) -> None:
        self.replace(rules)

    def replace(self, rules: GuardRules) -> None:
        """Apply other rules from now on. What was counted stays counted."""
        self._rules = rules
        self._applies = rules != GuardRules()
        self._lengths = sorted({len(prefix) for prefix in rules.max_per_prefix}, reverse=True)

    def check(self, message: OutboundMessage, now: int) -> Guarded | None:
        """The counts that a message is in, if there are any. `now` is by the due clock.

        Raises:
            RecipientNotAllowed: its number begins with none of the prefixes that are allowed.
        """
        if not self._applies:
            return None
        rules, content = self._rules, message.content
        counts: list[Counted] = []
        if isinstance(content, Email):
            if rules.max_per_recipient:
                counts = [
                    Counted(Rule.RECIPIENT, address, f"message.email.{name}[{index}]", rules.max_per_recipient)
                    for name, addresses in (("to", content.to), ("cc", content.cc), ("bcc", content.bcc))
                    for index, address in enumerate(addresses)
                ]
        else:
            number, path = content.to, f"message.{message.channel.value}.to"
            if rules.allow_prefixes is not None and not number.startswith(rules.allow_prefixes):
                raise RecipientNotAllowed(path)
            if prefix := next((number[:one] for one in self._lengths if number[:one] in rules.max_per_prefix), None):
                counts.append(Counted(Rule.PREFIX, prefix, path, rules.max_per_prefix[prefix]))
            if rules.max_per_recipient:
                counts.append(Counted(Rule.RECIPIENT, number, path, rules.max_per_recipient))
        return Guarded(now, tuple(counts)) if counts else None


def counter_id(counted: Counted, tenant: str, key: bytes) -> bytes:
    """What a count is known by: 32 bytes, from which nobody who has not the key can find out whose it is.

    That of an address is the same however it is written, and on each channel; that of another tenant is another.
    """
    parts = (_PURPOSE, counted.rule.value.encode(), tenant.encode(), normalized(counted.subject).encode())
    return hmac.digest(key, b"\0".join(parts), "sha256")


class SlidingCount:
    """How many messages were counted within a cap's window until `now`. `kept` is what `encode` has given before."""

    __slots__ = ("_cap", "_now", "_steps", "_total")

    def __init__(self, cap: Cap, now: int, kept: bytes = b"") -> None:
        numbers = struct.unpack(f">{len(kept) // 8}q", kept)
        self._cap = cap
        self._now = now
        # Of each step when it ends, and how many were counted in it; oldest first.
        self._steps: list[tuple[int, int]] = [
            (end, count) for end, count in zip(numbers[::2], numbers[1::2], strict=True) if end > now - cap.window
        ]
        self._total = sum(count for _, count in self._steps)

    @property
    def room_at(self) -> int:
        """When there is room for one more: `now`, or later."""
        left = self._total
        if left < self._cap.count:
            return self._now
        for end, count in self._steps:
            left -= count
            if left < self._cap.count:
                return end + self._cap.window
        raise AssertionError("a cap lets one through at least")

    def add(self) -> None:
        """Count one more, now."""
        length = -(-self._cap.window // STEPS)
        end = (self._now // length + 1) * length
        # A step that ends later is there where the window was longer until lately: it leaves no sooner for that.
        if self._steps and self._steps[-1][0] >= end:
            last, count = self._steps[-1]
            self._steps[-1] = last, count + 1
        else:
            self._steps.append((end, 1))
        self._total += 1

    @property
    def gone_at(self) -> int:
        """When nothing is left of it."""
        return self._steps[-1][0] + self._cap.window if self._steps else self._now

    def encode(self) -> bytes:
        """What is to be kept of it: 16 bytes for each step in which anything was counted."""
        return struct.pack(f">{2 * len(self._steps)}q", *(number for step in self._steps for number in step))


def count_all(counts: Iterable[tuple[Counted, SlidingCount]], now: int) -> GuardExceeded | None:
    """Count a message in each of these counts if there is room in all of them; else in none, and return the refusal:
    that of the count that has room last."""
    full: tuple[int, Counted] | None = None
    counts = list(counts)
    for counted, count in counts:
        room_at = count.room_at
        if room_at > now and (full is None or room_at > full[0]):
            full = room_at, counted
    if full:
        room_at, counted = full
        return GuardExceeded(f"guards.{counted.rule.value}", counted.field, -((now - room_at) // 1000) / 1000)
    for _, count in counts:
        count.add()
    return None


@dataclass(frozen=True, slots=True)
class GuardClock:
    """The clock that is counted by. It never goes back, and neither who sets the wall clock moves it, nor a restart.

    It is `shift` ahead of the due clock of this boot, and `machine_shift` of the time since the machine was booted, the
    boot of which is named by `machine`. `latest` is the latest time by which anything was counted.
    """

    latest: int = 0
    shift: int = 0
    machine: str = ""
    machine_shift: int = 0

    def resumed(self, due: int, ahead: int, machine: tuple[str, int] | None) -> GuardClock:
        """The clock as it goes on in a new boot, now that the due clock of that shows `due`.

        While the machine has not been booted anew, its own clock tells how much time has passed. Else the wall clock
        does, which was `ahead` of the due clock of the boot before; what it was set by while there was no boot, nobody
        knows. `machine` is as `Clock.machine` has it.
        """
        name, uptime = machine or ("", 0)
        now = uptime + self.machine_shift if name and name == self.machine else due + self.shift - ahead
        now = max(now, self.latest)
        return GuardClock(self.latest, now - due, name, now - uptime)

    def at(self, due: Sequence[int]) -> GuardClock:
        """The clock as it shows, as `latest`, the last of these times of the due clock, or what it showed before."""
        return replace(self, latest=max(self.latest, max(due) + self.shift))
