"""`postwire preview`, and `postwire send --dry-run`: what would be handed over, by every kind, and no secret in it."""

from __future__ import annotations

import base64
import email
import email.policy
import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.conformance.test_twilio import SID
from tests.e2e.test_kinds_canary import DECLARED, SECRET
from tests.support.smsc import PASSWORD

from postwire.cli.root import root
from postwire.core.message import Channel
from postwire.providers.builtin import KINDS

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def declared(unconfigured: None) -> None:
    declare(NOWHERE, 9)


def declare(url: str, port: int) -> None:
    """Have every kind call there."""
    toml = DECLARED.replace("URL", url).replace("PORT", str(port)).replace("CENTRE", str(port))
    Path("postwire.toml").write_text(toml.replace("PASSWORD", PASSWORD), encoding="utf-8")


def run(*args: str) -> Result:
    return CliRunner().invoke(root, list(args))


SMS = ("sms", "--to", "+15005550187", "--body", "Hello {to}")
EMAIL = ("email", "--to", "ada@example.com", "--subject", "Hello", "--body", "Dear Ada")


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"mock", "sandbox"}))
def test_no_secret_is_in_what_any_kind_shows(name: str) -> None:
    message = EMAIL if Channel.EMAIL in KINDS[name].channels else SMS
    for more in ((), ("--json",), ("--raw",)):
        done = run("preview", *message, "--provider", name, *more)
        assert done.exit_code == 0, done.output
        shown = done.stdout + done.stderr
        if more == ("--json",):
            (one,) = json.loads(done.stdout)["previews"]
            shown += base64.b64decode(one["body"]).decode()
        assert any(
            one in shown for one in ("Hello", b"Hello".hex(" "), "Dear Ada", "RGVhciBBZGE", "content", "Content")
        )
        assert SECRET not in shown
        assert PASSWORD not in shown
        assert base64.b64encode(f"{SID}:{SECRET}".encode()).decode() not in shown


CANARY = "CANARY"


@pytest.mark.parametrize(
    "table",
    [
        'kind = "postmark"\nchannels = ["email"]\nserver_token = "CANARY{to}CANARY"',
        'kind = "postmark"\nchannels = ["email"]\nserver_token = "CANARY{x}"',
        'kind = "http"\nchannels = ["email"]\nurl = "http://127.0.0.1:9"\nsuccess = { status = [200] }\n'
        'headers = { X-Key = "CANARY{to}" }\nauth = { bearer = "CANARY{to}" }\n'
        'json = { a = "CANARY{to}", b = [4242424242, "CANARY{x}"], c = "{body}" }',
    ],
)
def test_a_secret_with_braces_is_one_all_the_same(table: str) -> None:
    Path("postwire.toml").write_text(f'[providers.a]\nsender = "us@example.com"\n{table}\n', encoding="utf-8")
    for more in ((), ("--raw",)):
        shown = run("preview", *EMAIL, *more).stdout
        assert "Dear Ada" in shown
        assert CANARY not in shown
        assert "4242424242" not in shown


def test_the_email_of_ses_can_be_read() -> None:
    done = run("preview", *EMAIL, "--provider", "ses", "--raw")
    mime = email.message_from_bytes(done.stdout_bytes, policy=email.policy.SMTP)
    assert mime.get_content().strip() == "Dear Ada"
    refused = run("preview", *EMAIL, "--to", "b@example.com", "--provider", "http", "--raw")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "cannot carry it" in refused.stderr


def test_nobody_is_called() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        declare(f"http://127.0.0.1:{port}", port)
        assert run("preview", *EMAIL, "--all").exit_code == 0
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_request_is_shown_as_it_would_be_made() -> None:
    done = run("preview", *SMS, "--provider", "twilio")
    assert done.stdout.splitlines() == [
        "twilio (twilio)",
        "",
        f"POST {NOWHERE}/2010-04-01/Accounts/{SID}/Messages.json",
        "Content-Type: application/x-www-form-urlencoded",
        "Authorization: Basic ***",
        "",
        "To=%2B15005550187&Body=Hello+%7Bto%7D&From=%2B15005550006&ValidityPeriod=14400",
        "",
        "1 segment, gsm_7bit",
    ]


def test_the_raw_body_of_an_email_parses_back() -> None:
    done = run("preview", *EMAIL, "--provider", "smtp", "--raw")
    mime = email.message_from_bytes(done.stdout_bytes, policy=email.policy.SMTP)
    assert (mime["Subject"], mime["To"], mime.get_content().strip()) == ("Hello", "ada@example.com", "Dear Ada")
    shown = run("preview", *EMAIL, "--bcc", "b@example.com", "--provider", "smtp").stdout
    assert "RCPT TO:<b@example.com>" in shown
    assert "MAIL FROM:<us@example.com>" in shown


def test_each_provider_of_the_route_is_shown_or_why_it_is_not() -> None:
    done = run("preview", *EMAIL, "--to", "b@example.com", "--all")
    assert done.exit_code == 0
    assert "http (http): cannot carry it: message.email.to must be one recipient" in done.stdout
    assert "sendgrid (sendgrid)\n" in done.stdout
    # Without --all, it is the first that can.
    assert run("preview", *EMAIL, "--to", "b@example.com").stdout.startswith("webhook (webhook)\n")


def test_long_data_is_told_of_by_its_size(tmp_path: Path) -> None:
    (file := tmp_path / "a.bin").write_bytes(bytes(100_000))
    done = run("preview", *EMAIL, "--attach", str(file), "--provider", "sendgrid")
    assert "bytes in base64)" in done.stdout
    assert len(done.stdout) < 2_000


def test_what_would_steer_a_terminal_is_not_printed() -> None:
    done = run("preview", *EMAIL[:-1], "\x1b[2J\u202e", "--provider", "http")
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


def test_a_dry_run_shows_the_same_and_calls_no_server() -> None:
    asked = run("send", *SMS, "--provider", "twilio", "--dry-run", "--server", "127.0.0.1:9")
    assert asked.exit_code == 0
    assert asked.stdout == run("preview", *SMS, "--provider", "twilio").stdout


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("sms", "--to", "nobody", "--body", "x"), 1, "message.sms.to: must be"),
        ((*SMS, "--provider", "nobody"), 1, "must name a provider that exists"),
        ((*SMS, "--provider", "smtp"), 1, "must name a provider that carries sms"),
        ((*SMS, "--raw", "--json"), 2, "--raw is the body of one provider"),
        ((*SMS, "--config", "nowhere.toml"), 4, "nowhere.toml"),
    ],
)
def test_what_is_wrong_is_said(args: tuple[str, ...], code: int, words: str) -> None:
    done = run("preview", *args)
    assert words in done.stderr
    assert done.exit_code == code, done.stderr


def test_a_mock_sends_nothing() -> None:
    Path("postwire.toml").unlink()
    done = run("preview", *SMS)
    assert (done.exit_code, done.stdout) == (1, "sms-mms (mock): sends nothing\n\n1 segment, gsm_7bit\n")


TENANTS = """
[[tenants.acme.keys]]
id = "k3v9x0a1b2"
sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
roles = ["send"]
[[routes.sms]]
match = { tenants = ["acme"] }
tiers = ["vonage"]
[[routes.sms]]
tiers = ["twilio"]
"""


def test_a_preview_goes_by_the_route_of_a_tenant() -> None:
    with Path("postwire.toml").open("a", encoding="utf-8") as file:
        file.write(TENANTS)
    for tenant, provider in (("acme", "vonage"), ("default", "twilio")):
        for command in (("preview", *SMS), ("send", *SMS, "--dry-run")):
            done = run(*command, "--tenant", tenant, "--json")
            assert done.exit_code == 0, done.output
            assert [one["provider"] for one in json.loads(done.stdout)["previews"]] == [provider]
    done = run("preview", *SMS, "--tenant", "globex")
    assert done.exit_code == 2
    assert "--tenant: there is no tenant 'globex', those declared: acme, default" in done.stderr
