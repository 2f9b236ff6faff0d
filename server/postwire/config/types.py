"""Units: how one kind of value is read from TOML or the environment, checked, and written.

A settings class names them as the types of its fields: `Duration`, `Ratio`, `Seed`, … (see `postwire.config.bind`).
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, Literal

KeyPath = tuple[str | int, ...]
"""The keys that lead to a value. An integer counts the items of a list."""

HIDDEN: Final = object()
"""As the culprit of a `Refused`: a value that no message may show."""


class Refused(ValueError):
    """Raised by a unit: `culprit` is the value to show (or `HIDDEN`), and `problem` reads on from it.

    `at` leads from the unit's value to what is wrong within it; empty for the value itself.
    """

    def __init__(self, culprit: object, problem: str, *, at: KeyPath = ()) -> None:
        self.culprit, self.problem, self.at = culprit, problem, at
        super().__init__(problem)


# Spelling.


def toml_string(text: str) -> str:
    """The text as a TOML basic string, quotes included."""
    # JSON's escapes are TOML's too, but for DEL, and for those beyond the BMP: characters stay as they are.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def dotted(path: KeyPath) -> str:
    """The path as TOML writes a dotted key: `providers.sms-mms.seed`. Items of lists are counted: `routes.sms[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else toml_string(part))
    return text


def quote(raw: object) -> str:
    if isinstance(raw, str):
        return toml_string(raw if len(raw) <= 60 else raw[:57] + "...")
    if isinstance(raw, int | float) and not (isinstance(raw, int) and raw.bit_length() > 128):
        return str(raw).lower()  # str() refuses really long integers
    return {list: "a list", dict: "a table", int: "the number"}.get(type(raw), "the value")


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def parse_duration(text: str) -> float:
    """Seconds from `20ms`, `1.5s`, `5m`, `4h` or `7d`, correctly rounded. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,16})?)(ms|s|m|h|d)", text)
    if not found:
        raise ValueError("not a duration")
    return float(Fraction(found[1]) * _MILLISECONDS[found[2]] / 1000)


def format_duration(seconds: float) -> str:
    """The spelling with the fewest digits that `parse_duration` reads back as the same float."""
    exact = Fraction(repr(seconds)) * 1000
    for unit, least in (("d", 2), ("h", 1), ("m", 2), ("s", 0)):  # 24h reads better than 1d, 60s than 1m
        count = exact / _MILLISECONDS[unit]
        if count.denominator == 1 and count >= least:
            return f"{count.numerator}{unit}"
    unit = "s" if exact > 1000 else "ms"
    # Exact, and short enough to be read again: a float of 1 s or more has at most 16 decimals, and a smaller
    # one has no more (in ms) than what it was read from.
    digits = f"{int(exact / _MILLISECONDS[unit] * 10**24):025d}"
    return f"{digits[:-24]}.{digits[-24:]}".rstrip("0").rstrip(".") + unit


def longer_than(key: str, value: float, other_key: str, limit: float) -> ValueError:
    """For a settings class to raise: the duration of `key` is longer than that of `other_key`, `limit`."""
    longer = f"{key}: {format_duration(value)} is longer than {other_key} ({format_duration(limit)})"
    return ValueError(f"{longer}, must be at most that")


def parse_size(text: str) -> int:
    """Bytes from `512B`, `64KiB`, `32MiB`, `1GiB` or a plain number. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,18})(B|KiB|MiB|GiB)?", text)
    if not found:
        raise ValueError("not a size")
    return int(found[1]) * _BYTES[found[2] or "B"]


def format_size(size: int) -> str:
    """The largest unit that leaves a whole number, else the plain number; `parse_size` reads it back."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


# Units: how one kind of value is read and written.


@dataclass(frozen=True, slots=True)
class Unit:
    """The base, and by itself a string. `wants` says what would be right, to follow "is not"."""

    wants: str = "a string"

    def native(self, text: str) -> object:
        """What TOML would give for this text of the environment; the text as it is where there is no such."""
        return text

    def from_file(self, text: str) -> object:
        """What TOML would give for the text of a file that holds nothing else. Raises Refused."""
        return self.native(text)

    def read(self, raw: object) -> Any:
        """The setting for a TOML value. Raises Refused."""
        if not isinstance(raw, str):
            raise Refused(raw, f"is not {self.wants}")
        try:
            return self.word(raw)
        except Refused:
            raise
        except ValueError:
            raise Refused(raw, f"is not {self.wants}") from None

    def word(self, text: str) -> Any:
        """The setting for a TOML string. Raises ValueError, which means `wants`, or Refused to say more."""
        return text

    def show(self, value: Any) -> str:
        """The setting as TOML writes it."""
        return toml_string(str(value))


@dataclass(frozen=True, slots=True)
class NameOrNone(Unit):
    """A name, or "" for none."""

    wants: str = 'a name of lower-case letters and digits with single dashes between, such as production, or ""'

    def word(self, text: str) -> str:
        if text and not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", text):
            raise ValueError("not a name")
        return text


class PathUnit(Unit):
    """A path of the file system; a relative one starts at the working directory."""

    def word(self, text: str) -> Path:
        if not text or "\0" in text:
            raise ValueError
        return Path(text)


@dataclass(frozen=True, slots=True)
class Flag(Unit):
    """true or false; the environment may also say yes and no, on and off, 1 and 0."""

    wants: str = "true or false"

    def native(self, text: str) -> object:
        word = text.strip().lower()
        if word in ("true", "yes", "on", "1"):
            return True
        return False if word in ("false", "no", "off", "0") else text

    def read(self, raw: object) -> bool:
        if not isinstance(raw, bool):
            raise Refused(raw, f"is not {self.wants}")
        return raw

    def show(self, value: Any) -> str:
        return str(value).lower()


@dataclass(frozen=True, slots=True)
class Number(Unit):
    """A number from `least` to `most` and of the type of these; with `over`, `least` itself is refused."""

    least: float = -1e300
    most: float = 1e300
    over: bool = False

    def native(self, text: str) -> object:
        word = text.strip()
        if len(word) > 40:  # int() refuses really long numbers in its own words
            return text
        if re.fullmatch(r"[+-]?[0-9]+(_[0-9]+)*", word):
            return int(word)
        if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", word):
            return float(word)
        return text

    def read(self, raw: object) -> Any:
        kind = type(self.least)
        if isinstance(raw, bool) or not isinstance(raw, int | kind):
            raise Refused(raw, f"is not {self.wants}")
        if not self.least <= raw <= self.most or (self.over and raw == self.least):  # nan is never within
            raise Refused(raw, f"is not {self.wants}")
        return kind(raw) + kind(0)  # + 0.0 makes 0.0 of -0.0

    def show(self, value: Any) -> str:
        return repr(value)


def whole(least: int, most: int) -> Number:
    """The unit of integers from `least` to `most`."""
    return Number(f"a whole number from {least} to {most}", least, most)


@dataclass(frozen=True, slots=True)
class DurationUnit(Unit):
    """Float seconds, written with a unit, at least `least` and at most 100 years. `zero` says whether 0s will do."""

    wants: str = "a duration such as 20ms, 1.5s, 5m, 4h or 7d"
    zero: bool = True
    least: float = 0.0
    longest: float = 36_500 * 86_400.0  # so that any time this far ahead still fits 64 bits of nanoseconds

    def native(self, text: str) -> object:
        return text.strip()

    def read(self, raw: object) -> Any:
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            raise Refused(raw, f"has no unit, write {self.wants}")
        return Unit.read(self, raw)

    def word(self, text: str) -> float:
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            raise Refused(text, f"has no unit, write {self.wants}")
        seconds = parse_duration(text)
        if seconds > self.longest:
            raise Refused(text, f"is too long, must be at most {format_duration(self.longest)}")
        if seconds == 0 and not self.zero:
            raise Refused(text, "is too short, must be more than 0s")
        if seconds < self.least:
            raise Refused(text, f"is too short, must be at least {format_duration(self.least)}")
        return seconds

    def show(self, value: Any) -> str:
        return toml_string(format_duration(value))


@dataclass(frozen=True, slots=True)
class SizeUnit(Unit):
    """Bytes, from 1 to `most`."""

    wants: str = "a size such as 512B, 64KiB, 32MiB or 1GiB"
    most: int = 2**63 - 1

    def native(self, text: str) -> object:
        return text.strip()

    def read(self, raw: object) -> Any:
        size = raw if isinstance(raw, int) and not isinstance(raw, bool) else Unit.read(self, raw)
        if not 1 <= size <= self.most:
            raise Refused(raw, f"is not from 1 to {self.most} bytes")
        return size

    def word(self, text: str) -> int:
        return parse_size(text)

    def show(self, value: Any) -> str:
        text = format_size(value)
        return text if text.isdigit() else toml_string(text)


@dataclass(frozen=True, slots=True)
class OffsetTime(Unit):
    """A point in time, in µs since the Unix epoch; in TOML an offset date-time. The environment cannot set it."""

    wants: str = "an offset date-time such as 2027-01-31T00:00:00Z, without quotes"

    def read(self, raw: object) -> int:
        if not isinstance(raw, datetime) or raw.tzinfo is None:
            raise Refused(raw, f"is not {self.wants}")
        since = raw - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds

    def show(self, value: Any) -> str:
        return (_EPOCH + timedelta(microseconds=value)).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Choice(Unit):
    """One of a few words; each stands for a value: itself, or an enum's member."""

    values: Mapping[str, object] = field(default_factory=dict)

    def native(self, text: str) -> object:
        return text.strip()

    def word(self, text: str) -> object:
        if text not in self.values:
            raise ValueError
        return self.values[text]

    def show(self, value: Any) -> str:
        return next(toml_string(word) for word, meaning in self.values.items() if meaning == value)


@dataclass(frozen=True, slots=True)
class ListOf(Unit):
    """A list without repeats, `least` items or more. In the environment: "a,b", and "" is the empty list."""

    item: Unit = field(default_factory=Unit)
    least: int = 0

    def native(self, text: str) -> object:
        return [self.item.native(part.strip()) for part in text.split(",")] if text.strip() else []

    def read(self, raw: object) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            raise Refused(raw, f"is not {self.wants}")
        items: list[Any] = []
        for item in raw:
            if isinstance(item, list | dict):
                raise Refused(item, f"is not supported in this list, write {self.wants}")
            if item == "":
                raise Refused(raw, f"has an empty item, write {self.wants}")
            if (value := self.item.read(item)) in items:
                raise Refused(item, "is there twice, write it once")
            items.append(value)
        if len(items) < self.least:
            raise Refused(raw, f"is too short, write {self.wants}")
        return tuple(items)

    def show(self, value: Any) -> str:
        return f"[{', '.join(self.item.show(item) for item in value)}]"


Duration = Annotated[float, DurationUnit()]
"""Float seconds, 0 or more: `0s`, `20ms`, `5m`."""
PositiveDuration = Annotated[float, DurationUnit(zero=False)]
"""Float seconds, more than 0."""
Size = Annotated[int, SizeUnit()]
"""Bytes, 1 or more: `32MiB`, `512B` or a plain integer."""
Ratio = Annotated[float, Number("a ratio from 0 to 1", 0.0, 1.0)]
"""A float from 0 to 1."""
PositiveRatio = Annotated[float, Number("a ratio over 0 and up to 1", 0.0, 1.0, over=True)]
"""A float over 0 and up to 1."""
Count = Annotated[int, whole(1, 1_000_000_000)]
"""A positive integer, up to a billion."""

CountOrNone = Annotated[int, whole(0, 1_000_000_000)]
"""The same, or 0 where there is none."""
Seed = Annotated[int, whole(0, 2**64 - 1)]
"""A random generator's seed: 64 bits, unsigned."""

_PLAIN: Final[Mapping[object, Unit]] = {
    bool: Flag(),
    int: whole(-(2**63), 2**63 - 1),
    float: Number("a finite number"),
    str: Unit(),
    Path: PathUnit("a path"),
}


def unit_of(hint: Any) -> Unit:
    """The unit that a field's type asks for. Raises TypeError where none is known."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        return next((unit for unit in arguments[1:] if isinstance(unit, Unit)), None) or unit_of(arguments[0])
    if typing.get_origin(hint) is Literal:
        return Choice(f"one of {', '.join(arguments)}", {word: word for word in arguments})
    if typing.get_origin(hint) is tuple and arguments[1:] == (...,):
        item = unit_of(arguments[0])
        return ListOf(f"a list, each of its items {item.wants}", item)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Choice(f"one of {', '.join(m.value for m in hint)}", {member.value: member for member in hint})
    if hint in _PLAIN:
        return _PLAIN[hint]
    raise TypeError(f"no unit is known for a setting of type {hint!r}")
