"""Settings as people see them, and what people are told about their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from postwire.config.bind import Key, entries
from postwire.config.secret_files import SUFFIX
from postwire.config.types import KeyPath, dotted

NO_FILES: Mapping[str, Path] = MappingProxyType({})


def rows(
    settings: object, path: KeyPath, cls: type[Any] | None = None, files: Mapping[str, Path] = NO_FILES
) -> list[tuple[str, str]]:
    """Every key below `path` with its value as TOML writes it; "(none)" for no value, "(set)" for a secret.

    With `cls`, the keys are those of that class, read from attributes of the same names. `files` are those that secrets
    were read from, by the keys that name them.
    """
    found: list[tuple[str, str]] = []
    for key, entry, value in _values(settings, path, cls):
        if value is None:
            found.append((key, "(none)"))
        else:
            found.append((key, "(set)" if entry.secret and value else entry.unit.show(value)))
        if entry.file:
            file = files.get(key + SUFFIX)
            found.append((key + SUFFIX, entry.file.unit.show(file) if file else "(none)"))
    return found


def values(
    settings: object, path: KeyPath, cls: type[Any] | None = None, files: Mapping[str, Path] = NO_FILES
) -> dict[str, object]:
    """The same keys with their values as they are, secrets as well: to compare, and not to show.

    That of the key of a file is the file and what is in it; the secret itself has none then. An array of tables is one
    value.
    """
    found: dict[str, object] = {}
    for key, entry, value in _values(settings, path, cls, whole=True):
        found[key] = value
        if entry.file:
            found[key + SUFFIX] = file = files.get(key + SUFFIX)
            if file:
                found |= {key: None, key + SUFFIX: (file, value)}
    return found


def _values(
    settings: object, path: KeyPath, cls: type[Any] | None, *, whole: bool = False
) -> Iterator[tuple[str, Key, Any]]:
    for entry in entries(cls or type(settings)):
        value, here = getattr(settings, entry.name), (*path, entry.name)
        if entry.table:
            if value is not None:
                yield from _values(value, here, None, whole=whole)
        elif entry.rows and not whole:
            for index, row in enumerate(value):
                yield from _values(row, (*here, index), None)
        else:
            yield dotted(here), entry, value


@dataclass(frozen=True, slots=True)
class KeyDescription:
    """What people are told about a key. `default` is as TOML writes it, None where there is none or it is secret."""

    key: str
    wants: str
    default: str | None
    required: bool
    secret: bool
    help: str


def describe(
    cls: type[Any], defaults: Mapping[str, Any] = MappingProxyType({}), path: KeyPath = ()
) -> Iterator[KeyDescription]:
    """Describe every key of a settings class, and of the tables in it. `defaults` go before those of the class."""
    for entry in entries(cls):
        if entry.table:
            yield from describe(entry.table, path=(*path, entry.name))
            continue
        if entry.rows:
            yield from describe(entry.rows, path=(*path, entry.name, 0))
            continue
        for one in (entry, entry.file) if entry.file else (entry,):
            default = defaults.get(one.name, one.default)
            shown = None if default is None or one.secret else one.unit.show(default)
            key = dotted((*path, one.name))
            yield KeyDescription(key, one.unit.wants, shown, one.required, one.secret, one.help)
