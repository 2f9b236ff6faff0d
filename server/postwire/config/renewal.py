"""Secrets that change while the server runs: settings that differ in them alone, and their files, read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from postwire.config.bind import ConfigError, EnvTree, entries, make_settings, secret_in
from postwire.config.provider_receipts import TABLE as RECEIPTS
from postwire.config.schema import Config
from postwire.config.secret_files import SUFFIX
from postwire.config.types import KeyPath, dotted

T = TypeVar("T")


def secret_keys(cls: type[Any], path: KeyPath) -> Iterator[str]:
    """The dotted keys of a settings class that hold a secret, or name the file that does."""
    for entry in entries(cls):
        here = (*path, entry.name)
        if entry.table:
            yield from secret_keys(entry.table, here)
        elif entry.file:
            yield dotted(here)
            yield dotted(here) + SUFFIX


def with_secrets_of(settings: T, other: T, path: KeyPath) -> T:
    """`settings`, with the secrets of `other`, which are of the same class.

    Raises:
        ConfigError: they do not go together.
    """
    changes: dict[str, Any] = {}
    for entry in entries(type(settings)):
        mine, theirs = getattr(settings, entry.name), getattr(other, entry.name)
        if entry.table and None not in (mine, theirs):
            changes[entry.name] = with_secrets_of(mine, theirs, (*path, entry.name))
        elif entry.secret:
            changes[entry.name] = theirs
    return _changed(settings, changes, path)


def read_files_again(config: Config) -> tuple[Config, Sequence[ConfigError]]:
    """The configuration with what the files of its secrets hold now, those of the store's password, of providers and of
    hooks, and what is wrong with some.

    One with something wrong about its files stays as it is. Where nothing has changed, it is the same object.
    """
    providers, hooks = dict(config.providers), dict(config.notify)
    mistakes: list[ConfigError] = []
    store = config.store
    try:
        store = _read_again(store, ("store",), config.secret_files)
    except ConfigError as error:
        mistakes.append(error)
    for name, provider in config.providers.items():
        try:
            options = _read_again(provider.options, ("providers", name), config.secret_files)
            receipts = provider.receipts
            if receipts is not None:
                receipts = _read_again(receipts, ("providers", name, RECEIPTS), config.secret_files)
        except ConfigError as error:
            mistakes.append(error)
        else:
            if (options, receipts) != (provider.options, provider.receipts):
                providers[name] = dataclasses.replace(provider, options=options, receipts=receipts)
    for name, hook in config.notify.items():
        try:
            hooks[name] = _read_again(hook, ("notify", name), config.secret_files)
        except ConfigError as error:
            mistakes.append(error)
    if (providers, hooks, store) != (config.providers, config.notify, config.store):
        config = dataclasses.replace(config, providers=providers, notify=hooks, store=store)
    return config, mistakes


def _read_again(settings: Any, path: KeyPath, files: Mapping[str, Path]) -> Any:
    changes: dict[str, Any] = {}
    for entry in entries(type(settings)):
        here, value = (*path, entry.name), getattr(settings, entry.name)
        if entry.table and value is not None:
            changes[entry.name] = _read_again(value, here, files)
        elif file := files.get(dotted(here) + SUFFIX):
            changes[entry.name] = secret_in(file, entry, path)
    return _changed(settings, changes, path)


def _changed(settings: T, changes: Mapping[str, Any], path: KeyPath) -> T:
    values = {entry.name: getattr(settings, entry.name) for entry in entries(type(settings))} | dict(changes)
    return make_settings(type(settings), values, {}, path, EnvTree(""))
