"""What becomes of an email by what a mail server answers."""

from __future__ import annotations

import asyncio
import email as standard
import email.policy
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support.dkim_verifier import verify
from tests.support.smtp_sending import MESSAGE_ID, handover, mail, provider_of, send, verbs
from tests.support.smtp_server import BODY, DOT, GREETING, Answer, Hangup, Hold, SmtpServer

from postwire.core.errors import FieldViolation
from postwire.core.message import Attachment, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.smtp.settings import DkimSettings

S, D, R, U, E, M = (
    Outcome.SUCCESS,
    Outcome.DEFERRED,
    Outcome.REJECTED,
    Outcome.UNCERTAIN,
    Outcome.ERROR,
    Outcome.MISCONFIGURED,
)


async def sent(command: str, answer: Answer, **changes: Any) -> tuple[DispatchResult, SmtpServer]:
    async with SmtpServer() as server, provider_of(server, **changes) as provider:
        server.script(command, answer)
        # Large enough, where the server answers before it has all of it, that it cannot be written by then.
        size = 20_000_000 if command == BODY else 1
        return await send(provider, mail(attachments=(Attachment("a", "", bytes(size)),))), server


@pytest.mark.parametrize(
    ("command", "answer", "outcome", "code"),
    [
        (GREETING, "554 5.7.1 go away, 192.0.2.1", E, "554 5.7.1"),
        (GREETING, "421 4.7.0 too many", E, "421 4.7.0"),
        (GREETING, "hello", E, "no_reply"),
        (GREETING, Hangup(), E, "disconnected"),
        ("EHLO", "421 4.3.2 closing", E, "421 4.3.2"),
        ("EHLO", Hangup(), E, "disconnected"),
        ("MAIL", "451 4.3.0 later, ada@example.com", E, "451 4.3.0"),
        ("MAIL", "550 5.7.1 not you", M, "550 5.7.1"),
        ("MAIL", "530 log in first", M, "530"),
        ("MAIL", "552 5.3.4 too large", R, "552 5.3.4"),
        ("MAIL", "421 4.3.2 closing", E, "421 4.3.2"),
        ("MAIL", Hangup(), E, "disconnected"),
        ("MAIL", "what?", E, "no_reply"),
        ("RCPT", "450 4.2.0 greylisted, ada@example.com", D, "450 4.2.0"),
        ("RCPT", "452 4.5.3", D, "452 4.5.3"),
        ("RCPT", "550 5.1.1 <ada@example.com>: no such user", R, "550 5.1.1"),
        ("RCPT", "552 5.2.2 full", R, "552 5.2.2"),
        ("RCPT", "421 4.3.2 closing", E, "421 4.3.2"),
        ("RCPT", Hangup(), E, "disconnected"),
        ("DATA", "451 4.7.1 greylisted", D, "451 4.7.1"),
        ("DATA", "554 5.7.1 no", R, "554 5.7.1"),
        ("DATA", "421 4.3.2 closing", E, "421 4.3.2"),
        ("DATA", Hangup(), E, "disconnected"),
        (BODY, "552 5.3.4 too large", R, "552 5.3.4"),
        (BODY, "451 4.3.1 disk full", D, "451 4.3.1"),
        (BODY, "421 4.3.2 closing", E, "421 4.3.2"),
        (BODY, "250 2.0.0 taken, before it was there", E, "250 2.0.0"),
        (BODY, Hangup(), E, "disconnected"),
        (DOT, "250", S, ""),
        (DOT, "451 4.7.1 greylisted, ada@example.com", D, "451 4.7.1"),
        (DOT, "421 4.3.2 closing", D, "421 4.3.2"),
        (DOT, "552 5.3.4 too large", R, "552 5.3.4"),
        (DOT, "554 5.7.1 spam for ada@example.com", R, "554 5.7.1"),
        (DOT, "354 go ahead", U, "354"),
        (DOT, "what?", U, "disconnected"),
        (DOT, Hangup(), U, "disconnected"),
    ],
)
async def test_an_answer_has_its_outcome_and_nothing_but_its_codes_is_kept(
    command: str, answer: Answer, outcome: Outcome, code: str
) -> None:
    result, server = await sent(command, answer)
    assert (result.outcome, result.error_code) == (outcome, code)
    assert "ada" not in repr(result)
    assert len(server.said) == 1, "a fault of a new connection is not tried again"
    assert len(server.mails) == (outcome is S)


async def test_an_email_is_said_like_this() -> None:
    async with SmtpServer() as server, provider_of(server, local_hostname="here.example.org") as provider:
        result = await send(provider, mail("a@example.com", cc=("c@example.com",), bcc=("b@b\u00fccher.example",)))
    assert (result.outcome, result.provider_message_id) == (S, f"{MESSAGE_ID}@example.org")
    (got,) = server.mails
    size = len(got.data)
    assert server.said == [
        [
            "EHLO here.example.org",
            f"MAIL FROM:<no-reply@example.org> SIZE={size}",
            "RCPT TO:<a@example.com>",
            "RCPT TO:<c@example.com>",
            "RCPT TO:<b@xn--bcher-kva.example>",
            "DATA",
            DOT,
            "QUIT",
        ]
    ]
    read = standard.message_from_bytes(got.data, policy=email.policy.default)
    assert (read["Subject"], read["To"], read["Cc"], read["Bcc"]) == ("Hi", "a@example.com", "c@example.com", None)


async def test_only_those_that_are_asked_for_get_it() -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        content = mail("a@example.com", "b@example.com", cc=("c@example.com",))
        assert (await send(provider, content, (0, 2))).outcome is S
    assert server.mails[0].recipients == ("a@example.com", "c@example.com")
    assert b"To: a@example.com, b@example.com\r\nCc: c@example.com\r\n" in server.mails[0].data


async def test_each_recipient_has_a_verdict_of_its_own_and_the_others_their_email() -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        server.always("RCPT TO:<b@example.com>", "550 5.1.1 <b@example.com>")
        server.always("RCPT TO:<c@example.com>", "450 4.2.0 <c@example.com>")
        content = mail(*(f"{one}@example.com" for one in "abcd"))
        result = await send(provider, content)
        assert result.outcome is D
        assert [(one.outcome, one.error_code) for one in result.recipients] == [
            (S, ""),
            (R, "550 5.1.1"),
            (D, "450 4.2.0"),
            (S, ""),
        ]
        assert [bool(one.provider_message_id) for one in result.recipients] == [True, False, False, True]
        assert "@example.com" not in repr(result)
        (got,) = server.mails
        assert got.recipients == ("a@example.com", "d@example.com")

        server.script(DOT, Hangup())
        result = await send(provider, content, (0, 1, 2))
        assert [one.outcome for one in result.recipients] == [U, R, D]
        server.script("DATA", "451 4.7.1")
        result = await send(provider, content, (0, 1))
        assert [one.error_code for one in result.recipients] == ["451 4.7.1", "550 5.1.1"]
    assert len(server.mails) == 1


async def test_where_nobody_is_taken_nothing_is_sent_and_the_connection_stays() -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        server.script("RCPT", "550 5.1.1", "550 5.1.2")
        result = await send(provider, mail("a@example.com", "b@example.com"))
        assert [one.error_code for one in result.recipients] == ["550 5.1.1", "550 5.1.2"]
        assert (await send(provider)).outcome is S
    assert verbs(server.said[0]) == ["EHLO", "MAIL", "RCPT", "RCPT", "RSET", "MAIL", "RCPT", "DATA", DOT, "QUIT"]


async def test_whatever_lines_it_has_arrive_as_they_are() -> None:
    text = ".\n..\n.x\nFrom me\n\n.\n" * 3
    data = b"\0\r\n.\r\n.\n\r" * 50_000
    async with SmtpServer() as server, provider_of(server) as provider:
        for content in (mail(text=text), mail(text=text + "\0"), mail(attachments=(Attachment("a", "", data),))):
            assert (await send(provider, content)).outcome is S
    first, second, third = (standard.message_from_bytes(one.data, policy=email.policy.default) for one in server.mails)
    assert first.get_payload(decode=True) == text.replace("\n", "\r\n").encode()
    assert second.get_payload(decode=True) == text.replace("\n", "\r\n").encode() + b"\0"
    assert [one.get_payload(decode=True) for one in third.iter_attachments()] == [data]


async def test_an_answer_may_come_late() -> None:
    async with SmtpServer() as server, provider_of(server, command_timeout=0.01) as provider:
        late = Hold("250 2.0.0 ok")
        server.script(DOT, late)
        sending = asyncio.ensure_future(send(provider))
        await late.reached.wait()
        server.script("MAIL", Hold(None))
        assert (await send(provider)).error_code == "no_reply"  # after as long as a command may take
        assert not sending.done()
        late.released.set()
        assert (await sending).outcome is S
        server.hang_up()


async def test_a_command_that_is_not_answered_in_time_has_sent_nothing() -> None:
    async with SmtpServer() as server, provider_of(server, command_timeout=0.01) as provider:
        for command in ("EHLO", "MAIL", "RCPT", "DATA"):
            server.script(command, Hold(None))
            result = await send(provider)
            assert (result.outcome, result.error_code) == (E, "no_reply")
            server.hang_up()
    assert server.mails == []


async def test_what_cuts_it_short_before_the_full_stop_has_sent_nothing() -> None:
    for command, before in (("RCPT", True), ("DATA", True), (DOT, False)):
        async with SmtpServer() as server, provider_of(server) as provider:
            held, given = Hold(None), handover()
            server.script(command, held)
            sending = asyncio.ensure_future(provider.send(OutboundMessage(mail()), given))
            await held.reached.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await sending
            assert given.is_before(cancelled.value) is before
            server.hang_up()


async def test_a_server_that_reads_no_more_has_not_got_it() -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        held, given = Hold(None), handover()
        server.script(BODY, held)
        content = mail(attachments=(Attachment("a", "", bytes(20_000_000)),))
        sending = asyncio.ensure_future(provider.send(OutboundMessage(content), given))
        await held.reached.wait()
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert not sending.done()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await sending
        assert given.is_before(cancelled.value)
        server.hang_up()


async def test_smtputf8_authenticates_only_where_it_is_needed() -> None:
    async with SmtpServer(extensions=("SMTPUTF8", "8BITMIME")) as server, provider_of(server) as provider:
        for content in (
            mail(subject="\u00fc"),
            mail("\u7528\u6237@example.com"),
            mail(bcc=("\u7528\u6237@example.com",)),
        ):
            assert (await send(provider, content)).outcome is S
    assert [one.options for one in server.mails] == [(), *[("SMTPUTF8", "BODY=8BITMIME")] * 2]
    assert server.mails[1].recipients == ("\u7528\u6237@example.com",)


async def test_a_server_without_smtputf8_is_not_asked_and_not_to_blame() -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        result = await send(provider, mail("\u7528\u6237@example.com"))
        assert (result.outcome, result.error_code, result.provider_fault) == (E, "no_smtputf8", False)
        assert (await send(provider)).outcome is S
    assert verbs(server.said[0]).count("MAIL") == 1


async def test_who_it_is_from_and_goes_back_to() -> None:
    async with SmtpServer() as server:
        async with provider_of(server, sender="Us <us@example.org>", return_path="bounces@example.org") as provider:
            await send(provider)
            await send(provider, mail(sender="Them <them@b\u00fccher.example>"))
        async with provider_of(server, sender=None) as provider:
            await send(provider, mail(sender="them@example.net"))
    assert [one.sender for one in server.mails] == ["bounces@example.org", "bounces@example.org", "them@example.net"]
    assert [one.data.split(b"\r\n")[1] for one in server.mails] == [
        b"From: Us <us@example.org>",
        b"From: Them <them@xn--bcher-kva.example>",
        b"From: them@example.net",
    ]


@pytest.mark.parametrize(
    ("keys", "fields", "answer", "outcome"),
    [
        ({}, {"sender": "ceo@example.net"}, "550 5.7.1 not yours", E),
        ({}, {"sender": "ceo@example.net"}, "530 5.7.0 log in first", M),
        ({"return_path": "b@example.org"}, {"sender": "ceo@example.net"}, "550 5.7.1 not yours", M),
        ({}, {}, "550 5.7.1 not yours", M),
    ],
)
async def test_a_sender_that_a_caller_has_chosen_puts_nobody_else_out_of_service(
    keys: dict[str, str], fields: dict[str, str], answer: str, outcome: Outcome
) -> None:
    async with SmtpServer() as server, provider_of(server, **keys) as provider:
        server.script("MAIL", answer)
        result = await send(provider, mail(**fields))
    assert (result.outcome, result.provider_fault) == (outcome, outcome is M)


async def test_it_carries_what_has_a_sender() -> None:
    async with SmtpServer() as server:
        async with provider_of(server) as provider:
            assert not provider.selective
        async with provider_of(server, sender=None) as provider:
            assert provider.selective
            assert provider.carries(OutboundMessage(mail(sender="a@b.c"))) is None
            assert provider.carries(OutboundMessage(mail())) == FieldViolation(
                "message.email.sender", "must be given, since relay has no sender of its own"
            )


async def test_a_server_of_old_is_greeted_as_it_knows() -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        server.script("EHLO", "502 what?")
        server.script("HELO", "250 hi")
        assert (await send(provider)).outcome is S
    assert server.mails[0].options == ()


async def test_what_is_sent_is_signed() -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    content = mail(subject="\U0001f389", attachments=(Attachment("a", "", bytes(1_000_000)),))
    async with SmtpServer() as server, provider_of(server, dkim=DkimSettings("example.org", "s1", pem)) as provider:
        for _ in range(2):
            assert (await send(provider, content)).outcome is S
    first, second = (one.data for one in server.mails)
    assert verify(first, key.public_key())["d"] == "example.org"
    assert first == second


async def test_a_large_email_leaves_others_their_turns() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with SmtpServer() as server, provider_of(server) as provider:
        await send(provider)
        counting = asyncio.ensure_future(count())
        assert (await send(provider, mail(attachments=(Attachment("a", "", bytes(8 << 20)),)))).outcome is S
        counting.cancel()
    # Made, and written, in pieces of 256 KiB.
    assert turns > 2 * (8 << 20) * 4 / 3 / (256 << 10)
