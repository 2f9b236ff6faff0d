"""`grpc.health.v1`: whether this server takes messages now (readiness), and whether it works at all (liveness)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

from postwire.api import methods
from postwire.api.call import CallContext, OtherStatus
from postwire.api.guard import Guard

SERVICE: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING

_WIRE: Final[Any] = health_pb2
"""The same: its types know no `List`."""

LIVENESS: Final = "liveness"
"""The health service for those who restart what is not healthy. It is SERVING for as long as there is an answer: a
restart makes no room on a full disk, and cuts short what a drain is finishing."""

STARTING: Final = "starting"
STORE_UNAVAILABLE: Final = "the store cannot commit"
SHUTTING_DOWN: Final = "shutting down"


class Health:
    """The status of `""` and of every service, which is one and the same since all need the store; and of `LIVENESS`.

    `unready_reason` says why the server is not ready; it is empty while it is.
    """

    def __init__(self, services: Sequence[str]) -> None:
        self.unready_reason = STARTING
        self._services = ("", *services)
        self._changed = asyncio.Event()  # for those who watch: each change has one of its own

    def add_to(self, server: grpc.aio.Server, guard: Guard) -> None:
        """Serve `grpc.health.v1.Health`, to everybody: who asks is a load balancer, say, and has no key."""
        methods.serve(server, SERVICE, guard.around(SERVICE, _Servicer(self), lambda _: None))

    def start(self, *, ready: bool) -> None:
        """The server is about to serve."""
        self._set("" if ready else STORE_UNAVAILABLE)

    def set_ready(self, ready: bool) -> None:
        """Change the status of every service, and notify those who watch. Before `start` and after `shut_down` it
        changes nothing.
        """
        if self.unready_reason not in (STARTING, SHUTTING_DOWN):
            self._set("" if ready else STORE_UNAVAILABLE)

    def shut_down(self) -> None:
        """Every service is NOT_SERVING for good."""
        self._set(SHUTTING_DOWN)

    def statuses(self) -> dict[str, int]:
        """The status of each, now."""
        status = NOT_SERVING if self.unready_reason else SERVING
        return {**dict.fromkeys(self._services, status), LIVENESS: SERVING}

    async def change(self) -> None:
        """Return once there has been a change since this was called."""
        await self._changed.wait()

    def _set(self, unready_reason: str) -> None:
        self.unready_reason = unready_reason
        self._changed.set()
        self._changed = asyncio.Event()


class _Servicer:
    """Converts and asks."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def Check(self, request: health_pb2.HealthCheckRequest, call: CallContext) -> Any:
        status = self._health.statuses().get(request.service)
        if status is None:
            raise OtherStatus(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return _WIRE.HealthCheckResponse(status=status)

    async def List(self, request: Any, call: CallContext) -> Any:
        answers = self._health.statuses().items()
        return _WIRE.HealthListResponse(
            statuses={service: _WIRE.HealthCheckResponse(status=status) for service, status in answers}
        )

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, call: CallContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        last = None
        while True:
            status = self._health.statuses().get(request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            if status == last:
                await self._health.change()
                continue
            last = status
            yield _WIRE.HealthCheckResponse(status=status)
