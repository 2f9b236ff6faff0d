"""Every name that telemetry uses, in spans, metrics and log lines. Tools outside the repository rely on them."""

from __future__ import annotations

from typing import Final

SERVICE_NAME: Final = "postwire"
SCOPE: Final = "postwire"
"""The instrumentation scope of all spans and metrics."""

# Attributes of spans and metrics. Their values are the words of the core's enums: `email`, `success`, `sent`.
PROVIDER_NAME: Final = "postwire.provider.name"
OUTCOME: Final = "postwire.outcome"
CHANNEL: Final = "postwire.channel"
MESSAGE_STATE: Final = "postwire.message.state"
MESSAGE_ID: Final = "postwire.message.id"  # spans only: as a metric's attribute it would have no bounds
BREAKER_STATE: Final = "postwire.breaker.state"
BREAKER_FROM: Final = "postwire.breaker.from"
BREAKER_TO: Final = "postwire.breaker.to"
ROUTE_KEY: Final = "postwire.route.key"
REASON: Final = "reason"
TENANT: Final = "postwire.tenant"  # where telemetry.tenant_label asks for it
OBSTACLE: Final = "postwire.route.obstacle"
RECEIPT_STATE: Final = "postwire.receipt.state"
NOTIFY_NAME: Final = "postwire.notify.name"
FEED_HOLDER: Final = "postwire.feed.holder"

# Attributes of OpenTelemetry's semantic conventions.
RPC_SYSTEM_NAME: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS_CODE: Final = "rpc.response.status_code"
ERROR_TYPE: Final = "error.type"
VERSION: Final = "version"

# Spans.
SPAN_ATTEMPT: Final = "attempt {provider}"
SPAN_DELIVERY: Final = "deliver"
SPAN_RECEIPT: Final = "receipt {provider}"

# What happens in the course of a span.
SPAN_EVENT_BREAKER: Final = "breaker changed"
SPAN_EVENT_PASSED_OVER: Final = "provider passed over"

# Metrics, with their units.
ATTEMPTS: Final = "postwire.attempts"
ATTEMPT_DURATION: Final = "postwire.attempt.duration"
BREAKER_TRANSITIONS: Final = "postwire.breaker.transitions"
BREAKER_STATE_GAUGE: Final = "postwire.breaker.state"
BREAKER_REJECTIONS: Final = "postwire.breaker.rejections"
ROUTING_INVALID: Final = "postwire.routing.invalid"
MESSAGES: Final = "postwire.messages"
OUTBOX_DEPTH: Final = "postwire.outbox.depth"
QUEUE_DEPTH: Final = "postwire.queue.depth"
REFUSED: Final = "postwire.refused"
OUTBOX_OLDEST_AGE: Final = "postwire.outbox.oldest.age"
STORE_AVAILABLE: Final = "postwire.store.available"
STORE_PAUSES: Final = "postwire.store.pauses"
STORE_PAUSED: Final = "postwire.store.paused"
NODES: Final = "postwire.nodes"
NODES_REAPED: Final = "postwire.nodes.reaped"
NODE_LEADER: Final = "postwire.node.leader"
NODE_LEASE: Final = "postwire.node.lease"
NODE_LEASES_LOST: Final = "postwire.node.leases.lost"
NODE_CLOCK: Final = "postwire.node.clock.offset"
STRAYS: Final = "postwire.node.strays"
FEED_LAG: Final = "postwire.feed.lag"
NOTIFY_ATTEMPTS: Final = "postwire.notify.attempts"
NOTIFY_LOST: Final = "postwire.notify.lost"
NOTIFY_LAG: Final = "postwire.notify.lag"
LOG_DROPPED: Final = "postwire.log.dropped"
RPC_DURATION: Final = "rpc.server.call.duration"
RECEIPTS: Final = "postwire.receipts"
RECEIPT_DELAY: Final = "postwire.receipt.delay"
RECEIPTS_REFUSED: Final = "postwire.receipts.refused"
RECEIPTS_HELD: Final = "postwire.receipts.held"
BUILD_INFO: Final = "postwire.build.info"

ATTEMPT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Boundaries in seconds. The SDK's own are for milliseconds."""

RPC_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Boundaries in seconds, as the RPC conventions give them for `rpc.server.call.duration`."""

RECEIPT_BUCKETS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 259200.0)
"""Boundaries in seconds: a mail server may try for days."""

# Log events.
EVENT_PROVIDER: Final = "provider"
EVENT_PROVIDER_CHECK: Final = "provider_check"
EVENT_PROVIDER_AVAILABILITY: Final = "provider_availability"
EVENT_WARNING: Final = "warning"
EVENT_SERVING: Final = "serving"
EVENT_DRAINING: Final = "draining"
EVENT_STOPPED: Final = "stopped"
EVENT_ATTEMPT: Final = "attempt"
EVENT_RESULT_REFUSED: Final = "result_refused"
EVENT_BREAKER: Final = "breaker"
EVENT_INVALID_ROUTING: Final = "invalid_routing"
EVENT_ROUTE_UNSERVED: Final = "route_unserved"
EVENT_ORPHANED: Final = "orphaned"
EVENT_CONTENT_DAMAGED: Final = "content_damaged"
EVENT_CLOCK_STEPPED: Final = "clock_stepped"
EVENT_REKEYED: Final = "rekeyed"
EVENT_REKEY_WAITS: Final = "rekey_waits"
EVENT_KEYS_MISSING: Final = "keys_missing"
EVENT_STORE_UNAVAILABLE: Final = "store_unavailable"
EVENT_STORE_AVAILABLE: Final = "store_available"
EVENT_STORE_GONE: Final = "store_gone"
EVENT_JOINED: Final = "joined"
EVENT_LEADING: Final = "leading"
EVENT_CLOCK_OFFSET: Final = "clock_offset"
EVENT_LEASE_LOST: Final = "lease_lost"
EVENT_NODE_REAPED: Final = "node_reaped"
EVENT_NODE_DEAD: Final = "node_dead"
EVENT_STRAYS: Final = "strays"
EVENT_INTERNAL_ERROR: Final = "internal_error"
EVENT_LIBRARY: Final = "library"
EVENT_LOG_DROPPED: Final = "log_dropped"
EVENT_SIGNING_KEYS: Final = "signing_keys"
EVENT_CREDENTIALS_REFUSED: Final = "credentials_refused"
EVENT_RECEIPT: Final = "receipt"
EVENT_RECEIPT_REFUSED: Final = "receipt_refused"
EVENT_NOTIFY_FAILED: Final = "notify_failed"
EVENT_NOTIFY_LOST: Final = "notify_lost"
EVENT_NOTIFY_BREAKER: Final = "notify_breaker"
EVENT_RELOADED: Final = "reloaded"
EVENT_RELOAD_FAILED: Final = "reload_failed"

# Keys of log lines.
LOG_PROVIDER_NAME: Final = "provider_name"
LOG_OUTCOME: Final = "outcome"
LOG_MESSAGE_ID: Final = "message_id"
LOG_TRACE_ID: Final = "trace_id"
LOG_CHANNEL: Final = "channel"
LOG_ROUTE_KEY: Final = "route_key"
LOG_NOTIFY_NAME: Final = "notify_name"
LOG_FROM: Final = "from"
LOG_TO: Final = "to"
