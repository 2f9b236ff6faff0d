"""The page that tells who would carry a message, and why the others would not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.browser.sending import SENT

from postwire.v1 import provider_service_pb2

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page
    from tests.browser.conftest import Open, Serve
    from tests.browser.console import Console

TOML: Final = """
[providers.big]
kind = "mock"
channels = ["sms"]

[providers.small]
kind = "mock"
channels = ["sms"]

[providers.uk]
kind = "mock"
channels = ["sms"]

[providers.relay]
kind = "mock"
channels = ["email"]

[[routes.sms]]
match = { prefixes = ["+44"] }
tiers = ["uk", "big"]

[[routes.sms]]
tiers = [{ big = 3, small = 1 }]
"""


def explain(page: Page) -> None:
    page.get_by_role("button", name="Explain the route").click()


def tier(page: Page, number: int) -> Locator:
    return page.get_by_role("region", name=f"Tier {number}")


def test_it_tells_who_would_carry_a_message_and_in_which_order(console: Serve, browse: Open) -> None:
    from playwright.sync_api import expect

    running = console(toml=TOML)
    watched = browse(running, "route")
    page = watched.page
    explain(page)
    expect(page.get_by_text("big or small would carry it now.")).to_be_visible()
    expect(tier(page, 1)).to_contain_text("75 % of the tier")
    expect(page.get_by_text("routes.sms[1]")).to_be_visible()

    page.get_by_label("To, as").fill("+447700900123")
    page.get_by_role("textbox", name="Text").fill("Příliš žluťoučký kůň úpěl ďábelské ódy. " * 2)
    page.get_by_role("textbox", name="Text").press("Tab")
    explain(page)
    expect(page.get_by_text("uk would carry it now.")).to_be_visible()
    expect(page.get_by_text('prefixes = "+44"')).to_be_visible()
    expect(tier(page, 2)).to_contain_text("big")
    expect(page.get_by_text("UCS-2")).to_be_visible()

    running.providers.DrainProvider(provider_service_pb2.DrainProviderRequest(name="uk"))
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_text("big would carry it now, in tier 2")).to_be_visible()
    expect(tier(page, 1)).to_contain_text("An operator has drained it")
    expect(tier(page, 1)).to_contain_text("Messages go to the next one.")

    page.get_by_label("Provider").select_option("uk")
    explain(page)
    expect(page.get_by_text("Nobody would take it now")).to_be_visible()
    expect(page.get_by_text("@uk")).to_be_visible()

    page.get_by_label("Provider").select_option("")
    explain(page)
    expect(page.get_by_text("in tier 2")).to_be_visible()
    assert watched.obstacles() == []
    watched.picture("route")


def test_what_is_wrong_with_a_message_stands_beside_its_field(shared: Console, browse: Open) -> None:
    from playwright.sync_api import expect

    watched = browse(shared, "route", expected=("status of 400",))
    page = watched.page
    page.get_by_label("To, as").fill("12345")
    explain(page)
    expect(page.get_by_role("alert")).to_contain_text("INVALID_MESSAGE")
    expect(page.get_by_label("To, as")).to_have_attribute("aria-invalid", "true")
    assert watched.obstacles() == []
    page.get_by_label("To, as").fill(SENT)
    explain(page)
    expect(page.get_by_text("sms-mms would carry it now.")).to_be_visible()
    expect(page.get_by_label("To, as")).to_have_attribute("aria-invalid", "false")


def test_it_is_used_by_keys_alone(shared: Console, browse: Open) -> None:
    from playwright.sync_api import expect

    page = browse(shared, "route").page
    page.get_by_role("radio", name="SMS").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Email")).to_be_checked()
    page.keyboard.press("Tab")
    expect(page.get_by_label("To", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("email would carry it now.")).to_be_visible()


def test_a_label_is_added_and_taken_out(shared: Console, browse: Open) -> None:
    from playwright.sync_api import expect

    page = browse(shared, "route").page
    page.get_by_label("Labels").fill("team=billing")
    page.get_by_label("Labels").press("Enter")
    expect(page.get_by_text("team=billing")).to_be_visible()
    explain(page)
    expect(page.get_by_text("sms-mms would carry it now.")).to_be_visible()
    page.get_by_role("button", name="Take out the label team").click()
    expect(page.get_by_text("team=billing")).to_have_count(0)
