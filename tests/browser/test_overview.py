"""The overview: what is sent, what waits and who is out of service, live."""

from __future__ import annotations

from typing import Final

from tests.browser.conftest import Open, Serve
from tests.e2e.calls import dispatch, email, sms

SEEDED: Final = """
[providers.main-sms]
kind = "mock"
channels = ["sms", "mms"]
seed = 7
rate = 50
max_concurrent = 20
delivered_ratio = 0.9
undelivered_ratio = 0.05

[providers.second-sms]
kind = "mock"
channels = ["sms"]
seed = 3

[providers.post]
kind = "mock"
channels = ["email"]
seed = 11
error_ratio = 0.9
breaker = { minimum_calls = 3, open_for = "1h", open_for_max = "1h" }

[delivery]
backoff_base = "1h"
backoff_max = "1h"
seed = 1
"""
"""Three providers, of which one opens its breaker."""


def test_it_shows_what_is_sent_within_the_second_and_who_is_out_of_service(console: Serve, browse: Open) -> None:
    server = console(toml=SEEDED)
    watched = browse(server)
    page = watched.page
    page.get_by_role("heading", name="Overview", level=1).wait_for()
    page.get_by_text("All 3 providers take messages.").wait_for()

    for _ in range(40):
        dispatch(server, sms())
    for _ in range(8):
        dispatch(server, email())

    page.get_by_text("SMS, last 15 min: 40 accepted, 40 sent").wait_for()
    out = page.get_by_role("region", name="Out of service")
    out.get_by_text("post", exact=True).wait_for()
    out.get_by_text("open", exact=True).wait_for()
    assert watched.obstacles() == []
    watched.picture("overview")


def test_its_charts_can_be_read_as_a_table(console: Serve, browse: Open) -> None:
    server = console()
    page = browse(server).page
    dispatch(server, sms())
    summary = page.get_by_text("SMS, last 15 min: 1 accepted, 1 sent")
    summary.wait_for()
    summary.click()
    table = page.get_by_role("table", name="SMS by the minute")
    table.wait_for()
    assert table.get_by_role("row").count() == 16
    assert table.get_by_role("row").nth(1).get_by_role("cell").first.inner_text() in ("0", "1")
