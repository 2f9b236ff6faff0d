"""Reading the configuration again while the server serves, and taking over what can change without a restart.

A part of the server whose settings can change says so by a `Reloadable`. All of them look at the new configuration
before any of them takes it over: it is taken over as a whole, or not at all. Files of secrets and certificates may be
read again by themselves: then each provider, and each listener, is by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from postwire.config.bind import ConfigError
from postwire.config.renewal import read_files_again
from postwire.config.schema import Config, differences, without_details


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a part would take over: `apply`, which must not fail, and is called on the event loop.

    `renewed` names the keys whose value is the same while what it leads to is not: a file that was written anew.
    `left` names those of its keys that it cannot take over as they are now: the next start will.
    """

    apply: Callable[[], None]
    renewed: Collection[str] = ()
    left: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Reloadable:
    """A part of the server that can take over new values of its `keys` (dotted: `telemetry.log_level`; a `*` stands for
    any name without a dot: `tenants.*.rate`).

    `prepare` reads what the keys lead to, such as a file, and changes nothing yet. It is called on another thread, at
    every reload, whether a key has changed or not. It raises ConfigError where something is wrong.
    """

    keys: Collection[str]
    prepare: Callable[[Config], Prepared]

    def takes(self, key: str) -> bool:
        """Whether a key is one of `keys`."""
        return any(
            re.fullmatch("[^.]+".join(map(re.escape, one.split("*"))), key) if "*" in one else one == key
            for one in self.keys
        )


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The keys that have changed: those that were taken over, and those that the next start will take over."""

    changed: Sequence[str]
    needs_restart: Sequence[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """A new configuration that every part can take over. `mistakes` says what is not in it, as it was of no use."""

    config: Config
    prepared: Sequence[Prepared]
    mistakes: Sequence[ConfigError] = ()

    @property
    def renewed(self) -> bool:
        """Whether a file that a key leads to was written anew."""
        return any(one.renewed for one in self.prepared)


class Reloader:
    """Reads the configuration again, as `read` does, for a server that has booted with `config`.

    One plan at a time: it is applied before the next is prepared, or dropped.
    """

    def __init__(self, config: Config, read: Callable[[], Config], reloadables: Sequence[Reloadable]) -> None:
        self._booted = config
        self._current = config
        self._taken: dict[str, object] = {}  # what has changed since the boot and was taken over, by key
        self._read = read
        self._reloadables = reloadables
        self.on_applied: Callable[[Config, Collection[str]], None] = lambda config, left: None
        """Called with each configuration that is taken over, and the keys of it that only the next start will."""

    @property
    def config(self) -> Config:
        """The configuration as it was read last."""
        return self._current

    def prepare(self) -> Plan:
        """Read everything that may have changed. It may take long, and nothing changes.

        Raises:
            ConfigError: something is wrong, and the server is to go on as it is.
        """
        config = self._read()
        return Plan(config, [one.prepare(config) for one in self._reloadables])

    def prepare_secrets(self) -> Plan:
        """Read the files of secrets and certificates again, and nothing else. It may take long, and nothing changes."""
        config, found = read_files_again(self._current)
        mistakes, prepared = [*found], []
        for one in self._reloadables:
            try:
                prepared.append(one.prepare(config))
            except ConfigError as error:
                mistakes += (error, *error.others)
        return Plan(config, prepared, mistakes)

    def apply(self, plan: Plan) -> Reloaded:
        """Take over what can be. Of the rest, all that differs from what the server runs with is reported each time."""
        for one in plan.prepared:
            one.apply()
        left = {key for one in plan.prepared for key in one.left}
        differing = differences(self._booted, plan.config, self._taken)
        taken = {
            key: value
            for key, value in differing.items()
            if key not in left and any(one.takes(key) for one in self._reloadables)
        }
        self._taken |= taken
        self._current = plan.config
        renewed = [key for one in plan.prepared for key in one.renewed if key not in taken]
        reported = without_details(differing)
        needs_restart = [key for key in reported if key not in taken]
        self.on_applied(plan.config, needs_restart)
        return Reloaded([*(key for key in reported if key in taken), *renewed], needs_restart)
