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
        hosts: tuple[HostSettings, ...] = ()          # an array of tables, each with the keys of that class
        proxy: ProxySettings | None = None            # a table; None where it is left out

        def check(self) -> None:                      # optional: what one field alone cannot know
            if self.mode == "fast" and self.latency > 1:
                raise ValueError("latency: is over 1s, must be less where mode is fast")

`bind` refuses unknown keys, and every refusal is a `ConfigError` of one line that names the key; where several things
are wrong it holds the others as well.

A secret may stand in a file of its own: beside `password`, there is a key `password_file`, which no class has to name.
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
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from postwire.config.secret_files import SECRET_FILE, SUFFIX, read_secret
from postwire.config.types import HIDDEN, KeyPath, ListOf, Refused, Unit, dotted, quote, unit_of

T = TypeVar("T")

SETTING = re.compile("POSTWIRE_[A-Z0-9_]+__")
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
    """Collects what is wrong, so that all of it can be reported at once."""

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
            if SETTING.match(variable):
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


@dataclass(frozen=True, slots=True)
class Key:
    """One field of a settings class: a unit reads it, or it is a table with a class of its own, or an array of such.

    `file` is the key beside a secret that names a file with it.
    """

    name: str
    unit: Unit
    table: type[Any] | None
    rows: type[Any] | None
    optional: bool
    required: bool
    secret: bool
    default: Any  # None where there is none
    help: str
    file: Key | None = None


def setting(
    default: Any = dataclasses.MISSING,
    *,
    default_factory: Callable[[], Any] | None = None,
    help: str = "",
    secret: bool = False,
) -> Any:
    """A field of a settings class, with the help for its key: one line, and what it is by default if the
    default itself does not say. A secret is never shown, and may stand in a file of its own.
    """
    metadata = {"help": help, "secret": secret}
    if default_factory is not None:
        return field(default_factory=default_factory, repr=not secret, metadata=metadata)
    return field(default=default, repr=not secret, metadata=metadata)


def _key_of(spec: dataclasses.Field[Any], hint: Any) -> Key:
    required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
    secret = bool(spec.metadata.get("secret"))
    if secret and spec.repr:
        raise TypeError(f"the secret field {spec.name} needs repr=False, or a log line could show it")
    arguments = typing.get_args(hint)
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in arguments
    if optional and len(arguments) == 2:
        hint = next(argument for argument in arguments if argument is not type(None))
    table = hint if dataclasses.is_dataclass(hint) and isinstance(hint, type) else None
    rows = _rows_of(hint)
    default = None
    if not required:
        default = spec.default if spec.default_factory is dataclasses.MISSING else spec.default_factory()
    unit = Unit() if table or rows else unit_of(hint)
    help = spec.metadata.get("help", "")
    file = None
    if secret:
        meaning = f"A file that holds {spec.name}, in place of that."
        file = Key(spec.name + SUFFIX, SECRET_FILE, None, None, True, False, False, None, meaning)
    return Key(spec.name, unit, table, rows, optional, required, secret, default, help, file)


def _rows_of(hint: Any) -> type[Any] | None:
    """The class of the tables in an array, where the type of a field asks for one."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is not tuple or arguments[1:] != (...,) or not dataclasses.is_dataclass(arguments[0]):
        return None
    row: Any = arguments[0]
    if any(entry.secret for entry in entries(row)):
        raise TypeError(f"{row.__name__} has a secret: those in arrays of tables are not read again when they change")
    return row  # type: ignore[no-any-return]  # it is a class


def entries(cls: type[Any]) -> tuple[Key, ...]:
    """The fields of a settings class, in order."""
    hashable: Any = cls  # as classes are, but mypy does not see it
    return _entries_once(hashable)


@functools.cache
def _entries_once(cls: type[Any]) -> tuple[Key, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    found = tuple(_key_of(spec, hints[spec.name]) for spec in dataclasses.fields(cls))
    for entry in found:
        if entry.file and entry.file.name in hints:
            raise TypeError(
                f"the field {entry.file.name} is in the way: so is called the file of the secret {entry.name}"
            )
    return found


def keys(cls: type[Any]) -> tuple[str, ...]:
    """The keys of a settings class, in order; that of its file follows a secret."""
    return tuple(one.name for entry in entries(cls) for one in (entry, entry.file) if one)


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
    files: dict[str, Path] | None = None,
) -> T:
    """The settings of a table: each key from the environment, else from the table, else its default.

    `path` leads to the table. Keys in `beside` belong to another class that reads the same table (None: any
    may). `defaults` go before those of the class. The dotted keys that were given are added to `seen`, and the files
    that secrets were read from to `files`, by the keys that name them. Raises ConfigError for all that is wrong:
    unknown keys in the order of the table, then values in the order of the class.
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
    in_files: dict[str, Key] = {}
    for entry in entries(cls):
        here = (*path, entry.name)
        with mistakes.caught():
            node = env.at(entry.name)
            if entry.table:
                if entry.name in table or any(node.set_variables()) or not entry.optional:
                    raw = table.get(entry.name, {})
                    values[entry.name] = bind(entry.table, raw, here, node, seen=seen, files=files)
            elif entry.rows:
                values[entry.name] = _bind_rows(entry.rows, table.get(entry.name, []), here, node, seen)
            elif given := _given(entry, table, path, env):
                values[entry.name], file = given
                if entry.file and file:
                    in_files[entry.name] = entry.file
                    if files is not None:
                        files[dotted(here) + SUFFIX] = file
                if seen is not None:
                    seen |= {dotted(here), dotted(here) + SUFFIX} if file else {dotted(here)}
            elif entry.name in defaults:
                values[entry.name] = defaults[entry.name]
            elif entry.required:
                or_file = f", or {entry.file.name} {entry.file.unit.wants}" if entry.file else ""
                raise ConfigError(dotted(here), f"is missing, it must be {entry.unit.wants}{or_file}")
    mistakes.raise_if_any()
    return make_settings(cls, values, in_files, path, env)


def _bind_rows(cls: type[T], raw: object, path: KeyPath, env: EnvTree, seen: set[str] | None) -> tuple[T, ...]:
    """The settings of each table of an array."""
    if variable := next(env.set_variables(), None):
        raise ConfigError(dotted(path), "is an array of tables, which only a file can set", variable=variable)
    if not isinstance(raw, list) or not all(isinstance(one, Mapping) for one in raw):
        raise ConfigError(dotted(path), f"is not an array of tables, write each as [[{dotted(path)}]]")
    mistakes = Mistakes()
    made: list[T] = []
    for index, one in enumerate(raw):
        with mistakes.caught():
            made.append(bind(cls, one, (*path, index), seen=seen))
    mistakes.raise_if_any()
    return tuple(made)


def make_settings(
    cls: type[T], values: Mapping[str, Any], in_files: Mapping[str, Key], path: KeyPath, env: EnvTree
) -> T:
    """The settings of these values, of which those by the names in `in_files` stand in files. Raises ConfigError."""
    try:
        made = cls(**values)
        if callable(check := getattr(made, "check", None)):
            check()
    except ValueError as wrong:
        raise from_check(cls, str(wrong), values, in_files, path, env) from None  # its traceback may show a secret
    return made


def _given(entry: Key, table: Mapping[str, object], path: KeyPath, env: EnvTree) -> tuple[Any, Path | None] | None:
    """The value of a key, and the file that it stands in, if it does; None where nothing is said of it."""
    node, here = env.at(entry.name), (*path, entry.name)
    is_given = entry.name in table or node.text is not None or bool(node.below)
    value = _value(entry, table.get(entry.name), here, node) if is_given else None
    named = _given(entry.file, table, path, env) if entry.file else None
    if entry.file is None or named is None or named[0] is None:
        return (value, None) if is_given else None
    if value is not None:
        nodes = [one for one in (node, env.at(entry.file.name)) if one.text is not None]
        both = f"{dotted(here)}, {dotted(here)}{SUFFIX}"
        variable = ", ".join(one.variable for one in nodes) or None
        raise ConfigError(both, "are both set, set only one of them", variable=variable)
    return secret_in(named[0], entry, path), named[0]


def secret_in(file: Path, entry: Key, path: KeyPath) -> Any:
    """The value of a secret that stands in a file. Raises ConfigError, which shows nothing of either."""
    here = (*path, entry.name + SUFFIX)
    try:
        text = read_secret(file)
    except ValueError as wrong:
        raise ConfigError(dotted(here), f"{wrong}, it must be the path of a file that holds {entry.name}") from None
    try:
        return entry.unit.read(entry.unit.from_file(text))
    except Refused as wrong:
        raise ConfigError(dotted((*here, *wrong.at)), f"what is in it {wrong.problem}") from None


def _value(entry: Key, raw: object, path: KeyPath, node: EnvTree) -> Any:
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


def from_check(
    cls: type[Any], message: str, values: Mapping[str, Any], in_files: Mapping[str, Key], path: KeyPath, env: EnvTree
) -> ConfigError:
    """A check's "key: problem" (or "key, key: problem") with full paths; without a key it is the table's.

    `values` are by the names of the keys, and those of `in_files` stand in files. Secrets among them are not shown.
    """
    head, _, problem = message.partition(": ")
    names = head.split(", ")
    if not set(names) <= set(keys(cls)):
        names, problem = [], message
    for entry in entries(cls):
        if entry.secret:
            problem = _without(values.get(entry.name), problem)
    if not names:
        return ConfigError(dotted(path), problem)
    names = [in_files[name].name if name in in_files else name for name in names]
    variables = [node.variable for node in map(env.at, names) if node.text is not None]
    key = ", ".join(dotted((*path, name)) for name in names)
    return ConfigError(key, problem, variable=", ".join(variables) or None)


_LONG: Final = 8
"""Characters from which on a secret is taken out of a text even where it is a part of a word."""


def _without(secret: object, text: str) -> str:
    """A text without a secret, or what it is made of. In a table, what is short is rather a word than a secret."""
    if isinstance(secret, Mapping):
        for one in secret.values():
            text = _without(one, text) if not isinstance(one, str) or len(one) >= _LONG else text
    elif isinstance(secret, tuple | list):
        for one in secret:
            text = _without(one, text)
    elif secret not in (None, "", True, False):
        found = re.escape(str(secret))
        text = re.sub(found if len(str(secret)) >= _LONG else rf"(?<!\w){found}(?!\w)", "(secret)", text)
    return text
