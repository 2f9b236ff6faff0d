"""`grpc.health.v1`: whether this server takes messages now (readiness), and whether it works at all (liveness)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING

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
        self._servicer = health.aio.HealthServicer()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve `grpc.health.v1.Health`."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def start(self, *, ready: bool) -> None:
        """The server is about to serve."""
        await self._servicer.set(LIVENESS, SERVING)
        await self._set("" if ready else STORE_UNAVAILABLE)

    async def set_ready(self, ready: bool) -> None:
        """Change the status of every service, and notify those who watch. Before `start` and after `shut_down` it
        changes nothing.
        """
        if self.unready_reason not in (STARTING, SHUTTING_DOWN):
            await self._set("" if ready else STORE_UNAVAILABLE)

    async def shut_down(self) -> None:
        """Every service is NOT_SERVING for good."""
        await self._set(SHUTTING_DOWN)

    async def _set(self, unready_reason: str) -> None:
        self.unready_reason = unready_reason
        for service in self._services:
            # What holds by then: the server may be shut down between two of them.
            await self._servicer.set(service, NOT_SERVING if self.unready_reason else SERVING)
