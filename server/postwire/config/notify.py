"""`[[notify]]`: whom what becomes of messages is posted to.

[[notify]]
name = "billing"
url = "https://billing.example.com/postwire"
secret = "whsec_…"
states = ["delivered", "undelivered", "failed"]
labels = { team = "billing" }
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

from postwire.config.bind import ConfigError, EnvTree, Mistakes, bind, setting
from postwire.config.ca_file import check_ca_file
from postwire.config.endpoints import WEB_ADDRESS
from postwire.config.tables import LABELS
from postwire.config.types import ListOf, PositiveDuration, dotted, quote, unit_of, whole
from postwire.core import standard_webhooks
from postwire.core.message import DEFAULT_TENANT, EMPTY, MessageState

HOOK_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""As the names of providers."""

_STATES: Final = ListOf('a list of states such as ["delivered", "failed"]', unit_of(MessageState))


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyConfig:
    """One hook. Times are in seconds; no states are all of them, and no labels those of any message."""

    name: str = setting(help="What it is called, in logs and metrics.")
    url: Annotated[str, WEB_ADDRESS] = setting(help="Where events are posted to.")
    secret: str = setting(help="What they are signed with: base64, with or without whsec_ before it.", secret=True)
    previous_secret: str | None = setting(
        None, help="What they are signed with as well, while the receiver goes over to the other.", secret=True
    )
    tenant: str = setting(DEFAULT_TENANT, help="Whose messages they are about.")
    states: Annotated[tuple[MessageState, ...], _STATES] = setting((), help="Which states they tell of; all if empty.")
    labels: Annotated[Mapping[str, str], LABELS] = setting(
        default_factory=lambda: EMPTY, help="What labels a message must have; any will do if empty."
    )
    timeout: PositiveDuration = setting(15.0, help="How long the receiver may take to answer.")
    max_concurrent: Annotated[int, whole(1, 100)] = setting(
        1, help="How many events may be on their way at once; each may be repeated after a kill."
    )
    ca_file: str | None = setting(None, help="A file of authorities to trust, in place of the system's.")

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        check_ca_file(self.ca_file)
        for name in ("secret", "previous_secret"):
            if (secret := getattr(self, name)) is not None:
                standard_webhooks.key_of(secret, name)


def read(
    raw: object,
    env: EnvTree,
    *,
    tenants: Collection[str],
    seen: set[str],
    files: dict[str, Path],
) -> Mapping[str, NotifyConfig]:
    """Return the hooks by name, in the order of declaration. Their keys begin with `notify.NAME`.

    `tenants` are the names of those there are. The dotted keys that were given are added to `seen`, and the files that
    secrets were read from to `files`. Raises ConfigError for all that is wrong.
    """
    if not isinstance(raw, list) or not all(isinstance(one, Mapping) for one in raw):
        raise ConfigError("notify", "is not an array of tables, write each as [[notify]]")
    mistakes = Mistakes()
    names = [one.get("name") for one in raw]
    spelled = [name.replace("-", "_") for name in names if isinstance(name, str)]
    for part, node in env.below.items():
        if part not in spelled:
            known = ", ".join(name for name in names if isinstance(name, str)) or "none"
            problem = f"there is no such hook, the environment can only set keys of those declared: {known}"
            mistakes.add(ConfigError(next(node.set_variables()), problem))
    found: dict[str, NotifyConfig] = {}
    for index, (name, table) in enumerate(zip(names, raw, strict=True)):
        if not isinstance(name, str) or not HOOK_NAME.fullmatch(name):
            mistakes.add(ConfigError(dotted(("notify", index, "name")), _unnamed(name)))
            continue
        path = "notify", name
        node = env.at(name)
        if names.index(name) < index:
            mistakes.add(ConfigError(dotted(path), "is declared twice, give each hook a name of its own"))
            continue
        if (variable := node.at("name")).text is not None:
            problem = "is what the others are found by, only a file can set it"
            mistakes.add(ConfigError(dotted((*path, "name")), problem, variable=variable.variable))
            continue
        with mistakes.caught():
            made = bind(NotifyConfig, table, path, node, seen=seen, files=files)
            if made.tenant not in (*tenants, DEFAULT_TENANT):
                known = ", ".join(dict.fromkeys((DEFAULT_TENANT, *tenants)))
                problem = f"{quote(made.tenant)} is no tenant, known are: {known}"
                mistakes.add(ConfigError(dotted((*path, "tenant")), problem))
            found[name] = made
    mistakes.raise_if_any()
    return MappingProxyType(found)


def _unnamed(name: object) -> str:
    good = "must be lower-case letters and digits with single dashes between, such as billing-eu"
    return f"is missing, it {good}" if name is None else f"{quote(name)} is not a hook's name, {good}"
