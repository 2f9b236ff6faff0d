"""A call, as those see it who answer it: no more than every transport can tell of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, Protocol

import grpc

from postwire.core.principal import Principal
from postwire.core.values import frozen
from postwire.telemetry.base import Metadata


class Context(Protocol):
    """What the guard asks the transport of a call, and has it do. `grpc.aio.ServicerContext` is one as it is, and its
    words are those of gRPC: see `web.context` for HTTP.
    """

    def invocation_metadata(self) -> Metadata | None:
        """What came along with the call, by keys in lower case. One that is repeated is there more than once."""
        ...

    def time_remaining(self) -> float | None:
        """For how many seconds more the caller waits; None: for as long as it takes."""
        ...

    def peer(self) -> str:
        """The caller's address, with another port for each of his connections: `ipv4:192.0.2.1:4711`, `unix:`."""
        ...

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What the transport has verified of the caller: the names in his certificate."""
        ...

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have it called when the call is over, and its answer on its way."""
        ...

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: tuple[tuple[str, str | bytes], ...] = ()
    ) -> NoReturn:
        """End the call with a status. What it raises goes through to the transport."""
        ...


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
