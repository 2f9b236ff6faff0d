"""The gRPC server: its services, its limits, its way up and its way down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import grpc

from postwire.api import methods, reflect, transport
from postwire.api.access import Access
from postwire.api.admin import AdminServicer
from postwire.api.dispatch import DispatchServicer
from postwire.api.guard import Calls, Guard
from postwire.api.health import SERVICE as HEALTH_SERVICE
from postwire.api.health import Health
from postwire.api.inbox import InboxServicer
from postwire.api.providers import ProviderServicer, ReceiptFigures
from postwire.api.suppressions import SuppressionServicer
from postwire.api.tls import ServerTls
from postwire.api.tokens import Tokens
from postwire.api.unix_socket import UnixSocket
from postwire.config.schema import ServerConfig
from postwire.config.tls import Certificates
from postwire.delivery import AuditTrail, Control, Delivery, InboxAccess, Stats, Suppressions
from postwire.maintenance.rekeying import Rekeying
from postwire.outbox.base import Membership
from postwire.reload import Reloadable
from postwire.telemetry.base import CallObserver
from postwire.v1 import (
    admin_service_pb2,
    dispatch_service_pb2,
    inbox_service_pb2,
    provider_service_pb2,
    suppression_service_pb2,
)

FLUSH_GRACE: Final = 0.2
"""Seconds for answers that are ready to reach the wire, once nothing else is under way."""

QUIET: Final = 0.1
"""Seconds without a call after which all callers count as notified that the server is shutting down."""

NOTIFY_TIME: Final = 2.0
"""Seconds for which callers are notified, at the most: there may be some who never stop calling."""

UNIX: Final = "unix:"

DISPATCH_SERVICE: Final = dispatch_service_pb2.DESCRIPTOR.services_by_name["DispatchService"].full_name
PROVIDER_SERVICE: Final = provider_service_pb2.DESCRIPTOR.services_by_name["ProviderService"].full_name
ADMIN_SERVICE: Final = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
SUPPRESSION_SERVICE: Final = suppression_service_pb2.DESCRIPTOR.services_by_name["SuppressionService"].full_name
INBOX_SERVICE: Final = inbox_service_pb2.DESCRIPTOR.services_by_name["InboxService"].full_name
SERVICES: Final = (DISPATCH_SERVICE, PROVIDER_SERVICE, ADMIN_SERVICE, SUPPRESSION_SERVICE, INBOX_SERVICE)


class ListenError(Exception):
    """The address cannot be listened on. One line for the terminal."""


class ApiServer:
    """Serves the contract. Made on the event loop that it serves on.

    `services` are its servicers by the full names of their services, and `guard` goes before them, whatever they are
    called by.
    """

    def __init__(
        self,
        config: ServerConfig,
        delivery: Delivery,
        control: Control,
        access: Access,
        audit: AuditTrail,
        rekeying: Rekeying,
        membership: Membership,
        stats: Stats,
        suppressions: Suppressions,
        inbox: InboxAccess | None,
        observers: Sequence[CallObserver] = (),
        *,
        tokens: Tokens,
        receipts: ReceiptFigures,
        certificates: Certificates | None = None,
    ) -> None:
        """Without an `inbox`, nothing is kept of
        what simulated ones took; without `certificates`, there is no TLS."""
        self._control = control
        self._stats = stats
        self._tls = None if certificates is None else ServerTls(certificates)
        self._calls = Calls()
        self.guard = Guard(self._calls, observers, access, audit.keep_refused)
        self.services: Mapping[str, object] = {
            DISPATCH_SERVICE: DispatchServicer(delivery, tokens, config.max_message_bytes, config.max_wait, observers),
            PROVIDER_SERVICE: ProviderServicer(control, receipts),
            ADMIN_SERVICE: AdminServicer(audit, rekeying, membership, tokens, stats, delivery.tenant_usage, access),
            SUPPRESSION_SERVICE: SuppressionServicer(suppressions, tokens),
            INBOX_SERVICE: InboxServicer(inbox, tokens),
        }
        self._health = Health(SERVICES)
        self._socket: UnixSocket | None = None
        self._server = grpc.aio.server(options=transport.options(config))
        for name, servicer in self.services.items():
            methods.serve(self._server, name, self.guard.around(name, servicer))
        # Apart from the others: what is left of these is cut when the server stops, and nobody waits for it.
        about_us = Guard(Calls(), observers, access)
        self._health.add_to(self._server, about_us)
        if config.reflection:
            reflect.enable(self._server, (*SERVICES, HEALTH_SERVICE), about_us)

    def listen(self, address: str) -> str:
        """Take the address; returns it with the port that was picked where it asks for port 0.

        Raises:
            ListenError: it is taken, or not this machine's.
        """
        try:
            if address.startswith(UNIX):
                self._socket = UnixSocket(Path(address.removeprefix(UNIX)))
                self._add_port(f"{UNIX}{self._socket.temporary}")
                self._socket.publish()
                return address
            port = self._add_port(address)
        except OSError as error:
            raise ListenError(f"server.listen: cannot listen on {address}: {error.strerror}") from None
        except RuntimeError:
            raise ListenError(
                f"server.listen: cannot listen on {address}: it is in use, or this machine does not have it"
            ) from None
        return f"{address.rpartition(':')[0]}:{port}"

    @property
    def reloadables(self) -> Sequence[Reloadable]:
        """What can change while it serves."""
        return () if self._tls is None else (self._tls.renewal.reloadable,)

    def release(self) -> None:
        """Give the address back. The server has stopped, or was never started."""
        if self._socket:
            self._socket.release()

    async def start(self, *, ready: bool) -> None:
        """Serve, and report whether dispatches are accepted."""
        self._health.start(ready=ready)
        await self._server.start()

    @property
    def unready_reason(self) -> str:
        """Why the server is not ready, as its health says; empty while it is."""
        return self._health.unready_reason

    def set_ready(self, ready: bool) -> None:
        """Change what health says."""
        self._health.set_ready(ready)

    async def stop(self, delivery: Delivery, grace: float) -> int:
        """Say NOT_SERVING, take nothing new, and finish what is under way within `grace` seconds.

        The listener stays until then, so that a new call is refused with the reason and a repeat is answered.
        Returns how many messages were left unfinished.
        """
        self._health.shut_down()
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        self._control.end_watches()
        self._stats.end_watches()
        unfinished = await delivery.drain(grace)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(max(end, loop.time() + FLUSH_GRACE)):
                await self._calls.wait_idle()
        # What has come and is not begun when it stops, gRPC ends as CANCELLED, which no caller repeats. So those who go
        # on calling are answered until all of them have been notified.
        with suppress(TimeoutError):
            async with asyncio.timeout_at(max(min(end, loop.time() + NOTIFY_TIME), loop.time() + FLUSH_GRACE)):
                await self._calls.wait_quiet(QUIET)
        # What is left are streams that end when their caller wants, such as a watch of our health: they are cut.
        await self._server.stop(FLUSH_GRACE)
        return unfinished

    def _add_port(self, address: str) -> int:
        if self._tls is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, self._tls.credentials)
