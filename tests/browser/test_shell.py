"""What is around every page: keys, themes, other origins, and a server that goes and comes back."""

from __future__ import annotations

from playwright.sync_api import expect
from tests.browser.conftest import Open, Serve
from tests.browser.console import Console
from tests.e2e.calls import dispatch, sms

from postwire.v1.provider_service_pb2 import DrainProviderRequest


def test_everything_is_reached_by_keys_alone(shared: Console, browse: Open) -> None:
    watched = browse(shared)
    page = watched.page
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()

    page.keyboard.press("?")
    help_ = page.get_by_role("dialog")
    expect(help_).to_contain_text("Go to Providers")
    assert watched.obstacles() == []
    watched.picture("shortcuts")
    page.keyboard.press("Escape")
    expect(help_).to_have_count(0)

    page.keyboard.press("g")
    page.keyboard.press("p")
    heading = page.get_by_role("heading", name="Providers", level=1)
    expect(heading).to_be_focused()
    assert page.title() == "Providers · Postwire"
    page.go_back()
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_focused()


def test_whoever_chooses_a_theme_has_it_kept(shared: Console, browse: Open) -> None:
    page = browse(shared, color_scheme="light").page
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("radio", name="Dark").check(force=True)
    page.wait_for_function(f"light => {background} !== light", arg=light)
    page.reload()
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    assert page.evaluate(background) != light
    page.get_by_role("radio", name="As the system").check(force=True)
    page.wait_for_function(f"light => {background} === light", arg=light)


def test_a_page_that_there_is_not_says_so(shared: Console, browse: Open) -> None:
    watched = browse(shared, "no/such/page")
    expect(watched.page.get_by_text("There is no such page.")).to_be_visible()
    assert watched.obstacles() == []


def test_on_a_phone_the_menu_opens_and_closes_behind_the_choice(shared: Console, browse: Open) -> None:
    watched = browse(shared, viewport={"width": 400, "height": 800})
    page = watched.page
    menu = page.get_by_role("button", name="Menu")
    menu.click()
    watched.page.get_by_role("navigation", name="Pages").get_by_role("link", name="Providers").click()
    expect(page.get_by_role("heading", name="Providers", level=1)).to_be_visible()
    expect(menu).to_have_attribute("aria-expanded", "false")
    assert not watched.overflows()
    assert watched.obstacles() == []


def test_a_server_that_comes_back_is_live_again_without_a_reload(console: Serve, browse: Open) -> None:
    server = console()
    address = server.origin.removeprefix("http://")
    watched = browse(server, "providers", expected=("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE", "ERR_EMPTY", "ERR_"))
    page = watched.page
    card = page.get_by_role("article", name="sms-mms")
    expect(card).to_be_visible()
    page.evaluate("window.untouched = true")

    assert server.terminate() == 0
    expect(page.get_by_text("Connection lost, retrying.").last).to_be_visible()
    server.start(http__listen=address)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    server.providers.DrainProvider(DrainProviderRequest(name="sms-mms", reason="after the restart"))
    expect(card).to_contain_text("after the restart")
    assert page.evaluate("window.untouched")


def test_a_page_of_another_origin_cannot_frame_it_or_read_it(shared: Console, browse: Open) -> None:
    page = browse(shared).page
    response = page.request.get(shared.url)
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in response.headers


def test_a_policy_that_is_broken_would_be_seen(shared: Console, browse: Open) -> None:
    watched = browse(shared)
    watched.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"http://192.0.2.1/x.png\">')")
    watched.page.wait_for_function("document.images.length > 0")
    watched.page.evaluate("new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)))")
    assert any("forbidden by policy" in line or "Content Security Policy" in line for line in watched.wrong)
    watched.wrong.clear()


def test_two_pages_are_live_at_once(shared: Console, browse: Open) -> None:
    pages = [browse(shared).page for _ in range(2)]
    dispatch(shared, sms())
    for page in pages:
        expect(page.get_by_text("SMS, last 15 min: 1 accepted")).to_be_visible()
