"""The addresses that vendors call: `POST` and `GET /receipts/PROVIDER` and `/receipts/PROVIDER/REFERENCE`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from postwire.http_body import Body, BodyRoom, BodyTooLarge, BodyTooSlow, Disconnected, NoRoom
from postwire.receipts.reception import BUSY, Answer, Reception

MAX_BODY: Final = 1 << 20
"""Bytes of a call."""

MAX_BODIES: Final = 8 << 20
"""Bytes that calls of one provider may hold in all: what comes beyond that is to come again."""

RETRY_AFTER: Final = "5"
"""Seconds after which a vendor may come again."""

TOO_LARGE: Final = "too_large"
TOO_SLOW: Final = "too_slow"
_METHODS: Final = ("GET", "POST")


class ReceiptApp:
    """`app` is the ASGI application, and `room` has the bodies of the calls that it answers."""

    def __init__(self, reception: Reception, public_url: str, now: Callable[[], int]) -> None:
        """`public_url` is where the vendors call, in front of the paths above; `now` gives µs since the epoch."""
        self._reception = reception
        self._public_url = public_url
        self._prefix = urlsplit(public_url).path
        self._now = now
        self.room = BodyRoom(MAX_BODIES)
        paths = ("/receipts/{provider}", "/receipts/{provider}/{reference}")
        # Whatever stands in front of this may take the prefix off, or leave it there.
        prefixes = dict.fromkeys(("", self._prefix))
        routes = [Route(prefix + path, self._answer, methods=_METHODS) for prefix in prefixes for path in paths]
        self.app = Starlette(routes=[])
        self.app.router = Router(routes, redirect_slashes=False)

    async def _answer(self, request: Request) -> Response:
        if request.method not in _METHODS:  # Starlette adds HEAD, which is to change nothing
            return Response(status_code=405, headers={"Allow": ", ".join(_METHODS)})
        provider_name: str = request.path_params["provider"]
        reference: str | None = request.path_params.get("reference")
        if refused := self._reception.look(provider_name, reference):
            return _response(refused)
        try:
            with self.room.reserve(provider_name) as room:
                body = await self._body(request, provider_name, room)
                if isinstance(body, Answer):
                    return _response(body)
                answer = await self._reception.receive(
                    provider_name,
                    reference,
                    request.method,
                    self._url(request),
                    _headers(request),
                    body,
                    now=self._now(),
                )
                return _response(answer)
        except Disconnected:
            return Response(status_code=400)  # which nobody reads
        except Exception as error:  # of which uvicorn would say too much, or nothing
            return _response(self._reception.failed(provider_name, error))

    async def _body(self, request: Request, provider_name: str, room: Body) -> bytes | Answer:
        """The body of a call; or else what its sender is told, who need not send the rest."""
        try:
            return await room.read(request.scope["headers"], request.receive, MAX_BODY)
        except BodyTooLarge:
            return self._reception.refuse(provider_name, TOO_LARGE, 413)
        except NoRoom:
            return self._reception.refuse(provider_name, BUSY, 503, again=True)
        except BodyTooSlow:
            return self._reception.refuse(provider_name, TOO_SLOW, 408)

    def _url(self, request: Request) -> str:
        """Where the vendor was told to call: a signature may cover it, as it was written there."""
        path = request.scope["raw_path"].decode("ascii")
        if self._prefix and path.startswith(f"{self._prefix}/"):
            path = path.removeprefix(self._prefix)
        query = request.scope["query_string"].decode("latin-1")
        return f"{self._public_url}{path}?{query}" if query else f"{self._public_url}{path}"


def _headers(request: Request) -> dict[str, str]:
    """The headers by their names. What is there twice is joined as RFC 9110, section 5.2, has it."""
    found: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _response(answer: Answer) -> Response:
    headers = {"Retry-After": RETRY_AFTER} if answer.again else {}
    if answer.status == 408:  # see RFC 9110, section 15.5.9
        headers["Connection"] = "close"
    return Response(status_code=answer.status, headers=headers)
