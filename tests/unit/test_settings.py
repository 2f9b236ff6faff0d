"""The binder: raw values in, typed frozen settings out, and one clear line where that is impossible."""

# ruff: noqa: E501  # the errors' lines stand here whole, as people see them

from __future__ import annotations

import contextlib
import enum
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.config.bind import ConfigError, EnvTree, Mistakes, bind
from postwire.config.shown import rows
from postwire.config.types import (
    Count,
    Duration,
    PositiveDuration,
    PositiveRatio,
    Ratio,
    Seed,
    Size,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
    whole,
)


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, slots=True)
class Inner:
    wait: PositiveDuration = 1.0
    low: int = 1
    high: int = 2

    def check(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low: {self.low} is more than high, must be at most that")
        if self.low < -100:
            raise ValueError("it is cold in here")
        if self.low < 0:
            raise ValueError("low, high: must not be so far down")


@dataclass(frozen=True, slots=True)
class Everything:
    name: str = "x"
    flag: bool = False
    number: float = 0.0
    integer: int = 0
    small: Annotated[int, whole(1, 9)] = 1
    count: Count = 1
    seed: Seed | None = None
    ratio: Ratio = 0.0
    some: PositiveRatio = 1.0
    wait: Duration = 0.0
    size: Size = 1
    path: Path = Path("here")
    mode: Literal["fast", "safe"] = "safe"
    colour: Colour = Colour.RED
    colours: tuple[Colour, ...] = ()
    tags: tuple[str, ...] | None = None
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True, slots=True)
class Sealed:
    host: str
    password: str = field(repr=False, metadata={"secret": True})
    pin: Annotated[int, whole(0, 9999)] | None = field(default=None, repr=False, metadata={"secret": True})
    keys: tuple[str, ...] = field(default=(), repr=False, metadata={"secret": True})

    def __post_init__(self) -> None:
        for secret in (self.password, *self.keys):
            if secret.startswith("bad"):
                raise ValueError(f"password: {secret} is no good, take another")


def from_toml(text: str, cls: type[Any] = Everything) -> Any:
    return bind(cls, tomllib.loads(text), ("box",))


def from_env(cls: type[Any] = Everything, /, toml: str = "", **variables: str) -> Any:
    mistakes = Mistakes()
    env = EnvTree.read({f"POSTWIRE_BOX__{name}": text for name, text in variables.items()}, mistakes)
    mistakes.raise_if_any()
    return bind(cls, tomllib.loads(toml), ("box",), env.at("box"))


def refusal(text: str, cls: type[Any] = Everything) -> str:
    with pytest.raises(ConfigError) as caught:
        from_toml(text, cls)
    return str(caught.value)


@pytest.mark.parametrize(
    ("toml", "name", "value"),
    [
        ('name = ""', "name", ""),
        ("flag = true", "flag", True),
        ("number = -3", "number", -3.0),
        ("number = 1e-3", "number", 0.001),
        ("integer = -9223372036854775808", "integer", -(2**63)),
        ("small = 9", "small", 9),
        ("count = 1_000_000_000", "count", 10**9),
        ("seed = 0", "seed", 0),
        ("seed = 0xffff_ffff_ffff_ffff", "seed", 2**64 - 1),
        ("ratio = 0", "ratio", 0.0),
        ("ratio = 1", "ratio", 1.0),
        ("ratio = 0.25", "ratio", 0.25),
        ('wait = "0s"', "wait", 0.0),
        ('wait = "20ms"', "wait", 0.02),
        ('wait = "1.5s"', "wait", 1.5),
        ('wait = "5m"', "wait", 300.0),
        ('wait = "4h"', "wait", 14400.0),
        ('wait = "7d"', "wait", 604800.0),
        ('wait = "36500d"', "wait", 3153600000.0),
        ('size = "512B"', "size", 512),
        ('size = "64KiB"', "size", 65536),
        ('size = "32MiB"', "size", 33554432),
        ('size = "1GiB"', "size", 1073741824),
        ("size = 17", "size", 17),
        ('path = "a/b"', "path", Path("a/b")),
        ('mode = "fast"', "mode", "fast"),
        ('colour = "green"', "colour", Colour.GREEN),
        ('colours = ["green", "red"]', "colours", (Colour.GREEN, Colour.RED)),
        ("tags = []", "tags", ()),
        ('inner = {wait = "2s"}', "inner", Inner(wait=2.0)),
    ],
)
def test_toml_values(toml: str, name: str, value: object) -> None:
    got = getattr(from_toml(toml), name)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("NAME", " as it is ", "name", " as it is "),
        ("NAME", "", "name", ""),
        ("FLAG", "true", "flag", True),
        ("FLAG", "ON", "flag", True),
        ("FLAG", "0", "flag", False),
        ("NUMBER", "-.5", "number", -0.5),
        ("NUMBER", "3", "number", 3.0),
        ("INTEGER", " 1_000\n", "integer", 1000),
        ("SEED", "18446744073709551615", "seed", 2**64 - 1),
        ("SEED", "", "seed", None),
        ("RATIO", "1e-1", "ratio", 0.1),
        ("WAIT", "20ms\n", "wait", 0.02),
        ("SIZE", "64KiB", "size", 65536),
        ("SIZE", "64", "size", 64),
        ("PATH", "a b", "path", Path("a b")),
        ("MODE", "fast", "mode", "fast"),
        ("COLOURS", "green, red", "colours", (Colour.GREEN, Colour.RED)),
        ("COLOURS", "", "colours", ()),
        ("TAGS", "", "tags", ()),
        ("TAGS", "a,b", "tags", ("a", "b")),
        ("INNER__WAIT", "3s", "inner", Inner(wait=3.0)),
    ],
)
def test_environment_values(variable: str, text: str, name: str, value: object) -> None:
    got = getattr(from_env(**{variable: text}), name)
    assert got == value
    assert type(got) is type(value)


def test_the_environment_wins_key_by_key() -> None:
    got = from_env(toml='name = "file"\nseed = 1\ninner = {low = 0, high = 5}', NAME="env", SEED="", INNER__LOW="3")
    assert (got.name, got.seed, got.inner) == ("env", None, Inner(low=3, high=5))


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("nam = 1", "box.nam: is not known, did you mean box.name?"),
        ("zzzz = 1\nnam = 1", "box.zzzz: is not known, known here: name, flag, number, integer, small, count, seed, ratio, some, wait, size, path, mode, colour, colours, tags, inner"),
        ('"a\\nb" = 1\n', 'box."a\\nb": is not known, known here: name, flag, number, integer, small, count, seed, ratio, some, wait, size, path, mode, colour, colours, tags, inner'),
        ("name = 1", "box.name: 1 is not a string"),
        ("flag = 1", "box.flag: 1 is not true or false"),
        ('flag = "true"', 'box.flag: "true" is not true or false'),
        ("number = inf", "box.number: inf is not a finite number"),
        ("number = nan", "box.number: nan is not a finite number"),
        ("number = true", "box.number: true is not a finite number"),
        ("integer = 1.0", "box.integer: 1.0 is not a whole number from -9223372036854775808 to 9223372036854775807"),
        ("small = 0", "box.small: 0 is not a whole number from 1 to 9"),
        ("small = 10", "box.small: 10 is not a whole number from 1 to 9"),
        ("small = true", "box.small: true is not a whole number from 1 to 9"),
        ('small = "5"', 'box.small: "5" is not a whole number from 1 to 9'),
        ("small = 0x" + "f" * 5000, "box.small: the number is not a whole number from 1 to 9"),
        ("seed = -1", "box.seed: -1 is not a whole number from 0 to 18446744073709551615"),
        ("seed = 18446744073709551616", "box.seed: 18446744073709551616 is not a whole number from 0 to 18446744073709551615"),
        ("ratio = 1.01", "box.ratio: 1.01 is not a ratio from 0 to 1"),
        ("ratio = -0.1", "box.ratio: -0.1 is not a ratio from 0 to 1"),
        ("ratio = nan", "box.ratio: nan is not a ratio from 0 to 1"),
        ("some = 0", "box.some: 0 is not a ratio over 0 and up to 1"),
        ("wait = 30", "box.wait: 30 has no unit, write a duration such as 20ms, 1.5s, 5m, 4h or 7d"),
        ('wait = "30"', 'box.wait: "30" has no unit, write a duration such as 20ms, 1.5s, 5m, 4h or 7d'),
        ('wait = "-5s"', 'box.wait: "-5s" is not a duration such as 20ms, 1.5s, 5m, 4h or 7d'),
        ('wait = "5 m"', 'box.wait: "5 m" is not a duration such as 20ms, 1.5s, 5m, 4h or 7d'),
        ('wait = "1h30m"', 'box.wait: "1h30m" is not a duration such as 20ms, 1.5s, 5m, 4h or 7d'),
        ('wait = "٣s"', 'box.wait: "٣s" is not a duration such as 20ms, 1.5s, 5m, 4h or 7d'),
        ("wait = true", "box.wait: true is not a duration such as 20ms, 1.5s, 5m, 4h or 7d"),
        ("wait = 1979-05-27", "box.wait: the value is not a duration such as 20ms, 1.5s, 5m, 4h or 7d"),
        ('wait = "36501d"', 'box.wait: "36501d" is too long, must be at most 36500d'),
        ('inner = {wait = "0s"}', 'box.inner.wait: "0s" is too short, must be more than 0s'),
        ('size = "32MB"', 'box.size: "32MB" is not a size such as 512B, 64KiB, 32MiB or 1GiB'),
        ("size = 1.5", "box.size: 1.5 is not a size such as 512B, 64KiB, 32MiB or 1GiB"),
        ("size = true", "box.size: true is not a size such as 512B, 64KiB, 32MiB or 1GiB"),
        ('size = "0B"', 'box.size: "0B" is not from 1 to 9223372036854775807 bytes'),
        ('path = ""', 'box.path: "" is not a path'),
        ('path = "a\\u0000b"', 'box.path: "a\\u0000b" is not a path'),
        ('mode = "Fast"', 'box.mode: "Fast" is not one of fast, safe'),
        ('mode = "' + "y" * 99 + '"', 'box.mode: "' + "y" * 57 + '..." is not one of fast, safe'),
        ('colour = "blue"', 'box.colour: "blue" is not one of red, green'),
        ('colours = "red"', 'box.colours: "red" is not a list, each of its items one of red, green'),
        ('colours = ["red", "blue"]', 'box.colours: "blue" is not one of red, green'),
        ('colours = ["red", "red"]', 'box.colours: "red" is there twice, write it once'),
        ('colours = [["red"]]', "box.colours: a list is not supported in this list, write a list, each of its items one of red, green"),
        ('tags = ["a", ""]', "box.tags: a list has an empty item, write a list, each of its items a string"),
        ("inner = 1", "box.inner: is not a table, write it as [box.inner]"),
        ("[[inner]]", "box.inner: is not a table, write it as [box.inner]"),
        ("inner = {low = 3}", "box.inner.low: 3 is more than high, must be at most that"),
        ("inner = {low = -1}", "box.inner.low, box.inner.high: must not be so far down"),
        ("inner = {low = -101}", "box.inner: it is cold in here"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line_that_names_the_key(toml: str, line: str) -> None:
    assert refusal(toml) == line


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"NAMES": ""}, "box.names (POSTWIRE_BOX__NAMES): is not known, did you mean POSTWIRE_BOX__NAME?"),
        ({"NAME__X": ""}, "box.name (POSTWIRE_BOX__NAME__X): has no keys below it, set POSTWIRE_BOX__NAME itself"),
        ({"NAME": "a", "NAME__X": ""}, "box.name (POSTWIRE_BOX__NAME__X): has no keys below it, set POSTWIRE_BOX__NAME itself"),
        ({"INNER": "1"}, "box.inner (POSTWIRE_BOX__INNER): is a table, set one of its keys as POSTWIRE_BOX__INNER__KEY"),
        ({"INNER__LO": "1"}, "box.inner.lo (POSTWIRE_BOX__INNER__LO): is not known, did you mean POSTWIRE_BOX__INNER__LOW?"),
        ({"INER__LOW": "1"}, "box.iner (POSTWIRE_BOX__INER__LOW): is not known, did you mean POSTWIRE_BOX__INNER__LOW?"),
        ({"INNER__LOW": "7"}, "box.inner.low (POSTWIRE_BOX__INNER__LOW): 7 is more than high, must be at most that"),
        ({"INNER__LOW": "-2", "INNER__HIGH": "-1"}, "box.inner.low, box.inner.high (POSTWIRE_BOX__INNER__LOW, POSTWIRE_BOX__INNER__HIGH): must not be so far down"),
        ({"FLAG": "maybe"}, 'box.flag (POSTWIRE_BOX__FLAG): "maybe" is not true or false'),
        ({"SMALL": ""}, 'box.small (POSTWIRE_BOX__SMALL): "" is not a whole number from 1 to 9'),
        ({"SMALL": "٣"}, 'box.small (POSTWIRE_BOX__SMALL): "٣" is not a whole number from 1 to 9'),
        ({"SMALL": "1e0"}, "box.small (POSTWIRE_BOX__SMALL): 1.0 is not a whole number from 1 to 9"),
        ({"SMALL": "9" * 5000}, 'box.small (POSTWIRE_BOX__SMALL): "' + "9" * 57 + '..." is not a whole number from 1 to 9'),
        ({"RATIO": "nan"}, 'box.ratio (POSTWIRE_BOX__RATIO): "nan" is not a ratio from 0 to 1'),
        ({"RATIO": "1e999"}, "box.ratio (POSTWIRE_BOX__RATIO): inf is not a ratio from 0 to 1"),
        ({"WAIT": "30"}, 'box.wait (POSTWIRE_BOX__WAIT): "30" has no unit, write a duration such as 20ms, 1.5s, 5m, 4h or 7d'),
        ({"COLOURS": "red,,green"}, "box.colours (POSTWIRE_BOX__COLOURS): a list has an empty item, write a list, each of its items one of red, green"),
        ({"NAME_": "x"}, "box.name_ (POSTWIRE_BOX__NAME_): is not known, did you mean POSTWIRE_BOX__NAME?"),
        ({"name": "x"}, "POSTWIRE_BOX__name: is not a name of ours, write it in capitals, digits and _"),
        ({"NAME": "a\udcff"}, "POSTWIRE_BOX__NAME: is not UTF-8, write it in UTF-8"),
    ],
)  # fmt: skip
def test_a_bad_variable_is_named_beside_its_key(variables: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_env(**variables)
    assert str(caught.value) == line


def test_an_error_tells_its_parts() -> None:
    with pytest.raises(ConfigError) as caught:
        from_env(SMALL="0")
    assert caught.value.key == "box.small"
    assert caught.value.variable == "POSTWIRE_BOX__SMALL"
    assert caught.value.problem == "0 is not a whole number from 1 to 9"


def test_whatever_it_quotes_an_error_is_one_printable_line() -> None:
    line = str(ConfigError("key", "a\nb\x1b[31m\u2028\udcff\U0001f600"))
    assert line == "key: a\\nb\\x1b[31m\\u2028\\udcff\U0001f600"


def test_a_key_without_a_default_must_be_given() -> None:
    assert refusal("", Sealed) == "box.host: is missing, it must be a string"
    assert from_env(Sealed, HOST="h", PASSWORD="p") == Sealed("h", "p")


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("password = 42424242", "box.password: the value is not a string"),
        ('password = "x"\npin = 42424242', "box.pin: the value is not a whole number from 0 to 9999"),
        ('password = "x"\npin = "42424242"', "box.pin: the value is not a whole number from 0 to 9999"),
        (
            'password = "x"\nkeys = "42424242"',
            "box.keys: the value is not a list, each of its items a string",
        ),
        (
            'password = "x"\nkeys = ["42424242", "42424242"]',
            "box.keys: the value is there twice, write it once",
        ),
        ('pasword = "42424242"', "box.pasword: is not known, did you mean box.password?"),
        ('password = "bad42424242"', "box.password: (secret) is no good, take another"),
        ('password = "x"\nkeys = ["bad42424242"]', "box.password: (secret) is no good, take another"),
    ],
)
def test_a_secret_is_never_shown(toml: str, line: str) -> None:
    got = refusal(f'host = "h"\n{toml}', Sealed)
    assert got == line
    assert "4242" not in got


def test_a_secret_of_the_environment_is_never_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        from_env(Sealed, HOST="h", PASSWORD="x", PIN="42424242")
    assert str(caught.value) == "box.pin (POSTWIRE_BOX__PIN): the value is not a whole number from 0 to 9999"


def test_rows_show_every_key_as_toml_writes_it_and_no_secret() -> None:
    assert rows(Sealed("h", "p"), ("box",)) == [
        ("box.host", '"h"'),
        ("box.password", "(set)"),
        ("box.password_file", "(none)"),
        ("box.pin", "(none)"),
        ("box.pin_file", "(none)"),
        ("box.keys", "[]"),
        ("box.keys_file", "(none)"),
    ]


def test_rows_read_back() -> None:
    given = from_toml(
        'name = "a\\"\\n\\u007f\U0001f600"\nflag = true\nnumber = 1e-7\ncount = 3\nratio = 0.1\nwait = "1.25s"\n'
        'size = "3KiB"\npath = "a b"\nmode = "fast"\ncolour = "green"\ncolours = ["green"]\ntags = ["a", "b"]\n'
        'seed = 18446744073709551615\ninner = {wait = "90s", low = -0, high = 7}'
    )
    text = "\n".join(f"{key} = {value}" for key, value in rows(given, ()))
    assert from_toml(text) == given


def test_what_was_given_is_told() -> None:
    env = EnvTree.read({"POSTWIRE_BOX__INNER__LOW": "1", "POSTWIRE_BOX__SEED": ""}, Mistakes())
    seen: set[str] = set()
    table = tomllib.loads('name = "x"\ninner = {wait = "1s"}')
    bind(Everything, table, ("box",), env.at("box"), seen=seen)
    assert seen == {"box.name", "box.seed", "box.inner.wait", "box.inner.low"}


def test_two_classes_can_share_a_table() -> None:
    table = {"low": 0, "name": "n"}
    assert bind(Inner, table, ("box",), beside=("name",)).low == 0
    assert bind(Inner, table, ("box",), beside=None).low == 0
    with pytest.raises(ConfigError, match=r"^box\.name: is not known"):
        bind(Inner, table, ("box",))


def test_only_variables_with_a_section_are_ours() -> None:
    environ = {"POSTWIRE_PORT": "1", "POSTWIRE_CONFIG": "f", "POSTWIRE": "", "XPOSTWIRE_A__B": "", "PATH": ""}
    assert EnvTree.read(environ | {"POSTWIRE_PORT_50051_TCP": "", "POSTWIRE__A": ""}, Mistakes()).below == {}


def test_a_secret_that_its_class_would_print_is_a_mistake_of_ours() -> None:
    @dataclass(frozen=True)
    class Careless:
        password: str = field(default="", metadata={"secret": True})

    with pytest.raises(TypeError, match="password needs repr=False"):
        bind(Careless, {}, ())


def test_a_type_that_has_no_unit_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="no unit is known"):
        bind(_Odd, {}, ())


@dataclass(frozen=True)
class _Odd:
    what: int | str | None = None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"), (0.02, "20ms"), (0.0005, "0.5ms"), (1.0, "1s"), (1.5, "1.5s"), (60.0, "60s"), (90.0, "90s"),
        (300.0, "5m"), (3600.0, "1h"), (14400.0, "4h"), (86400.0, "24h"), (604800.0, "7d"), (0.1, "100ms"),
        (1e-12, "0.000000001ms"), (86400.5, "86400.5s"),
    ],
)  # fmt: skip
def test_durations_are_spelled_as_people_do(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
    assert parse_duration(text) == seconds


_DIGITS = st.text("0123456789", min_size=1, max_size=12)
_DECIMALS = st.one_of(st.just(""), st.text("0123456789", min_size=1, max_size=16).map(lambda text: f".{text}"))


@given(_DIGITS, _DECIMALS, st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_a_duration_is_written_so_that_it_reads_the_same(digits: str, decimals: str, unit: str) -> None:
    seconds = parse_duration(digits + decimals + unit)
    assert math.isfinite(seconds)
    if seconds < 1e11:  # past the longest that a setting can be
        assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(0, 10**9), st.sampled_from([("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]))
def test_a_duration_is_the_nearest_float(count: int, unit: tuple[str, int]) -> None:
    assert parse_duration(f"{count}{unit[0]}") == count * unit[1] / 1000


@given(st.integers(0, 2**50), st.sampled_from([1, 2**10, 2**20, 2**30]))
def test_a_size_is_written_so_that_it_reads_the_same(count: int, unit: int) -> None:
    assert parse_size(format_size(count * unit)) == count * unit


@given(st.text(max_size=20))
def test_whatever_is_no_duration_or_size_is_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0


@given(st.dictionaries(st.sampled_from(sorted(Everything.__dataclass_fields__)), st.text(max_size=12)))
def test_any_text_in_the_environment_is_a_setting_or_one_line(variables: dict[str, str]) -> None:
    line = "POSTWIRE_BOX__"
    try:
        from_env(**{name.upper(): text for name, text in variables.items()})
    except ConfigError as wrong:
        line = str(wrong)
    assert line.isprintable()
    assert "POSTWIRE_BOX__" in line
