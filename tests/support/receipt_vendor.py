"""What a vendor is that takes messages, and reports later what became of them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.support.http_counterpart import HttpCall, HttpReply

PUBLIC_URL: Final = "https://hooks.example.com"
FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Report:
    """A call of a vendor's at the server: the path behind its address, the headers and the body."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


class Vendor(ABC):
    """One vendor. `references` are those that came with messages, by their recipients.

    The id that it gives a message follows from the recipient, so that it can report of one before it has it.
    """

    channel = "email"
    target = ""
    """How the path begins at which it takes messages."""
    words = ("delivered", "undelivered", "accepted")
    """What it says for those."""
    keeps_ids = True
    """Whether it is believed without a reference."""
    says_accepted = True
    """Whether its word for that reports anything."""

    def __init__(self) -> None:
        self.name = f"by-{type(self).__name__.lower()}"
        self.references: dict[str, str] = {}

    def id_of(self, recipient: str) -> str:
        """The id of the message to a recipient."""
        return hashlib.md5(f"{self.name}/{recipient}".encode()).hexdigest()

    def recipient(self, number: int) -> str:
        """A recipient for each number."""
        return f"u{number}@{self.name}.example.com" if self.channel == "email" else f"+1500555{number:04d}"

    @abstractmethod
    def settings(self, base_url: str) -> str:
        """What its table says, in TOML, where it is called at `base_url`."""

    @abstractmethod
    def take(self, call: HttpCall) -> HttpReply:
        """Take the message of a call."""

    @abstractmethod
    def report(self, recipient: str, state: str, event: str) -> Report:
        """What it calls with, once a message is `delivered`, `undelivered` or `accepted`. `event` is no other's."""

    def forge(self, report: Report) -> Report:
        """The same report, from somebody who has not its secrets: a byte of the body is another."""
        return Report(report.path, report.headers, report.body.replace(b'"', b' "', 1), report.method)

    def word(self, state: str) -> str:
        """What it says for a state of ours."""
        return self.words[Vendor.words.index(state)]

    def path(self, recipient: str) -> str:
        """Where it calls of a message, if it was told an address for it."""
        return self.references.get(recipient, f"/receipts/{self.name}")
