"""What stands in for the vendor: how it can be made to answer, and what it records."""

from __future__ import annotations

import enum
import socket
from dataclasses import dataclass
from typing import Self

from postwire.core.outcome import Outcome


class Answer(enum.Enum):
    """What becomes of what a provider sends. The first seven are answers that mean the outcome of that name."""

    SUCCESS = "success"
    RATE_LIMITED = "rate_limited"
    ERROR = "error"
    REJECTED = "rejected"
    UNCERTAIN = "uncertain"
    DEFERRED = "deferred"
    MISCONFIGURED = "misconfigured"
    SILENCE = "silence"
    """The request is taken whole, and there is never an answer."""
    CUT_OFF = "cut_off"
    """The request is taken whole, and the connection closed without an answer."""
    UNREACHABLE = "unreachable"
    """Connecting never ends, as where packets are dropped: see `BlackHole`."""

    @property
    def outcome(self) -> Outcome:
        """How an attempt ends that meets it."""
        if self is Answer.UNREACHABLE:
            return Outcome.ERROR
        return Outcome.UNCERTAIN if self in (Answer.SILENCE, Answer.CUT_OFF) else Outcome(self.value)


@dataclass(frozen=True, slots=True)
class Request:
    """One request to send something, as the counterpart took it. What is None is not compared."""

    body: bytes
    """What says what is to be sent: the same in each attempt. Leave out signatures and the time they are made at."""
    key: str | None = None
    """The idempotency key."""
    text: str | None = None
    """The text, decoded."""
    recipients: tuple[str, ...] | None = None
    """Whom an email is for."""


class BlackHole:
    """An address of this machine where connecting never ends, until it is closed. It is a context manager, too."""

    def __init__(self) -> None:
        listener = socket.socket()
        self._sockets = [listener]
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        self.port: int = listener.getsockname()[1]
        """Its port at 127.0.0.1."""
        # The kernel drops who comes once as many wait as the listener allows, and this one accepts nobody.
        for _ in range(4):
            waiting = socket.socket()
            self._sockets.append(waiting)
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", self.port))

    def close(self) -> None:
        """Let go of the address. May be called again."""
        while self._sockets:
            self._sockets.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
