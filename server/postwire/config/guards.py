"""`[guards]`: which numbers messages go to, and how many go to a prefix or to one recipient."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final

from postwire.config.tables import toml_table
from postwire.config.types import DurationUnit, ListOf, Refused, Unit, format_duration, toml_string
from postwire.core.guards import Cap, GuardRules

PREFIX: Final = re.compile(r"\+[1-9][0-9]{0,14}")
"""The beginning of a number in E.164, or all of it."""

MAX_COUNT: Final = 1_000_000_000

_WINDOW: Final = DurationUnit(least=1.0, longest=31 * 86_400.0)


@dataclass(frozen=True, slots=True)
class CapUnit(Unit):
    """How many messages within a window: `20/1h`."""

    wants: str = 'a count and a window such as "20/1h"'

    def native(self, text: str) -> object:
        return text.strip()

    def word(self, text: str) -> Cap:
        count, slash, window = text.partition("/")
        if not slash or not re.fullmatch("[0-9]{1,12}", count):
            raise ValueError
        if not 1 <= int(count) <= MAX_COUNT:
            raise Refused(text, f"must let through from 1 to {MAX_COUNT} messages")
        return Cap(int(count), round(_WINDOW.read(window) * 1e6))

    def show(self, value: Cap) -> str:
        return toml_string(f"{value.count}/{format_duration(value.window / 1e6)}")


_CAP: Final = CapUnit()


@dataclass(frozen=True, slots=True)
class PrefixUnit(Unit):
    """How the numbers begin that are meant."""

    wants: str = 'how numbers begin, such as "+44"'

    def word(self, text: str) -> str:
        if not PREFIX.fullmatch(text):
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class CapTable(Unit):
    """Caps by prefixes. In the environment: "+44=1000/1h,+1=5000/1h". Its value cannot be changed."""

    wants: str = 'a table such as { "+44" = "1000/1h" }'

    def native(self, text: str) -> object:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        return {prefix.strip(): cap.strip() for prefix, _, cap in pairs}

    def read(self, raw: object) -> Mapping[str, Cap]:
        if not isinstance(raw, dict):
            raise Refused(raw, f"is not {self.wants}")
        found: dict[str, Cap] = {}
        for prefix, text in raw.items():
            if not PREFIX.fullmatch(prefix):
                raise Refused(prefix, f"is not {PrefixUnit().wants}")
            try:
                found[prefix] = _CAP.read(text)
            except Refused as refused:
                raise Refused(refused.culprit, str(refused), at=(prefix, *refused.at)) from None
        return MappingProxyType(found)

    def show(self, value: Mapping[str, Cap]) -> str:
        return toml_table((toml_string(prefix), _CAP.show(cap)) for prefix, cap in value.items())


def _no_caps() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class GuardsConfig:
    """`[guards]`. Each tenant is counted by itself."""

    allow_prefixes: (
        Annotated[tuple[str, ...], ListOf('a list such as ["+44", "+1"], of one item or more', PrefixUnit(), 1)] | None
    ) = None
    max_per_prefix: Annotated[Mapping[str, Cap], CapTable()] = field(default_factory=_no_caps)
    max_per_recipient: Annotated[Cap, _CAP] | None = None

    def check(self) -> None:
        for prefix in self._never_counted():
            problem = "is never counted: allow_prefixes lets no number through that begins so"
            raise ValueError(f"max_per_prefix: {toml_string(prefix)} {problem}")

    def _never_counted(self) -> Iterator[str]:
        if self.allow_prefixes is None:
            return
        for prefix in self.max_per_prefix:
            if not any(one.startswith(prefix) or prefix.startswith(one) for one in self.allow_prefixes):
                yield prefix

    @property
    def rules(self) -> GuardRules:
        """What it says."""
        return GuardRules(self.allow_prefixes, self.max_per_prefix, self.max_per_recipient)
