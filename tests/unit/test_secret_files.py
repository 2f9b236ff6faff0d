"""Secrets in files of their own: how they are named and read, and that nothing shows what is in them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest

from postwire.config.bind import ConfigError, EnvTree, Mistakes, bind, keys, setting
from postwire.config.secret_files import MAX_BYTES, FileWatch, Look
from postwire.config.shown import describe, rows, values
from postwire.config.tables import TextTable, ValueTable
from postwire.config.types import whole

CANARY = "Zq9canary7"
BOX = ("box",)


@dataclass(frozen=True, slots=True)
class Inner:
    """A secret in a table within."""

    name: str = ""
    private_key: str | None = setting(None, secret=True)


@dataclass(frozen=True, slots=True)
class Box:
    """Secrets of every shape."""

    token: str = setting(help="What they know us by.", secret=True)
    host: str = "h"
    pin: Annotated[int, whole(0, 9999)] | None = setting(None, secret=True)
    words: tuple[str, ...] = setting((), secret=True)
    headers: Annotated[Mapping[str, str], TextTable()] = setting(default_factory=dict, secret=True)
    form: Annotated[Mapping[str, Any], ValueTable()] = setting(default_factory=dict, secret=True)
    inner: Inner = field(default_factory=Inner)

    def check(self) -> None:
        for secret in (self.token, *self.words, *self.headers.values(), *self.form.get("deep", ())):
            if secret.startswith("bad"):
                raise ValueError(f"token: {secret} is no good, take another")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(toml: str, **variables: str) -> Box:
    mistakes = Mistakes()
    env = EnvTree.read({f"POSTWIRE_BOX__{name}": text for name, text in variables.items()}, mistakes)
    mistakes.raise_if_any()
    return bind(Box, tomllib.loads(toml), BOX, env.at("box"))


def refusal(toml: str, **variables: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(toml, **variables)
    line = "\n".join(map(str, (refused.value, *refused.value.others)))
    assert CANARY not in line
    return line


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"x", "x"),
        (b"x\n", "x"),
        (b"x\r\n", "x"),
        (b"x\n\n", "x\n"),
        (b" x \n", " x "),
        (b"\xc3\xa9\xf0\x9f\x98\x80", "é\U0001f600"),
        (b"a\nb\n", "a\nb"),
        (b"x\r", "x\r"),
        (b"x" * MAX_BYTES, "x" * MAX_BYTES),
    ],
)
def test_a_secret_is_what_is_in_the_file_but_for_one_line_break(folder: Path, content: bytes, secret: str) -> None:
    (folder / "token").write_bytes(content)
    assert read('token_file = "token"').token == secret


def test_the_environment_names_files_too_and_wins(folder: Path) -> None:
    (folder / "a").write_text("one")
    (folder / "b").write_text("two")
    assert read('token_file = "a"', TOKEN_FILE=str(folder / "b")).token == "two"
    assert read("", TOKEN_FILE="b").token == "two"
    (folder / "key").write_text("three")
    assert read('token = "a-token"', INNER__PRIVATE_KEY_FILE="key").inner.private_key == "three"
    assert read('token = "a-token"\npin_file = "a"', PIN_FILE="").pin is None, "none, after all"


def test_every_kind_of_secret_can_be_in_a_file(folder: Path) -> None:
    (folder / "pin").write_text("0042\n")
    (folder / "words").write_text("a, b\n")
    (folder / "headers").write_text('Authorization = "Bearer a,b"\n# a remark\nX-Key = "c"\n')
    (folder / "form").write_text('[a]\nb = [1, "c"]\n')
    found = read(
        'token = "a-token"\n' + "\n".join(f'{key}_file = "{key}"' for key in ("pin", "words", "headers", "form"))
    )
    assert (found.pin, found.words) == (42, ("a", "b"))
    assert (found.headers, found.form) == ({"Authorization": "Bearer a,b", "X-Key": "c"}, {"a": {"b": [1, "c"]}})


BOTH = "are both set, set only one of them"


@pytest.mark.parametrize(
    ("toml", "variables", "line"),
    [
        ('token = "x"\ntoken_file = "ours"', {}, f"box.token, box.token_file: {BOTH}"),
        ('token = ""\ntoken_file = "ours"', {}, f"box.token, box.token_file: {BOTH}"),
        (
            'token_file = "ours"',
            {"TOKEN": "x"},
            f"box.token, box.token_file (POSTWIRE_BOX__TOKEN): {BOTH}",
        ),
        (
            "",
            {"TOKEN": "x", "TOKEN_FILE": "ours"},
            f"box.token, box.token_file (POSTWIRE_BOX__TOKEN, POSTWIRE_BOX__TOKEN_FILE): {BOTH}",
        ),
        (
            'token = "a-token"\n[inner]\nprivate_key = "x"\nprivate_key_file = "ours"',
            {},
            f"box.inner.private_key, box.inner.private_key_file: {BOTH}",
        ),
        ("", {}, "box.token: is missing, it must be a string, or token_file the path of a file"),
        ("", {"TOKEN_FILE": ""}, "box.token: is missing, it must be a string, or token_file the path of a file"),
        ('token_fil = "ours"', {}, "box.token_fil: is not known, did you mean box.token_file?"),
        ("token_file = 7", {}, "box.token_file: the value is not the path of a file"),
        ('token_file = ""', {}, "box.token_file: the value is not the path of a file"),
        (f'token_file = "{CANARY}\\u0000"', {}, "box.token_file: the value is not the path of a file"),
    ],
)
def test_what_is_wrong_with_the_keys_is_named(folder: Path, toml: str, variables: dict[str, str], line: str) -> None:
    (folder / "ours").write_text(CANARY)
    assert refusal(toml, **variables).splitlines()[0] == line


HELP = "it must be the path of a file that holds token"


def test_a_file_that_is_of_no_use_says_why_and_shows_nothing(folder: Path) -> None:
    (folder / "empty").write_text("\n")
    (folder / "binary").write_bytes(CANARY.encode() + b"\xff")
    (folder / "long").write_bytes(CANARY.encode() + b"x" * MAX_BYTES)
    (folder / "loop").symlink_to("loop")
    assert refusal(f'token_file = "{CANARY}"') == f"box.token_file: there is no such file, {HELP}"
    assert refusal('token_file = "empty"') == f"box.token_file: is an empty file, {HELP}"
    assert refusal('token_file = "binary"') == f"box.token_file: is a file that is not UTF-8, {HELP}"
    assert refusal('token_file = "long"') == f"box.token_file: is a file of more than 1 MiB, {HELP}"
    assert refusal('token_file = "."') == f"box.token_file: is a directory, {HELP}"
    why = os.strerror(40)
    assert refusal('token_file = "loop"') == f"box.token_file: cannot be read ({why}), {HELP}"


@pytest.mark.parametrize(
    ("key", "content", "line"),
    [
        ("pin", CANARY, "box.pin_file: what is in it is not a whole number from 0 to 9999"),
        ("words", f"{CANARY},{CANARY}", "box.words_file: what is in it is there twice, write it once"),
        ("headers", f"X = {CANARY}", 'box.headers_file: what is in it is not valid TOML, write it as name = "text"'),
        ("headers", f'X = ["{CANARY}"]', "box.headers_file.X: what is in it is not a string"),
        ("form", f'X = "{CANARY}', 'box.form_file: what is in it is not valid TOML, write it as name = "text"'),
    ],
)
def test_what_is_wrong_with_a_file_is_named_and_not_shown(folder: Path, key: str, content: str, line: str) -> None:
    (folder / "secret").write_text(content)
    assert refusal(f'token = "a-token"\n{key}_file = "secret"') == line


@pytest.mark.parametrize(
    ("key", "toml"), [("token", ""), ("words", 'token = "a-token"'), ("form", 'token = "a-token"')]
)
def test_what_a_check_says_of_a_secret_is_not_shown(folder: Path, key: str, toml: str) -> None:
    content = f'deep = ["bad{CANARY}"]' if key == "form" else f"bad{CANARY}"
    (folder / "secret").write_text(content)
    named = "box.token_file" if key == "token" else "box.token"
    assert refusal(f'{toml}\n{key}_file = "secret"') == f"{named}: (secret) is no good, take another"


def test_what_is_shown_is_the_file_and_never_the_secret(folder: Path) -> None:
    (folder / "token").write_text(CANARY)
    files: dict[str, Path] = {}
    seen: set[str] = set()
    found = bind(Box, {"token_file": "token", "inner": {"private_key_file": "token"}}, BOX, seen=seen, files=files)
    assert CANARY not in repr(found)
    assert CANARY not in str(found)
    assert files == {"box.token_file": Path("token"), "box.inner.private_key_file": Path("token")}
    assert seen == {"box.token", *files, "box.inner.private_key"}
    shown = dict(rows(found, BOX, None, files))
    assert CANARY not in str(shown)
    assert (shown["box.token"], shown["box.token_file"]) == ("(set)", '"token"')
    assert (shown["box.pin"], shown["box.pin_file"]) == ("(none)", "(none)")
    assert (shown["box.inner.private_key"], shown["box.inner.private_key_file"]) == ("(set)", '"token"')
    compared = values(found, BOX, None, files)
    assert (compared["box.token"], compared["box.token_file"]) == (None, (Path("token"), CANARY))


def test_the_keys_are_described_like_others() -> None:
    assert keys(Box)[:4] == ("token", "token_file", "host", "pin")
    found = {one.key: one for one in describe(Box)}
    one = found["token_file"]
    assert (one.wants, one.default, one.required, one.secret) == ("the path of a file", None, False, False)
    assert one.help == "A file that holds token, in place of that."
    assert found["inner.private_key_file"].help == "A file that holds private_key, in place of that."
    assert "host_file" not in found


def test_a_field_in_the_way_is_a_mistake_of_ours() -> None:
    @dataclass(frozen=True)
    class Clash:
        token: str = setting("", secret=True)
        token_file: str = ""

    with pytest.raises(TypeError, match="token_file is in the way"):
        keys(Clash)


# Noticing that a file has changed.

UNCHANGED, CHANGED, CHANGING = Look(False, False), Look(True, False), Look(False, True)


def test_each_file_has_changed_once_at_first(folder: Path) -> None:
    (folder / "token").write_text("one")
    watch, files = FileWatch(), [Path("token")]
    assert [watch.look(files) for _ in range(3)] == [CHANGING, CHANGED, UNCHANGED]
    (folder / "other").write_text("one")
    files.append(folder / "other")
    assert [watch.look(files) for _ in range(3)] == [CHANGING, CHANGED, UNCHANGED]


def watched(file: Path) -> FileWatch:
    watch = FileWatch()
    for _ in range(2):
        watch.look([file])
    return watch


def test_a_file_that_is_written_in_steps_has_changed_once_they_are_over(folder: Path) -> None:
    file = folder / "token"
    file.write_text("one")
    watch = watched(file)
    looks = []
    for content in ("", "tw", "two!"):
        file.write_text(content)
        looks.append(watch.look([file]))
    assert looks == [CHANGING] * 3
    assert [watch.look([file]) for _ in range(2)] == [CHANGED, UNCHANGED]


def test_a_link_that_leads_elsewhere_is_a_change(folder: Path) -> None:
    """As Kubernetes does it: a file is a link into a directory that is a link, and that is replaced."""
    for version in ("v1", "v2"):
        (folder / version).mkdir()
        (folder / version / "token").write_text("same size")
    (folder / "data").symlink_to("v1")
    (folder / "token").symlink_to("data/token")
    watch = watched(folder / "token")
    (folder / "new").symlink_to("v2")
    (folder / "new").rename(folder / "data")
    assert [watch.look([folder / "token"]) for _ in range(3)] == [CHANGING, CHANGED, UNCHANGED]


def test_a_file_that_goes_is_a_change_and_a_pipe_is_none(folder: Path) -> None:
    (folder / "token").write_text("one")
    watch = watched(folder / "token")
    (folder / "token").unlink()
    assert [watch.look([folder / "token"]) for _ in range(3)] == [CHANGING, CHANGED, UNCHANGED]
    os.mkfifo(folder / "pipe")
    watch = watched(folder / "pipe")
    os.utime(folder / "pipe")
    assert watch.look([folder / "pipe"]) == UNCHANGED
