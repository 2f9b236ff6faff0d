"""Answers of the listener itself, and what every answer carries."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final

from starlette.responses import Response

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Header = tuple[bytes, bytes]

NO_CONTENT_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Of what is no page."""

SECURITY_HEADERS: Final[Mapping[bytes, bytes]] = {
    b"cache-control": b"no-store",
    b"content-security-policy": NO_CONTENT_POLICY.encode(),
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
"""What every answer carries, unless it says something else in place of it."""


_CODES: Final[Mapping[int, str]] = {
    400: "internal",
    401: "unauthenticated",
    403: "permission_denied",
    404: "unimplemented",
    429: "unavailable",
    500: "internal",
    501: "unimplemented",
    503: "unavailable",
}
"""What Connect makes of a status that says nothing else: https://connectrpc.com/docs/protocol#http-to-error-code.
What is not there is `unknown`."""

_CONNECT: Final = ("application/json", "application/proto", "application/connect+")


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None, *, content_type: str = "") -> Response:
    """An answer that refuses a request of this type before it is a call. It has the form that errors of calls have, if
    the type is one of Connect, or none: to whoever speaks something else, such an error is of another protocol.
    """
    if content_type and not content_type.startswith(_CONNECT):
        return Response(text, status_code=status, headers=headers, media_type="text/plain")
    body = json.dumps({"code": _CODES.get(status, "unknown"), "message": text}, ensure_ascii=False)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


class Sending:
    """What ASGI calls `send`, which adds the headers of every answer, and those of this one."""

    def __init__(self, send: Send, is_draining: Callable[[], bool]) -> None:
        """`is_draining`: whether callers are to look for another server once they have their answer."""
        self._send = send
        self._is_draining = is_draining
        self.headers: list[Header] = []
        self.status: int | None = None
        self.has_begun = False

    async def __call__(self, event: Event) -> None:
        if event["type"] == "http.response.start":
            self.has_begun = True
            event = {**event, "headers": self._complete(event.get("headers", ()))}
            if self.status is not None and event["status"] != 200:
                event["status"] = self.status
        await self._send(event)

    def _complete(self, given: Iterable[Header]) -> list[Header]:
        """The headers of an answer, with all that it says itself."""
        headers = [(name.lower(), value) for name, value in (*given, *self.headers)]
        if self._is_draining():
            headers.append((b"connection", b"close"))
        names = {name for name, _ in headers}
        return [*headers, *(one for one in SECURITY_HEADERS.items() if one[0] not in names)]
