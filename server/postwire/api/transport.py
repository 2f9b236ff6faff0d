"""What gRPC is told of connections: how large, how many, how old, so that no caller holds up the others.

The options are those of gRPC's `grpc/impl/channel_arg_names.h`. What they cost and save was measured: see
docs/adr/0027-what-one-connection-may-cost.md.
"""

from __future__ import annotations

from typing import Final

from postwire.config.schema import ServerConfig

HEADROOM_BYTES: Final = 4 * 1024 * 1024
"""How much larger than `server.max_message_bytes` a call may be and still get our answer instead of the transport's."""

SHORTEST_PING_INTERVAL: Final = 5.0
"""Seconds that a caller has to leave between two pings, with a call under way or without. By default gRPC cuts off who
pings oftener than every 5 min, or every 2 h without a call; its libraries ping every 10 s at the oftenest (gRFC A8)."""

MAX_METADATA_BYTES: Final = 16 * 1024
"""Of one call. By default gRPC begins at 8 KiB to refuse some calls at random, and a token alone may have so many."""

PING_INTERVAL: Final = 60.0
"""Seconds after which a connection on which nothing came is pinged: who has gone without a word holds none for good."""

PING_TIMEOUT: Final = 20.0
"""Seconds for the answer to that."""

HANDSHAKE_TIMEOUT: Final = 20.0
"""Seconds until a connection has to have said that it speaks HTTP/2, after TLS where there is any. By default 120."""

SETTINGS_TIMEOUT: Final = 5.0
"""Seconds until a caller has to have acknowledged our settings: until then gRPC holds it to no MAX_METADATA_BYTES."""

MAX_AGE: Final = 3600.0
"""Seconds, a tenth more or less (gRFC A9), after which a connection takes no new call, and the caller opens another:
load spreads over servers that were added, and a certificate is asked for anew."""

MAX_AGE_GRACE: Final = 300.0
"""Seconds that calls under way have then, beyond `server.max_wait`. Streams that are longer end UNAVAILABLE."""

MIN_STREAMS: Final = 1000
"""Calls that one connection may have under way at the least. A caller that begins more before it has read our settings
has the surplus refused as UNAVAILABLE, so it is more than most begin with."""

_MAX_PENDING: Final = 3000
"""Calls that have come and are not begun. By default gRPC ends some at random from 1,000 on, of whatever connection."""


def options(config: ServerConfig) -> list[tuple[str, int]]:
    """The options of a server."""
    limit = config.max_message_bytes + HEADROOM_BYTES
    return [
        ("grpc.max_receive_message_length", limit),  # of what a compressed message is in full, as well
        ("grpc.max_send_message_length", limit),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # Else a second server would share the port without a word.
        ("grpc.so_reuseport", 0),
        ("grpc.max_allowed_incoming_connections", config.max_connections),
        # Enough for one caller to fill the server with messages. What is more waits at the caller.
        ("grpc.max_concurrent_streams", max(MIN_STREAMS, config.max_in_flight)),
        ("grpc.server.max_pending_requests", _MAX_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING),
        ("grpc.server_handshake_timeout_ms", _ms(HANDSHAKE_TIMEOUT)),
        ("grpc.keepalive_time_ms", _ms(PING_INTERVAL)),
        ("grpc.keepalive_timeout_ms", _ms(PING_TIMEOUT)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(SHORTEST_PING_INTERVAL)),
        ("grpc.http2.settings_timeout", _ms(SETTINGS_TIMEOUT)),
        ("grpc.http.tarpit", 0),  # else what is refused is kept for up to a second, with all that it has sent
        ("grpc.max_connection_age_ms", _ms(MAX_AGE)),
        ("grpc.max_connection_age_grace_ms", _ms(MAX_AGE_GRACE + config.max_wait)),
    ]


def _ms(seconds: float) -> int:
    return min(round(seconds * 1000), 2**31 - 1)
