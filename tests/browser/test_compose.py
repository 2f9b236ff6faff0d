"""Compose: one message by hand, whose segments are counted as they are typed."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import Open, Serve
from tests.browser.console import Console
from tests.e2e.calls import explain, get, sms

from postwire.v1.message_pb2 import CHANNEL_EMAIL, MESSAGE_STATE_SENT


def test_an_sms_is_sent_and_its_record_is_a_click_away(shared: Console, browse: Open) -> None:
    watched = browse(shared, "compose")
    page = watched.page
    page.get_by_label("To", exact=True).fill("+15005550006")
    page.get_by_label("Text", exact=True).fill("Your code is 123456.")
    expect(page.get_by_text("1 segment, GSM 7-bit, room for 140 more")).to_be_visible()
    assert watched.obstacles() == []
    watched.picture("compose")
    page.get_by_role("button", name="Send it").click()
    link = page.get_by_role("region", name="Accepted").get_by_role("link")
    expect(link).to_be_visible()
    message = get(shared, link.inner_text())
    assert message.state == MESSAGE_STATE_SENT
    assert message.request_id.startswith("console-")
    assert watched.obstacles() == []


def test_what_is_wrong_is_said_at_the_field_and_nothing_is_sent(shared: Console, browse: Open) -> None:
    watched = browse(shared, "compose", expected=("400 (Bad Request)",))
    page = watched.page
    page.get_by_role("radio", name="Email").check()
    page.get_by_label("To", exact=True).fill("not an address")
    page.get_by_label("Subject").fill("Hello")
    page.get_by_label("Text", exact=True).fill("Hello")
    page.get_by_role("button", name="Send it").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was sent")
    expect(page.get_by_label("To", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Text", exact=True)).to_have_value("Hello")
    assert watched.obstacles() == []

    page.get_by_label("To", exact=True).fill("success@simulator.postwire.test, ann@example.org")
    page.get_by_role("button", name="Send it").click()
    link = page.get_by_role("region", name="Accepted").get_by_role("link")
    expect(link).to_be_visible()
    message = get(shared, link.inner_text())
    assert message.channel == CHANNEL_EMAIL
    assert len(message.recipients) == 2


@pytest.mark.parametrize(
    "text",
    ["a" * 161, "€" * 81, "a" * 152 + "€" + "a" * 152, "Zażółć gęślą jaźń " * 5, "🙂" * 36, "ł" * 66 + "🙂" * 40],
    ids=["long", "extension", "cut in two", "polish", "emoji", "mixed"],
)
def test_segments_are_counted_as_the_server_counts_them(shared: Console, browse: Open, text: str) -> None:
    page = browse(shared, "compose").page
    page.get_by_label("Text", exact=True).fill(text)
    count = explain(shared, sms(body=text)).sms_segments
    expect(page.get_by_text(f"{count} segment", exact=False).first).to_be_visible()


def test_where_it_is_not_wanted_there_is_no_such_page(console: Serve, browse: Open) -> None:
    page = browse(console(), "compose").page
    expect(page.get_by_text("There is no such page.")).to_be_visible()
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Compose")).to_have_count(0)
