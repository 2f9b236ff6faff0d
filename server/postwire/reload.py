"""Reading the configuration again while the server serves, and taking over what can change without a restart.

A part of the server whose settings can change says so by a `Reloadable`. All of them look at the new configuration
before any of them takes it over: it is taken over as a whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from postwire.config.schema import Config, differences


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a part would take over: `apply`, which must not fail, and is called on the event loop.

    `renewed` names the keys whose value is the same while what it leads to is not: a file that was written anew.
    """

    apply: Callable[[], None]
    renewed: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Reloadable:
    """A part of the server that can take over new values of its `keys` (dotted: `telemetry.log_level`).

    `prepare` reads what the keys lead to, such as a file, and changes nothing yet. It is called on another thread, at
    every reload, whether a key has changed or not. It raises ConfigError where something is wrong.
    """

    keys: Collection[str]
    prepare: Callable[[Config], Prepared]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The keys that have changed: those that were taken over, and those that the next start will take over."""

    changed: Sequence[str]
    needs_restart: Sequence[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """A new configuration that every part can take over."""

    config: Config
    prepared: Sequence[Prepared]


class Reloader:
    """Reads the configuration again, as `read` does, for a server that has booted with `config`."""

    def __init__(self, config: Config, read: Callable[[], Config], reloadables: Sequence[Reloadable]) -> None:
        self._booted = config
        self._current = config
        self._read = read
        self._reloadables = reloadables

    def prepare(self) -> Plan:
        """Read everything that may have changed. It may take long, and nothing changes.

        Raises:
            ConfigError: something is wrong, and the server is to go on as it is.
        """
        config = self._read()
        return Plan(config, [one.prepare(config) for one in self._reloadables])

    def apply(self, plan: Plan) -> Reloaded:
        """Take over what can be. Of the rest, all that differs from what the server runs with is told each time."""
        for one in plan.prepared:
            one.apply()
        live = {key for one in self._reloadables for key in one.keys}
        changed = [key for key in differences(self._current, plan.config) if key in live]
        changed += [key for one in plan.prepared for key in one.renewed if key not in changed]
        self._current = plan.config
        return Reloaded(changed, [key for key in differences(self._booted, plan.config) if key not in live])
