"""docs/providers/smtp.md: what it shows is done, with a mail server of this machine in place of that which it names."""

from __future__ import annotations

import email
import email.policy
import re
import shutil
from dataclasses import fields
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from tests.support.certificates import Authority
from tests.support.dkim_verifier import verify
from tests.support.docs import Step, steps
from tests.support.reader import ROOT, Reader, checkout
from tests.support.smtp_thread import SmtpThread

from postwire.providers.smtp.provider import KIND
from postwire.providers.smtp.settings import DkimSettings, SmtpSettings

PAGE = ROOT / "docs/providers/smtp.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_can_be_followed_and_what_is_sent_is_signed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (configuration,) = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "postwire.toml").write_text(configuration, encoding="utf-8")
    (tmp_path / "relay-password").write_text("s3cret\n", encoding="utf-8")
    without_openssl = not shutil.which("openssl")
    if without_openssl:
        key = rsa.generate_private_key(65537, 2048)
        (tmp_path / "dkim.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def is_for_openssl(step: Step) -> bool:
        return without_openssl and "openssl" in step.text

    context = authority.certify("127.0.0.1")
    with SmtpThread(starttls=context, users={"postwire": "s3cret"}) as relay:
        variables = {
            "POSTWIRE_PROVIDERS__RELAY__HOST": "127.0.0.1",
            "POSTWIRE_PROVIDERS__RELAY__PORT": str(relay.server.port),
            "POSTWIRE_PROVIDERS__RELAY__CA_FILE": str(authority.ca_file),
        }
        with Reader(checkout(tmp_path), variables) as reader:
            done = list(reader.follow(PAGE, is_for_openssl))
        assert len(done) == (3 if without_openssl else 5)
        (mail,) = relay.server.mails
    assert mail.recipients == ("ada@example.com",)
    loaded = load_pem_private_key((tmp_path / "dkim.pem").read_bytes(), None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    tags = verify(mail.data, loaded.public_key())
    assert (tags["d"], tags["s"]) == ("example.com", "mail2027")
    assert "list-unsubscribe" in tags["h"]
    read = email.message_from_bytes(mail.data, policy=email.policy.default)
    assert read["List-Unsubscribe"] == "<https://example.com/unsubscribe/4711>"
    (attached,) = read.iter_attachments()
    assert (attached.get_filename(), attached.get_payload(decode=True)) == ("postwire.toml", configuration.encode())
    log = (tmp_path / "postwire.log").read_text(encoding="utf-8")
    assert "s3cret" not in log
    assert "ada@" not in log


def test_every_step_is_run() -> None:
    assert [step.kind for step in steps(PAGE)] == ["command", "command", "command", "server", "command"]


def test_the_table_has_every_key_with_its_default() -> None:
    table = TEXT.split("## Keys")[1].split("##")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "`" in line]
    shown = {
        name: default
        for names, default, _ in (row for row in rows if len(row) == 3)
        for name in re.findall(r"`([a-z_.]+)`", names)
    }
    own = {one.name for one in fields(SmtpSettings)} - {"dkim"}
    dkim = {f"dkim.{one.name}" for one in fields(DkimSettings)}
    common = {"connect_timeout", "attempt_timeout", "max_concurrent"}
    assert set(shown) == own | dkim | common
    assert (KIND.max_concurrent, KIND.attempt_timeout) == (int(shown["max_concurrent"]), 300.0)
    assert (shown["attempt_timeout"], shown["command_timeout"]) == ('`"5m"`', '`"30s"`')
