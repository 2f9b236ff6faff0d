"""`[[notify]]`: what may stand there, and the lines that say what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.receiver import OTHER_SECRET, SECRET, hook

from postwire.config.bind import ConfigError
from postwire.config.renewal import read_files_again
from postwire.config.schema import differences, effective
from postwire.core.message import MessageState

URL = "https://billing.example.com/postwire"


def mistakes(read: Any, toml: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(toml, **environ)
    return [str(one) for one in (caught.value, *caught.value.others)]


def test_there_is_none_by_default(read: Any) -> None:
    assert read("").notify == {}


def test_a_hook_says_where_and_what(read: Any) -> None:
    toml = hook("billing", URL, 'states = ["sent", "failed"]', 'labels = { team = "a" }', 'timeout = "3s"')
    made = read(toml).notify["billing"]
    assert (made.name, made.url, made.secret, made.tenant) == ("billing", URL, SECRET, "default")
    assert made.states == (MessageState.SENT, MessageState.FAILED)
    assert made.labels == {"team": "a"}
    assert (made.timeout, made.max_concurrent, made.previous_secret, made.ca_file) == (3.0, 1, None, None)
    assert SECRET not in repr(made)


def test_every_key_is_shown_and_no_secret(read: Any) -> None:
    shown = dict(effective(read(hook("billing", URL, 'labels = { "a.b" = "c" }'))))
    assert {key: value for key, value in shown.items() if key.startswith("notify.")} == {
        "notify.billing.name": '"billing"',
        "notify.billing.url": f'"{URL}"',
        "notify.billing.secret": "(set)",
        "notify.billing.secret_file": "(none)",
        "notify.billing.previous_secret": "(none)",
        "notify.billing.previous_secret_file": "(none)",
        "notify.billing.tenant": '"default"',
        "notify.billing.states": "[]",
        "notify.billing.labels": '{ "a.b" = "c" }',
        "notify.billing.timeout": '"15s"',
        "notify.billing.max_concurrent": "1",
        "notify.billing.ca_file": "(none)",
    }


def test_the_environment_sets_keys_of_hooks_that_are_declared(read: Any) -> None:
    made = read(hook("billing-eu", URL), NOTIFY__BILLING_EU__SECRET=OTHER_SECRET, NOTIFY__BILLING_EU__STATES="sent")
    assert made.notify["billing-eu"].secret == OTHER_SECRET
    assert made.notify["billing-eu"].states == (MessageState.SENT,)


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("notify = 1", "notify: is not an array of tables, write each as [[notify]]"),
        ("[notify]\nname = 'a'", "notify: is not an array of tables, write each as [[notify]]"),
        (
            f'[[notify]]\nurl = "{URL}"',
            "notify[0].name: is missing, it must be lower-case letters and digits with single dashes between, "
            "such as billing-eu",
        ),
        (
            hook("Billing", URL),
            'notify[0].name: "Billing" is not a hook\'s name, must be lower-case letters and digits with single '
            "dashes between, such as billing-eu",
        ),
        (
            hook("a", URL) + hook("a", URL),
            "notify.a: is declared twice, give each hook a name of its own",
        ),
        (
            hook("a", "ftp://example.com"),
            "notify.a.url: the value is not an address such as https://example.com/messages, without a user",
        ),
        (
            hook("a", URL, 'states = ["done"]'),
            'notify.a.states: "done" is not one of queued, sending, sent, delivered, undelivered, failed, uncertain, '
            "expired, cancelled",
        ),
        (hook("a", URL, "labels = { team = 1 }"), "notify.a.labels.team: 1 is not a string"),
        (hook("a", URL, 'tenant = "acme"'), 'notify.a.tenant: "acme" is no tenant, known are: default'),
        (
            hook("a", URL, 'secret = "c2hvcnQ="'),
            "notify.a.secret: must be 24 to 64 bytes in base64, with or without whsec_ before it",
        ),
        (
            hook("a", URL, 'previous_secret = "é"'),
            "notify.a.previous_secret: must be 24 to 64 bytes in base64, with or without whsec_ before it",
        ),
        (hook("a", URL, "max_concurrent = 0"), "notify.a.max_concurrent: 0 is not a whole number from 1 to 100"),
        (hook("a", URL, 'timeout = "0s"'), 'notify.a.timeout: "0s" is too short, must be more than 0s'),
        (
            hook("a", URL, 'ca_file = "/no/such"'),
            "notify.a.ca_file: cannot be used (No such file or directory), must be a file of certificates in PEM",
        ),
        (hook("a", URL, "state = []"), "notify.a.state: is not known, did you mean notify.a.states?"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(read: Any, toml: str, line: str) -> None:
    assert mistakes(read, toml) == [line]


def test_mistakes_of_the_environment(read: Any) -> None:
    toml = hook("a", URL)
    assert mistakes(read, toml, NOTIFY__B__SECRET=SECRET) == [
        "POSTWIRE_NOTIFY__B__SECRET: there is no such hook, the environment can only set keys of those declared: a"
    ]
    assert mistakes(read, toml, NOTIFY__A__NAME="b") == [
        "notify.a.name (POSTWIRE_NOTIFY__A__NAME): is what the others are found by, only a file can set it"
    ]


def test_a_hook_is_of_a_tenant_that_there_is(read: Any) -> None:
    toml = '[tenants.acme]\n[auth.jwt]\nissuer = "a"\naudience = "b"\njwks_url = "https://example.com/keys"\n'
    assert read(toml + hook("a", URL, 'tenant = "acme"')).notify["a"].tenant == "acme"
    assert mistakes(read, toml + hook("a", URL, 'tenant = "globex"')) == [
        'notify.a.tenant: "globex" is no tenant, known are: default, acme'
    ]


def test_what_has_changed_is_named_by_the_hook(read: Any) -> None:
    before = read(hook("a", URL) + hook("b", URL))
    after = read(hook("b", URL, secret=OTHER_SECRET) + hook("c", URL))
    changed = differences(before, after)
    assert {key for key in changed if key.count(".") == 1} == {"notify.a", "notify.c"}
    assert "notify.b.secret" in changed
    assert "notify.b.url" not in changed


def test_files_of_secrets_are_read_again(read: Any, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    config = read(hook("a", URL, f'secret_file = "{file}"'))
    assert config.secret_files == {"notify.a.secret_file": file}
    assert read_files_again(config) == (config, [])
    file.write_text(OTHER_SECRET)
    assert read_files_again(config)[0].notify["a"].secret == OTHER_SECRET
    file.write_text("none")
    same, (wrong,) = read_files_again(config)
    assert same is config
    assert wrong.key == "notify.a.secret"
