"""nginx before a server, set up as docs/http.md shows it: calls go through, and streams as they come."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest
from tests.e2e import web
from tests.e2e.calls import dispatch, email, request
from tests.e2e.server import Server, eventually
from tests.e2e.web import HTTP
from tests.support.needed import Need
from tests.support.reader import ROOT

SHOWN: Final = "127.0.0.1:8080"
"""Where the page has the server."""

FRAME: Final = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {listen};
        {location}
    }}
}}
"""


class Behind(Server):
    """A server, of which `tests.e2e.web` calls the proxy before it."""

    proxy = ""

    def wait_for_event(self, event: str) -> dict[str, str]:
        found = super().wait_for_event(event)
        return {**found, "http_listen": self.proxy} if self.proxy else found


@pytest.fixture(scope="module")
def server(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    need("nginx")
    (location,) = re.findall(
        r"^```nginx\n(.*?)^```$", (ROOT / "docs/http.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert SHOWN in location
    folder = tmp_path_factory.mktemp("nginx")
    with Behind(folder, **HTTP) as running:
        listen = f"127.0.0.1:{free_port()}"
        location = location.replace(SHOWN, running.wait_for_event("serving")["http_listen"])
        user = "user root;" if os.geteuid() == 0 else ""
        path = folder / "nginx.conf"
        path.write_text(FRAME.format(folder=folder, user=user, listen=listen, location=location), encoding="utf-8")
        program = shutil.which("nginx")
        assert program
        with subprocess.Popen([program, "-c", path, "-p", folder, "-e", "stderr"]) as proxy:
            try:
                running.proxy = listen
                eventually(lambda: is_there(listen))
                yield running
            finally:
                proxy.terminate()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def is_there(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as one:
        return one.connect_ex((host, int(port))) == 0


def test_a_call_goes_through_and_so_does_a_large_one(server: Server) -> None:
    assert web.call(server, "ListMessages").status == 200
    large = request(email(attachments=[{"file_name": "a", "content_type": "a/b", "data": bytes(20 << 20)}]))
    answer = web.call(server, "Dispatch", large.SerializeToString(), content_type="application/proto")
    assert answer.status == 200


def test_a_stream_comes_as_it_is_sent(server: Server) -> None:
    with web.streamed(server, "WatchMessages") as lines:
        assert "message" not in next(lines)
        message_id = dispatch(server).message_id
        assert next(lines)["message"]["messageId"] == message_id


def test_a_page_that_came_through_it_is_of_this_server(server: Server) -> None:
    host, port = web.address(server)
    assert web.call(server, "ListMessages", origin=f"http://{host}:{port}").status == 200
    assert web.call(server, "ListMessages", origin="http://evil.example.com").status == 403
    assert web.call(server, "ListMessages", host="evil.example.com").status == 421
