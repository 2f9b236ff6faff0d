"""The keys of the kind `smpp`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from postwire.config.bind import setting
from postwire.config.ca_file import check_ca_file
from postwire.config.types import Choice, Number, PositiveDuration, whole
from postwire.providers.smpp.bodies import bind_body
from postwire.providers.smpp.message_ids import MessageIdFormat
from postwire.providers.smpp.parts import Alphabet, LongMessages
from postwire.providers.sms.settings import SmsSettings

_ALPHABET: Final = Choice("gsm, latin1 or ascii", {one.value: one for one in Alphabet})
_FORMAT: Final = Choice("auto, hex or decimal", {one.value: one for one in MessageIdFormat})
_LONG: Final = Choice("udh or payload", {one.value: one for one in LongMessages})
_RATE: Final = Number("a rate from 0.001 to 1000000 PDUs a second", 0.001, 1e6)


@dataclass(frozen=True, kw_only=True)
class SmppSettings(SmsSettings):
    """Keys of the kind, beside those that every provider has."""

    host: str = setting(help="The message centre to send by.")
    port: Annotated[int, whole(1, 65_535)] | None = setting(
        None, help="Its port; by default 2775, or 3550 where tls is true."
    )
    system_id: str = setting(help="Whom to bind as.")
    password: str = setting("", help="The password.", secret=True)
    system_type: str = setting("", help="What the message centre calls systems like this one, if it asks for that.")
    bind: Literal["transceiver", "pair"] = setting(
        "transceiver", help="How to bind: once for both directions, or once for each."
    )
    binds: Annotated[int, whole(1, 64)] = setting(1, help="How many binds, or pairs of them, to keep up.")
    window: Annotated[int, whole(1, 1_000)] = setting(10, help="How many PDUs of a bind may wait for their answers.")
    tls: bool = setting(False, help="Whether the connection is encrypted; else passwords and texts can be read.")
    ca_file: str | None = setting(None, help="A file of authorities to trust, in place of the system's.")
    enquire_link: PositiveDuration = setting(
        30.0, help="For how long the message centre may be silent before it is asked for a sign of life."
    )
    response_timeout: PositiveDuration = setting(10.0, help="How long it may take to answer.")
    submit_rate: Annotated[float, _RATE] | None = setting(
        None, help="How many PDUs a second to submit; without a limit by default."
    )

    default_alphabet: Annotated[Alphabet, _ALPHABET] = setting(
        Alphabet.GSM, help="What the message centre takes for its default alphabet: gsm, latin1 or ascii."
    )
    message_id_format: Annotated[MessageIdFormat, _FORMAT] = setting(
        MessageIdFormat.AUTO,
        help="In which base it gives ids, hex or decimal, where receipts have them in the other; auto finds out.",
    )
    long_messages: Annotated[LongMessages, _LONG] = setting(
        LongMessages.UDH, help="How a long message goes: udh, in parts, or payload, whole."
    )

    @property
    def effective_port(self) -> int:
        """The one that is used."""
        return self.port or (3550 if self.tls else 2775)

    def check(self) -> None:
        """Raises ValueError, led by a key, where keys do not go together or are of no use."""
        if not self.host or any(not one.isprintable() or one.isspace() for one in self.host):
            raise ValueError("host: is no host, must be a name or an address")
        if not self.system_id:
            raise ValueError("system_id: must not be empty")
        bind_body(self.system_id, self.password, self.system_type)
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file: does nothing unless tls is true")
        check_ca_file(self.ca_file)
