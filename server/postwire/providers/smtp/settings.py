"""The keys of the kind `smtp`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Final, Literal

from postwire.config.bind import setting
from postwire.config.ca_file import check_ca_file
from postwire.config.types import PositiveDuration, whole
from postwire.core.addresses import is_address
from postwire.providers.mail.dkim import DkimSigner
from postwire.providers.mail.mailboxes import parse_mailbox

_PORTS: Final = MappingProxyType({"starttls": 587, "tls": 465, "none": 25})
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Za-z.:]{2,50}\]")


@dataclass(frozen=True, slots=True)
class DkimSettings:
    """`[providers.NAME.dkim]`: with what emails are signed. All of it, or none."""

    domain: str | None = setting(None, help="Whose signature it is: the domain of the sender.")
    selector: str | None = setting(None, help="Under which name the domain's DNS has the public key.")
    private_key: str | None = setting(None, help="The key, of RSA or Ed25519, in PEM.", secret=True)

    def check(self) -> None:
        """Raises ValueError, led by a key, where something is missing or of no use."""
        keys = {"domain": self.domain, "selector": self.selector, "private_key": self.private_key}
        absent = [key for key, value in keys.items() if value is None]
        if len(absent) == len(keys):
            return
        if absent:
            raise ValueError(f"{absent[0]}: is missing, emails are signed with {', '.join(keys)}")
        self.signer()

    def signer(self) -> DkimSigner | None:
        """What signs with these; None if nothing is to be signed. Raises ValueError as `check` does."""
        if self.domain is None or self.selector is None or self.private_key is None:
            return None
        return DkimSigner(self.domain, self.selector, self.private_key)


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """Keys of the kind, beside those that every provider has."""

    host: str = setting(help="The mail server to send by.")
    port: Annotated[int, whole(1, 65_535)] | None = setting(
        None, help="Its port; by default 587, 465 where security is tls, or 25 where it is none."
    )
    security: Literal["starttls", "tls", "none"] = setting(
        "starttls", help="How the connection is encrypted; with none, passwords and emails can be read on the way."
    )
    username: str | None = setting(None, help="Whom to log in as.")
    password: str | None = setting(None, help="The password.", secret=True)
    sender: str | None = setting(None, help="Who emails are from that do not say so themselves.")
    return_path: str | None = setting(
        None, help="Where emails go back to that cannot be delivered; the sender's address."
    )
    local_hostname: str | None = setting(None, help="How this machine calls itself; by default by its name or address.")
    ca_file: str | None = setting(None, help="A file of authorities to trust, in place of the system's.")
    command_timeout: PositiveDuration = setting(30.0, help="How long it may take to answer a command.")
    dkim: DkimSettings = field(default_factory=DkimSettings)

    @property
    def effective_port(self) -> int:
        """The one that is used."""
        return self.port or _PORTS[self.security]

    def check(self) -> None:
        """Raises ValueError, led by a key, where keys do not go together or are of no use."""
        if not self.host or any(not one.isprintable() or one.isspace() for one in self.host):
            raise ValueError("host: is no host, must be a name or an address")
        if (self.username is None) != (self.password is None):
            given, absent = ("username", "password") if self.password is None else ("password", "username")
            raise ValueError(f"{given}: does nothing by itself, set {absent} too")
        if self.sender is not None and not _is_mailbox(self.sender):
            raise ValueError("sender: must be ada@example.com or Ada Lovelace <ada@example.com>")
        if self.return_path is not None and not is_address(self.return_path):
            raise ValueError("return_path: must be an address, such as bounces@example.com")
        if self.local_hostname is not None and not _HOST_NAME.fullmatch(self.local_hostname):
            raise ValueError("local_hostname: must be a name in ASCII, or an address in brackets")
        if self.ca_file is not None and self.security == "none":
            raise ValueError("ca_file: does nothing where security is none")
        check_ca_file(self.ca_file)


def _is_mailbox(text: str) -> bool:
    try:
        mailbox = parse_mailbox(text)
    except ValueError:
        return False
    return is_address(mailbox.address) and text.isprintable()
