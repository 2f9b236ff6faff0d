"""The one place where raw values (of TOML, of the environment) become settings: frozen dataclasses.

A settings class is a frozen dataclass. The type of a field says how its value is read:

    @dataclass(frozen=True, slots=True)
    class RelaySettings:
        host: str                                     # no default: must be given
        latency: Duration = 0.0                       # "20ms", "1.5s", "5m": float seconds
        error_ratio: Ratio = 0.0                      # a float from 0 to 1
        mode: Literal["fast", "safe"] = "safe"        # a choice; enums work as well
        tags: tuple[str, ...] = ()                    # a list; "a,b" in the environment
        seed: Seed | None = None                      # optional; "" in the environment means none
        password: str | None = field(default=None, repr=False, metadata={"secret": True})

        def check(self) -> None:                      # optional: what one field alone cannot know
            if self.mode == "fast" and self.latency > 1:
                raise ValueError("latency: is over 1s, must be less where mode is fast")

`bind` refuses unknown keys, and every refusal is a `ConfigError` of one line that names the key.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from postwire.units import HIDDEN, KeyPath, ListOf, Refused, Unit, dotted, quote, unit_of

T = TypeVar("T")


class ConfigError(Exception):
    """What is wrong with the configuration, in one printable line: `key: what is wrong, what would be right`.

    `key` is the dotted path (`providers.sms-mms.seed`), or the variable or file where there is no such path;
    `variable` is the environment variable that the value came from, if it did. The line shows both. It never
    holds the value of a field marked secret.
    """

    def __init__(self, key: str, problem: str, *, variable: str | None = None) -> None:
        self.key, self.problem, self.variable = key, problem, variable
        line = f"{key}: {problem}" if variable in (None, key) else f"{key} ({variable}): {problem}"
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))


@dataclass(slots=True)
class EnvTree:
    """Our environment variables: `text` of `below["server"].below["listen"]` is POSTWIRE_SERVER__LISTEN's."""

    variable: str  # the name of the one that would be here
    text: str | None = None  # its value, if it is set
    below: dict[str, EnvTree] = field(default_factory=dict)

    @classmethod
    def read(cls, environ: Mapping[str, str], prefix: str = "POSTWIRE") -> EnvTree:
        """The tree of the variables `PREFIX_SECTION__KEY`; others, such as `PREFIX_PORT`, are not ours.

        Raises ConfigError for one that is ours and badly spelled.
        """
        tree = cls(prefix)
        for variable in sorted(environ):
            if re.match(f"{prefix}_[A-Z0-9_]+__", variable):
                if not re.fullmatch("[A-Z0-9_]+", variable):
                    raise ConfigError(variable, "is not a name of ours, write it in capitals, digits and _")
                if re.search("[\ud800-\udfff]", environ[variable]):  # so Python keeps bytes that are no UTF-8
                    raise ConfigError(variable, "is not UTF-8, write it in UTF-8")
                node, so_far = tree, prefix
                for depth, part in enumerate(variable[len(prefix) + 1 :].split("__")):
                    so_far += ("__" if depth else "_") + part
                    node = node.below.setdefault(part.lower(), cls(so_far))
                node.text = environ[variable]
        return tree

    def at(self, key: str) -> EnvTree:
        """The node for a key; an empty one if nothing is set there."""
        return self.below.get(key.replace("-", "_")) or EnvTree(self.variable)

    def set_variables(self) -> Iterator[str]:
        """The variables that are set, here and below."""
        if self.text is not None:
            yield self.variable
        for node in self.below.values():
            yield from node.set_variables()


@dataclass(frozen=True, slots=True)
class _Slot:
    """One field of a settings class: a unit reads it, or it is a table with a class of its own."""

    name: str
    unit: Unit
    table: type[Any] | None
    optional: bool
    required: bool
    secret: bool


def _slot(spec: dataclasses.Field[Any], hint: Any) -> _Slot:
    required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
    secret = bool(spec.metadata.get("secret"))
    if secret and spec.repr:
        raise TypeError(f"the secret field {spec.name} needs repr=False, or a log line could show it")
    arguments = typing.get_args(hint)
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in arguments
    if optional and len(arguments) == 2:
        hint = next(argument for argument in arguments if argument is not type(None))
    table = hint if dataclasses.is_dataclass(hint) and isinstance(hint, type) else None
    return _Slot(spec.name, Unit() if table else unit_of(hint), table, optional, required, secret)


def _slots(cls: type[Any]) -> tuple[_Slot, ...]:
    hashable: Any = cls  # as classes are, but mypy does not see it
    return _slots_once(hashable)


@functools.cache
def _slots_once(cls: type[Any]) -> tuple[_Slot, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple(_slot(spec, hints[spec.name]) for spec in dataclasses.fields(cls))


def keys(cls: type[Any]) -> tuple[str, ...]:
    """The keys of a settings class, in order."""
    return tuple(slot.name for slot in _slots(cls))


def refuse_unknown(known: Collection[str], table: Mapping[str, object], path: KeyPath, env: EnvTree) -> None:
    """Raise ConfigError for the first key of the table, then of the environment, that is not a known one."""
    for key in (key for key in table if key not in known):
        near = [dotted((*path, match)) for match in difflib.get_close_matches(key, known, 1)]
        raise ConfigError(dotted((*path, key)), _unknown(near, known))
    for key, node in ((key, node) for key, node in env.below.items() if key not in known):
        variable = next(node.set_variables())
        start, end = node.variable[: len(node.variable) - len(key)], variable[len(node.variable) :]
        near = [f"{start}{match.upper()}{end}" for match in difflib.get_close_matches(key.lower(), known, 1)]
        raise ConfigError(dotted((*path, key)), _unknown(near, known), variable=variable)


def _unknown(near: list[str], known: Collection[str]) -> str:
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return f"is not known, {hint}"


def bind(
    cls: type[T],
    table: object,
    path: KeyPath,
    env: EnvTree | None = None,
    *,
    beside: Collection[str] | None = (),
    seen: set[str] | None = None,
) -> T:
    """The settings of a table: each key from the environment, else from the table, else its default.

    `path` leads to the table. Keys in `beside` belong to another class that reads the same table (None: any
    may). The dotted keys that were given are added to `seen`. Raises ConfigError for the first thing that is
    wrong: unknown keys in the order of the table, then values in the order of the class.
    """
    env = env or EnvTree("")
    if not isinstance(table, Mapping):
        raise ConfigError(dotted(path), f"is not a table, write it as [{dotted(path)}]")
    if env.text is not None:
        problem = f"is a table, set one of its keys as {env.variable}__KEY"
        raise ConfigError(dotted(path), problem, variable=env.variable)
    if beside is not None:
        refuse_unknown((*keys(cls), *beside), table, path, env)
    values: dict[str, Any] = {}
    for slot in _slots(cls):
        here, node, key = (*path, slot.name), env.at(slot.name), dotted((*path, slot.name))
        if slot.table:
            values[slot.name] = bind(slot.table, table.get(slot.name, {}), here, node, seen=seen)
        elif slot.name in table or node.text is not None or node.below:
            values[slot.name] = _value(slot, table.get(slot.name), here, node)
            if seen is not None:
                seen.add(key)
        elif slot.required:
            raise ConfigError(key, f"is missing, it must be {slot.unit.wants}")
    try:
        made = cls(**values)
        if callable(check := getattr(made, "check", None)):
            check()
    except ValueError as wrong:
        raise _from_check(cls, str(wrong), values, path, env) from None  # its traceback may show a secret
    return made


def _value(slot: _Slot, raw: object, path: KeyPath, node: EnvTree) -> Any:
    if node.below:
        variable = next(next(iter(node.below.values())).set_variables())
        raise ConfigError(dotted(path), f"has no keys below it, set {node.variable} itself", variable=variable)
    if node.text is not None:
        if slot.optional and node.text == "" and not isinstance(slot.unit, ListOf):
            return None
        raw = slot.unit.native(node.text)
    try:
        return slot.unit.read(raw)
    except Refused as wrong:
        hide = slot.secret or wrong.culprit is HIDDEN
        subject = "the value" if hide else quote(wrong.culprit)
        source = None if node.text is None else node.variable
        raise ConfigError(dotted((*path, *wrong.at)), f"{subject} {wrong.problem}", variable=source) from None


def _from_check(cls: type[Any], message: str, values: dict[str, Any], path: KeyPath, env: EnvTree) -> ConfigError:
    """A check's "key: problem" (or "key, key: problem") with full paths; without a key it is the table's."""
    for slot in _slots(cls):
        value = values.get(slot.name) if slot.secret else None
        for secret in value if isinstance(value, tuple) else (value,):
            message = message.replace(str(secret), "(secret)") if secret not in (None, "") else message
    head, colon, problem = message.partition(": ")
    names = head.split(", ")
    if not colon or not set(names) <= set(keys(cls)):
        return ConfigError(dotted(path), message)
    variables = [node.variable for node in map(env.at, names) if node.text is not None]
    key = ", ".join(dotted((*path, name)) for name in names)
    return ConfigError(key, problem, variable=", ".join(variables) or None)


def rows(settings: object, path: KeyPath, cls: type[Any] | None = None) -> list[tuple[str, str]]:
    """Every key below `path` with its value as TOML writes it; "(none)" for no value, "(set)" for a secret.

    With `cls`, the keys are those of that class, read from attributes of the same names.
    """
    found: list[tuple[str, str]] = []
    for key, slot, value in _values(settings, path, cls):
        if value is None:
            found.append((key, "(none)"))
        else:
            found.append((key, "(set)" if slot.secret and value else slot.unit.show(value)))
    return found


def values(settings: object, path: KeyPath, cls: type[Any] | None = None) -> dict[str, object]:
    """The same keys with their values as they are, secrets as well: to compare, and not to show."""
    return {key: value for key, _, value in _values(settings, path, cls)}


def _values(settings: object, path: KeyPath, cls: type[Any] | None) -> Iterator[tuple[str, _Slot, Any]]:
    for slot in _slots(cls or type(settings)):
        value, here = getattr(settings, slot.name), (*path, slot.name)
        if slot.table:
            yield from _values(value, here, None)
        else:
            yield dotted(here), slot, value
