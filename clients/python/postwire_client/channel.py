"""How a channel to a server is opened: TLS, sizes, retries, proxies."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import grpc
import grpc.aio

from postwire_client.credentials import LOOPBACK, UNIX

MAX_MESSAGE_BYTES: Final = 36 << 20
"""The largest message either way: what the server takes by default (32 MiB), and room for what gRPC puts around it."""

_DISPATCH: Final = "postwire.v1.DispatchService"
_PROVIDERS: Final = "postwire.v1.ProviderService"
_ADMIN: Final = "postwire.v1.AdminService"
_INBOX: Final = "postwire.v1.InboxService"
_STREAMS: Final = (
    (_DISPATCH, "DispatchStream"),
    (_DISPATCH, "WatchMessages"),
    (_PROVIDERS, "WatchProviders"),
    (_INBOX, "WatchInbox"),
)

_SERVICE_CONFIG: Final = json.dumps(
    {
        "methodConfig": [
            # A stream is opened again by ourselves: see `reopening`. What names a method comes before what names all.
            {"name": [{"service": service, "method": method} for service, method in _STREAMS]},
            {
                "name": [{"service": service} for service in (_DISPATCH, _PROVIDERS, _ADMIN, _INBOX)],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "5s",
                    "backoffMultiplier": 3,
                    # CANCELLED by the server, that is: what a caller cancels is not repeated.
                    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
                },
            },
        ]
    }
)
"""Where the server says how long to wait (`grpc-retry-pushback-ms`), gRPC waits that long instead."""

_NAMED: Final = re.compile("dns:|ipv[46]:")
"""Begins a target that stands for as many addresses as its name has, and not for one place."""


def open_channel(target: str, *, retry: bool, tls: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """A channel to `target` (`host:port`, `unix:/path`, …), without TLS where there is nothing for it. It connects at
    the first call.

    With `retry`, calls that the server cannot take just now are repeated, within the caller's deadline.
    """
    options = _options(target, retry)
    return grpc.secure_channel(target, tls, options) if tls else grpc.insecure_channel(target, options)


def open_async_channel(target: str, *, retry: bool, tls: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """The same for the event loop that runs."""
    options = _options(target, retry)
    return grpc.aio.secure_channel(target, tls, options) if tls else grpc.aio.insecure_channel(target, options)


def _options(target: str, retry: bool) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_retries", int(retry)),
        # By default up to 2 min pass before a server that was away is looked for again.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
    if retry:
        options += [
            ("grpc.service_config", _SERVICE_CONFIG),
            # A call is repeated only while all of it is still in memory, by default its first 256 KiB.
            ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        ]
    if _NAMED.match(target):
        options.append(("grpc.lb_policy_name", "round_robin"))  # by default all calls go to the first that answers
    if LOOPBACK.fullmatch(target):
        # gRPC would take a server on this machine through the proxy that `http_proxy` names.
        options.append(("grpc.enable_http_proxy", 0))
    if target.startswith(UNIX):
        # No certificate is for a path: it has to be for this, as gRPC calls a server at a socket anyway.
        options.append(("grpc.ssl_target_name_override", "localhost"))
    return options
