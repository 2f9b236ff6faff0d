"""How a channel to a server is opened: sizes, retries, proxies."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import grpc

MAX_MESSAGE_BYTES: Final = 36 << 20
"""The largest message either way: what the server takes by default (32 MiB), and room for what gRPC puts around it."""

_SERVICES: Final = ("postwire.v1.DispatchService", "postwire.v1.ProviderService")

_RETRIES: Final = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": service} for service in _SERVICES],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "5s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
                },
            }
        ]
    }
)
"""Where the server says how long to wait (`grpc-retry-pushback-ms`), gRPC waits that long instead."""

_LOOPBACK: Final = re.compile(r"(dns:(///)?|ipv[46]:)?(localhost|127\.[0-9.]+|\[::1\])(:|$)")


def open_channel(target: str, *, retry: bool) -> grpc.Channel:
    """A channel to `target` (`host:port`, `unix:/path`, …), without TLS. It connects at the first call.

    With `retry`, calls that end UNAVAILABLE or RESOURCE_EXHAUSTED are repeated, within the caller's deadline.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_retries", int(retry)),
    ]
    if retry:
        options += [
            ("grpc.service_config", _RETRIES),
            # A call is repeated only while all of it is still in memory, by default its first 256 KiB.
            ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        ]
    if _LOOPBACK.match(target):
        # gRPC would take a server on this machine through the proxy that `http_proxy` names.
        options.append(("grpc.enable_http_proxy", 0))
    return grpc.insecure_channel(target, options=options)
