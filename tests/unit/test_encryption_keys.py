"""The file of `store.encryption_keys_file`: read strictly, and never shown."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.config.bind import ConfigError
from postwire.config.encryption_keys import MAX_ID, EncryptionKey, read_keys

A, B = (base64.b64encode(bytes([number]) * 32).decode() for number in (0x3C, 0xD7))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def mistakes(file: Path, text: str) -> list[str]:
    """What is wrong with a file of this text."""
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_keys(file)
    found = list(map(str, (caught.value, *caught.value.others)))
    for line in found:
        assert line.startswith(f"store.encryption_keys_file: {file}: ")
        assert A not in line
        assert B not in line
    return [line.removeprefix(f"store.encryption_keys_file: {file}: ") for line in found]


def test_the_first_key_comes_first(file: Path) -> None:
    file.write_text(f"# the newest on top\n\n2026-11 = {A}\n  old_1.x={B}  \r\n")
    assert read_keys(file) == (EncryptionKey("2026-11", b"\x3c" * 32), EncryptionKey("old_1.x", b"\xd7" * 32))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (A, "begins with no id"),
        (f"{A.rstrip('=')}", "is not ID = KEY"),
        ("just words", "is not ID = KEY"),
        (f"= {A}", "begins with no id"),
        (f"a b = {A}", "begins with no id"),
        (f"-a = {A}", "begins with no id"),
        (f"{'a' * (MAX_ID + 1)} = {A}", "begins with no id"),
        (f"é = {A}", "begins with no id"),
        (f'a = "{A}"', "has a key in quotes"),
        (f"a = '{A}'", "has a key in quotes"),
        ("a =", "has a key that is not the Base64 of 32 bytes"),
        (f"a = {A[:-5]}", "has a key that is not the Base64 of 32 bytes"),
        (f"a = {A[4:]}", "has a key that is not the Base64 of 32 bytes"),
        (f"a = {A}{A}", "has a key that is not the Base64 of 32 bytes"),
        (f"a = {A} # mine", "has a key that is not the Base64 of 32 bytes"),
        (f"a = {bytes(32).hex()}", "has a key that is not the Base64 of 32 bytes"),
        (f"a = {base64.urlsafe_b64encode(bytes([251]) * 32).decode()}", "has a key that is not the Base64 of 32 bytes"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_not_shown(file: Path, line: str, problem: str) -> None:
    (found,) = mistakes(file, f"ok = {B}\n\n{line}\n")
    assert found.startswith(f"line 3 {problem}")


def test_everything_that_is_wrong_is_named_at_once(file: Path) -> None:
    assert mistakes(file, f"a = {A}\na = {B}\nb = {A}\nc\n") == [
        "line 2 has the id of line 1, give each key another",
        "line 3 has the key of line 1, make a new one",
        "line 4 is not ID = KEY",
    ]


@pytest.mark.parametrize("text", ["\n", "# nothing yet\n"])
def test_a_file_without_a_key_is_refused(file: Path, text: str) -> None:
    assert "key" in mistakes(file, text)[0] or "empty" in mistakes(file, text)[0]


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=f"{file}: there is no such file"):
        read_keys(file)
    file.write_bytes(b"a = \xff\xfe")
    with pytest.raises(ConfigError, match="is a file that is not UTF-8"):
        read_keys(file)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=4, unique=True))
def test_keys_that_are_well_written_are_read(tmp_path_factory: pytest.TempPathFactory, secrets: list[bytes]) -> None:
    file = tmp_path_factory.getbasetemp() / "encryption-keys"
    file.write_text("".join(f"k{i} = {base64.b64encode(one).decode()}\n" for i, one in enumerate(secrets)))
    assert [key.secret for key in read_keys(file)] == secrets
