"""What is kept of simulated messages: the last, for an hour, within bounds, and everybody's own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.core import inbox
from postwire.core.inbox import MAX_AGE, MAX_TEXT, Inbox, InboxFilter, InboxMessage
from postwire.core.message import Attachment, Channel, Content, Email, Media, Mms, OutboundMessage, Sms

NOW = 1000.0


def sms(body: str = "Your code is 123456", to: str = "+14155550132") -> OutboundMessage:
    return OutboundMessage(Sms(to, body))


def add(
    to: Inbox, message: OutboundMessage | None = None, *, tenant: str = "acme", message_id: str = "m", now: float = NOW
) -> int:
    to.add(tenant, message_id, "trial", message or sms(), (), int(now * 1e6), now)
    return to.last_number


def numbers(of: Inbox, tenant: str = "acme", now: float = NOW) -> list[int]:
    return [one.number for one in of.newest(tenant, now)]


def only(message: Content | OutboundMessage, positions: tuple[int, ...] = ()) -> InboxMessage:
    """The message as the inbox gives it back."""
    kept = Inbox()
    outbound = message if isinstance(message, OutboundMessage) else OutboundMessage(message)
    kept.add("acme", "m-1", "trial", outbound, positions, 7, NOW)
    (found,) = kept.newest("acme", NOW)
    return found


def test_the_newest_comes_first_and_a_page_goes_on_below_a_number() -> None:
    kept = Inbox()
    added = [add(kept) for _ in range(5)]
    assert numbers(kept) == added[::-1]
    assert [one.number for one in kept.newest("acme", NOW, added[2])] == added[1::-1]
    assert [one.number for one in kept.since("acme", added[2])] == added[3:]
    assert kept.get("acme", added[2], NOW) == kept.newest("acme", NOW)[2]
    assert kept.get("acme", added[-1] + 1, NOW) is None
    assert kept.get("globex", added[2], NOW) is None


def test_the_last_thousand_are_kept() -> None:
    kept = Inbox()
    added = [add(kept) for _ in range(inbox.MAX_MESSAGES + 7)]
    assert len(kept) <= inbox.MAX_MESSAGES + inbox.SURPLUS
    assert numbers(kept) == added[: -inbox.MAX_MESSAGES - 1 : -1]
    assert len(kept) == inbox.MAX_MESSAGES


def test_they_are_kept_for_an_hour() -> None:
    kept = Inbox()
    old, new = add(kept, now=NOW), add(kept, now=NOW + 60)
    assert numbers(kept, now=NOW + MAX_AGE - 0.001) == [new, old]
    assert numbers(kept, now=NOW + MAX_AGE) == [new]
    assert kept.prune(NOW + MAX_AGE) == NOW + 60 + MAX_AGE
    assert kept.prune(NOW + 60 + MAX_AGE) is None
    assert len(kept) == 0


def test_one_who_floods_pushes_out_none_of_another() -> None:
    kept = Inbox(most=100, surplus=10)
    few = [add(kept, tenant="globex") for _ in range(5)]
    for _ in range(1000):
        add(kept)
    assert numbers(kept, "globex") == few[::-1]
    assert len(numbers(kept)) == 95


def test_one_with_large_messages_pushes_out_none_of_another() -> None:
    kept = Inbox(most_bytes=200_000)
    few = [add(kept, tenant="globex") for _ in range(5)]
    large = OutboundMessage(Email(("ada@example.com",), html="x" * 50_000))
    added = [add(kept, large) for _ in range(100)]
    assert numbers(kept, "globex") == few[::-1]
    assert numbers(kept) == added[-1:-4:-1]


def test_data_of_files_is_not_kept() -> None:
    files = (Attachment("a.pdf", "application/pdf", b"x" * 3000), Attachment("b", "text/plain", b""))
    found = only(Email(("ada@example.com",), subject="Hi", attachments=files))
    assert [(one.file_name, one.content_type, one.size) for one in found.files] == [
        ("a.pdf", "application/pdf", 3000),
        ("b", "text/plain", 0),
    ]
    assert isinstance(found.message.content, Email)
    assert [(one.file_name, one.data) for one in found.message.content.attachments] == [("a.pdf", b""), ("b", b"")]
    media = (Media(url="https://example.com/a.png"), Media(data=b"1234", content_type="image/png", file_name="b.png"))
    found = only(Mms("+14155550132", media=media))
    assert [(one.file_name, one.content_type, one.size) for one in found.files] == [
        ("", "", 0),
        ("b.png", "image/png", 4),
    ]
    assert isinstance(found.message.content, Mms)
    assert [(one.url, one.data) for one in found.message.content.media] == [
        ("https://example.com/a.png", b""),
        ("", b""),
    ]


def test_texts_that_are_too_long_are_cut() -> None:
    assert not only(Email(("ada@example.com",), text="é" * MAX_TEXT, html="x" * MAX_TEXT)).truncated
    found = only(Email(("ada@example.com",), text="Hi", html="x" * (MAX_TEXT + 1)))
    assert found.truncated
    assert found.texts == ("", "Hi", "x" * MAX_TEXT)


def test_what_is_kept_shows_nothing_of_what_it_says() -> None:
    kept = Inbox()
    canary = OutboundMessage(
        Email(("canary@example.com",), subject="canary", attachments=(Attachment("canary", "text/canary", b"canary"),)),
        {"canary": "canary"},
    )
    add(kept, canary)
    (found,) = kept.newest("acme", NOW)
    shown = repr((kept, found, found.files, kept._boxes, InboxFilter(to="canary@example.com", match="canary")))
    assert "canary" not in shown


EMAIL = Email(
    ("Ada@Example.com",),
    cc=("bob@example.com",),
    bcc=("eve@example.com",),
    subject="Grüße",
    text="Your CODE",
    html="<b>",
)


@pytest.mark.parametrize(
    ("chosen", "is_meant"),
    [
        (InboxFilter(), True),
        (InboxFilter(channels=frozenset({Channel.EMAIL, Channel.SMS})), True),
        (InboxFilter(channels=frozenset({Channel.MMS})), False),
        (InboxFilter(to="ada@example.COM"), True),
        (InboxFilter(to="eve@example.com"), True),
        (InboxFilter(to="bob@example.com"), False),
        (InboxFilter(to="ada@example"), False),
        (InboxFilter(match="your code"), True),
        (InboxFilter(match="GRÜSSE"), True),
        (InboxFilter(match="<B>"), True),
        (InboxFilter(match="other"), False),
        (InboxFilter(time_from=7), True),
        (InboxFilter(time_from=8), False),
        (InboxFilter(to="ada@example.com", match="other"), False),
    ],
)
def test_a_filter(chosen: InboxFilter, is_meant: bool) -> None:
    assert chosen.admits(only(EMAIL, (0, 2))) is is_meant


def test_clearing_removes_what_is_a_tenants() -> None:
    kept = Inbox()
    add(kept)
    add(kept)
    other = add(kept, tenant="globex")
    assert kept.clear("acme", NOW) == 2
    assert kept.clear("acme", NOW) == 0
    assert (numbers(kept), numbers(kept, "globex")) == ([], [other])


def test_messages_are_forgotten_by_their_ids() -> None:
    kept = Inbox()
    for message_id in ("m-1", "m-2", "m-1"):
        add(kept, message_id=message_id)
    add(kept, tenant="globex", message_id="m-1")
    assert kept.held("acme", ["m-3", "m-1"]) == ["m-1"]
    assert kept.held("initech", ["m-1"]) == []
    kept.forget("initech", ["m-1"])
    kept.forget("acme", ["m-1", "m-3"])
    assert [one.message_id for one in kept.newest("acme", NOW)] == ["m-2"]
    assert len(numbers(kept, "globex")) == 1
    assert len(kept) == 2
    kept.forget("acme", ["m-2"])
    assert len(kept) == 1


MOST, MOST_BYTES, SURPLUS = 6, 20_000, 2


STEPS = st.one_of(
    st.tuples(st.just("add"), st.sampled_from("abc"), st.sampled_from(["m-1", "m-2"]), st.sampled_from([1, 3000])),
    st.tuples(st.just("wait"), st.sampled_from([1.0, MAX_AGE / 3])),
    st.tuples(st.just("clear"), st.sampled_from("abc")),
    st.tuples(st.just("forget"), st.sampled_from("abc"), st.sampled_from(["m-1", "m-2"])),
)


def level(counts: list[int]) -> list[int]:
    """What is left of so many where the one who has the most gives one, again and again."""
    counts = sorted(counts)
    while sum(counts) > MOST:
        counts[-1] -= 1
        counts.sort()
    return counts


@given(st.lists(STEPS, max_size=60))
def test_whatever_is_done_the_last_are_kept_within_bounds_and_in_fair_shares(steps: list[tuple[Any, ...]]) -> None:
    kept = Inbox(most=MOST, most_bytes=MOST_BYTES, surplus=SURPLUS)
    model: dict[str, list[tuple[int, float, str]]] = {tenant: [] for tenant in "abc"}
    now, has_large = 0.0, False

    def look() -> None:
        nonlocal has_large
        shown = {tenant: numbers(kept, tenant, now)[::-1] for tenant in "abc"}
        assert sum(map(len, shown.values())) == len(kept) <= MOST
        assert kept._size == sum(box.size for box in kept._boxes.values())
        young = {tenant: [one[0] for one in model[tenant] if now - one[1] < MAX_AGE] for tenant in "abc"}
        for tenant, found in shown.items():
            assert found == young[tenant][len(young[tenant]) - len(found) :]
            assert [one.number for one in kept.since(tenant, 0)] == found
        if not has_large:
            assert sorted(map(len, shown.values())) == level(list(map(len, young.values())))
        for tenant in "abc":
            model[tenant] = [one for one in model[tenant] if one[0] in shown[tenant]]

    for what, *rest in steps:
        if what != "add":
            look()
        match what, *rest:
            case "add", str(tenant), str(message_id), int(length):
                large = OutboundMessage(Email(("ada@example.com",), html="x" * length))
                number = add(kept, large if length > 1 else sms(), tenant=tenant, message_id=message_id, now=now)
                model[tenant].append((number, now, message_id))
                has_large |= length > 1
            case "wait", float(seconds):
                now += seconds
            case "clear", str(tenant):
                assert kept.clear(tenant, now) == len(model[tenant])
                model[tenant] = []
            case "forget", str(tenant), str(message_id):
                assert bool(kept.held(tenant, [message_id])) is any(one[2] == message_id for one in model[tenant])
                kept.forget(tenant, [message_id])
                model[tenant] = [one for one in model[tenant] if one[2] != message_id]
        assert kept._size <= MOST_BYTES
        assert len(kept) <= MOST + SURPLUS
    look()
