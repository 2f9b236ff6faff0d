"""`store.url` and `[nodes]`: where several nodes meet, and what may not stand there."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.cli.preflight import examine
from postwire.config import database_url
from postwire.config.bind import ConfigError
from postwire.config.database_url import read_url
from postwire.config.schema import StoreConfig, effective
from postwire.config.types import Refused

SAFE = "sslmode=verify-full&sslrootcert=/ca.crt"


@pytest.mark.parametrize(
    ("url", "place", "local"),
    [
        ("postgresql://postwire@127.0.0.1/postwire", "127.0.0.1/postwire", True),
        ("postgres://localhost:5433/mail", "localhost:5433/mail", True),
        ("postgresql://[::1]:5433/mail?sslmode=disable", "[::1]:5433/mail", True),
        ("postgresql:///mail?host=/run/postgresql&port=5433", "/run/postgresql/mail", True),
        ("postgresql://me@%2Frun%2Fpostgresql/mail", "/run/postgresql/mail", True),
        (f"postgresql://me@db.example.com/mail?{SAFE}", "db.example.com/mail", False),
        (f"postgresql://h1,h2:5433,h3/mail?target_session_attrs=read-write&{SAFE}", "h1,h2:5433,h3/mail", False),
        (f"postgresql://localhost,h2/mail?{SAFE}", "localhost,h2/mail", False),
    ],
)
def test_what_logs_say_of_a_database_is_where_it_is(read: Any, url: str, place: str, local: bool) -> None:
    config = read(STORE__URL=url)
    assert (config.store.url, config.store.place, config.store.key) == (url, place, "store.url")
    assert read_url(url).is_local is local


NO_ADDRESS = f"is not the address of a PostgreSQL database such as {database_url.EXAMPLE}"
HAS_PASSWORD = "has a password in it, leave it out and set store.password_file"
BEYOND = "leads beyond this machine, where sslmode must be verify-full"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("hunter2", NO_ADDRESS),
        ("http://hunter2/mail", NO_ADDRESS),
        ("postgresql://127.0.0.1", NO_ADDRESS),
        ("postgresql://127.0.0.1/", NO_ADDRESS),
        ("postgresql:///mail", NO_ADDRESS),
        ("postgresql://127.0.0.1/mail#hunter2", NO_ADDRESS),
        ("postgresql://127.0.0.1:port/mail", NO_ADDRESS),
        ("postgresql://127.0.0.1,/mail", NO_ADDRESS),
        ("postgresql://127.0.0.1/mail?host=hunter2", NO_ADDRESS),
        ("postgresql://127.0.0.1/mail?port=0", NO_ADDRESS),
        ("postgresql://127.0.0.1/mail?sslmode", NO_ADDRESS),
        ("postgresql://127.0.0.1/mail?sslmode=", NO_ADDRESS),
        ("postgresql://127.0.0.1/mail?sslmode=disable&sslmode=allow", NO_ADDRESS),
        ("postgresql://me:hunter2@127.0.0.1/mail", HAS_PASSWORD),
        ("postgresql://me:@127.0.0.1/mail", HAS_PASSWORD),
        ("postgresql://127.0.0.1/mail?password=hunter2", HAS_PASSWORD),
        ("postgresql://127.0.0.1/mail?sslmode=disable&sslpassword=hunter2", HAS_PASSWORD),
        ("postgresql://db/mail", BEYOND),
        ("postgresql://db/mail?sslmode=require", BEYOND),
        ("postgresql://127.0.0.1,db/mail?sslmode=verify-ca&sslrootcert=/ca.crt", BEYOND),
        ("postgresql://127.0.0.1.example.com/mail", BEYOND),
        ("postgresql:///mail?host=db", BEYOND),
        ("postgresql://db/mail?sslmode=verify-full", "has sslmode=verify-full and no sslrootcert, name the file"),
        ("postgresql://127.0.0.1/mail?sslmode=on", "has an sslmode that there is not, must be one of disable,"),
        ("postgresql://127.0.0.1/mail?target_session_attrs=any", "but every node writes"),
        (
            "postgresql://127.0.0.1/mail?search_path=mine",
            "has search_path, which is not known; known here: host, port,",
        ),
        ("postgresql://127.0.0.1/mail?HUNTER2=mine", "has an option, which is not known"),
    ],
)
def test_an_address_that_would_not_do_is_refused_and_not_shown(read: Any, url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(STORE__URL=url)
    assert str(error.value).startswith("store.url (POSTWIRE_STORE__URL): the value ")
    assert problem in str(error.value)
    assert "hunter2" not in str(error.value).lower()


@given(st.text(alphabet="abc:@/,[]?&=%#.postgresql ", max_size=60).map("postgresql://".__add__) | st.text())
def test_whatever_stands_there_is_an_address_or_refused(text: str) -> None:
    try:
        found = read_url(text)
    except Refused:
        return
    assert found.hosts
    assert found.database


def test_a_file_and_a_database_stop_the_boot(read: Any) -> None:
    with pytest.raises(ConfigError) as error:
        read('[store]\npath = "mail.db"\n', STORE__URL="postgresql://127.0.0.1/mail")
    assert str(error.value) == "store.path, store.url: are both set, set only one of them"


def test_a_file_is_the_default(read: Any) -> None:
    store = read().store
    assert (store.url, store.key, store.place) == (None, "store.path", "postwire.db")


def test_the_password_has_a_key_and_a_file_of_its_own_and_is_not_shown(read: Any, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n", encoding="utf-8")
    url = "postgresql://me@127.0.0.1/mail"
    config = read(STORE__URL=url, STORE__PASSWORD_FILE=str(tmp_path / "password"))
    assert config.store.password == "hunter2"
    assert config.secret_files == {"store.password_file": tmp_path / "password"}
    assert "hunter2" not in repr(config) + str(effective(config))
    assert dict(effective(config))["store.password"] == "(set)"
    with pytest.raises(ConfigError, match=r"^store\.password \(.*\): does nothing by itself, set url too"):
        read(STORE__PASSWORD="hunter2")


def test_a_node_is_called_as_its_host_is_unless_it_says_otherwise(read: Any) -> None:
    nodes = read().nodes
    assert (nodes.lease, nodes.beat, nodes.called) == (15.0, 3.0, socket.gethostname())
    assert read(NODES__NAME="west").nodes.called == "west"


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("beat = '6s'", "nodes.beat: 6s is more than a third of lease (15s), must be at most that"),
        ("lease = '500ms'", 'nodes.lease: "500ms" is too short, must be at least 1s'),
        ("lease = '1h'", 'nodes.lease: "1h" is too long, must be at most 10m'),
        ("beat = '1ms'", 'nodes.beat: "1ms" is too short, must be at least 100ms'),
        ("name = ''", "nodes.name: must have 1 to 255 printable characters"),
        ('name = "a\\n"', "nodes.name: must have 1 to 255 printable characters"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(read: Any, toml: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(f"[nodes]\n{toml}")
    assert str(error.value) == line


def test_what_a_server_would_stumble_over_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").touch()
    url = f"postgresql://db/mail?sslmode=verify-full&sslrootcert={tmp_path}/none&sslcert={tmp_path}/empty"
    store = StoreConfig(Path("no/such/folder/postwire.db"), url=url)
    assert [str(one) for one in examine(store)] == [
        f"store.url: sslrootcert: {tmp_path}/none cannot be read (No such file or directory)",
        f"store.url: sslcert: {tmp_path}/empty does not go with sslkey",
    ]
    monkeypatch.setattr(database_url, "find_spec", lambda name: None)
    said = "store.url: takes what is not installed: pip install 'postwire[postgres]'"
    assert [str(one) for one in examine(StoreConfig(url="postgresql://127.0.0.1/mail"))] == [said]
