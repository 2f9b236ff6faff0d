"""A stand-in for AWS: moto, over a socket."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.server import ThreadedMotoServer

KEY_ID, SECRET, SESSION = "AKIAIOSFODNN7EXAMPLE", "s3cret-0f-0urs-that-is-l0ng", "s3ssi0n-0f-0urs"


@contextmanager
def stand_in() -> Iterator[str]:
    """Where it is."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def ask(url: str, value: Mapping[str, Any], service: str) -> None:
    """Have it do something, by JSON."""
    body = json.dumps(value).encode()
    asked = AWSRequest("POST", url, {"Content-Type": "application/json"}, body)
    SigV4Auth(Credentials(KEY_ID, SECRET), service, "eu-west-1").add_auth(asked)
    urllib.request.urlopen(urllib.request.Request(asked.url, body, dict(asked.headers.items())), timeout=30).close()


def kept(url: str) -> Any:
    """All that it has been given, by service and kind."""
    with urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=30) as answer:
        return json.load(answer)
