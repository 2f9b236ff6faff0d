"""Readers that learn what the server has seen of them."""

from __future__ import annotations

import ssl
import urllib.request
from collections import Counter
from collections.abc import Mapping
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Final

import apsw
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.metrics import METRICS as WITH_METRICS
from tests.e2e.server import Server
from tests.support.reader import GRPC, METRICS, Reader
from tests.support.waiting import PATIENCE

_BUILD: Final = 1200.0
"""Seconds for one command: the first build downloads and compiles what a client needs."""

Call = tuple[str, str]
"""A method and the status that it ended with."""


class PageReader(Reader):
    """Follows a page. `ended` and `messages` are what its servers have counted, once they were stopped."""

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, variables)
        self.ended: Counter[Call] = Counter()
        self.messages = 0

    def stop(self) -> None:
        """Stop the server, as before, and look at what it leaves."""
        if not self._servers:
            return
        self.ended += calls(self.addresses[METRICS])
        super().stop()
        store = apsw.Connection(str(self.folder / "postwire.db"), flags=apsw.SQLITE_OPEN_READONLY)
        [(self.messages,)] = store.execute("SELECT count(*) FROM messages")
        store.close()


class ClientReader(Reader):
    """Follows the README of a client, in the client's folder.

    Where the page starts a server, it gets one whose store is in `scratch`.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        super().__init__(folder, patience=_BUILD)
        self.server = Server(scratch, **WITH_METRICS)

    def start(self, command: str) -> None:
        """Start the server; `command` is how the page does it."""
        self.server.start()
        self.addresses = {
            GRPC: self.server.address,
            METRICS: self.server.wait_for_event("serving")["metrics_listen"],
        }

    def stop(self) -> None:
        """Stop it, if it runs."""
        self.server.stop()


def calls(metrics: str) -> Counter[Call]:
    """How many calls the server with this metrics address has seen end."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
    try:
        answer = opener.open(f"http://{metrics}/metrics", timeout=PATIENCE)
    except RemoteDisconnected:  # a page has given it a certificate
        answer = opener.open(f"https://{metrics}/metrics", timeout=PATIENCE)
    with answer:
        text = answer.read().decode()
    ended: Counter[Call] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "rpc_server_call_duration_seconds_count":
                method = sample.labels["rpc_method"].rpartition("/")[2]
                ended[method, sample.labels["rpc_response_status_code"]] += int(sample.value)
    return ended
