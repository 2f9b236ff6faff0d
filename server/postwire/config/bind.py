"""The one place where raw values (of TOML, of the environment) become settings: frozen dataclasses.

A settings class is a frozen dataclass. The type of a field says how its value is read:

    @dataclass(frozen=True, slots=True)
    class RelaySettings:
        host: str = setting(help="Where it is.")      # no default: must be given
        latency: Duration = 0.0                       # "20ms", "1.5s", "5m": float seconds
        error_ratio: Ratio = 0.0                      # a float from 0 to 1
        mode: Literal["fast", "safe"] = "safe"        # a choice; enums work as well
        tags: tuple[str, ...] = ()                    # a list; "a,b" in the environment
        seed: Seed | None = None                      # optional; "" in the environment means none
        password: str | None = setting(None, secret=True)

        def check(self) -> None:                      # optional: what one field alone cannot know
            if self.mode == "fast" and self.latency > 1:
                raise ValueError("latency: is over 1s, must be less where mode is fast")

`bind` refuses unknown keys, and every refusal is a `ConfigError` of one line that names the key; where several things
are wrong it holds the others as well.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeVar

from postwire import CLIENT_VARIABLES
from postwire.config.types import HIDDEN, KeyPath, ListOf, Refused, Unit, dotted, quote, unit_of

T = TypeVar("T")

_SETTING = re.compile("POSTWIRE_[A-Z0-9_]+__")
"""What the names of our environment variables begin with."""


class ConfigError(Exception):
    """What is wrong with the configuration, in one printable line: `key: what is wrong, what would be right`.

    `key` is the dotted path (`providers.sms-mms.seed`), or the variable or file where there is no such path;
    `variable` is the environment variable that the value came from, if it did. The line shows both. It never
    holds the value of a field marked secret. `others` are more such errors, found beside this one.
    """

    others: tuple[ConfigError, ...] = ()

    def __init__(self, key: str, problem: str, *, variable: str | None = None) -> None:
        self.key, self.problem, self.variable = key, problem, variable
        line = f"{key}: {problem}" if variable in (None, key) else f"{key} ({variable}): {problem}"
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))


class Mistakes:
    """Collects what is wrong, so that all of it can be told at once."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def add(self, error: ConfigError) -> None:
        """One more, with those that it holds."""
        self._found += (error, *error.others)

    def extend(self, errors: Iterable[ConfigError]) -> None:
        """Several more."""
        for error in errors:
            self.add(error)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Keep what is raised within instead of raising it."""
        try:
            yield
        except ConfigError as error:
            self.add(error)

    def raise_if_any(self) -> None:
        """Raise the first, with the others in it."""
        if self._found:
            first, *others = self._found
            first.others = tuple(others)
            raise first from None  # a traceback may show a secret


@dataclass(slots=True)
class EnvTree:
    """Our environment variables: `text` of `below["server"].below["listen"]` is POSTWIRE_SERVER__LISTEN's."""

    variable: str  # the name of the one that would be here
    text: str | None = None  # its value, if it is set
    below: dict[str, EnvTree] = field(default_factory=dict)

    @classmethod
    def read(cls, environ: Mapping[str, str], mistakes: Mistakes) -> EnvTree:
        """The tree of the variables `POSTWIRE_SECTION__KEY`; others, such as `POSTWIRE_PORT`, are not ours.

        Those that are ours and badly spelled are among the mistakes.
        """
        tree = cls(prefix := "POSTWIRE")
        for variable in sorted(environ):
            if _SETTING.match(variable):
                if not re.fullmatch("[A-Z0-9_]+", variable):
                    mistakes.add(ConfigError(variable, "is not a name of ours, write it in capitals, digits and _"))
                    continue
                if re.search("[\ud800-\udfff]", environ[variable]):  # so Python keeps bytes that are no UTF-8
                    mistakes.add(ConfigError(variable, "is not UTF-8, write it in UTF-8"))
                    continue
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


_INJECTED: Final = re.compile(
    r"POSTWIRE_(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
"""What Kubernetes, and Docker's links, put into the environment of everything beside a service called `postwire…`."""

_INJECTED_PORT: Final = re.compile(r"(?:tcp|udp|sctp)://")
"""So begins the value of the one variable of theirs that is called POSTWIRE_PORT, which somebody might mean."""


@dataclass(frozen=True, slots=True)
class StrayVariable:
    """A variable that begins like ours and is none: misspelt, or `injected` by a cluster. `nearest` is one of ours."""

    name: str
    nearest: str | None
    injected: bool

    def __str__(self) -> str:
        hint = f", did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.name} is no variable of Postwire's{hint}"


def stray_variables(environ: Mapping[str, str], known: Collection[str]) -> tuple[StrayVariable, ...]:
    """Those of the variables that begin with POSTWIRE_, and are neither settings nor of the client."""
    strays = []
    for name in sorted(environ):
        if not name.startswith("POSTWIRE_") or name in CLIENT_VARIABLES or _SETTING.match(name):
            continue
        by_cluster = name.endswith("_PORT") and _INJECTED_PORT.match(environ[name])
        injected = bool(_INJECTED.fullmatch(name) or by_cluster)
        near = difflib.get_close_matches(name.upper(), (*known, *CLIENT_VARIABLES), 1, cutoff=0.85)
        strays.append(StrayVariable(name, near[0] if near and not injected else None, injected))
    return tuple(strays)


@dataclass(frozen=True, slots=True)
class _Key:
    """One field of a settings class: a unit reads it, or it is a table with a class of its own."""

    name: str
    unit: Unit
    table: type[Any] | None
    optional: bool
    required: bool
    secret: bool
    default: Any  # None where there is none
    help: str


def setting(
    default: Any = dataclasses.MISSING,
    *,
    default_factory: Callable[[], Any] | None = None,
    help: str = "",
    secret: bool = False,
) -> Any:
    """A field of a settings class, with what people are told about its key: one line, and what it is by default if the
    default itself does not say. A secret is never shown.
    """
    metadata = {"help": help, "secret": secret}
    if default_factory is not None:
        return field(default_factory=default_factory, repr=not secret, metadata=metadata)
    return field(default=default, repr=not secret, metadata=metadata)


def _key_of(spec: dataclasses.Field[Any], hint: Any) -> _Key:
    required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
    secret = bool(spec.metadata.get("secret"))
    if secret and spec.repr:
        raise TypeError(f"the secret field {spec.name} needs repr=False, or a log line could show it")
    arguments = typing.get_args(hint)
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in arguments
    if optional and len(arguments) == 2:
        hint = next(argument for argument in arguments if argument is not type(None))
    table = hint if dataclasses.is_dataclass(hint) and isinstance(hint, type) else None
    default = None
    if not required:
        default = spec.default if spec.default_factory is dataclasses.MISSING else spec.default_factory()
    unit = Unit() if table else unit_of(hint)
    return _Key(spec.name, unit, table, optional, required, secret, default, spec.metadata.get("help", ""))


def _keys(cls: type[Any]) -> tuple[_Key, ...]:
    hashable: Any = cls  # as classes are, but mypy does not see it
    return _keys_once(hashable)


@functools.cache
def _keys_once(cls: type[Any]) -> tuple[_Key, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return tuple(_key_of(spec, hints[spec.name]) for spec in dataclasses.fields(cls))


def keys(cls: type[Any]) -> tuple[str, ...]:
    """The keys of a settings class, in order."""
    return tuple(entry.name for entry in _keys(cls))


def refuse_unknown(known: Collection[str], table: Mapping[str, object], path: KeyPath, env: EnvTree) -> None:
    """Raise ConfigError for the keys of the table, then of the environment, that are not known."""
    mistakes = Mistakes()
    for key in (key for key in table if key not in known):
        near = [dotted((*path, match)) for match in difflib.get_close_matches(key, known, 1)]
        mistakes.add(ConfigError(dotted((*path, key)), _unknown(near, known)))
    for key, node in ((key, node) for key, node in env.below.items() if key not in known):
        variable = next(node.set_variables())
        start, end = node.variable[: len(node.variable) - len(key)], variable[len(node.variable) :]
        near = [f"{start}{match.upper()}{end}" for match in difflib.get_close_matches(key.lower(), known, 1)]
        mistakes.add(ConfigError(dotted((*path, key)), _unknown(near, known), variable=variable))
    mistakes.raise_if_any()


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
    defaults: Mapping[str, Any] = MappingProxyType({}),
    seen: set[str] | None = None,
) -> T:
    """The settings of a table: each key from the environment, else from the table, else its default.

    `path` leads to the table. Keys in `beside` belong to another class that reads the same table (None: any
    may). `defaults` go before those of the class. The dotted keys that were given are added to `seen`. Raises
    ConfigError for all that is wrong: unknown keys in the order of the table, then values in the order of the class.
    """
    env = env or EnvTree("")
    if not isinstance(table, Mapping):
        raise ConfigError(dotted(path), f"is not a table, write it as [{dotted(path)}]")
    if env.text is not None:
        problem = f"is a table, set one of its keys as {env.variable}__KEY"
        raise ConfigError(dotted(path), problem, variable=env.variable)
    mistakes = Mistakes()
    if beside is not None:
        with mistakes.caught():
            refuse_unknown((*keys(cls), *beside), table, path, env)
    values: dict[str, Any] = {}
    for entry in _keys(cls):
        here, node, key = (*path, entry.name), env.at(entry.name), dotted((*path, entry.name))
        with mistakes.caught():
            if entry.table:
                values[entry.name] = bind(entry.table, table.get(entry.name, {}), here, node, seen=seen)
            elif entry.name in table or node.text is not None or node.below:
                values[entry.name] = _value(entry, table.get(entry.name), here, node)
                if seen is not None:
                    seen.add(key)
            elif entry.name in defaults:
                values[entry.name] = defaults[entry.name]
            elif entry.required:
                raise ConfigError(key, f"is missing, it must be {entry.unit.wants}")
    mistakes.raise_if_any()
    try:
        made = cls(**values)
        if callable(check := getattr(made, "check", None)):
            check()
    except ValueError as wrong:
        raise _from_check(cls, str(wrong), values, path, env) from None  # its traceback may show a secret
    return made


def _value(entry: _Key, raw: object, path: KeyPath, node: EnvTree) -> Any:
    if node.below:
        variable = next(next(iter(node.below.values())).set_variables())
        raise ConfigError(dotted(path), f"has no keys below it, set {node.variable} itself", variable=variable)
    if node.text is not None:
        if entry.optional and node.text == "" and not isinstance(entry.unit, ListOf):
            return None
        raw = entry.unit.native(node.text)
    try:
        return entry.unit.read(raw)
    except Refused as wrong:
        hide = entry.secret or wrong.culprit is HIDDEN
        subject = "the value" if hide else quote(wrong.culprit)
        source = None if node.text is None else node.variable
        raise ConfigError(dotted((*path, *wrong.at)), f"{subject} {wrong.problem}", variable=source) from None


def _from_check(cls: type[Any], message: str, values: dict[str, Any], path: KeyPath, env: EnvTree) -> ConfigError:
    """A check's "key: problem" (or "key, key: problem") with full paths; without a key it is the table's."""
    for entry in _keys(cls):
        value = values.get(entry.name) if entry.secret else None
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
    for key, entry, value in _values(settings, path, cls):
        if value is None:
            found.append((key, "(none)"))
        else:
            found.append((key, "(set)" if entry.secret and value else entry.unit.show(value)))
    return found


def values(settings: object, path: KeyPath, cls: type[Any] | None = None) -> dict[str, object]:
    """The same keys with their values as they are, secrets as well: to compare, and not to show."""
    return {key: value for key, _, value in _values(settings, path, cls)}


def _values(settings: object, path: KeyPath, cls: type[Any] | None) -> Iterator[tuple[str, _Key, Any]]:
    for entry in _keys(cls or type(settings)):
        value, here = getattr(settings, entry.name), (*path, entry.name)
        if entry.table:
            yield from _values(value, here, None)
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
    for entry in _keys(cls):
        here = (*path, entry.name)
        if entry.table:
            yield from describe(entry.table, path=here)
            continue
        default = defaults.get(entry.name, entry.default)
        shown = None if default is None or entry.secret else entry.unit.show(default)
        yield KeyDescription(dotted(here), entry.unit.wants, shown, entry.required, entry.secret, entry.help)
