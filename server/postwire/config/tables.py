"""Tables whose keys are the user's own: texts by name, or values of any shape."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from postwire.config.types import HIDDEN, KeyPath, Refused, Unit, dotted, toml_string

PLACEHOLDERS: Final = (
    "to",
    "body",
    "sender",
    "subject",
    "key",
    "message_id",
    "media_url",
    "reference",
    "callback_url",
)
"""What may stand in braces in a template: what is filled in of a message."""

PLACEHOLDER: Final = re.compile(rf"\{{({'|'.join(PLACEHOLDERS)})\}}")


@dataclass(frozen=True, slots=True)
class TextTable(Unit):
    """Texts by names that match `names`. In the environment: "name=text,name=text".

    Its value is a mapping that cannot be changed.
    """

    wants: str = 'a table of strings such as { name = "text" }'
    names: str = r"[!-~]+"
    named: str = "a name of printable ASCII without spaces"

    def native(self, text: str) -> object:
        pairs = (part.partition("=") for part in text.split(",") if part.strip())
        return {name.strip(): value.strip() for name, _, value in pairs}

    def from_file(self, text: str) -> object:
        return _from_toml(text)

    def read(self, raw: object) -> Mapping[str, str]:
        if not isinstance(raw, dict):
            raise Refused(raw, f"is not {self.wants}")
        for name, text in raw.items():
            if not re.fullmatch(self.names, name):
                raise Refused(name, f"is not {self.named}")
            if not isinstance(text, str):
                raise Refused(text, "is not a string", at=(name,))
            if not text or re.search(r"[\x00-\x1f\x7f]", text):
                raise Refused(text, "is not a text of one line", at=(name,))
        return MappingProxyType(dict(raw))

    def show(self, value: Mapping[str, str]) -> str:
        return _show(value)


@dataclass(frozen=True, slots=True)
class ValueTable(Unit):
    """A table of strings, numbers, booleans, lists and tables of these. The environment cannot set it.

    Its value is made of dicts and lists, which nobody is to change.
    """

    wants: str = "a table"

    def from_file(self, text: str) -> object:
        return _from_toml(text)

    def read(self, raw: object) -> Mapping[str, Any]:
        if not isinstance(raw, dict):
            raise Refused(raw, f"is not {self.wants}")
        _check(raw, ())
        return MappingProxyType(dict(raw))

    def show(self, value: Mapping[str, Any]) -> str:
        return _show(value)


class _Labels(Unit):
    """The labels that a message must have."""

    def read(self, raw: object) -> Mapping[str, str]:
        if not isinstance(raw, dict):
            raise Refused(raw, f"is not {self.wants}")
        for name, text in raw.items():
            if not isinstance(text, str):
                raise Refused(text, "is not a string", at=(name,))
        return MappingProxyType(dict(raw))

    def show(self, value: Mapping[str, str]) -> str:
        return toml_table((dotted((name,)), toml_string(text)) for name, text in value.items())


EXAMPLE_LABELS: Final = '{ team = "billing" }'
LABELS: Final = _Labels(f"a table of labels such as {EXAMPLE_LABELS}")


def toml_table(shown: Iterable[tuple[str, str]]) -> str:
    """A table as TOML writes it in one line: of keys and values, as it writes them."""
    inner = ", ".join(f"{key} = {value}" for key, value in shown)
    return f"{{ {inner} }}" if inner else "{}"


def _from_toml(text: str) -> object:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):  # its text may show what is there
        raise Refused(HIDDEN, 'is not valid TOML, write it as name = "text"') from None


def _check(value: object, at: KeyPath) -> None:
    if isinstance(value, dict):
        for name, one in value.items():
            _check(one, (*at, name))
    elif isinstance(value, list):
        for one in value:
            _check(one, at)
    elif not isinstance(value, str | int | float):
        raise Refused(value, "is not a string, a number, true or false, a list or a table", at=at)


def _show(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, Mapping):
        return toml_table((toml_string(name), _show(one)) for name, one in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_show, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return toml_string(value) if isinstance(value, str) else str(value)
