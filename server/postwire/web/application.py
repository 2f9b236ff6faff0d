"""The application that `http.listen` serves: the contract, the console, and whatever else has routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.descriptor import MethodDescriptor
from starlette.responses import Response
from starlette.routing import BaseRoute, Router

from postwire.web.contract import CONTENT_TYPES, Contract, is_offered, media_type, takes
from postwire.web.origins import Origins
from postwire.web.responses import Receive, Scope, Send, Sending, refusal

_ALLOWED_HEADERS: Final = ", ".join(
    (
        "authorization",
        "connect-protocol-version",
        "connect-timeout-ms",
        "content-type",
        "grpc-timeout",
        "postwire-tenant",
        "traceparent",
        "tracestate",
        "x-grpc-web",
        "x-user-agent",
    )
)
_EXPOSED_HEADERS: Final = "grpc-message, grpc-status, grpc-status-details-bin, retry-after"
_ONCE: Final = ("content-type", "host", "origin")
_NOT_OFFERED: Final = "takes a stream of requests, which needs gRPC: call it there, or Dispatch for each message"
_PREFLIGHT_TIME: Final = "7200"
"""Seconds for which a browser need not ask again: no browser keeps an answer longer."""


class Application:
    """An ASGI application. `is_draining`: connections are closed once what is under way on them is answered."""

    def __init__(self, contract: Contract, origins: Origins, routes: Sequence[BaseRoute]) -> None:
        self._contract = contract
        self._origins = origins
        self._router = Router(routes, redirect_slashes=False, default=_unknown)
        self.is_draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = Sending(send, lambda: self.is_draining)
        # As text, whatever it is: what a browser sends along of others' cookies need not be ASCII.
        given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        headers = dict(given)
        host, content_type = headers.get("host", ""), media_type(headers.get("content-type", ""))
        scope["headers"] = [
            (name.encode(), (content_type if name == "content-type" else value).encode()) for name, value in given
        ]
        if refused := self._refusal_of_headers([name for name, _ in given], scope["http_version"], host, content_type):
            await refused(scope, receive, sending)
            return
        method = self._contract.methods.get(scope["path"])
        if method is None:
            await self._router(scope, receive, sending)
            return
        origin = headers.get("origin")
        if origin is not None and not self._origins.is_own(origin, host):
            sending.headers.append((b"vary", b"Origin"))
            if not self._origins.is_allowed(origin):
                text = "a page of this origin may not call this server, unless http.cors_origins has it"
                await refusal(403, text, content_type=content_type)(scope, receive, sending)
                return
            sending.headers += [
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-expose-headers", _EXPOSED_HEADERS.encode()),
            ]
        if refused := self._refusal_of(method, scope["method"], content_type, origin):
            await refused(scope, receive, sending)
            return
        await self._contract.answer(CONTENT_TYPES[content_type], scope, receive, sending)

    def _refusal_of_headers(self, names: Sequence[str], version: str, host: str, content_type: str) -> Response | None:
        """The answer to a request that is meant for another server, or for two: whoever stands before this one may
        have read the other header. None where it is for this one.
        """
        if "transfer-encoding" in names and ("content-length" in names or version == "1.0"):
            # RFC 9112, section 6.1: nobody can tell where such a request ends, and so where the next one begins.
            text = "Transfer-Encoding may be there with HTTP/1.1 alone, and without Content-Length"
            return refusal(400, text, {"Connection": "close"}, content_type=content_type)
        if any(names.count(name) > 1 for name in _ONCE):
            return refusal(400, f"each of {', '.join(_ONCE)} may be there once", content_type=content_type)
        if not self._origins.is_own_name(host):
            text = "Host names another server than this: call it by where it listens, or add the name to http.hosts"
            return refusal(421 if host else 400, text, content_type=content_type)
        return None

    def _refusal_of(
        self, method: MethodDescriptor, verb: str, content_type: str, origin: str | None
    ) -> Response | None:
        """The answer to a request that is no call that this method takes; None where it is one."""
        if verb == "OPTIONS" and origin is not None:
            headers = {
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
                "Access-Control-Max-Age": _PREFLIGHT_TIME,
            }
            return Response(status_code=204, headers=headers)
        if verb != "POST":
            return refusal(405, "methods are called with POST", {"Allow": "POST"}, content_type=content_type)
        if not is_offered(method):
            return refusal(501, f"{method.name} {_NOT_OFFERED}", content_type=content_type)
        taken = CONTENT_TYPES.get(content_type)
        if taken is None or not takes(method, taken):
            types = ", ".join(name for name, one in CONTENT_TYPES.items() if takes(method, one))
            return refusal(
                415, f"Content-Type must be one of {types}", {"Accept-Post": types}, content_type=content_type
            )
        return None


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    content_type = next((value.decode() for name, value in scope["headers"] if name == b"content-type"), "")
    await refusal(404, "there is nothing here", content_type=media_type(content_type))(scope, receive, send)
