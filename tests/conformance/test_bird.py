"""The kind `bird`, against answers as Bird's pages say they are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.http_conformance import QUOTED, HttpConformance
from tests.support.http_counterpart import HttpCall, HttpReply

from postwire.core.message import Media, Mms, OutboundMessage, Sms
from postwire.providers.base import Context, Provider
from postwire.providers.bird import KIND, MAX_MEDIA, Bird, BirdSettings
from postwire.providers.handover import Handover
from postwire.providers.pieces import whole
from postwire.testing import Answer, Request

WORKSPACE, CHANNEL = "a1405560-c8d3-4b1a-877d-3f449ad95352", "614208aa-b153-4d5d-9989-2fddfc0ce4c3"
KEY = "k3y-0f-0urs"
IMAGE = Media(url="https://example.com/a.png")


def refusal(status: int, code: str) -> HttpReply:
    """Bird's pages say of no code what it means: these stand for any."""
    return HttpReply.of_json(status, {"code": code, "message": "No" + QUOTED})


REPLIES = {
    Answer.RATE_LIMITED: refusal(429, "TooManyRequests"),
    Answer.ERROR: refusal(422, "InvalidPayload"),
    Answer.UNCERTAIN: HttpReply(500, QUOTED.encode()),
    Answer.MISCONFIGURED: refusal(401, "Unauthorized"),
}


def settings(**changes: Any) -> BirdSettings:
    return BirdSettings(**{"access_key": KEY, "workspace_id": WORKSPACE, "channel_id": CHANNEL} | changes)


class TestBird(HttpConformance):
    kind = "bird"
    declared = KIND
    secrets = (KEY,)
    # What is wrong with a message it says later, by a receipt: it has taken it by then.
    answers = HttpConformance.answers - {Answer.REJECTED}
    success = HttpReply.of_json(202, {"id": "96a0b5fa-a986-453d-be5c-3117f989f025", "status": "accepted"})
    probed = HttpReply.of_json(200, {"id": CHANNEL, "status": "active"})
    replies = REPLIES

    def make_from(self, context: Context, url: str) -> Provider:
        return KIND.make(context, settings(base_url=url))

    def read(self, call: HttpCall) -> Request:
        assert call.target == f"/workspaces/{WORKSPACE}/channels/{CHANNEL}/messages"
        assert call.headers["authorization"] == f"AccessKey {KEY}"
        body = call.json()["body"]
        return Request(call.body, text=body[body["type"]].get("text", ""))


def value(content: Sms | Mms, handover: Handover | None = None) -> Any:
    request = Bird(settings()).request(OutboundMessage(content), handover or Handover("k", message_id="m"))
    return HttpCall("POST", "", {}, whole(request.body)).json()


def test_a_request_has_what_bird_asks_for() -> None:
    to = {"contacts": [{"identifierKey": "phonenumber", "identifierValue": "+15005550187"}]}
    assert value(Sms("+15005550187", "Hi"), Handover("k", reference="r")) == {
        "receiver": to,
        "reference": "r",
        "body": {"type": "text", "text": {"text": "Hi"}},
    }
    assert value(Mms("+15005550187", "Look", media=(IMAGE, Media(url="https://example.com/b.png")))) == {
        "receiver": to,
        "reference": "m",
        "body": {
            "type": "image",
            "image": {
                "images": [{"mediaUrl": "https://example.com/a.png"}, {"mediaUrl": "https://example.com/b.png"}],
                "text": "Look",
            },
        },
    }
    assert "text" not in value(Mms("+15005550187", media=(IMAGE,)))["body"]["image"]


@pytest.mark.parametrize(
    ("content", "field", "why"),
    [
        (Mms("+15005550187", "Hi", media=(Media(data=b"x", content_type="image/png"),)), "mms.media", "no bytes"),
        (Mms("+15005550187", "Hi"), "mms.media", "1 to 10"),
        (Mms("+15005550187", media=(IMAGE,) * (MAX_MEDIA + 1)), "mms.media", "1 to 10"),
        (
            Mms("+15005550187", media=(IMAGE, Media(url="https://x.com/a", content_type="text/css"))),
            "mms.media",
            "im",
        ),
        (Mms("+15005550187", "Hi", "+15005550009", media=(IMAGE,)), "mms.sender", "channel"),
        (Sms("+15005550187", "Hi", "+15005550009"), "sms.sender", "channel"),
        (Sms("+15005550187", "x" * 161), "sms.body", "segment"),
    ],
)
def test_what_it_cannot_carry(content: Sms | Mms, field: str, why: str) -> None:
    found = Bird(settings(sender="+15005550006", max_segments=1)).carries(OutboundMessage(content), None)
    assert found is not None
    assert (found.field, why in found.description) == (f"message.{field}", True)


@pytest.mark.parametrize(
    "content",
    [
        Sms("+15005550187", "Hi"),
        Sms("+15005550187", "Hi", "+15005550006"),
        Mms("+15005550187", media=(IMAGE, Media(url="https://example.com/a", content_type="Image/PNG"))),
    ],
)
def test_what_it_can_carry(content: Sms | Mms) -> None:
    assert Bird(settings(sender="+15005550006")).carries(OutboundMessage(content), None) is None


def test_whoever_names_a_sender_is_for_others_where_the_channels_is_not_known() -> None:
    assert Bird(settings()).carries(OutboundMessage(Sms("+15005550187", "Hi", "+15005550006")), None) is not None


@pytest.mark.parametrize("name", ["workspace_id", "channel_id"])
@pytest.mark.parametrize("odd", ["", "x", "../" + WORKSPACE, "{" + WORKSPACE + "}", WORKSPACE.replace("-", "")])
def test_an_id_that_is_none_is_refused(name: str, odd: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        settings(**{name: odd}).check()


def test_an_id_in_capitals_is_one() -> None:
    settings(channel_id=CHANNEL.upper()).check()
