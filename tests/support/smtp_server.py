"""A mail server that does what it is told to, however wrong: each answer can be chosen, held back or left out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from tests.support import listeners


@dataclass(frozen=True, slots=True)
class Hangup:
    """The connection ends instead of an answer."""


@dataclass(slots=True)
class Hold:
    """The answer comes once `released` is set; `reached` is set when it is due. None: the connection ends then."""

    answer: str | None
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)


Answer = str | Hangup | Hold

GREETING, BODY, DOT = "(greeting)", "(body)", "(dot)"
"""What can be answered and is no command: a connection, the beginning of an email, its end."""


@dataclass(frozen=True, slots=True)
class Mail:
    """An email that was taken: its envelope, with the parameters of MAIL, and its bytes."""

    sender: str
    options: tuple[str, ...]
    recipients: tuple[str, ...]
    data: bytes


class SmtpServer:
    """Answers well, but for what `script` says. An asynchronous context manager, at a free port of this machine."""

    def __init__(
        self,
        *,
        extensions: tuple[str, ...] = ("SIZE 50000000", "8BITMIME"),
        starttls: ssl.SSLContext | None = None,
        tls: ssl.SSLContext | None = None,
        users: dict[str, str] | None = None,
    ) -> None:
        self.extensions = extensions
        self.mails: list[Mail] = []
        self.said: list[list[str]] = []
        """What was said over each connection, in lines; an email is one of them, `(dot)`."""
        self.port = 0
        self._starttls, self._tls, self._users = starttls, tls, users
        self._script: dict[str, deque[Answer]] = defaultdict(deque)
        self._always: dict[str, Answer] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def script(self, command: str, *answers: Answer) -> None:
        """Choose the next answers to a command (`RCPT TO:<a@b.c>` for one recipient); after them, those of before."""
        self._script[command].extend(answers)

    def always(self, command: str, answer: Answer) -> None:
        """Choose the answer to a command for good."""
        self._always[command] = answer

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, at the port of before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End all connections, and listen no longer."""
        await listeners.close(self._server)
        self.hang_up()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await _Session(self, reader, writer).run()
        except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError, _End):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    def answer_to(self, *names: str) -> Answer | None:
        """The answer that was chosen, by the first of the names that has one."""
        for name in names:
            if self._script[name]:
                return self._script[name].popleft()
            if name in self._always:
                return self._always[name]
        return None

    async def encrypt(self, writer: asyncio.StreamWriter) -> None:
        """Begin with TLS."""
        assert self._starttls is not None
        await writer.start_tls(self._starttls)

    @property
    def offers(self) -> tuple[bool, bool]:
        """Whether it has STARTTLS, and whether it has users."""
        return self._starttls is not None, self._users is not None

    def knows(self, username: str, password: str) -> bool:
        """Whether they are those of a user."""
        return (self._users or {}).get(username) == password

    def password_of(self, username: str) -> str:
        """A user's password; empty if there is no such user."""
        return (self._users or {}).get(username, "")


class _End(Exception):
    pass


class _Session:
    def __init__(self, server: SmtpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._said: list[str] = []
        self._encrypted = False
        self._sender: tuple[str, tuple[str, ...]] | None = None
        self._recipients: list[str] = []
        server.said.append(self._said)

    async def run(self) -> None:
        await self._say("220 mail.example.org ESMTP", GREETING)
        steps: dict[str, Callable[[str], Awaitable[None]]] = {
            "EHLO": self._ehlo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
        }
        while line := (await self._reader.readline()).decode().removesuffix("\r\n"):
            self._said.append(line)
            command = line.partition(" ")[0].upper()
            if command == "QUIT":
                await self._say("221 bye", command)
                return
            if command in steps:
                await steps[command](line)
            else:
                await self._say("502 what?", command)

    async def _say(self, default: str, *names: str) -> str:
        """Answer as chosen, or well. Returns what was said; raises where the connection is to end."""
        chosen = self._server.answer_to(*names)
        if isinstance(chosen, Hold):
            chosen.reached.set()
            await chosen.released.wait()
            chosen = Hangup() if chosen.answer is None else chosen.answer
        if isinstance(chosen, Hangup):
            raise _End
        answer = default if chosen is None else chosen
        self._writer.write(answer.encode() + b"\r\n")
        await self._writer.drain()
        if answer.startswith("421"):
            self._writer.close()
            raise _End
        return answer

    async def _ehlo(self, _: str) -> None:
        has_tls, has_users = self._server.offers
        lines = ["mail.example.org", *self._server.extensions]
        lines += ["STARTTLS"] if has_tls and not self._encrypted else []
        lines += ["AUTH PLAIN LOGIN CRAM-MD5"] if has_users and not any("AUTH" in one.upper() for one in lines) else []
        text = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}"
        await self._say(text, "EHLO")

    async def _starttls(self, _: str) -> None:
        if (await self._say("220 go ahead", "STARTTLS")).startswith("2"):
            await self._server.encrypt(self._writer)
            self._encrypted = True

    async def _auth(self, line: str) -> None:
        _, mechanism, *initial = line.split(" ")
        good = False
        if mechanism == "PLAIN":
            _, username, password = base64.b64decode(initial[0]).decode().split("\0")
            good = self._server.knows(username, password)
        elif mechanism == "LOGIN":
            password = base64.b64decode(await self._challenged("334 UGFzc3dvcmQ6")).decode()
            good = self._server.knows(base64.b64decode(initial[0]).decode(), password)
        elif mechanism == "CRAM-MD5":
            challenge = b"<1@mail.example.org>"
            answer = await self._challenged(f"334 {base64.b64encode(challenge).decode()}")
            username, digest = base64.b64decode(answer).decode().split(" ")
            key = self._server.password_of(username).encode()
            good = hmac.new(key, challenge, hashlib.md5).hexdigest() == digest
        await self._say("235 2.7.0 welcome" if good else f"535 5.7.8 no, {line}", f"AUTH {mechanism}", "AUTH")

    async def _challenged(self, challenge: str) -> bytes:
        self._writer.write(challenge.encode() + b"\r\n")
        return await self._reader.readline()

    async def _mail(self, line: str) -> None:
        address, *options = line.removeprefix("MAIL FROM:").split(" ")
        assert self._sender is None, "MAIL within a transaction"
        if (await self._say("250 2.1.0 ok", "MAIL")).startswith("2"):
            self._sender = address.strip("<>"), tuple(options)

    async def _rcpt(self, line: str) -> None:
        if (await self._say("250 2.1.5 ok", line, "RCPT")).startswith("2"):
            self._recipients.append(line.removeprefix("RCPT TO:").strip("<>"))

    async def _rset(self, _: str) -> None:
        self._sender, self._recipients = None, []
        await self._say("250 2.0.0 ok", "RSET")

    async def _data(self, _: str) -> None:
        if not (await self._say("354 go ahead", "DATA")).startswith("3"):
            return
        data = bytearray()
        if chosen := self._server.answer_to(BODY):
            await self._reader.readuntil(b"\r\n")
            self._server.script(BODY, chosen)
            await self._say("", BODY)
            await self._reader.read()  # what comes after an answer that was early is for nobody
            return
        while (line := await self._reader.readuntil(b"\r\n")) != b".\r\n":
            data += line[1:] if line.startswith(b".") else line
        self._said.append(DOT)
        assert self._sender is not None
        mail = Mail(*self._sender, tuple(self._recipients), bytes(data))
        self._sender, self._recipients = None, []
        # Kept before it is said, so that whoever hears it finds the email.
        self._server.mails.append(mail)
        answer = ""
        try:
            answer = await self._say("250 2.0.0 queued as 4711", DOT)
        finally:
            if not answer.startswith("2"):
                self._server.mails.remove(mail)
