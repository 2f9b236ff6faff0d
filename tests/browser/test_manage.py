"""Suppressions, tenants and the audit trail, as the roles allow."""

from __future__ import annotations

from playwright.sync_api import expect
from tests.browser.conftest import Open, Serve
from tests.browser.test_sign_in import ADMIN, KEYS, OPERATOR, sign_in
from tests.support.access import bearer

from postwire.v1.provider_service_pb2 import DrainProviderRequest
from postwire.v1.suppression_service_pb2 import CheckSuppressionsRequest

TENANTS = KEYS + "\n[tenants.acme]\nmax_unsettled = 500\nrate = 50\n\n[tenants.globex]\n"


def test_an_address_is_looked_up_suppressed_and_taken_out(console: Serve, browse: Open) -> None:
    server = console()
    watched = browse(server, "suppressions")
    page = watched.page
    expect(page.get_by_text("No address is suppressed.")).to_be_visible()
    page.get_by_label("Phone number or email address").fill("ann@example.org")
    page.get_by_role("button", name="Look it up").click()
    expect(page.get_by_text("not suppressed")).to_be_visible()
    page.get_by_label("Reason").select_option("complaint")
    page.get_by_role("button", name="Suppress it").click()
    page.get_by_role("dialog").get_by_role("button", name="Suppress it").click()
    expect(page.get_by_role("button", name="Take it out")).to_be_visible()
    expect(page.get_by_role("table", name="What is suppressed, newest first")).to_contain_text("complaint")
    assert watched.obstacles() == []
    watched.picture("suppressions")
    found = server.suppressions.CheckSuppressions(CheckSuppressionsRequest(addresses=["ann@example.org"])).suppressions
    assert [one.source for one in found] == ["console"]
    assert "ann" not in page.url

    page.get_by_role("button", name="Take it out").click()
    page.get_by_role("dialog").get_by_role("button", name="Take it out").click()
    expect(page.get_by_text("No address is suppressed.")).to_be_visible()


def test_an_address_that_is_none_is_refused_where_it_was_typed(console: Serve, browse: Open) -> None:
    page = browse(console(), "suppressions", expected=("400 (Bad Request)",)).page
    page.get_by_label("Phone number or email address").fill("nobody")
    page.get_by_role("button", name="Look it up").click()
    expect(page.get_by_role("alert")).to_contain_text("INVALID_MESSAGE")


def test_an_administrator_sees_tenants_and_acts_for_one(console: Serve, browse: Open) -> None:
    server = console(toml=TENANTS)
    watched = browse(server, "tenants", expected=("401 (Unauthorized)",))
    page = watched.page
    sign_in(page, ADMIN.text)
    table = page.get_by_role("table", name="Tenants, by their names")
    expect(table).to_contain_text("globex")
    expect(table).to_contain_text("50/s")
    assert watched.obstacles() == []
    watched.picture("tenants")
    page.get_by_role("button", name="Act for globex").click()
    expect(page.get_by_role("region", name="Session")).to_contain_text("globex")
    expect(table).to_contain_text("you act for it")


def test_what_was_done_is_on_record_for_administrators_alone(console: Serve, browse: Open) -> None:
    server = console(toml=KEYS)
    operator = bearer(OPERATOR)
    for name, reason in (("email", "it is slow"), ("sms-mms", "maintenance")):
        server.providers.DrainProvider(DrainProviderRequest(name=name, reason=reason), metadata=operator)
    watched = browse(server, "audit", expected=("401 (Unauthorized)",))
    page = watched.page
    sign_in(page, OPERATOR.text)
    expect(page.get_by_text("You may not see this page.")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()

    sign_in(page, ADMIN.text)
    table = page.get_by_role("table", name="What was changed, besides by dispatching, newest first")
    expect(table).to_contain_text("maintenance")
    expect(table).to_contain_text("ops")
    assert watched.obstacles() == []
    watched.picture("audit")
    page.get_by_label("What was done").select_option("ResumeProvider")
    expect(page.get_by_text("Nothing was changed.")).to_be_visible()
    assert "method=" in page.url
    page.reload()
    expect(page.get_by_text("Nothing was changed.")).to_be_visible()
