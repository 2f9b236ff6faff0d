"""Every name that telemetry uses: log events and attribute keys. Tools outside the repository rely on them."""

from __future__ import annotations

from typing import Final

SERVICE_NAME: Final = "postwire"

# Log events.
EVENT_BOOT_PROVIDER: Final = "provider"
EVENT_SERVING: Final = "serving"
EVENT_DRAINING: Final = "draining"
EVENT_STOPPED: Final = "stopped"
EVENT_ATTEMPT: Final = "attempt"
EVENT_INVALID_ROUTING: Final = "invalid_routing"
EVENT_STORE_UNAVAILABLE: Final = "store_unavailable"
EVENT_STORE_AVAILABLE: Final = "store_available"
EVENT_INTERNAL_ERROR: Final = "internal_error"
EVENT_LIBRARY: Final = "library"
EVENT_WARNING: Final = "warning"

# Keys of log lines.
LOG_PROVIDER_NAME: Final = "provider_name"
LOG_OUTCOME: Final = "outcome"
LOG_MESSAGE_ID: Final = "message_id"
LOG_TRACE_ID: Final = "trace_id"
LOG_CHANNEL: Final = "channel"
