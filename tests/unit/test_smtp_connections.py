"""Connections to a mail server: made, secured, used again, and let go of."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.certificates import Authority
from tests.support.smtp_sending import mail, provider_of, send, settings, verbs
from tests.support.smtp_server import DOT, GREETING, Answer, Hangup, Hold, SmtpServer

from postwire.core.message import Attachment
from postwire.core.outcome import Outcome
from postwire.providers.resolving import NameResolver
from postwire.providers.smtp import provider as provider_module
from postwire.testing import BlackHole
from postwire.testing.attempts import until

USERS = {"us": "s3cret"}
LOGIN = {"username": "us", "password": "s3cret"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


# Used again.


async def test_a_connection_is_used_again() -> None:
    async with SmtpServer(users=USERS) as server, provider_of(server, **LOGIN) as provider:
        for _ in range(3):
            assert (await send(provider)).outcome is Outcome.SUCCESS
    (said,) = server.said
    assert verbs(said) == ["EHLO", "AUTH", *["MAIL", "RCPT", "DATA", DOT] * 3, "QUIT"]


@pytest.mark.parametrize("answer", ["421 4.4.2 you took too long", Hangup()], ids=["421", "end"])
@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_one_that_has_gone_stale_is_replaced_within_the_attempt(command: str, answer: Answer) -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        await send(provider)
        server.script(command, answer)
        assert (await send(provider)).outcome is Outcome.SUCCESS
        assert len(server.said) == 2
        server.script(command, answer, answer)
        result = await send(provider)
        assert result.outcome is Outcome.ERROR, "and not deferred, since the email was never looked at"
        assert len(server.said) == 3
    assert len(server.mails) == 2


async def test_one_that_takes_no_reset_is_replaced() -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        server.script("RCPT", "550 5.1.1")
        server.script("RSET", "500 what?")
        assert (await send(provider)).outcome is Outcome.REJECTED
        assert (await send(provider)).outcome is Outcome.SUCCESS
    assert [verbs(said)[-1] for said in server.said] == ["RSET", "QUIT"]


async def test_a_server_that_was_started_anew_is_reached_at_once() -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        await asyncio.gather(*(send(provider) for _ in range(3)))
        await server.stop()
        await server.start()
        assert (await send(provider)).outcome is Outcome.SUCCESS
    assert len(server.said) == 4


@pytest.mark.parametrize("answer", ["421 4.3.2 closing", Hangup(), "what?"], ids=["421", "end", "nonsense"])
async def test_what_has_ended_badly_is_not_used_again(answer: Answer) -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        server.script(DOT, answer)
        await send(provider)
        assert (await send(provider)).outcome is Outcome.SUCCESS
    assert [verbs(said).count("MAIL") for said in server.said] == [1, 1]


@pytest.mark.parametrize("command", ["EHLO", "MAIL", "RCPT", "DATA", DOT])
async def test_one_whose_command_was_cut_short_is_closed(command: str) -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        held = Hold("250 ok")
        server.script(command, held)
        sending = asyncio.ensure_future(send(provider))
        await held.reached.wait()
        sending.cancel()
        await asyncio.wait({sending})
        assert sending.cancelled()
        held.released.set()
        assert (await send(provider)).outcome is Outcome.SUCCESS
    assert len(server.said) == 2
    assert "QUIT" not in verbs(server.said[0])


async def test_attempts_side_by_side_have_connections_of_their_own() -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        held = [Hold("250 ok") for _ in range(3)]
        server.script(DOT, *held)
        sending = [asyncio.ensure_future(send(provider)) for _ in held]
        for one in held:
            await one.reached.wait()
        assert len(server.said) == 3
        for one in held:
            one.released.set()
        await asyncio.gather(*sending)
        await asyncio.gather(*(send(provider) for _ in held))
        assert len(server.said) == 3


async def test_one_that_is_not_used_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_module, "IDLE", 0.01)
    async with SmtpServer() as server, provider_of(server) as provider:
        await send(provider)
        await until(lambda: "QUIT" in server.said[0], "nobody took leave")
        assert (await send(provider)).outcome is Outcome.SUCCESS
        assert len(server.said) == 2


async def test_closing_takes_leave_and_waits_for_no_attempt() -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        held = Hold(None)
        server.script(DOT, "250 ok", held)
        await send(provider)
        sending = asyncio.ensure_future(send(provider))
        await held.reached.wait()
        server.script(DOT, "250 ok")
        await send(provider)
        await provider.close()
        assert (await sending).outcome is Outcome.UNCERTAIN
        server.hang_up()
    assert sorted(verbs(said)[-1] for said in server.said) == [DOT, "QUIT"]


# Secured.


async def test_starttls_comes_before_anything_that_matters(authority: Authority) -> None:
    server = SmtpServer(starttls=authority.certify("127.0.0.1"), users=USERS)
    keys = LOGIN | {"security": "starttls", "ca_file": str(authority.ca_file)}
    async with server, provider_of(server, **keys) as provider:
        for _ in range(2):
            assert (
                await send(provider, mail(attachments=(Attachment("a", "", bytes(3 << 20)),)))
            ).outcome is Outcome.SUCCESS
    (said,) = server.said
    assert verbs(said) == ["EHLO", "STARTTLS", "EHLO", "AUTH", *["MAIL", "RCPT", "DATA", DOT] * 2, "QUIT"]
    assert len(server.mails[0].data) > 4 << 20


async def test_tls_from_the_first_byte_on(authority: Authority) -> None:
    server = SmtpServer(tls=authority.certify("127.0.0.1"))
    keys = {"security": "tls", "ca_file": str(authority.ca_file)}
    async with server, provider_of(server, **keys) as provider:
        assert (await send(provider)).outcome is Outcome.SUCCESS
        assert (await provider.check()).ok
    assert verbs(server.said[0])[0] == "EHLO"


async def test_nothing_is_said_in_the_clear_where_starttls_was_taken_out_on_the_way() -> None:
    async with SmtpServer(users=USERS) as server, provider_of(server, security="starttls", **LOGIN) as provider:
        result = await send(provider)
        assert (result.outcome, result.error_code) == (Outcome.MISCONFIGURED, "no_starttls")
        health = await provider.check()
        assert (health.ok, health.misconfigured) == (False, True)
    assert [verbs(said) for said in server.said] == [["EHLO"]] * 2


async def test_a_server_that_refuses_starttls_gets_nothing(authority: Authority) -> None:
    server = SmtpServer(starttls=authority.certify("127.0.0.1"))
    async with server, provider_of(server, security="starttls", ca_file=str(authority.ca_file)) as provider:
        server.script("STARTTLS", "454 4.7.0 not now")
        result = await send(provider)
    assert (result.outcome, result.error_code) == (Outcome.ERROR, "454 4.7.0")


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize("wrong", ["name", "authority"])
async def test_a_certificate_that_is_not_the_servers_is_not_taken(
    security: str, wrong: str, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    certifies = Authority(tmp_path / "other") if wrong == "authority" else authority
    context = certifies.certify("mail.example.org" if wrong == "name" else "127.0.0.1")
    server = SmtpServer(users=USERS, **{security: context})  # type: ignore[arg-type]
    async with server, provider_of(server, security=security, ca_file=str(authority.ca_file), **LOGIN) as provider:
        result = await send(provider)
        assert (result.outcome, result.error_code) == (Outcome.ERROR, "certificate")
        assert "certificate is not trusted" in (await provider.check()).detail
    assert not any("AUTH" in line for said in server.said for line in said)


async def test_a_name_is_looked_up_and_is_what_the_certificate_is_held_to(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_: NameResolver, host: str, port: int, *__: object) -> list[object]:
        assert host == "mail.example.org"
        nobody = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
        return [nobody, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(NameResolver, "resolve", resolve)
    server = SmtpServer(starttls=authority.certify("mail.example.org"))
    keys = {"host": "mail.example.org", "security": "starttls", "ca_file": str(authority.ca_file)}
    async with server, provider_of(server, **keys) as provider:
        assert (await send(provider)).outcome is Outcome.SUCCESS


async def test_tls_with_a_server_that_speaks_in_the_clear_fails(authority: Authority) -> None:
    async with SmtpServer() as server, provider_of(server, security="tls", ca_file=str(authority.ca_file)) as provider:
        result = await send(provider)
    assert (result.outcome, result.error_code) == (Outcome.ERROR, "tls")


# Logged in.


@pytest.mark.parametrize(
    ("offered", "used"),
    [
        ("AUTH LOGIN PLAIN CRAM-MD5 XOAUTH2", "CRAM-MD5"),
        ("AUTH PLAIN LOGIN", "PLAIN"),
        ("AUTH LOGIN", "LOGIN"),
        ("AUTH=LOGIN", "LOGIN"),
        ("auth plain", "PLAIN"),
    ],
)
async def test_the_password_is_told_as_the_server_can_take_it(offered: str, used: str) -> None:
    async with SmtpServer(users=USERS, extensions=(offered,)) as server, provider_of(server, **LOGIN) as provider:
        assert (await send(provider)).outcome is Outcome.SUCCESS
    assert server.said[0][1].split(" ")[1] == used


async def test_another_mechanism_is_tried_only_where_the_first_is_of_no_use() -> None:
    async with SmtpServer(users=USERS) as server, provider_of(server, **LOGIN) as provider:
        server.script("AUTH CRAM-MD5", "534 5.7.9 too weak")
        assert (await send(provider)).outcome is Outcome.SUCCESS
        assert [line.split(" ")[1] for line in server.said[0] if line.startswith("AUTH")] == ["CRAM-MD5", "PLAIN"]


@pytest.mark.parametrize(
    ("answer", "outcome", "code"),
    [
        ("535 5.7.8 us: wrong password s3cret", Outcome.MISCONFIGURED, "535 5.7.8"),
        ("454 4.7.0 not now", Outcome.ERROR, "454 4.7.0"),
        ("421 4.7.0 too many tries", Outcome.ERROR, "421 4.7.0"),
    ],
)
async def test_a_login_that_fails(answer: str, outcome: Outcome, code: str) -> None:
    async with SmtpServer(users=USERS) as server, provider_of(server, **LOGIN) as provider:
        server.always("AUTH", answer)
        result = await send(provider)
        health = await provider.check()
    assert (result.outcome, result.error_code) == (outcome, code)
    assert (health.ok, health.misconfigured) == (False, outcome is Outcome.MISCONFIGURED)
    assert "s3cret" not in repr((result, health))
    assert [verbs(said) for said in server.said] == [["EHLO", "AUTH"]] * 2


async def test_a_server_that_offers_no_login() -> None:
    async with SmtpServer() as server, provider_of(server, **LOGIN) as provider:
        result = await send(provider)
    assert (result.outcome, result.error_code) == (Outcome.MISCONFIGURED, "no_auth")


async def test_a_new_password_is_used_from_the_next_attempt_on() -> None:
    users = dict(USERS)
    async with SmtpServer(users=users) as server, provider_of(server, **LOGIN) as provider:
        held = Hold("250 ok")
        server.script(DOT, "250 ok", held)
        await send(provider)
        sending = asyncio.ensure_future(send(provider))
        await held.reached.wait()
        users["us"] = "other"
        provider.renew(replace(settings(server, **LOGIN), password="other"))
        assert (await send(provider)).outcome is Outcome.SUCCESS
        held.released.set()
        assert (await sending).outcome is Outcome.SUCCESS
        await until(lambda: "QUIT" in server.said[0], "nobody took leave")
        assert (await send(provider)).outcome is Outcome.SUCCESS
    assert [verbs(said).count("AUTH") for said in server.said] == [1, 1]


# Checked.


async def test_a_check_tells_what_is_wrong_and_sends_nothing(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SmtpServer(users=USERS) as server:
        found = {}
        wrong_password = LOGIN | {"password": "wrong"}
        for name, keys in (("good", LOGIN), ("password", wrong_password), ("starttls", {"security": "starttls"})):
            async with provider_of(server, **keys) as provider:
                found[name] = await provider.check()
        server.script(GREETING, "SSH-2.0-OpenSSH")
        async with provider_of(server) as provider:
            found["no mail server"] = await provider.check()
        server.script(GREETING, "554 5.7.1 go away")
        async with provider_of(server) as provider:
            found["unwanted"] = await provider.check()
    async with provider_of(server) as provider:
        found["nobody there"] = await provider.check()
    with BlackHole() as hole:
        async with provider_of(server, port=hole.port) as provider:
            provider._connect_timeout = 0.01
            found["black hole"] = await provider.check()

    async def resolve(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(NameResolver, "resolve", resolve)
    async with provider_of(server, host="mail.invalid") as provider:
        found["name"] = await provider.check()
    assert {name: health.detail for name, health in found.items()} == {
        "good": "",
        "password": "the server refuses the username or the password (535 5.7.8)",
        "starttls": "the server offers no STARTTLS: see security and port",
        "no mail server": "the server did not answer in time, or not in SMTP",
        "unwanted": "the server takes no emails from here (554 5.7.1)",
        "nobody there": "it cannot be reached (ConnectionRefusedError): see host and port",
        "black hole": "the server did not answer in time: see host and port",
        "name": "its name cannot be resolved: see host",
    }
    assert {name for name, health in found.items() if health.misconfigured} == {"password", "starttls"}
    assert not any("MAIL" in line for said in server.said for line in said)


async def test_a_check_takes_leave_and_keeps_nothing() -> None:
    async with SmtpServer() as server, provider_of(server) as provider:
        assert (await provider.check()).ok
        assert verbs(server.said[0]) == ["EHLO", "QUIT"]
        await send(provider)
        assert len(server.said) == 2
