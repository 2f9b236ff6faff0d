"""How the console's files are handed out: to keep, compressed, and to nobody as anything else."""

from __future__ import annotations

import gzip
from email.utils import parsedate_to_datetime

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from postwire.config.http import ConsoleConfig
from postwire.web.built import built_files
from postwire.web.console import Console


async def get(path: str, accept_encoding: str = "") -> Response:
    """What is answered to who asks for a path under /console/."""
    routes = [route for route in Console(ConsoleConfig(), lambda: False).routes if isinstance(route, Route)]
    name = "/console/settings.json" if path == "settings.json" else "/console/{path:path}"
    (route,) = (route for route in routes if route.path == name)
    headers = [(b"accept-encoding", accept_encoding.encode())] if accept_encoding else []
    scope = {"type": "http", "method": "GET", "path": name, "headers": headers, "path_params": {"path": path}}
    response = await route.endpoint(Request(scope))
    assert isinstance(response, Response)
    return response


def script() -> str:
    (path,) = (path for path in built_files("console") if path.endswith(".js"))
    return path


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "GZIP", "deflate,gzip;q=1.0"])
async def test_who_takes_gzip_gets_it(accepted: str) -> None:
    response = await get(script(), accepted)
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(bytes(response.body)) == built_files("console")[script()]


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "gzip; q=0.0", "identity"])
async def test_who_does_not_take_it_gets_the_file_as_it_is(accepted: str) -> None:
    response = await get(script(), accepted)
    assert "content-encoding" not in response.headers
    assert response.headers["vary"] == "Accept-Encoding"
    assert response.body == built_files("console")[script()]


async def test_an_asset_is_kept_for_ever_and_the_page_is_not() -> None:
    assert "immutable" in (await get(script())).headers["cache-control"]
    assert (await get("")).headers["cache-control"] == "no-cache"


async def test_a_path_of_the_console_is_the_page_and_an_asset_that_is_gone_is_not() -> None:
    assert (await get("providers")).body == built_files("console")["index.html"]
    assert (await get("assets/gone.js")).status_code == 404


async def test_the_settings_say_what_time_it_is_here() -> None:
    assert parsedate_to_datetime((await get("settings.json")).headers["date"]).tzinfo is not None
