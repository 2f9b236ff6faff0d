"""The contract as OpenAPI has it, and as a page to read. They are public, as the contract is."""

from __future__ import annotations

import mimetypes
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from postwire.web.built import built_files

CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SHOWN: Final = ("GET", "HEAD")
_PAGE: Final = "/openapi.html"


def routes() -> list[BaseRoute]:
    """Those of each file, and one that is easier to remember."""
    redirect = Route("/openapi", lambda _: RedirectResponse(_PAGE), methods=_SHOWN)
    return [redirect, *(_route(name, content) for name, content in built_files("openapi").items())]


def _route(name: str, content: bytes) -> Route:
    media_type = mimetypes.guess_type(name)[0]
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": CONTENT_POLICY}

    async def answer(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=headers)

    return Route(f"/{name}", answer, methods=_SHOWN)
