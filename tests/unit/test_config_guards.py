"""`[guards]`, in the file and in the environment."""

# ruff: noqa: E501  # the errors' lines stand here whole, as people see them

from __future__ import annotations

from typing import Any

import pytest

from postwire.config.bind import ConfigError
from postwire.config.schema import effective
from postwire.core.guards import Cap, GuardRules

HOUR = 3_600_000_000


def test_without_them_nothing_is_guarded(read: Any) -> None:
    assert read("").guards.rules == GuardRules()


def test_all_of_them_in_the_file(read: Any) -> None:
    config = read(
        '[guards]\nallow_prefixes = ["+44", "+1"]\nmax_per_recipient = "20/24h"\n'
        'max_per_prefix = { "+44" = "1000/1h", "+4477" = "1/1.5s" }\n'
    )
    assert config.guards.rules == GuardRules(
        ("+44", "+1"), {"+44": Cap(1000, HOUR), "+4477": Cap(1, 1_500_000)}, Cap(20, 24 * HOUR)
    )
    shown = dict(effective(config))
    assert shown["guards.allow_prefixes"] == '["+44", "+1"]'
    assert shown["guards.max_per_prefix"] == '{ "+44" = "1000/1h", "+4477" = "1/1.5s" }'
    assert shown["guards.max_per_recipient"] == '"20/24h"'
    lines = "\n".join(f"{key.removeprefix('guards.')} = {value}" for key, value in shown.items() if "guards." in key)
    assert read(f"[guards]\n{lines}").guards == config.guards


def test_all_of_them_in_the_environment(read: Any) -> None:
    config = read(
        "",
        GUARDS__ALLOW_PREFIXES="+44, +1",
        GUARDS__MAX_PER_PREFIX="+44=1000/1h, +1=5/1h",
        GUARDS__MAX_PER_RECIPIENT="20/1h",
    )
    assert config.guards.rules == GuardRules(("+44", "+1"), {"+44": Cap(1000, HOUR), "+1": Cap(5, HOUR)}, Cap(20, HOUR))
    # The environment wins, and may take away what the file says.
    text = '[guards]\nmax_per_prefix = { "+44" = "1000/1h" }\nmax_per_recipient = "1/1h"'
    empty = read(text, GUARDS__MAX_PER_PREFIX="", GUARDS__MAX_PER_RECIPIENT="")
    assert empty.guards.rules == GuardRules()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("max_per_recipient = 20", 'max_per_recipient: 20 is not a count and a window such as "20/1h"'),
        ("max_per_recipient = '20'", 'max_per_recipient: "20" is not a count and a window such as "20/1h"'),
        ("max_per_recipient = '-1/1h'", 'max_per_recipient: "-1/1h" is not a count and a window such as "20/1h"'),
        ("max_per_recipient = '0/1h'", 'max_per_recipient: "0/1h" must let through from 1 to 1000000000 messages'),
        ("max_per_recipient = '1/60'", 'max_per_recipient: "60" has no unit, write a duration such as 20ms, 1.5s, 5m, 4h or 7d'),
        ("max_per_recipient = '1/500ms'", 'max_per_recipient: "500ms" is too short, must be at least 1s'),
        ("max_per_recipient = '1/32d'", 'max_per_recipient: "32d" is too long, must be at most 31d'),
        ("max_per_prefix = '1/1h'", 'max_per_prefix: "1/1h" is not a table such as { "+44" = "1000/1h" }'),
        ("max_per_prefix = { 44 = '1/1h' }", 'max_per_prefix: "44" is not how numbers begin, such as "+44"'),
        ("max_per_prefix = { '+0' = '1/1h' }", 'max_per_prefix: "+0" is not how numbers begin, such as "+44"'),
        ("max_per_prefix = { '+44' = 5 }", 'max_per_prefix."+44": 5 is not a count and a window such as "20/1h"'),
        ("max_per_prefix = { '+44' = '5/x' }", 'max_per_prefix."+44": "x" is not a duration such as 20ms, 1.5s, 5m, 4h or 7d'),
        ("allow_prefixes = []", 'allow_prefixes: a list is too short, write a list such as ["+44", "+1"], of one item or more'),
        ("allow_prefixes = ['44']", 'allow_prefixes: "44" is not how numbers begin, such as "+44"'),
        ("allow_prefixes = ['+44', '+44']", 'allow_prefixes: "+44" is there twice, write it once'),
        ("allow_prefixes = ['+1']\nmax_per_prefix = { '+44' = '5/1h' }", 'max_per_prefix: "+44" is never counted: allow_prefixes lets no number through that begins so'),
        ("allow_prefix = ['+1']", "allow_prefix: is not known, did you mean guards.allow_prefixes?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_key(read: Any, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"[guards]\n{text}")
    assert str(caught.value) == f"guards.{line}"


def test_an_empty_variable_allows_nobody_and_is_refused(read: Any) -> None:
    with pytest.raises(ConfigError, match=r"allow_prefixes \(POSTWIRE_GUARDS__ALLOW_PREFIXES\): a list is too short"):
        read("", GUARDS__ALLOW_PREFIXES="")


@pytest.mark.parametrize("allowed", ["+4", "+44", "+4477"])
def test_a_prefix_may_be_counted_of_which_only_a_part_is_allowed(read: Any, allowed: str) -> None:
    read(f"[guards]\nallow_prefixes = ['{allowed}']\nmax_per_prefix = {{ '+44' = '5/1h' }}")
