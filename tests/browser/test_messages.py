"""The list of messages: what narrows it, what comes while somebody looks, and a long one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.browser.sending import AT_MOST_ONCE, REJECTED, UNCERTAIN, email, later, send, send_many, sms
from tests.support import build

from postwire.v1 import dispatch_service_pb2 as pb

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page
    from tests.browser.conftest import Open, Serve
    from tests.browser.console import Console

Note = Callable[[str, object], None]

MANY: Final = 10_000

TOML: Final = """
[providers.sms]
kind = "mock"
channels = ["sms"]
seed = 5
error_ratio = 0.2
delivered_ratio = 0.8
undelivered_ratio = 0.1

[providers.relay]
kind = "mock"
channels = ["email"]
seed = 3
delivered_ratio = 0.7
undelivered_ratio = 0.2

[delivery]
backoff_base = "50ms"
"""


def row(page: Page, message_id: str) -> Locator:
    return page.locator(f"#message-{message_id}")


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


@pytest.fixture
def label() -> str:
    """A label of the test's own, by which its messages are told from those of others."""
    return f"test={build.new_request_id()}"


def labelled(label: str) -> dict[str, str]:
    key, value = label.split("=")
    return {key: value}


def test_what_is_sent_appears_at_once(shared: Console, browse: Open, record_property: Note) -> None:
    from playwright.sync_api import expect

    page = browse(shared, "messages").page
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    page.evaluate(
        "() => { window.seen = new Promise(resolve => new MutationObserver(() => {"
        " if (document.querySelector('.grid-rows [role=row]')) resolve(Date.now())"
        "}).observe(document.body, {childList: true, subtree: true})) }"
    )
    message = send(shared, sms())
    expect(row(page, message.message_id)).to_contain_text("sent")
    seen = page.evaluate("window.seen")
    record_property("figure", f"shown {seen - message.create_time.ToMilliseconds()} ms after it was accepted")


def test_filters_stand_in_the_address(shared: Console, browse: Open, label: str) -> None:
    from playwright.sync_api import expect

    sent = send(shared, sms(labels=labelled(label)))
    failed = send(shared, sms(REJECTED, labels=labelled(label)))
    mail = send(shared, email(labels=labelled(label)))
    page = browse(shared, "messages").page
    page.get_by_role("button", name="More filters").click()
    page.get_by_label("Label, as key=value").fill(label)
    page.get_by_label("Label, as key=value").press("Enter")
    expect(page.get_by_text("3 messages")).to_be_visible()
    page.get_by_role("checkbox", name="failed", exact=True).check()
    expect(row(page, sent.message_id)).to_have_count(0)
    expect(row(page, failed.message_id)).to_contain_text("rejected")
    assert query(page) == {"label": [label], "state": ["failed"]}
    page.reload()
    expect(page.get_by_text("1 message", exact=True)).to_be_visible()
    expect(page.get_by_role("checkbox", name="failed", exact=True)).to_be_checked()
    page.get_by_role("checkbox", name="failed", exact=True).uncheck()
    page.get_by_role("group", name="Channel").get_by_role("checkbox", name="email").check()
    expect(page.get_by_text("1 message", exact=True)).to_be_visible()
    expect(row(page, mail.message_id)).to_be_visible()
    page.get_by_role("group", name="Provider").get_by_role("checkbox", name="sms-mms").check()
    expect(page.get_by_text("No message is like this.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(row(page, mail.message_id)).to_be_visible()
    assert query(page) == {}


def test_a_time_and_request_ids_narrow_the_list(shared: Console, browse: Open, label: str) -> None:
    from playwright.sync_api import expect

    first = send(shared, sms(labels=labelled(label)))
    second = send(shared, sms(labels=labelled(label)))
    page = browse(shared, f"messages?label={label}").page
    expect(page.get_by_text("2 messages")).to_be_visible()
    page.get_by_label("Request ids, with spaces between them").fill(f"{second.request_id} another")
    page.get_by_label("Request ids, with spaces between them").press("Enter")
    expect(page.get_by_text("1 message", exact=True)).to_be_visible()
    expect(row(page, first.message_id)).to_have_count(0)
    page.get_by_role("button", name="Last 15 min").click()
    expect(row(page, second.message_id)).to_be_visible()
    assert query(page).keys() == {"label", "request_id", "from"}
    page.get_by_label("to", exact=True).fill("2020-01-01T00:00:00")
    expect(page.get_by_text("No message is like this.")).to_be_visible()


def test_what_an_address_cannot_mean_is_told(shared: Console, browse: Open) -> None:
    from playwright.sync_api import expect

    page = browse(shared, "messages?state=lost&from=noon").page
    expect(page.get_by_role("alert").filter(has_text="There is no state “lost”.")).to_be_visible()
    expect(page.get_by_role("alert").filter(has_text="“noon” is no time")).to_be_visible()


def test_a_message_leaves_the_list_whose_filter_it_meets_no_longer(shared: Console, browse: Open, label: str) -> None:
    from playwright.sync_api import expect

    waiting = send(shared, sms(labels=labelled(label), send_time=later()))
    page = browse(shared, f"messages?state=queued&label={label}").page
    expect(row(page, waiting.message_id)).to_contain_text("queued")
    shared.dispatch.CancelMessage(pb.CancelMessageRequest(message_id=waiting.message_id))
    expect(row(page, waiting.message_id)).to_have_count(0)


def test_rows_stay_where_they_are_while_somebody_reads_them(shared: Console, browse: Open, label: str) -> None:
    from playwright.sync_api import expect

    send_many(shared, (sms(labels=labelled(label)) for _ in range(150)))
    page = browse(shared, f"messages?label={label}").page
    expect(page.get_by_text("100 messages loaded")).to_be_visible()
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    expect(page.get_by_text("150 messages")).to_be_attached()
    expect(page.get_by_role("columnheader", name="Accepted")).to_be_in_viewport()
    before = page.evaluate("document.querySelector('.grid-rows').getBoundingClientRect().height")
    newest = [send(shared, sms(labels=labelled(label))) for _ in range(3)][-1]
    button = page.get_by_role("button", name="3 new")
    expect(button).to_be_in_viewport()
    assert page.evaluate("document.querySelector('.grid-rows').getBoundingClientRect().height") == before
    button.click()
    expect(row(page, newest.message_id)).to_be_in_viewport()
    expect(page.get_by_text("153 messages")).to_be_visible()
    expect(button).to_have_count(0)


def test_it_is_used_by_keys_alone(shared: Console, browse: Open, label: str) -> None:
    from playwright.sync_api import expect

    sent = [send(shared, sms(labels=labelled(label))) for _ in range(3)]
    page = browse(shared, f"messages?label={label}").page
    expect(page.get_by_text("3 messages")).to_be_visible()
    page.keyboard.press("j")
    expect(page.get_by_role("grid")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(row(page, sent[1].message_id)).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("grid")).to_have_attribute("aria-activedescendant", f"message-{sent[1].message_id}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Message")).to_be_focused()
    assert page.url.endswith(f"/messages/{sent[1].message_id}")
    page.keyboard.press("Escape")
    expect(row(page, sent[1].message_id)).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("grid")).to_be_focused()
    page.keyboard.press("End")
    expect(row(page, sent[0].message_id)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    expect(page.locator("[aria-selected=true]")).to_have_count(0)
    page.keyboard.press("/")
    page.keyboard.type(sent[2].request_id)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/messages/{sent[2].message_id}$"))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog").get_by_text("Go back to the messages")).to_be_visible()


def test_a_message_is_found_by_its_id_and_what_is_not_there_is_told(shared: Console, browse: Open) -> None:
    from playwright.sync_api import expect

    message = send(shared, sms())
    watched = browse(shared, "messages", expected=("status of 404",))
    search = watched.page.get_by_label("Message id or request id")
    search.fill("nobody-has-sent-this")
    search.press("Enter")
    expect(watched.page.get_by_text("There is no message with this id or request id.")).to_be_visible()
    search.fill(message.message_id)
    watched.page.get_by_role("button", name="Open").click()
    expect(watched.page).to_have_url(re.compile(f"/messages/{message.message_id}$"))


def test_it_goes_on_over_a_restart_of_the_server(console: Serve, browse: Open) -> None:
    from playwright.sync_api import expect

    running = console()
    before = send(running, sms())
    page = browse(running, "messages", expected=("Failed to load resource",)).page
    expect(row(page, before.message_id)).to_be_visible()
    address = str(running.wait_for_event("serving")["http_listen"])
    running.restart(http__listen=address)
    missed = send(running, sms())
    expect(row(page, missed.message_id)).to_be_visible()
    expect(page.get_by_text("2 messages")).to_be_visible()


def test_ten_thousand_messages_scroll(console: Serve, browse: Open, record_property: Note) -> None:
    from playwright.sync_api import expect

    running = console(store__sync="normal", server__max_in_flight="20000")
    assert send_many(running, (sms() for _ in range(MANY))) == MANY
    page = browse(running, "messages", reduced_motion="no-preference").page
    expect(page.get_by_text("100 messages loaded")).to_be_visible()
    end = page.get_by_text("These are all.")
    while not end.is_visible():
        page.evaluate(
            "() => new Promise(done => { window.scrollTo(0, document.body.scrollHeight); requestAnimationFrame(done) })"
        )
    expect(page.get_by_text(f"{MANY:,} messages")).to_be_visible()
    # Down and up again by what a wheel does in a frame, and by leaps to places that were not drawn before.
    frames = page.evaluate(
        """async () => {
            const frame = () => new Promise(requestAnimationFrame);
            const times = [], rows = [], all = document.body.scrollHeight;
            let last = await frame();
            const idle = [];
            for (let step = 0; step < 60; step += 1) {
                const now = await frame();
                idle.push(now - last);
                last = now;
            }
            const go = async (to) => {
                window.scrollTo(0, to);
                const now = await frame();
                times.push(now - last);
                rows.push(document.querySelectorAll('.grid-rows [role=row]').length);
                last = now;
            };
            for (let step = 0; step < 120; step += 1) await go(step * 120);
            for (let step = 0; step < 60; step += 1) await go((all * (step * 37 % 60)) / 60);
            return {times, idle, rows: Math.max(...rows), nodes: document.querySelectorAll('*').length};
        }"""
    )
    times, idle = sorted(frames["times"]), sorted(frames["idle"])
    assert frames["rows"] < 100, "only what can be seen is there"
    half, most = times[len(times) // 2], times[len(times) * 95 // 100]
    figure = (
        f"{MANY:,} messages: frames of {half:.1f} ms, 95 in 100 within {most:.1f} ms, {times[-1]:.1f} ms at most"
        f" ({idle[len(idle) // 2]:.1f} ms where nothing scrolls);"
        f" {frames['rows']} rows and {frames['nodes']} elements in the page"
    )
    record_property("figure", figure)


def test_it_can_be_read_by_everybody(console: Serve, browse: Open) -> None:
    from playwright.sync_api import expect

    running = console(toml=TOML)
    teams = ("billing", "login", "news")
    for number in range(24):
        labels = {"team": teams[number % 3], "campaign": f"autumn-{number % 5}"}
        send(running, email(labels=labels) if number % 4 == 1 else sms(labels=labels))
    send(running, sms(UNCERTAIN, labels={"team": "login"}, delivery_guarantee=AT_MOST_ONCE))
    send(running, sms(REJECTED, labels={"team": "login"}))
    message = send(running, sms(labels={"team": "billing"}, send_time=later()))
    watched = browse(running, "messages")
    page = watched.page
    expect(row(page, message.message_id)).to_be_visible()
    expect(page.locator(".grid-rows").get_by_text("delivered", exact=True).first).to_be_visible()
    assert watched.obstacles() == []
    watched.picture("messages")
    page.set_viewport_size({"width": 400, "height": 800})
    expect(row(page, message.message_id)).to_be_visible()
    assert not watched.overflows()
    page.get_by_role("button", name="More filters").click()
    assert watched.obstacles() == []
    assert not watched.overflows()
