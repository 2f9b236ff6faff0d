"""Who may look: a key is asked for, and the page stays where it was when it is not taken any more."""

from __future__ import annotations

import signal
from typing import Final

from playwright.sync_api import Page, expect
from tests.browser.conftest import Open, Serve
from tests.support.access import declared, made_key

OPERATOR: Final = made_key()
SENDER: Final = made_key()
ADMIN: Final = made_key()
EXPIRED: Final = made_key()

_REFUSED: Final = ("401 (Unauthorized)",)
"""What Chromium writes to a page's console of each call that is refused so."""

KEYS: Final = "\n".join(
    (
        declared(OPERATOR, "acme", "operate", "read", name="ops"),
        declared(SENDER, "acme", "send", name="app"),
        declared(EXPIRED, "acme", "operate", name="former", expires="2020-01-01T00:00:00Z"),
        declared(ADMIN, "acme", name="root"),
    )
)


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key or token").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_a_wrong_key_and_an_expired_one_are_refused_and_the_page_is_kept(console: Serve, browse: Open) -> None:
    server = console(toml=KEYS)
    watched = browse(server, "providers", expected=_REFUSED)
    page = watched.page
    expect(page.get_by_label("API key or token")).to_be_focused()
    assert watched.obstacles() == []
    watched.picture("sign-in")

    for wrong in (made_key().text, EXPIRED.text, "no key at all", "schön"):
        sign_in(page, wrong)
        expect(page.get_by_role("alert")).to_contain_text("does not accept this key")

    sign_in(page, OPERATOR.text)
    expect(page.get_by_role("heading", name="Providers", level=1)).to_be_visible()
    expect(page.get_by_role("article", name="sms-mms")).to_be_visible()
    assert page.url == f"{server.url}providers"


def test_a_key_that_ends_under_an_open_page_is_asked_for_again(console: Serve, browse: Open) -> None:
    server = console(toml=KEYS)
    page = browse(server, "providers", expected=_REFUSED).page
    sign_in(page, OPERATOR.text)
    expect(page.get_by_role("article", name="sms-mms")).to_be_visible()

    (server.folder / "postwire.toml").write_text(declared(ADMIN, "acme", name="root"), encoding="utf-8")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reloaded")
    page.get_by_role("button", name="Drain sms-mms").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain sms-mms").click()
    expect(page.get_by_role("alert").first).to_contain_text("not accepted any more")
    sign_in(page, ADMIN.text)
    expect(page.get_by_role("article", name="sms-mms")).to_be_visible()


def test_what_a_role_does_not_allow_is_said(console: Serve, browse: Open) -> None:
    server = console(toml=KEYS)
    watched = browse(server, "providers", expected=_REFUSED)
    page = watched.page
    sign_in(page, SENDER.text)
    expect(page.get_by_text("You may not see this page.")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("This needs the role operate, which app does not have.")
    assert watched.obstacles() == []


def test_a_key_stays_in_its_tab_and_goes_with_it(console: Serve, browse: Open) -> None:
    server = console(toml=KEYS)
    page = browse(server, expected=_REFUSED).page
    sign_in(page, OPERATOR.text)
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    assert OPERATOR.text not in str(page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href"))

    other = page.context.new_page()
    other.goto(server.url)
    expect(other.get_by_label("API key or token")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key or token")).to_be_visible()
    assert OPERATOR.text not in str(page.evaluate("JSON.stringify(sessionStorage)"))
