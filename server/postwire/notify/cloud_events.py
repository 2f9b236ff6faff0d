"""An event as it is posted: a CloudEvent in structured mode, as JSON.

Sources: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, its JSON format
(formats/json-format.md) and its HTTP binding (bindings/http-protocol-binding.md, section 3.2).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Final

from postwire.core.event_window import StateEvent
from postwire.core.message import MessageState

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
EVENT_TYPE: Final = "postwire.message.state"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STATES: Final = {state: f"MESSAGE_STATE_{state.name}" for state in MessageState}
"""As in the contract's JSON."""


def body_of(event: StateEvent, tenant: str) -> bytes:
    """The same bytes each time the event is posted. Nothing of what the message says is in them."""
    time = _EPOCH + timedelta(microseconds=event.time)
    value = {
        "specversion": "1.0",
        "type": EVENT_TYPE,
        "source": f"/postwire/{tenant}",
        "id": event.id,
        "time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "subject": event.message_id,
        "datacontenttype": "application/json",
        "data": {
            "message_id": event.message_id,
            "state": _STATES[event.state],
            "revision": event.revision,
            "labels": dict(event.labels),
        },
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
