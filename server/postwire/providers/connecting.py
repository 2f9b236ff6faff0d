"""Connections to servers of other protocols than HTTP: TCP and TLS, in limited time, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import socket
import ssl

from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import ProviderHealth
from postwire.providers.resolving import AddressInfo, NameResolver


class ConnectFailed(Exception):
    """No connection that can be used was made.

    `code` is ours, or the server's; `detail` says in our own words what to look at. `misconfigured`: it could be made,
    and the server refuses our account, or is not what the settings say. `throttled`: it refuses us for now, since it
    has too much to do.
    """

    def __init__(self, code: str, detail: str, *, misconfigured: bool = False, throttled: bool = False) -> None:
        super().__init__(detail)
        self.code, self.detail, self.misconfigured = code, detail, misconfigured
        self.throttled = throttled

    @property
    def result(self) -> DispatchResult:
        """That of an attempt which needed the connection."""
        outcome = Outcome.MISCONFIGURED if self.misconfigured else Outcome.ERROR
        if self.throttled:
            outcome = Outcome.RATE_LIMITED
        return DispatchResult(outcome, error_code=self.code, detail=self.detail)

    @property
    def health(self) -> ProviderHealth:
        """What a check says that has come to this. The code is shown where it is the server's, which is a number."""
        code = f" ({self.code})" if self.code[:1].isdigit() else ""
        return ProviderHealth(ok=False, detail=self.detail + code, misconfigured=self.misconfigured)


async def connect(host: str, port: int, names: NameResolver, timeout: float) -> socket.socket:
    """Return a connection to the first address of a host that takes it, within `timeout` seconds.

    Raises:
        ConnectFailed: there is none.
    """
    try:
        async with asyncio.timeout(timeout):
            return await _connected(await names.resolve(host, port))
    except TimeoutError:
        raise ConnectFailed("connect_timeout", "the server did not answer in time: see host and port") from None
    except socket.gaierror:
        raise ConnectFailed("no_such_host", "its name cannot be resolved: see host") from None
    except OSError as error:
        raise ConnectFailed("connect", f"it cannot be reached ({type(error).__name__}): see host and port") from None


def tls_failed(error: Exception, look_at: str) -> ConnectFailed:
    """What has become of a connection that is made, if TLS is not. `look_at` says which settings to see."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectFailed("certificate", "its certificate is not trusted: see host, and ca_file")
    if isinstance(error, TimeoutError):
        return ConnectFailed("connect_timeout", f"TLS was not there in time: {look_at}")
    return ConnectFailed("tls", f"TLS failed: {look_at}")


def tls_name(host: str) -> str:
    """The name that a host's certificate is to have."""
    return host.strip("[]")


async def _connected(addresses: list[AddressInfo]) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure: OSError = ConnectionError()
    for family, kind, protocol, _, address in addresses:
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.setblocking(False)
            await loop.sock_connect(connecting, address)
        except OSError as error:
            connecting.close()
            failure = error
        except BaseException:
            connecting.close()
            raise
        else:
            return connecting
    raise failure
