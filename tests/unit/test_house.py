"""Rules of the house that no other tool holds."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator, Mapping
from itertools import filterfalse, pairwise
from pathlib import Path
from typing import Final

import pytest

from postwire.api.errors import STATUS_OF
from postwire.core import errors
from postwire.core.errors import Refusal
from postwire.v1 import error_reason_pb2

ROOT = Path(__file__).parents[2]
MAX_LINES = 450


def sources() -> Iterator[Path]:
    for folder in ("server", "clients", "tests", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            if "v1" not in path.parts and "node_modules" not in path.parts:
                yield path


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert len(lengths) > 50, "or this looks in the wrong place"
    assert {str(path): length for path, length in lengths.items() if length > MAX_LINES} == {}


WENT: Final = {
    "flight": "waiter",
    "flights": "waiters",
    "airborne": "active",
    "ticket": "provider permit",
    "tickets": "provider permits",
    "hands": "handler",
    "asks": "next step",
    "foretold": "predicted",
    "seal": "encode",
    "unseal": "decode",
    "sight": "watch event",
    "puppet": "fake provider",
    "puppets": "fake providers",
    "rig": "harness",
    "faces": "client adapters",
    "victim": "server process",
    "intake": "acceptance",
    "sights": "watch events",
    "flying": "first pass",
    "untold": "unreported",
    "landed": "complete",
    "landing": "complete",
    "grounded": "complete",
    "slot": "provider entry",
    "door": "gate",
    "doors": "gates",
    "letting": "cancel",
    "judgement": "checker",
    "told": "reported",
    "tell": "report",
    "tells": "reports",
    "fact": "metadata",
    "beat": "heartbeat",
    "beats": "heartbeats",
    "shut": "blocked",
}
"""Words for which the field has a better one, as parts of names (`in_flight` is the field's)."""

WENT_FROM_THE_PRODUCT: Final = {
    "rounds": "wakeable task",
}
"""The same, but not in tests: what is measured is measured in rounds."""

WENT_FROM_TESTS: Final = {
    "judge": "checker",
}
"""The same, but not in the product: `judge` makes a result of a vendor's answer."""

WENT_ALONE: Final = {
    "Next": "NextStep",
    "Pass": "RoutePlan",
    "Wanted": "OtelSettings",
    "BEAT": "HEARTBEAT_INTERVAL",
    "on": "plan",
}
"""Names that went as they stand, of words that are common in others."""

PHRASES: Final = {
    "let_go": "release",
    "last_words": "flush grace",
    "come_back": "mean retry delay",
    "letting_go": "cancel grace",
    "max_told": "max vendor text",
    "take_off": "accepted",
    "let_in": "admit",
}
"""Words that went only together, as parts of names."""

COMMON: Final = ("in_flight", "shut_down", "shutdown", "round_trip")
"""What has one of these words in it and is the field's own."""

KEYS: Final = frozenset({"beat"})
"""Names that stand as they are, because keys of the configuration have them."""

PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")

WORD = re.compile(r"\w+")
PROSE = re.compile(r'"""(?s:.*?)"""|"(?:[^"\\\n]|\\.)*"|#.*')
"""Strings and comments, by and large."""


def is_of_a_test(name: str) -> bool:
    return name.startswith("test_")


def words_that_went(name: str, went: Mapping[str, str]) -> Iterator[str]:
    """What is to stand in a name in place of words for which the field has better ones."""
    if name in KEYS:
        return
    snake = "_".join(part.lower() for part in PART.findall(name))
    for phrase in COMMON:
        snake = snake.replace(phrase, "")
    yield from (went[part] for part in snake.split("_") if part in went)
    if name in WENT_ALONE:
        yield WENT_ALONE[name]
    yield from (better for phrase, better in PHRASES.items() if f"_{phrase}_" in f"_{snake}_")


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("FlightDeck", ["waiter"]),
        ("max_in_flight", []),
        ("_let_go", ["release"]),
        ("let_raise", []),
        ("LAST_WORDS", ["flush grace"]),
        ("test_client_faces", ["client adapters"]),
        ("__slots__", []),
        ("nextSlot", ["provider entry"]),
        ("shutdown", []),
        ("is_shut", ["blocked"]),
        ("Told", ["reported"]),
        ("_until_told", ["reported"]),
        ("on", ["plan"]),
        ("on_free", []),
        ("next", []),
    ],
)
def test_a_word_that_went_is_found_in_a_name_of_any_form(name: str, better: list[str]) -> None:
    assert list(words_that_went(name, WENT | WENT_FROM_THE_PRODUCT)) == better


def _is_suspect(also: Mapping[str, str]) -> Callable[[str], bool]:
    went = {**WENT, **also}
    return lambda word: any(words_that_went(word, went))


def test_names_are_the_terms_of_the_field() -> None:
    """Decision records, the changelog and names in SQL keep the words of their time."""
    found = set()
    is_suspect = {
        True: functools.cache(_is_suspect(WENT_FROM_TESTS)),
        False: functools.cache(_is_suspect(WENT_FROM_THE_PRODUCT)),
    }
    for path in (*sources(), *(ROOT / "docs" / "examples").rglob("*.py")):
        name = path.relative_to(ROOT)
        is_test = name.parts[0] == "tests"
        went = WENT | (WENT_FROM_TESTS if is_test else WENT_FROM_THE_PRODUCT)
        # Names of tests are sentences: that of their file alone is looked at.
        words = {one for one in WORD.findall(PROSE.sub("", path.read_text(encoding="utf-8"))) if not is_of_a_test(one)}
        if not any(map(is_suspect[is_test], (*words, *name.with_suffix("").parts))):
            continue  # most files; to tell names from all other words takes long
        with path.open("rb") as source:
            tokens = list(tokenize.tokenize(source.readline))
        names = {
            token.string
            for before, token in pairwise(tokens)
            # What follows a dot is found where it is defined, unless that is in a library.
            if token.type == tokenize.NAME and not (before.string == "." and token.string in WENT_ALONE)
        }
        found |= {
            f"{name}: {one}: call it {better}"
            for one in (*filterfalse(is_of_a_test, names), *name.with_suffix("").parts)
            for better in words_that_went(one, went)
        }
    assert "\n".join(sorted(found)) == ""


def loaded_by(module: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after importing `module`, those of the library left out."""
    code = (
        "import sys; before = set(sys.modules)\n"
        f"import {module}\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "server")
    return set(done.stdout.split())


def test_importing_postwire_loads_nothing_else() -> None:
    assert loaded_by("postwire") == {"postwire"}


@pytest.mark.parametrize("module", ["postwire.core.canonical", "postwire.core.validation", "postwire.core.lifecycle"])
def test_the_core_loads_the_standard_library_and_itself(module: str) -> None:
    assert loaded_by(module) - {"idna"} == {"postwire"}  # docs/adr/0016


def test_a_server_loads_nothing_of_a_listener_that_is_off() -> None:
    """Neither what serves HTTP nor what speaks Connect, whose Protocol Buffers are `protobuf`."""
    loaded = loaded_by("postwire.app")
    assert "grpc" in loaded, "or this looks in the wrong place"
    assert loaded.isdisjoint({"aiohttp", "connectrpc", "h11", "protobuf", "pyqwest", "starlette", "uvicorn"})


def refusals() -> list[type[Refusal]]:
    found: list[type[Refusal]] = []
    pending: list[type[Refusal]] = [Refusal]
    while pending:
        for one in pending.pop().__subclasses__():
            if one.__module__ == errors.__name__:
                found.append(one)
                pending.append(one)
    return found


def test_every_reason_is_published_has_a_status_and_a_class_and_none_has_two() -> None:
    published = set(error_reason_pb2.ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}
    reasons = [one.__dict__["reason"] for one in refusals() if "reason" in one.__dict__]
    assert len(reasons) == len(set(reasons))
    assert {f"ERROR_REASON_{reason}" for reason in reasons} == published
    assert set(reasons) == set(STATUS_OF)


def test_a_refusal_without_a_reason_is_only_a_family() -> None:
    for one in refusals():
        assert hasattr(one, "reason") or one.__subclasses__()


def test_the_tree_atop_the_errors_shows_every_class() -> None:
    assert errors.__doc__ is not None
    drawn = errors.__doc__.split()
    assert [one.__name__ for one in refusals() if one.__name__ not in drawn] == []
