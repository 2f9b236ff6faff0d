"""A call, as those see it who answer it: no more than every transport can tell of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

from postwire.core.principal import Principal
from postwire.core.values import frozen

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@frozen
class CallContext:
    """Who calls, and for how many seconds more he waits (None: for as long as it takes)."""

    principal: Principal
    time_remaining: Callable[[], float | None]

    @property
    def tenant(self) -> str:
        """Whose messages the call is about."""
        return self.principal.tenant


class OtherStatus(Exception):
    """How a service that is not of our contract, such as `grpc.health.v1`, refuses a call: with a status alone."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
