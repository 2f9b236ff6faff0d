"""Variables of the environment that begin like ours and are none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from postwire import CLIENT_VARIABLES
from postwire.config.bind import SETTING

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


def stray_variables(environ: Mapping[str, str], known: Callable[[], Iterable[str]]) -> tuple[StrayVariable, ...]:
    """Those of the variables that begin with POSTWIRE_, and are neither settings nor of the client.

    `known` gives the names that there are, and is asked only where there are strays.
    """
    strays = []
    for name in sorted(environ):
        if not name.startswith("POSTWIRE_") or name in CLIENT_VARIABLES or SETTING.match(name):
            continue
        by_cluster = name.endswith("_PORT") and _INJECTED_PORT.match(environ[name])
        injected = bool(_INJECTED.fullmatch(name) or by_cluster)
        near = difflib.get_close_matches(name.upper(), (*known(), *CLIENT_VARIABLES), 1, cutoff=0.85)
        strays.append(StrayVariable(name, near[0] if near and not injected else None, injected))
    return tuple(strays)
