"""Keys of every kind that calls a vendor over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from postwire.providers.http.vendor import HttpSettings
from postwire.providers.mailjet import MailjetSettings
from postwire.providers.sparkpost import SparkPostSettings
from postwire.providers.telnyx import TelnyxSettings
from postwire.providers.twilio import TwilioSettings

GOOD: list[tuple[type[HttpSettings], dict[str, Any]]] = [
    (SparkPostSettings, {"api_key": "a b\u00e9"}),
    (MailjetSettings, {"api_key": "k", "api_secret": "a b\u00e9"}),
    (TelnyxSettings, {"api_key": "k"}),
    (TwilioSettings, {"account_sid": "AC" + "0" * 32, "auth_token": "t", "sender": "+15005550006"}),
]


@pytest.mark.parametrize(("settings", "keys"), GOOD, ids=lambda one: getattr(one, "__name__", ""))
@pytest.mark.parametrize("odd", ["s3cret\n", "s3c\rret", "\x00", "s3cret\x7f"])
def test_a_secret_of_several_lines_stops_the_boot(settings: type[HttpSettings], keys: dict[str, Any], odd: str) -> None:
    """With it no request can be made, so that no attempt would end but as `uncertain`."""
    settings(**keys).check()
    name = list(keys)[1] if len(keys) > 1 else "api_key"
    with pytest.raises(ValueError, match=f"^{name}: has a control character") as refused:
        settings(**keys | {name: odd}).check()
    assert "s3c" not in str(refused.value)


@pytest.mark.parametrize(("settings", "keys"), GOOD, ids=lambda one: getattr(one, "__name__", ""))
def test_a_key_that_is_given_as_nothing_stops_the_boot(settings: type[HttpSettings], keys: dict[str, Any]) -> None:
    """It comes of a variable that is not set, and every message would find out."""
    for name in {*keys, "proxy"} - {"account_sid"}:  # which is known by how it looks
        with pytest.raises(ValueError, match=f"^{name}: is empty"):
            settings(**keys | {name: ""}).check()
