"""An issuer's web server, which shows its keys over HTTPS: on a thread of its own, so that a test can change them."""

from __future__ import annotations

import http.server
import ssl
import threading
from typing import Self


class IssuerServer:
    """Answers every GET with `status` and `text`. `asked` counts them."""

    def __init__(self, context: ssl.SSLContext, text: str) -> None:
        self.status = 200
        self.text = text
        self.asked = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                content = outer.text.encode()
                self.send_response(outer.status)
                self.send_header("Location", "https://127.0.0.1:1/")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}/keys"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
