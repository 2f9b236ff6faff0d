"""What every kind of email over HTTP has: whom an email is from, and what its vendor cannot carry."""

from __future__ import annotations

from dataclasses import dataclass

from postwire.config.bind import setting
from postwire.core.errors import FieldViolation
from postwire.core.message import Email, OutboundMessage
from postwire.providers.mail.mailboxes import Mailbox, parse_mailbox, wire_address


@dataclass(frozen=True, kw_only=True)  # without slots: kinds derive from several such classes
class EmailSettings:
    """See the module."""

    sender: str | None = setting(
        None, help='Whom emails are from that name no sender themselves: "ada@example.com", or "Ada <ada@example.com>".'
    )

    def check(self) -> None:
        """Raises ValueError, led by a key."""
        if self.sender is not None:
            try:
                parse_mailbox(self.sender)
            except ValueError:
                raise ValueError("sender: is not an email address, with a name before it or without") from None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a vendor takes. `recipients` is how many an email may have in all.

    `parts`: it can be told who is to get an email apart from who stands in its header, so that an email can go to some
    of its recipients alone. `needs_subject`, `needs_text`: it takes none that is empty.
    """

    recipients: int
    parts: bool = False
    needs_subject: bool = False
    needs_text: bool = False
    unique: bool = False
    """Nobody may be among the recipients twice."""


def author_of(settings: EmailSettings, email: Email) -> Mailbox:
    """Whom an email is from. Raises ValueError where nobody says."""
    return parse_mailbox(email.sender or settings.sender or "")


def why_not(
    settings: EmailSettings, limits: Limits, message: OutboundMessage, positions: tuple[int, ...] | None
) -> FieldViolation | None:
    """Why a vendor with these limits cannot carry an email; None if it can."""
    email = message.content
    assert isinstance(email, Email)
    addresses = email.recipients
    if not (email.sender or settings.sender):
        return FieldViolation("message.email.sender", "must be given: the provider has none")
    if positions is not None and not limits.parts and len(positions) < len(addresses):
        return FieldViolation("message.email.to", "cannot go to some of its recipients alone, by this provider")
    if (len(addresses) if positions is None else len(positions)) > limits.recipients:
        most = f"must be at most {limits.recipients} with cc and bcc"
        return FieldViolation("message.email.to", f"{most}, for this provider")
    if limits.unique and len({address.casefold() for address in addresses}) < len(addresses):
        return FieldViolation("message.email.to", "must have nobody twice, with cc and bcc, for this provider")
    if limits.needs_subject and not email.subject:
        return FieldViolation("message.email.subject", "must not be empty, for this provider")
    if limits.needs_text and not (email.text or email.html):
        return FieldViolation("message.email.text", "must not be empty where html is, for this provider")
    return None


def envelope(email: Email, positions: tuple[int, ...] | None) -> list[str]:
    """Who is to get an email, as servers want addresses."""
    addresses = email.recipients
    return [wire_address(one) for one in (addresses if positions is None else [addresses[at] for at in positions])]


def addresses_of(texts: tuple[str, ...]) -> list[str]:
    """Addresses as servers want them."""
    return [wire_address(text) for text in texts]
