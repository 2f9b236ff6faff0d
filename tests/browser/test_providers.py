"""The providers: each as it is, drained, resumed and reset by whoever looks."""

from __future__ import annotations

from playwright.sync_api import expect
from tests.browser.conftest import Open, Serve
from tests.browser.test_overview import SEEDED
from tests.e2e.calls import dispatch, email, update

from postwire.v1.provider_service_pb2 import (
    BREAKER_STATE_CLOSED,
    BREAKER_STATE_FORCED_OPEN,
    DrainProviderRequest,
    GetProviderRequest,
)


def test_one_is_drained_and_resumed_with_a_reason(console: Serve, browse: Open) -> None:
    server = console()
    watched = browse(server, "providers")
    page = watched.page
    card = page.get_by_role("article", name="sms-mms")
    expect(card.get_by_text("closed")).to_be_visible()

    page.get_by_role("button", name="Drain sms-mms").click()
    dialog = page.get_by_role("dialog", name="Drain sms-mms?")
    expect(dialog).to_contain_text("No attempt starts at sms-mms from now on")
    watched.picture("drain")
    dialog.get_by_label("Reason").fill("the vendor is down")
    dialog.get_by_role("button", name="Drain sms-mms").click()
    expect(card.get_by_text("drained").first).to_be_visible()
    expect(card).to_contain_text("the vendor is down")
    provider = server.providers.GetProvider(GetProviderRequest(name="sms-mms")).provider
    assert provider.breaker.state == BREAKER_STATE_FORCED_OPEN
    assert provider.note.reason == "the vendor is down"

    page.get_by_role("button", name="Resume sms-mms").click()
    page.get_by_role("dialog", name="Resume sms-mms?").get_by_role("button", name="Resume sms-mms").click()
    expect(card.get_by_text("closed")).to_be_visible()
    provider = server.providers.GetProvider(GetProviderRequest(name="sms-mms")).provider
    assert provider.breaker.state == BREAKER_STATE_CLOSED


def test_what_others_do_is_seen_as_it_happens(console: Serve, browse: Open) -> None:
    server = console()
    page = browse(server, "providers").page
    card = page.get_by_role("article", name="email")
    expect(card.get_by_text("closed")).to_be_visible()
    server.providers.DrainProvider(DrainProviderRequest(name="email", reason="by grpcurl"))
    expect(card).to_contain_text("by grpcurl")


def test_an_open_breaker_counts_down_to_its_probe_and_is_reset(console: Serve, browse: Open) -> None:
    server = console(toml=SEEDED)
    watched = browse(server, "providers")
    page = watched.page
    for _ in range(8):
        dispatch(server, email())
    card = page.get_by_role("article", name="post")
    expect(card).to_contain_text("Next probe")
    limited = page.get_by_role("article", name="main-sms")
    expect(limited).to_contain_text("of 20")
    expect(limited).to_contain_text("50 a second")
    assert watched.obstacles() == []
    watched.picture("providers")

    update(server, "post", error_ratio=0)  # else what waits for it opens it again
    page.get_by_role("button", name="Reset the breaker of post").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Reset the breaker").click()
    expect(card.get_by_text("closed")).to_be_visible()


def test_a_question_is_dropped_by_escape_and_the_focus_goes_back(console: Serve, browse: Open) -> None:
    server = console()
    page = browse(server, "providers").page
    button = page.get_by_role("button", name="Drain email")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()
    provider = server.providers.GetProvider(GetProviderRequest(name="email")).provider
    assert provider.breaker.state == BREAKER_STATE_CLOSED
