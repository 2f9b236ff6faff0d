"""A receiver of hooks: what has been posted to it, with signatures checked by the library of Standard Webhooks."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any, Final

from standardwebhooks import Webhook
from tests.support.http_counterpart import HttpCall

SECRET: Final = "whsec_" + b64encode(b"0123456789abcdef01234567").decode()
OTHER_SECRET: Final = "whsec_" + b64encode(b"abcdef012345670123456789").decode()


def hook(name: str, url: str, *settings: str, secret: str = SECRET) -> str:
    """A table of the configuration."""
    lines = ["[[notify]]", f'name = "{name}"', f'url = "{url}"', *settings]
    if not any(line.startswith("secret") for line in settings):
        lines.append(f'secret = "{secret}"')
    return "\n".join((*lines, ""))


def event_of(call: HttpCall, secret: str = SECRET) -> Any:
    """The CloudEvent that was posted, once its signature is found good."""
    assert call.method == "POST"
    assert call.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    event = Webhook(secret).verify(call.body, dict(call.headers))
    assert event["id"] == call.headers["webhook-id"]
    return event


def data_of(calls: Iterable[HttpCall], secret: str = SECRET) -> list[dict[str, Any]]:
    """What the events tell, in the order in which they came."""
    return [event_of(call, secret)["data"] for call in calls]


def reported(calls: Iterable[HttpCall]) -> dict[str, list[int]]:
    """The revisions that were posted of each message, in the order in which they came."""
    found: dict[str, list[int]] = {}
    for one in data_of(calls):
        found.setdefault(one["message_id"], []).append(one["revision"])
    return found
