"""Nobody's data in telemetry: marked data goes in by every way there is, and is looked for in all that comes out."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.e2e.calls import ACCEPTANCE, AT_MOST_ONCE, QUEUED, SENDING, SENT, TIMEOUT, in_flight, refusal_of, update
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, fetch, transitions
from tests.e2e.server import Server, eventually
from tests.e2e.streams import in_time
from tests.e2e.toml import case, mock, of, rule
from tests.support.otlp import Collector, Seen

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.inbox_service_pb2 import (
    ClearInboxRequest,
    InboxFilter,
    ListInboxRequest,
    WaitForMessageRequest,
    WatchInboxRequest,
)
from postwire.v1.message_pb2 import CHANNEL_SMS, Attachment, DispatchOptions, Email, Media, Mms, OutboundMessage, Sms
from postwire.v1.provider_service_pb2 import (
    DrainProviderRequest,
    GetProviderRequest,
    ResetBreakerRequest,
    ResumeProviderRequest,
    UpdateMockProviderRequest,
)

MARK = "zq9canary"
NUMBER_MARK = "1987654321"
"""Phone numbers hold digits only, so theirs begin with these; four digits of their own follow.

So many that no time in nanoseconds has them by chance: of five, one in every few hours has.
"""

LABEL, REQUEST_ID, REASON = f"{MARK}label", f"{MARK}request", f"{MARK}reason"
"""Marks of what its caller gets back."""

_numbers = itertools.count(1)


def mark() -> str:
    """Marked data that is a word."""
    return f"{MARK}{next(_numbers)}z"


def phone() -> str:
    return f"+{NUMBER_MARK}{next(_numbers):04d}"


def address() -> str:
    return f"{mark()}@{mark()}.example.com"


def sms(**fields: Any) -> OutboundMessage:
    return OutboundMessage(sms=Sms(**{"to": phone(), "body": mark(), **fields}))


def mms(**fields: Any) -> OutboundMessage:
    return OutboundMessage(mms=Mms(**{"to": phone(), "body": mark(), **fields}))


def email(**fields: Any) -> OutboundMessage:
    return OutboundMessage(email=Email(**{"to": [address()], "subject": mark(), "text": mark(), **fields}))


def media(**fields: Any) -> OutboundMessage:
    return mms(media=[Media(**{"url": f"https://{mark()}.example.com/{mark()}?{mark()}", **fields})])


def attachment(**fields: Any) -> OutboundMessage:
    whole = {"file_name": f"{mark()}.pdf", "content_type": f"application/{mark()}", "data": mark().encode(), **fields}
    return email(attachments=[Attachment(**whole)])


GOOD: list[Callable[[], OutboundMessage]] = [
    sms,
    lambda: sms(sender="zq9canary"),
    lambda: sms(sender=phone()),
    lambda: sms(body=f"Grüße {mark()} 🎉\n{mark()}"),
    lambda: sms(to="+15005550001"),
    lambda: sms(to="+15005550002"),
    lambda: sms(to="+15005550003"),
    lambda: sms(to="+15005550004"),
    mms,
    media,
    lambda: mms(media=[Media(data=mark().encode(), content_type=f"image/{mark()}", file_name=f"{mark()}.png")]),
    email,
    lambda: email(cc=[address()], bcc=[address(), address()], reply_to=f"{mark()} <{address()}>", sender=address()),
    lambda: email(headers={f"X-{mark()}": mark(), "List-Unsubscribe": f"<mailto:{address()}>"}),
    lambda: email(html=f"<p>{mark()}</p>"),
    lambda: email(to=[address(), "rejected@simulator.postwire.test"]),
    lambda: email(to=["error@simulator.postwire.test"]),
    attachment,
]

BAD: list[Callable[[], OutboundMessage]] = [
    lambda: sms(to=mark()),
    lambda: sms(to=phone() + "0000000"),
    lambda: sms(to=f"{phone()}\n{mark()}"),
    lambda: sms(sender=mark() * 3),
    lambda: sms(body=mark() * 400),
    lambda: mms(to=mark(), sender=mark() + "\0"),
    lambda: media(url=f"{mark()}://{mark()}"),
    lambda: media(url=f"https://{mark()}" + "x" * 2_048),
    lambda: media(content_type=mark()),
    lambda: media(file_name=f"{mark()}\r\n"),
    lambda: media(file_name=mark() * 30),
    lambda: mms(media=[Media(data=mark().encode())]),
    lambda: mms(media=[Media(file_name=mark())]),
    lambda: mms(media=[Media(url=f"https://{mark()}.example.com")] * 11),
    lambda: email(to=[mark(), f"{mark()}@", f"@{mark()}"]),
    lambda: email(to=[mark()] * 100),
    lambda: email(to=[address()] * 1_001),
    lambda: email(cc=[f"{address()}\r\nBcc: {address()}"], bcc=[mark()]),
    lambda: email(subject=f"{mark()}\r\nBcc: {address()}"),
    lambda: email(subject=mark() * 100),
    lambda: email(sender=f"{mark()} <{mark()}>", reply_to=mark()),
    lambda: email(headers={f"{mark()}\r\nBcc": mark()}),
    lambda: email(headers={f"X-{mark()}": f"{mark()}\r\nBcc: {mark()}"}),
    lambda: email(headers={"Subject": mark(), f"X-{mark()}": mark() * 100}),
    lambda: email(headers={f"X-{mark()}": mark() for _ in range(51)}),
    lambda: email(headers={f"X-{mark()} {mark()}": mark()}),
    lambda: attachment(file_name=""),
    lambda: attachment(file_name=f"{mark()}\n{mark()}"),
    lambda: attachment(file_name=mark() * 30),
    lambda: attachment(content_type=mark()),
    lambda: attachment(data=b""),
]

BAD_LABELS: list[Callable[[], dict[str, str]]] = [
    lambda: {f"{LABEL} {next(_numbers)}": LABEL},
    lambda: {LABEL: f"{LABEL}\n"},
    lambda: {LABEL * 10: LABEL},
    lambda: {LABEL: LABEL * 100},
    lambda: {f"{LABEL}{number}": LABEL for number in range(17)},
]


@dataclass
class Caller:
    """What callers were told: the answers, and all of the errors."""

    answers: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    reasons: list[str | None] = field(default_factory=list)

    def call(self, method: Any, asked: Any) -> Any:
        metadata = (("x-caller", mark()), ("authorization", f"Bearer {mark()}"), ("x-caller-bin", mark().encode()))
        try:
            answer = method(asked, timeout=TIMEOUT, metadata=metadata)
        except grpc.RpcError as error:
            call: Any = error
            refusal = refusal_of(call)
            self.reasons.append(refusal.reason)
            shown = [call.details(), refusal, *(call.trailing_metadata() or ()), *(call.initial_metadata() or ())]
            self.errors += map(str, shown)
            return None
        self.answers.append(answer)
        return answer


MARKS = re.compile(
    "|".join(
        [
            MARK,
            NUMBER_MARK + "[0-9]{4}",
            # As base64, wherever in a text it stands: without the characters that its neighbours change.
            *(
                re.escape(
                    base64.b64encode(b"x" * shift + MARK.encode()).decode()[(shift + 2) // 3 * 4 :].rstrip("=")[:-2]
                )
                for shift in range(3)
            ),
            MARK.encode().hex(),
        ]
    ),
    re.IGNORECASE,
)


def found_in(text: str) -> list[str]:
    """Marked data, with what stands around it."""
    return [text[max(0, match.start() - 80) : match.end() + 20] for match in MARKS.finditer(text)]


def test_marked_data_would_be_found() -> None:
    for text in (mark(), mark().upper(), f"<{phone()}>", f"a{mark()}b", repr(mark().encode()), mark().encode().hex()):
        assert found_in(text), text
    for shift in range(9):
        assert found_in(base64.b64encode(b"." * shift + mark().encode() + b"...").decode())
    assert not found_in("1,700,000,000,000 a quiet day")
    assert not found_in("start_time_unix_nano: 1795902198760284985")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def requests() -> Iterator[pb.DispatchRequest]:
    """200 calls of `Dispatch`, good and bad by turns."""
    for number in range(100):
        for makers in (GOOD, BAD):
            message = makers[number % len(makers)]()
            message.labels.update({f"{LABEL}{number}": f"{LABEL}{number}"})
            options = DispatchOptions(max_attempts=1)
            if message.HasField("mms") and number % 2:
                options.provider_name = "sms-mms"  # else no provider carries it
            yield pb.DispatchRequest(message=message, request_id=f"{REQUEST_ID}{next(_numbers)}", options=options)


def other_reasons(server: Server, caller: Caller) -> None:
    """The reasons of operators, which their callers get back as notes; and those that are no good."""
    dispatch, providers = server.dispatch, server.providers
    options = DispatchOptions(wait_for=ACCEPTANCE, send_time=in_time(hours=1))
    for reason in (f"{REASON} 1", f"{mark()}\n", mark() * 100):
        later = caller.call(dispatch.Dispatch, pb.DispatchRequest(message=sms(), options=options)).message
        caller.call(dispatch.CancelMessage, pb.CancelMessageRequest(message_id=later.message_id, reason=reason))
        caller.call(dispatch.CancelMessage, pb.CancelMessageRequest(message_id=mark(), reason=reason))
        unknown = caller.call(
            dispatch.Dispatch,
            pb.DispatchRequest(message=sms(to="+15005550004"), options=DispatchOptions(max_attempts=1)),
        ).message
        resolution = pb.RESOLUTION_SENT
        asked = pb.ResolveMessageRequest(message_id=unknown.message_id, resolution=resolution, reason=reason)
        caller.call(dispatch.ResolveMessage, asked)
        caller.call(providers.DrainProvider, DrainProviderRequest(name="email", reason=reason))
        caller.call(providers.ResumeProvider, ResumeProviderRequest(name="email", reason=reason))
        caller.call(providers.ResetBreaker, ResetBreakerRequest(name="email", reason=reason))
    caller.call(providers.GetProvider, GetProviderRequest(name="email"))


def other_calls(server: Server, caller: Caller) -> None:
    """What else a caller can put data into."""
    dispatch, providers = server.dispatch, server.providers
    for labels in BAD_LABELS:
        bad = sms()
        bad.labels.update(labels())
        caller.call(dispatch.Dispatch, pb.DispatchRequest(message=bad))
    caller.call(dispatch.Dispatch, pb.DispatchRequest(message=sms(), request_id=f"{REQUEST_ID}\n"))
    caller.call(dispatch.Dispatch, pb.DispatchRequest(message=sms(), request_id=REQUEST_ID * 10))
    caller.call(dispatch.Dispatch, pb.DispatchRequest(message=sms(), options=DispatchOptions(provider_name=mark())))
    for body in (mark(), mark()):
        caller.call(dispatch.Dispatch, pb.DispatchRequest(message=sms(body=body), request_id=f"{REQUEST_ID}-reused"))
    for asked in (
        pb.ListMessagesRequest(page_token=mark()),
        pb.ListMessagesRequest(page_size=-1, filter=pb.MessageFilter(labels={mark(): mark()}, provider_names=[mark()])),
        pb.ListMessagesRequest(filter=pb.MessageFilter(labels={mark(): mark()})),
        pb.ListMessagesRequest(page_size=1000),
    ):
        caller.call(dispatch.ListMessages, asked)
    page = caller.call(
        dispatch.ListMessages, pb.ListMessagesRequest(page_size=1, filter=pb.MessageFilter(channels=[CHANNEL_SMS]))
    )
    other = pb.ListMessagesRequest(page_token=page.next_page_token, filter=pb.MessageFilter(labels={mark(): mark()}))
    caller.call(dispatch.ListMessages, other)
    caller.call(dispatch.GetMessage, pb.GetMessageRequest(message_id=mark()))
    caller.call(dispatch.GetMessage, pb.GetMessageRequest(request_id=mark()))
    caller.call(dispatch.GetMessage, pb.GetMessageRequest(message_id=mark(), request_id=f"{mark()}\n"))
    caller.call(dispatch.ListMessages, pb.ListMessagesRequest(filter=pb.MessageFilter(request_ids=[f"{mark()}\n"])))
    other_reasons(server, caller)
    for message in (sms(), sms(to=mark()), mms()):
        caller.call(dispatch.ExplainRoute, pb.ExplainRouteRequest(message=message))
    caller.call(
        dispatch.ExplainRoute, pb.ExplainRouteRequest(message=sms(), options=DispatchOptions(provider_name=mark()))
    )
    caller.call(providers.GetProvider, GetProviderRequest(name=mark()))
    caller.call(providers.DrainProvider, DrainProviderRequest(name=mark()))
    caller.call(providers.ResumeProvider, ResumeProviderRequest(name=mark()))
    caller.call(providers.ResetBreaker, ResetBreakerRequest(name=mark()))
    caller.call(providers.UpdateMockProvider, UpdateMockProviderRequest(name=mark(), error_ratio=3))
    read_inbox(server, caller)
    caller.call(server.health.Check, health_pb2.HealthCheckRequest(service=mark()))
    nowhere: Any = server.channel().unary_unary(f"/postwire.v1.DispatchService/{mark()}")
    caller.call(nowhere, mark().encode())
    garbage: Any = server.channel().unary_unary("/postwire.v1.DispatchService/Dispatch")
    caller.call(garbage, b"\x0a\xff" + mark().encode())


def read_inbox(server: Server, caller: Caller) -> None:
    """What simulated providers took, which is shown with all that it says; and what is asked for wrongly."""
    inbox = server.inbox
    page = inbox.ListInbox(ListInboxRequest(page_size=100), timeout=TIMEOUT)
    assert found_in(str(page)), "it is there to be found"
    newest = page.messages[0].message
    assert inbox.WaitForMessage(WaitForMessageRequest(to=newest.sms.to), timeout=TIMEOUT).HasField("message")
    watch = inbox.WatchInbox(WatchInboxRequest(filter=InboxFilter(match=mark())), timeout=TIMEOUT)
    next(watch)
    for asked in (
        ListInboxRequest(filter=InboxFilter(to=mark())),
        ListInboxRequest(page_token=mark()),
        ListInboxRequest(page_token=page.next_page_token, filter=InboxFilter(match=mark())),
        ListInboxRequest(filter=InboxFilter(match=mark() * 200)),
    ):
        caller.call(inbox.ListInbox, asked)
    caller.call(inbox.WaitForMessage, WaitForMessageRequest(to=mark(), match=mark() * 200))
    inbox.ClearInbox(ClearInboxRequest(), timeout=TIMEOUT)
    watch.cancel()


def test_no_marked_data_leaves_the_server(serve: Serve, collector: Collector) -> None:
    server = serve(
        store__content_retention="1h",  # what was there to be found is looked for afterwards
        telemetry__log_level="debug",
        telemetry__log_format="json",
        telemetry__otlp_endpoint=collector.endpoint,
        **METRICS,
        OTEL_EXPORTER_OTLP_HEADERS=f"api-key={mark()}",
        # Those that are throttled on purpose hold up the others no longer than that.
        providers__sms_mms__retry_after="1ms",
        providers__email__retry_after="1ms",
        routes__mms="",
    )
    caller = Caller()
    for asked in requests():
        caller.call(server.dispatch.Dispatch, asked)
    accepted = [answer.message for answer in caller.answers]
    assert len(accepted) > 80, "most of the good ones"
    assert any(message.state == SENT for message in accepted)
    for message in accepted:
        caller.call(server.dispatch.GetMessage, pb.GetMessageRequest(message_id=message.message_id))
    other_calls(server, caller)
    assert set(caller.reasons) == {
        "INVALID_MESSAGE",
        "MESSAGE_TOO_LARGE",
        "INVALID_ROUTING",
        "INVALID_PROVIDER",
        "INVALID_PAGE",
        "REQUEST_ID_REUSED",
        "PROVIDER_NOT_FOUND",
        "MESSAGE_NOT_FOUND",
        None,  # the transport's own
    }

    metrics = fetch(server)
    assert server.terminate() == 0

    assert found_in("\n".join(caller.errors)) == []
    assert found_in(server.log_text()) == []
    assert found_in(metrics) == []
    for sent in collector.metadata:
        assert MARK in str(sent.pop("api-key")), "the collector's secret is for the collector"
    assert found_in(collector.everything()) == []
    # Labels, request ids and reasons are their caller's own.
    answers = "\n".join(map(str, caller.answers))
    assert f"{REASON} 1" in answers
    answers = answers.replace(LABEL, "").replace(REQUEST_ID, "").replace(REASON, "")
    assert found_in(answers) == []

    # And all of it was there to be found.
    assert server.log("internal_error") == []
    reported_of = {line["message_id"] for line in server.log("attempt")}
    assert len(reported_of & {message.message_id for message in accepted}) > 50
    assert len([one for one in collector.spans() if one.failed]) > 80
    assert "postwire.attempts" in collector.metrics()
    assert "postwire_attempts_total" in metrics
    contents = server.rows("SELECT content FROM contents")
    assert len(contents) >= len(accepted)
    assert all(found_in(content.decode("utf-8", "replace")) for (content,) in contents)
    assert LABEL in json.dumps(server.rows("SELECT labels FROM labels"))
    for kept in ("SELECT note FROM messages", "SELECT note FROM provider_notes"):
        assert REASON in json.dumps(server.rows(kept))


def names_of(seen: Seen) -> list[str]:
    return [seen.name, *(event.name for event in seen.span.events)]


def unsettled(server: Server) -> list[Any]:
    asked = pb.ListMessagesRequest(filter=pb.MessageFilter(states=[QUEUED, SENDING]))
    return list(server.dispatch.ListMessages(asked, timeout=TIMEOUT).messages)


def test_no_marked_data_leaves_it_by_failover_and_retries_either(serve: Serve, collector: Collector) -> None:
    brittle = 'breaker = { window_calls = 4, minimum_calls = 2, open_for = "20ms", open_for_max = "20ms" }'
    soon = 'retry_after = "1ms"'
    ratios = ("error_ratio = 0.2", "rate_limited_ratio = 0.2", "uncertain_ratio = 0.2", "rejected_ratio = 0.2")
    server = serve(
        store__content_retention="1h",  # what was there to be found is looked for afterwards
        toml=mock("first", "error_ratio = 0.8", "seed = 1", brittle, soon)
        + mock("second", *ratios, "seed = 2", brittle, soon)
        + mock("slow", 'latency = "1h"')
        + case("slow", '["slow"]')
        + "".join(rule(channel, '["first", "second"]') for channel in ("sms", "mms", "email")),
        telemetry__log_level="debug",
        telemetry__otlp_endpoint=collector.endpoint,
        delivery__backoff_base="1ms",
        delivery__backoff_max="1ms",
        OTEL_BSP_SCHEDULE_DELAY="10",
        **METRICS,
    )
    caller = Caller()
    for number in range(3 * len(GOOD)):
        options = DispatchOptions(max_attempts=3)
        if number % 2:
            options.delivery_guarantee = AT_MOST_ONCE
        message = GOOD[number % len(GOOD)]()
        if message.sms.to == "+15005550003":
            continue  # it would be tried again and again, as long as the test runs
        message.labels.update({f"{LABEL}{number}": f"{LABEL}{number}"})
        assert caller.call(server.dispatch.Dispatch, pb.DispatchRequest(message=message, options=options))
        caller.call(server.dispatch.ExplainRoute, pb.ExplainRouteRequest(message=message, options=options))
    update(server, "first", error_ratio=0)
    eventually(lambda: not unsettled(server))
    # Some are killed in mid-send, and some are parked.
    for number in range(4):
        options = DispatchOptions(wait_for=ACCEPTANCE, max_attempts=1 + number % 2)
        caller.call(server.dispatch.Dispatch, pb.DispatchRequest(message=of("slow", sms()), options=options))
    eventually(lambda: in_flight(server) >= 4)
    caller.call(server.providers.DrainProvider, DrainProviderRequest(name="slow"))
    caller.call(server.dispatch.Dispatch, pb.DispatchRequest(message=of("slow", sms())))
    eventually(lambda: len(transitions(server)) >= 4)
    seen = {"deliver", "attempt first", "attempt second", "breaker changed", "provider passed over"}
    eventually(lambda: seen <= {name for one in collector.spans() for name in names_of(one)})
    texts = [fetch(server)]
    server.kill()
    texts.append(server.log_text())
    passes = server.log("attempt")
    server.start(server__grace="0s")
    page = caller.call(server.dispatch.ListMessages, pb.ListMessagesRequest(page_size=1000))
    texts.append(fetch(server))
    assert server.terminate() == 0
    texts += [server.log_text(), collector.everything()]

    assert [found_in(text) for text in texts] == [[]] * len(texts)
    assert found_in("\n".join(caller.errors)) == []
    assert found_in("\n".join(map(str, caller.answers)).replace(LABEL, "")) == []
    # And all of it was there to be found.
    assert server.log("internal_error") == []
    assert max(line["attempt"] for line in passes) >= 3
    assert any(len(message.attempts) > 2 for message in page.messages)
    assert {attempt.error_code for message in page.messages for attempt in message.attempts} >= {"orphaned"}
    assert all(
        found_in(content.decode("utf-8", "replace")) for (content,) in server.rows("SELECT content FROM contents")
    )
