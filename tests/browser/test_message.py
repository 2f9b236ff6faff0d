"""The page of one message: what happened to it, and what can be done."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from google.protobuf.json_format import MessageToDict
from tests.browser.sending import AT_MOST_ONCE, REJECTED, UNCERTAIN, email, later, send, sms
from tests.support.access import bearer, declared, made_key
from tests.support.otlp import Collector

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from tests.browser.conftest import Open, Serve
    from tests.browser.console import Console

REPORTING: Final = """
[providers.sms]
kind = "mock"
channels = ["sms"]
seed = 5
error_ratio = 0.4
latency = "40ms"
delivered_ratio = 1.0
receipt_delay = "700ms"

[providers.relay]
kind = "mock"
channels = ["email"]
seed = 3
latency = "60ms"
delivered_ratio = 0.6
undelivered_ratio = 0.4
receipt_delay = "700ms"
"""


def read(console: Console, message_id: str) -> message_pb2.Message:
    return console.dispatch.GetMessage(pb.GetMessageRequest(message_id=message_id)).message


def confirm(page: Page, action: str, reason: str) -> None:
    page.get_by_role("dialog").get_by_label("Reason").fill(reason)
    page.get_by_role("dialog").get_by_role("button", name=action).click()


def test_a_message_that_waits_is_cancelled(shared: Console, browse: Open) -> None:
    from playwright.sync_api import expect

    message = send(shared, sms(send_time=later()))
    watched = browse(shared, f"messages/{message.message_id}")
    page = watched.page
    expect(page.get_by_role("heading", level=1)).to_contain_text("queued")
    expect(page.get_by_text("Next attempt is due")).to_be_visible()
    page.get_by_role("button", name="Cancel the message").click()
    expect(page.get_by_role("dialog")).to_contain_text("Nothing is sent, and it becomes cancelled for good.")
    assert watched.obstacles() == []
    confirm(page, "Cancel the message", "wrong text")
    expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")
    expect(page.get_by_role("status", name="Notices")).to_contain_text("The message is cancelled.")
    expect(page.get_by_role("listitem").filter(has_text="Cancelled by hand")).to_contain_text("wrong text")
    expect(page.get_by_role("button", name="Cancel the message")).to_have_count(0)
    kept = read(shared, message.message_id)
    assert (kept.state, kept.note.reason) == (message_pb2.MESSAGE_STATE_CANCELLED, "wrong text")


def test_a_message_of_which_nobody_knows_is_resolved(shared: Console, browse: Open) -> None:
    from playwright.sync_api import expect

    message = send(shared, sms(UNCERTAIN, delivery_guarantee=AT_MOST_ONCE))
    page = browse(shared, f"messages/{message.message_id}").page
    expect(page.get_by_role("heading", level=1)).to_contain_text("uncertain")
    page.get_by_role("button", name="It was not sent").click()
    expect(page.get_by_role("dialog")).to_contain_text("its recipient then has it twice")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="It was sent").click()
    confirm(page, "Resolve as sent", "the vendor says so")
    expect(page.get_by_role("heading", level=1)).to_contain_text("sent")
    expect(page.get_by_role("listitem").filter(has_text="Resolved by hand")).to_contain_text("the vendor says so")
    assert read(shared, message.message_id).state == message_pb2.MESSAGE_STATE_SENT


def test_what_becomes_of_it_is_shown_at_once(shared: Console, browse: Open) -> None:
    from playwright.sync_api import expect

    message = send(shared, sms(send_time=later()))
    page = browse(shared, f"messages/{message.message_id}").page
    expect(page.get_by_role("heading", level=1)).to_contain_text("queued")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    shared.dispatch.CancelMessage(pb.CancelMessageRequest(message_id=message.message_id, reason="by another"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")
    expect(page.get_by_text("“by another”")).to_be_visible()


def test_a_refused_action_says_why_and_changes_nothing(shared: Console, browse: Open) -> None:
    from playwright.sync_api import expect

    message = send(shared, sms(UNCERTAIN, delivery_guarantee=AT_MOST_ONCE))
    page = browse(shared, f"messages/{message.message_id}", expected=("status of 400",)).page
    page.get_by_role("button", name="It was sent").click()
    resolved = pb.ResolveMessageRequest(message_id=message.message_id, resolution=pb.RESOLUTION_FAILED)
    shared.dispatch.ResolveMessage(resolved)
    expect(page.get_by_role("heading", level=1, include_hidden=True)).to_contain_text("failed")
    confirm(page, "Resolve as sent", "")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("MESSAGE_NOT_UNCERTAIN")


def test_attempts_receipts_recipients_and_traces_are_on_a_time_line(console: Serve, browse: Open) -> None:
    from playwright.sync_api import expect

    with Collector() as collector:
        running = console(
            toml=REPORTING,
            console__trace_url="https://traces.example.com/trace/{trace_id}",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
        )
        people = [f"someone.{number}@example.com" for number in range(6)]
        message = send(running, email(*people, labels={"team": "news", "campaign": "autumn"}))
        watched = browse(running, f"messages/{message.message_id}")
        page = watched.page
        expect(page.get_by_role("listitem").filter(has_text="Attempt 1 at relay")).to_contain_text("success")
        expect(page.get_by_role("listitem").filter(has_text="Receipt of relay").first).to_contain_text("of attempt 1")
        expect(page.get_by_text("6 of 6 delivered").or_(page.get_by_text("of 6 delivered")).first).to_be_visible()
        trace = read(running, message.message_id).attempts[0].trace_id
        expect(page.get_by_role("link", name="Trace of attempt 1")).to_have_attribute(
            "href", f"https://traces.example.com/trace/{trace}"
        )
        expect(page.get_by_role("table")).to_contain_text("#6")
        page.get_by_role("link", name="team=news").click()
        expect(page.locator(f"#message-{message.message_id}")).to_be_visible()
        page.go_back()
        expect(page.get_by_role("table")).to_contain_text("#6")
        assert watched.obstacles() == []
        watched.picture("message")
        text = page.locator("body").inner_text()
        assert "someone." not in text, "nobody's address is shown"
        assert "someone." not in str(MessageToDict(read(running, message.message_id)))


def test_what_is_not_there_is_told(shared: Console, browse: Open) -> None:
    from playwright.sync_api import expect

    message = send(shared, sms(REJECTED))
    other = message.message_id[:-1] + ("0" if message.message_id[-1] != "0" else "1")
    watched = browse(shared, f"messages/{other}", expected=("status of 404",))
    expect(watched.page.get_by_text("There is no such message.")).to_be_visible()
    assert watched.obstacles() == []
    watched.page.get_by_role("link", name="All messages").click()
    expect(watched.page.locator(f"#message-{message.message_id}")).to_be_visible()


def test_who_may_only_send_sees_his_message_and_why_not_the_list(console: Serve, browse: Open) -> None:
    from playwright.sync_api import expect

    sending, operating = made_key(), made_key()
    toml = "\n".join((declared(sending, "acme", "send"), declared(operating, "acme", "read", "operate")))
    running = console(toml=toml)
    request = sms(send_time=later())
    message = running.dispatch.Dispatch(request, metadata=bearer(sending)).message
    page = browse(running, f"messages/{message.message_id}").page
    page.get_by_label("API key or token").fill(sending.text)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("queued")
    expect(page.get_by_role("button", name="Cancel the message")).to_be_enabled()
    page.get_by_role("link", name="Messages").click()
    expect(page.get_by_text("This needs the role read")).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("API key or token").fill(operating.text)
    page.get_by_role("button", name="Sign in").click()
    page.locator(f"#message-{message.message_id}").click()
    button = page.get_by_role("button", name="Cancel the message")
    expect(button).to_be_disabled()
    expect(button).to_have_attribute("title", re.compile("This needs the role send"))
