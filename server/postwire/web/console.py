"""The console's files, as they are built, and what it asks the server before it calls anything."""

from __future__ import annotations

import gzip
import mimetypes
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from postwire import __version__
from postwire.config.http import ConsoleConfig
from postwire.web.built import built_files
from postwire.web.responses import refusal

CONTENT_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "frame-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

ASSETS: Final = "assets/"
"""Where files are whose names change with what is in them."""

_COMPRESSED: Final = (".css", ".html", ".js", ".svg")
_PAGE: Final = "index.html"
_FOREVER: Final = "public, max-age=31536000, immutable"
_AT_ONCE: Final = "no-cache"
_SHOWN: Final = ("GET", "HEAD")


class Console:
    """`routes` are those of the console, which is switched on."""

    def __init__(self, config: ConsoleConfig, authenticates: Callable[[], bool]) -> None:
        """`authenticates`: whether callers have to show who they are."""
        self._config = config
        self._authenticates = authenticates
        self._files = built_files("console")
        self._compressed = {
            path: gzip.compress(content, mtime=0) for path, content in self._files.items() if path.endswith(_COMPRESSED)
        }

    @property
    def routes(self) -> list[BaseRoute]:
        """In the order in which they are asked."""
        return [
            Route("/", lambda _: RedirectResponse("/console/"), methods=_SHOWN),
            Route("/console", lambda _: RedirectResponse("/console/"), methods=_SHOWN),
            Route("/console/settings.json", self._settings, methods=_SHOWN),
            Route("/console/{path:path}", self._file, methods=_SHOWN),
        ]

    async def _settings(self, _: Request) -> Response:
        return JSONResponse(
            {
                "compose": self._config.compose,
                "trace_url": self._config.trace_url,
                "authenticates": self._authenticates(),
                "version": __version__,
            },
            # What is counted down in the page is by this server's clock.
            headers={"Date": formatdate(usegmt=True)},
        )

    async def _file(self, request: Request) -> Response:
        path: str = request.path_params["path"]
        is_asset = path.startswith(ASSETS)
        content = self._files.get(path)
        if content is None and not is_asset:
            path, content = _PAGE, self._files.get(_PAGE)  # which knows its own paths
        if content is None:
            return refusal(404, "there is no such file")
        headers = {
            "Cache-Control": _FOREVER if is_asset else _AT_ONCE,
            "Content-Security-Policy": CONTENT_POLICY,
        }
        if compressed := self._compressed.get(path):
            headers["Vary"] = "Accept-Encoding"
            if _takes_gzip(request.headers.get("accept-encoding", "")):
                content = compressed
                headers["Content-Encoding"] = "gzip"
        media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
        return Response(content, media_type=media_type, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """Whether `Accept-Encoding` names gzip, and not in order to refuse it (RFC 9110, section 12.5.3)."""
    for one in accepted.lower().split(","):
        coding, _, weight = one.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return weight.strip("0.") != "" or weight == ""
    return False
