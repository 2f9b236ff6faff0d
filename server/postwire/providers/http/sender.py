"""Sends requests to vendors: the one place that knows how HTTP is carried.

One request reaches the vendor for each call, whatever happens: nothing is repeated, no redirect is followed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from postwire import __version__
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse
from postwire.providers.pieces import each
from postwire.providers.resolving import NameResolver

MAX_ANSWER: Final = 1024 * 1024
"""Bytes of an answer that are read."""

KEEPALIVE: Final = 4.0
"""Seconds that a connection is kept without a use. Servers and balancers end idle ones after 5 s and more, and one that
is ended as it is used again leaves an attempt uncertain."""

_HEADERS: Final = {
    "User-Agent": f"postwire/{__version__}",
    "Accept-Encoding": "identity",  # what is packed could unpack to any size
}


class ProxyRefused(Exception):
    """The proxy does not let us through. Nothing reached the vendor."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answers {status}")
        self.status = status


class CutOff(Exception):
    """The connection, or the time for it, ended after the head of an answer; `status` is the head's."""

    def __init__(self, status: int) -> None:
        super().__init__("the answer was cut off")
        self.status = status


class HttpSender:
    """One pool of connections, for one provider. How many are used at once is limited above it."""

    def __init__(
        self, *, connect_timeout: float, body_timeout: float | None = None, ca_file: str | None = None
    ) -> None:
        """`connect_timeout` is in seconds, TLS included. `body_timeout` is for what follows the head of an
        answer (None: no limit of its own). `ca_file` has the authorities to trust in place of the system's.

        Raises:
            OSError: it cannot be read, or has none.
        """
        self._ssl: ssl.SSLContext | bool = ssl.create_default_context(cafile=ca_file) if ca_file else True
        # No limit of ours on the whole: the attempt has one, which cancels the call.
        self._timeout = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=connect_timeout, sock_read=None)
        self._body_timeout = body_timeout
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: HttpRequest, handover: Handover, *, proxy: str | None = None) -> HttpResponse:
        """Send a request, once, and read the answer, up to `MAX_ANSWER`.

        Everything up to the first byte of the request that is written is `handover.connecting()`.

        Raises:
            CutOff: the connection, or the time for the body, ended within an answer.
            ProxyRefused: the proxy did not pass it on.
            aiohttp.ClientError: something else went wrong.
        """
        session = self._session or self._open()
        with ExitStack() as connecting:
            connecting.enter_context(handover.connecting())
            pieces, headers = await _prepared(request)
            try:
                response = await session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    data=_stream(pieces) if len(pieces) > 1 else pieces[0] or None,
                    headers=headers,
                    allow_redirects=False,
                    proxy=proxy,
                    ssl=self._ssl,
                    trace_request_ctx=connecting,
                )
            except aiohttp.ClientHttpProxyError as error:
                raise ProxyRefused(error.status) from None
        try:
            return await _read(response, self._body_timeout)
        finally:
            # Does nothing where the whole answer was read, and otherwise closes the connection.
            response.close()

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        """Make the pool. It belongs to the running loop."""
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_sent)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE, resolver=_Resolver()),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            headers=_HEADERS,
            auto_decompress=False,
            trace_configs=[trace],
        )
        # aiohttp sends a request of an idempotent method again where a pooled connection turns out to be closed. There
        # is no public way to say no; a test sends by every method.
        self._session._retry_connection = False
        return self._session


def why_not_reached(error: Exception) -> str:
    """Why nobody has answered, in words that hold nothing of an address."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved: check the address"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted: check the address, and ca_file"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed: check the address"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return f"it cannot be reached: {type(error).__name__}"


async def _note_sent(_: object, context: SimpleNamespace, __: object) -> None:
    """Called before the first byte of a request is written."""
    context.trace_request_ctx.close()


async def _prepared(request: HttpRequest) -> tuple[list[bytes], Mapping[str, str]]:
    """The body of a request in pieces, and all of its headers."""
    pieces = [piece async for piece in each(request.body)]
    headers = dict(request.headers)
    if len(pieces) > 1:  # else it is aiohttp's to say
        headers["Content-Length"] = str(sum(map(len, pieces)))
    if request.signing:
        hasher = request.signing.hasher()
        for piece in pieces:
            hasher.update(piece)
            if len(pieces) > 1:
                await asyncio.sleep(0)
        headers |= request.signing.headers(hasher.digest())
    return pieces, headers


async def _stream(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _read(response: aiohttp.ClientResponse, timeout: float | None) -> HttpResponse:
    """Read an answer whose head is there, for so many seconds."""
    parts: list[bytes] = []
    left = MAX_ANSWER
    try:
        async with asyncio.timeout(timeout):
            while left and (part := await response.content.read(left)):
                parts.append(part)
                left -= len(part)
        complete = bool(left) or response.content.at_eof()
    except (aiohttp.ClientError, OSError) as error:
        raise CutOff(response.status) from error
    headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpResponse(response.status, headers, b"".join(parts), complete)


class _Resolver(AbstractResolver):
    """See `providers.resolving`."""

    def __init__(self) -> None:
        self._names = NameResolver()

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """See `AbstractResolver.resolve`."""
        return [
            ResolveResult(hostname=host, host=address[0], port=address[1], family=kind, proto=protocol, flags=0)
            for kind, _, protocol, _, address in await self._names.resolve(host, port, family)
        ]

    async def close(self) -> None:
        """See `AbstractResolver.close`."""
