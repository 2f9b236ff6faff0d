"""A server with a console, and a page of it that is watched for what nobody would notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tests.e2e.server import Server
from tests.support.reader import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Request, WebSocket

PICTURES: Final = ROOT / "build" / "browser"
"""Where pictures of every page are left."""

MINUTE: Final = 60_000
"""Milliseconds for what comes at once, unless the machine is busy: a verdict never hangs on them."""

_SIZES: Final = {"wide": (1280, 860), "narrow": (400, 800)}


class Console(Server):
    """A server with `http.listen` on a free port. `url` is where its console is."""

    def __init__(self, folder: Any, **settings: str) -> None:
        super().__init__(folder, **{"http__listen": "127.0.0.1:0", **settings})

    @property
    def origin(self) -> str:
        """Of everything that it serves over HTTP."""
        return f"http://{self.wait_for_event('serving')['http_listen']}"

    @property
    def url(self) -> str:
        return f"{self.origin}/console/"


class Watched:
    """A page, and what went wrong in it."""

    def __init__(self, page: Page, url: str, expected: tuple[str, ...] = ()) -> None:
        self.page = page
        self.url = url
        self.wrong: list[str] = []
        self._expected = expected
        self._origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        page.set_default_timeout(MINUTE)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"a script stopped: {error}"))
        page.on("requestfinished", self._asked)
        page.on("requestfailed", self._asked)
        page.on("websocket", self._connected)
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error("
            "`forbidden by policy: ${e.violatedDirective} ${e.blockedURI}`))"
        )

    def open(self, path: str = "") -> None:
        """Go to a page, by its path behind /console/."""
        self.page.goto(self.url + path)

    def check(self) -> None:
        """Fail where anything went wrong."""
        found = [line for line in self.wrong if not any(words in line for words in self._expected)]
        assert not found, "\n".join(found)

    def picture(self, name: str) -> None:
        """Take pictures of it, light, dark and narrow, and leave it as it was."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        before = self.page.viewport_size
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            self._shoot("wide", f"{name}-{scheme}")
        self.page.emulate_media(color_scheme="light")
        self._shoot("narrow", f"{name}-narrow")
        assert not self.overflows(), f"{name} is wider than the window at 400 px"
        if before:
            self.page.set_viewport_size(before)
        self.page.emulate_media(color_scheme="null")

    def overflows(self) -> bool:
        """Whether the page, and not a table within it, is wider than the window."""
        wide: bool = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return wide

    def obstacles(self) -> list[str]:
        """What axe finds in the way of whoever cannot see the page or use a mouse, in light and in dark."""
        from axe_playwright_python.sync_playwright import Axe

        found = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            response = Axe().run(self.page).response
            assert response["passes"], "axe has looked at nothing"
            for one in response["violations"]:
                where = ", ".join(str(node["target"]) for node in one["nodes"][:5])
                found.append(f"{scheme}: {one['id']}: {one['help']}: {where}")
        return found

    def _shoot(self, size: str, name: str) -> None:
        width, height = _SIZES[size]
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.type} on the console: {message.text}")

    def _asked(self, request: Request) -> None:
        if "csp" in (request.failure or ""):
            return  # its policy has kept it from being made
        if not request.url.startswith((f"{self._origin}/", "data:", "blob:", "about:")):
            self.wrong.append(f"a request to {request.url}")

    def _connected(self, socket: WebSocket) -> None:
        self.wrong.append(f"a connection to {socket.url}")
