"""What reads bytes of strangers, each as a function of bytes. One that raises anything has found a fault."""

from __future__ import annotations

import tempfile
from base64 import b64encode
from collections.abc import Callable, Mapping
from email import message_from_bytes
from email.policy import SMTP
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError
from jwt.algorithms import OKPAlgorithm
from tests.fuzz import receipts, smpp, web

from postwire.api import convert
from postwire.api.sealed_tokens import SealedTokens
from postwire.auth.api_keys import ApiKeys, KnownKey
from postwire.auth.identity import UnknownSigningKey
from postwire.auth.jwks import KeySet
from postwire.auth.web_tokens import verify
from postwire.config.auth import JwtConfig
from postwire.config.bind import ConfigError
from postwire.config.encryption_keys import EncryptionKey
from postwire.config.schema import load
from postwire.config.types import parse_duration, parse_size
from postwire.core.addresses import domain_to_ascii, is_address
from postwire.core.canonical import decode_message, encode_message
from postwire.core.errors import InvalidCredentials, Refusal
from postwire.core.listing import MessageFilter, parse_page_token, parse_resume_token
from postwire.core.message import Email, OutboundMessage, Sms
from postwire.core.outcome import DispatchResult
from postwire.core.principal import LOCAL
from postwire.core.reference import References
from postwire.core.validation import Violations, check_content
from postwire.outbox.cipher import Damaged, StoreCipher
from postwire.providers import (
    bird,
    brevo,
    builtin,
    infobip,
    mailgun,
    mailjet,
    plivo,
    postmark,
    resend,
    sendgrid,
    ses,
    sinch,
    sns,
    sparkpost,
    telnyx,
    twilio,
    vonage,
    webhook,
)
from postwire.providers.base import ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpResponse
from postwire.providers.http.vendor import HttpVendor
from postwire.providers.mail import mime
from postwire.providers.smtp.replies import Reply
from postwire.providers.smtp.replies import verdict as smtp_verdict
from postwire.v1.dispatch_service_pb2 import DispatchRequest

MAX_BYTES: Final = 1 << 20
NOW: Final = 1_800_000_000

_SMS: Final = OutboundMessage(Sms(to="+14155550132", body="Hello"))
_EMAIL: Final = OutboundMessage(Email(to=("ada@example.com",), subject="Hi", text="Hello"))
_CIPHER: Final = StoreCipher((EncryptionKey("k", bytes(32)),), random=bytes)
_SEALED: Final = SealedTokens(bytes(32), bytes)
_API_KEYS: Final = ApiKeys([KnownKey("0123456789", sha256(b"a" * 52).hexdigest(), LOCAL, None)])
_SIGNS: Final = Ed25519PrivateKey.from_private_bytes(bytes(32))
_KEY_SET: Final = (
    '{"keys": [' + OKPAlgorithm.to_jwk(_SIGNS.public_key()).replace("{", '{"kid": "k", "alg": "EdDSA", ', 1) + "]}"
)
_JWKS: Final = KeySet.parse(_KEY_SET)
_RULES: Final = JwtConfig(issuer="https://login.example.com", audience="postwire", jwks_file=Path("keys.json"))
_UUID: Final = "614208aa-b153-4d5d-9989-2fddfc0ce4c3"
_ACCOUNT: Final = "AC" + "0" * 32
_FROM: Final = "us@example.com"
_VENDORS: Final[tuple[HttpVendor, ...]] = (
    twilio.Twilio(twilio.TwilioSettings(account_sid=_ACCOUNT, auth_token="t", sender="+15005550006")),
    bird.Bird(bird.BirdSettings(access_key="k", workspace_id=_UUID, channel_id=_UUID)),
    sinch.Sinch(sinch.SinchSettings(service_plan_id="p", api_token="t", sender="+15005550006")),
    telnyx.Telnyx(telnyx.TelnyxSettings(api_key="k", sender="+15005550006")),
    vonage.Vonage(vonage.VonageSettings(api_key="k", api_secret="s", sender="+15005550006")),
    plivo.Plivo(plivo.PlivoSettings(auth_id="MA" + "0" * 18, auth_token="t", sender="+15005550006")),
    infobip.Infobip(infobip.InfobipSettings(api_key="k", sender="Acme", base_url="https://x.api.infobip.com")),
    sns.Sns(sns.SnsSettings(region="eu-west-1", access_key_id="a", secret_access_key="s")),
    webhook.Webhook(webhook.WebhookSettings(url="http://127.0.0.1/", secret=b64encode(bytes(24)).decode())),
    sendgrid.SendGrid(sendgrid.SendGridSettings(api_key="k", sender=_FROM)),
    postmark.Postmark(postmark.PostmarkSettings(server_token="t", sender=_FROM)),
    resend.Resend(resend.ResendSettings(api_key="k", sender=_FROM)),
    mailgun.Mailgun(mailgun.MailgunSettings(api_key="k", domain="mg.example.com", sender=_FROM)),
    mailjet.Mailjet(mailjet.MailjetSettings(api_key="k", api_secret="s", sender=_FROM)),
    sparkpost.SparkPost(sparkpost.SparkPostSettings(api_key="k", sender=_FROM)),
    brevo.Brevo(brevo.BrevoSettings(api_key="k", sender=_FROM)),
    ses.Ses(ses.SesSettings(region="eu-west-1", sender=_FROM, access_key_id="a", secret_access_key="s")),
)
_FIRST_OF_EMAIL: Final = next(at for at, vendor in enumerate(_VENDORS) if isinstance(vendor, sendgrid.SendGrid))
_HANDOVER: Final = Handover("key", message_id="0197c0de-0000-7000-8000-000000000000", now=NOW * 1_000_000)
_REFERENCES: Final = References(bytes(32))
_STATUSES: Final = (200, 201, 202, 301, 400, 401, 403, 404, 408, 409, 422, 429, 500, 503)
_SCRATCH: Final = tempfile.TemporaryDirectory(prefix="postwire-fuzz-")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "ignore")  # what comes over gRPC is UTF-8, or gRPC refuses it


def _refusal(read: Callable[[], object], *expected: type[Exception]) -> str | None:
    """What is said where it is refused, which is as it should be."""
    try:
        read()
    except expected as error:
        return str(error)
    return None


def canonical(data: bytes) -> None:
    """Content as the store keeps it."""
    try:
        message = decode_message(data)
    except ValueError:
        return
    kept = encode_message(message)  # `data` may have said the same in other bytes
    assert encode_message(decode_message(kept)) == kept


def blob(data: bytes) -> None:
    """Encrypted content, and the lookup key."""
    _refusal(lambda: _CIPHER.decrypt_content(data, tenant="default", message_id="m"), Damaged)
    _refusal(lambda: _CIPHER.decrypt_lookup_key(data), Damaged)


def token(data: bytes) -> None:
    """Tokens of pages and watches."""
    text = _text(data)
    for refusal in (
        _refusal(lambda: parse_page_token(text, MessageFilter()), ValueError),
        _refusal(lambda: parse_resume_token(text), ValueError),
        _refusal(lambda: _SEALED.unwrap(text, b"page"), ValueError),
    ):
        assert refusal is None or refusal.startswith(("must be", "belongs")), "what a caller is told"


def credential(data: bytes) -> None:
    """API keys and JSON Web Tokens, as a caller shows them."""
    text = data.decode("latin-1")  # metadata is ASCII, and nothing else is promised
    _refusal(lambda: _API_KEYS.verify(text, NOW * 1_000_000), InvalidCredentials)
    _refusal(lambda: verify(text, _RULES, frozenset({"acme"}), _JWKS, NOW), InvalidCredentials, UnknownSigningKey)


def key_set(data: bytes) -> None:
    """The public keys of whoever gives out tokens."""
    try:
        found = KeySet.parse(_text(data))
    except ValueError:
        return
    assert found.keys


def request(data: bytes) -> None:
    """A call of `Dispatch`; and the email, if it is one, as mail servers get it."""
    try:
        asked = DispatchRequest.FromString(data)
    except DecodeError:
        return
    try:
        command = convert.command_from(asked, MAX_BYTES, "default")
    except Refusal:
        return
    assert decode_message(encode_message(command.message)) == command.message
    if isinstance(command.message.content, Email):
        _built(command.message.content)


def email(data: bytes) -> None:
    """The fields of an email, each between two NULs."""
    parts = (_text(data).split("\0") + [""] * 6)[:6]
    subject, text, sender, reply_to, name, value = parts
    content = Email(
        to=("ada@example.com",),
        subject=subject,
        text=text or "Hello",
        sender=sender,
        reply_to=reply_to,
        headers=MappingProxyType({name: value}) if name else MappingProxyType({}),
    )
    found = Violations()
    check_content(content, found)
    if not found:
        _built(content)


def _built(content: Email) -> None:
    built = mime.build(content, sender=_FROM, message_id=_HANDOVER.message_id, created=NOW * 1_000_000)
    for line in built.head.split(b"\r\n"):
        assert len(line) <= 998, "RFC 5322, 2.1.1"
        assert not set(line) & {0, 10, 13}
    read = message_from_bytes(built.head, policy=SMTP.clone(raise_on_defect=False))
    names = {name.lower() for name in read.keys()}  # noqa: SIM118  a message is no dict
    ours = {"date", "from", "reply-to", "to", "cc", "subject", "message-id", "mime-version"}
    theirs = {name.lower() for name in content.headers}
    assert all(name in ours | theirs or name.startswith("content-") for name in names), "a field was put in"


def answer(data: bytes) -> None:
    """What a vendor answers: the first byte says who, the second with which status, and the rest is the body."""
    if len(data) < 2:
        return
    number = data[0] % len(_VENDORS)
    vendor, message = _VENDORS[number], _SMS if number < _FIRST_OF_EMAIL else _EMAIL
    headers = {"retry-after": _text(data[2:12]), "x-amzn-errortype": _text(data[2:40])} if data[1] & 128 else {}
    response = HttpResponse(_STATUSES[data[1] % len(_STATUSES)], MappingProxyType(headers), data[2:])
    assert isinstance(vendor.verdict(message, response, _HANDOVER), DispatchResult)
    assert isinstance(vendor.health(response), ProviderHealth)


def mail_reply(data: bytes) -> None:
    """What a mail server replies."""
    if data:
        reply = Reply.of(200 + data[0] % 400, _text(data[1:]))
        smtp_verdict(reply, "the recipient", _HANDOVER.message_id)


def address(data: bytes) -> None:
    """Addresses and domains."""
    text = _text(data)
    if is_address(text):
        domain = domain_to_ascii(text.rpartition("@")[2])
        assert domain.isascii()
    _refusal(lambda: domain_to_ascii(text), ValueError)


def configuration(data: bytes) -> None:
    """The file of the configuration, and the values in it."""
    text = _text(data)
    _refusal(lambda: parse_duration(text), ValueError)
    _refusal(lambda: parse_size(text), ValueError)
    path = Path(_SCRATCH.name) / "postwire.toml"
    path.write_bytes(data)
    _refusal(lambda: load(path=path, environ={}, kinds=builtin.KINDS, cwd=path.parent), ConfigError)


def reference(data: bytes) -> None:
    """The last part of the path that a vendor calls: who can make none names no attempt."""
    text = data.decode("latin-1")
    if named := _REFERENCES.read(text):
        assert _REFERENCES.make(*named) == text


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType(
    {
        one.__name__: one
        for one in (
            canonical,
            blob,
            token,
            credential,
            key_set,
            request,
            email,
            answer,
            mail_reply,
            address,
            configuration,
            reference,
        )
    }
    | dict(receipts.TARGETS)
    | dict(smpp.TARGETS)
    | dict(web.TARGETS)
)


def _seeds() -> Mapping[str, list[bytes]]:
    import jwt

    claims: dict[str, Any] = {"iss": _RULES.issuer, "aud": _RULES.audience, "exp": NOW + 60, "tenant": "acme"}
    signed = jwt.encode(claims, _SIGNS, "EdDSA", {"kid": "k"})
    sms = {"to": "+14155550132", "body": "Hello"}
    asked = DispatchRequest(request_id="r")
    asked.message.sms.to, asked.message.sms.body = sms["to"], sms["body"]
    mail = DispatchRequest()
    mail.message.email.to.append("ada@example.com")
    mail.message.email.subject, mail.message.email.text = "Grüße", "Hello"
    return {
        "canonical": [encode_message(_SMS), encode_message(_EMAIL)],
        "blob": [
            _CIPHER.encrypt_content(b"Hello", tenant="default", message_id="m"),
            _CIPHER.encrypt_lookup_key(bytes(32)),
        ],
        "token": [_SEALED.wrap("after", b"page").encode(), b64encode(b"change 0 first"), b64encode(b"change 0 1.2")],
        "credential": [f"pw_0123456789_{'a' * 52}".encode(), signed.encode()],
        "key_set": [_KEY_SET.encode()],
        "request": [asked.SerializeToString(), mail.SerializeToString()],
        "email": [b"Hi\0Hello\0Ada <ada@example.com>\0bob@example.com\0X-Team\0billing", "Grüße\0\r\n.\r\n".encode()],
        "answer": [
            bytes((vendor, status)) + body
            for vendor in range(len(_VENDORS))
            for status, body in ((0, b'{"sid": "S", "messages": [{"status": "0"}]}'), (132, b'{"code": 20429}'))
        ],
        "mail_reply": [b"\x002.0.0 queued as 1A2B", b"\xfa4.7.1 greylisted"],
        "address": ["ada@bücher.example".encode(), b"a@b.example"],
        "configuration": [
            Path(__file__).parents[2].joinpath("postwire.toml").read_bytes(),
            b'[server]\nmax_wait = "1.5s"\n[tenants.a]\nrate = 1\n[[tenants.a.keys]]\nid = "x"\n',
            b'[routes]\nsms = [{ big = 3 }]\n[providers.x]\nkind = "mock"\nchannels = ["sms"]\n',
        ],
        "reference": [_REFERENCES.make(_HANDOVER.message_id, 1).encode(), b"A" * 40, b"A" * 38 + b"=="],
        **receipts.SEEDS,
        **smpp.SEEDS,
        **web.SEEDS,
    }


SEEDS: Final = MappingProxyType(_seeds())
"""What each target begins with: bytes that are as they should be."""
