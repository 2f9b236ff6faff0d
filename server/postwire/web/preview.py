"""Emails of the inbox as a browser shows them: whatever is in one, it runs nothing, asks nobody and sends nothing.

Who knows the path of one may see it, since a frame shows no credentials: it has 128 random bits, and is good for as
long as the message is kept.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from postwire.core.message import Email
from postwire.delivery import InboxAccess
from postwire.delivery.inbox import PREVIEWS
from postwire.web.responses import refusal

CONTENT_POLICY: Final = "; ".join(
    (
        "sandbox",
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_POLICY,
    # Browsers refuse a page that has a sandbox and asks for this as well: see "navigate" in HTML's standard.
    "Cross-Origin-Opener-Policy": "unsafe-none",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
}


_FRAME: Final = re.compile("<(/?)(?=i?frame)", re.IGNORECASE)
"""Where a frame begins or ends. The policy lets none load, but Chromium connects to where it would come from before it
looks at that, and so tells somebody that the email was read."""


def routes(inbox: InboxAccess) -> list[BaseRoute]:
    """The route of all previews."""

    async def answer(request: Request) -> Response:
        one = inbox.previewed(request.path_params["token"])
        if one is None or not isinstance(one.message.content, Email):
            return refusal(404, "there is no such email, or not any more")
        html = _FRAME.sub(r"<\1x-", one.message.content.html)
        return Response(html, headers=_HEADERS, media_type="text/html")

    return [Route(PREVIEWS + "{token}", answer, methods=("GET", "HEAD"))]
