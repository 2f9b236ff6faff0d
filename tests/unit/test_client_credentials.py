"""What both Python clients show to a server, and how they have it prove itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from tests.support.certificates import Authority
from tests.support.client_adapters import CLIENT_ADAPTERS, connect
from tests.support.scripted import Refuse, ScriptedServer, serving

from postwire.v1.dispatch_service_pb2 import DispatchResponse, ListMessagesResponse
from postwire.v1.provider_service_pb2 import ListProvidersResponse, WatchProvidersResponse
from postwire_client import (
    Client,
    Credentials,
    DispatchRequest,
    NotAllowed,
    OutboundMessage,
    Provider,
    Sms,
    TryAgain,
    reopening,
)
from postwire_client.credentials import is_local

HELLO = OutboundMessage(sms=Sms(to="+15005550006", body="Hello"))
LIST = ListProvidersResponse()
TOKEN, NEWER = "pw_0123456789_first", "pw_0123456789_second"

Connect = Callable[..., Client]


@pytest.fixture(params=CLIENT_ADAPTERS)
def client_of(request: pytest.FixtureRequest) -> Connect:
    return lambda *args, **settings: connect(request.param, *args, **settings)


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def target(scripted: ScriptedServer, authority: Authority) -> Iterator[str]:
    with serving(scripted, tls=authority.serves("127.0.0.1")) as address:
        yield address


@pytest.fixture
def plain(scripted: ScriptedServer) -> Iterator[str]:
    with serving(scripted) as address:
        yield address


def shown(scripted: ScriptedServer) -> list[Any]:
    """The authorization of each call."""
    return [metadata.get("authorization") for metadata in scripted.metadata]


# What is shown.


def test_every_call_shows_the_token_and_the_tenant(
    client_of: Connect, target: str, scripted: ScriptedServer, authority: Authority
) -> None:
    credentials = Credentials(ca_file=authority.ca_file, token=TOKEN, tenant="acme")
    scripted.answers = [
        DispatchResponse(),
        ListMessagesResponse(),
        iter([WatchProvidersResponse(providers=[Provider(name="email")])]),
        iter([WatchProvidersResponse()]),
    ]
    with client_of(target, credentials=credentials, retry=False) as client:
        client.dispatch(HELLO)
        assert not list(client.list_messages())
        assert list(client.watch_providers())
        assert not list(client.watch_messages())
        assert len(list(client.dispatch_many([DispatchRequest(message=HELLO)]))) == 1
    assert shown(scripted) == [f"Bearer {TOKEN}"] * 5
    assert [metadata["postwire-tenant"] for metadata in scripted.metadata] == ["acme"] * 5
    assert TOKEN not in repr(credentials)


def test_without_credentials_nothing_is_shown(client_of: Connect, plain: str, scripted: ScriptedServer) -> None:
    scripted.answers = [LIST]
    with client_of(plain) as client:
        client.list_providers()
    assert not {"authorization", "postwire-tenant"} & scripted.metadata[0].keys()


def test_a_file_of_a_token_is_read_again_when_it_changes(
    client_of: Connect, plain: str, scripted: ScriptedServer, tmp_path: Path
) -> None:
    scripted.answers = [LIST]
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    with client_of(plain, credentials=Credentials(token_file=file)) as client:
        client.list_providers()
        new = tmp_path / "new"
        new.write_text(NEWER, encoding="utf-8")
        new.rename(file)
        client.list_providers()
        # While it is being replaced, or is of no use, the one before stays.
        file.unlink()
        client.list_providers()
        file.write_text("\n", encoding="utf-8")
        client.list_providers()
        file.write_text(TOKEN, encoding="utf-8")
        client.list_providers()
    assert shown(scripted) == [f"Bearer {token}" for token in (TOKEN, NEWER, NEWER, NEWER, TOKEN)]


def unauthenticated() -> Refuse:
    details = ErrorInfo(reason="INVALID_CREDENTIALS", domain="postwire")
    return Refuse(grpc.StatusCode.UNAUTHENTICATED, details)


def test_a_watch_goes_on_with_a_newer_token(
    client_of: Connect, plain: str, scripted: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reopening, "FIRST_PAUSE", 0.001)
    file = tmp_path / "token"
    file.write_text(TOKEN, encoding="utf-8")
    sms, email = (WatchProvidersResponse(providers=[Provider(name=name)]) for name in ("sms", "email"))

    def until_it_runs_out(context: Any) -> Iterator[WatchProvidersResponse]:
        yield sms
        file.write_text(NEWER, encoding="utf-8")
        unauthenticated().end(context)

    scripted.answers = [until_it_runs_out, iter([email]), unauthenticated()]
    with client_of(plain, credentials=Credentials(token_file=file)) as client:
        watch = client.watch_providers()
        assert [next(watch)[0].name for _ in range(2)] == ["sms", "email"]
        with pytest.raises(NotAllowed, match="INVALID_CREDENTIALS"):  # which was so from the start
            next(watch)
    assert shown(scripted) == [f"Bearer {token}" for token in (TOKEN, NEWER, NEWER)]


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_who_may_not_is_told_so(
    client_of: Connect, plain: str, scripted: ScriptedServer, code: grpc.StatusCode
) -> None:
    scripted.answers = [Refuse(code, ErrorInfo(reason="ROLE_REQUIRED", domain="postwire"))]
    with client_of(plain) as client, pytest.raises(NotAllowed) as caught:
        client.list_providers()
    assert (caught.value.code, caught.value.reason) == (code, "ROLE_REQUIRED")
    assert len(scripted.asked) == 1, "and is not repeated"


LOCAL = [
    "127.0.0.1:50051",
    "127.9.8.7:1",
    "localhost:50051",
    "localhost",
    "[::1]:50051",
    "dns:localhost:1",
    "dns:///127.0.0.1:1",
    "ipv4:127.0.0.1:1",
    "ipv6:[::1]:1",
    "unix:/run/postwire.sock",
    "unix-abstract:postwire",
]
REMOTE = [
    "192.0.2.1:50051",
    "postwire.internal:50051",
    "localhost.example.com:50051",
    "127.0.0.1.example.com:1",
    "dns://192.0.2.1/localhost:1",
    "ipv4:127.0.0.1:1,192.0.2.1:1",
    "[::]:1",
    "0.0.0.0:1",
    "unixes:1",
]


@pytest.mark.parametrize("address", [*LOCAL, *REMOTE])
def test_a_token_goes_in_the_clear_to_this_machine_only(client_of: Connect, address: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    assert is_local(address) == (address in LOCAL)
    for credentials in (Credentials(token=TOKEN), Credentials(token_file=tmp_path / "token")):
        if address in LOCAL:
            with client_of(address, credentials=credentials):
                continue
        with pytest.raises(ValueError, match="by TLS only") as caught:
            client_of(address, credentials=credentials)
        assert TOKEN not in str(caught.value)
        with client_of(address, credentials=Credentials(tls=True, token=TOKEN)):
            pass


# TLS.


def test_a_server_has_to_be_of_an_authority_that_is_trusted(
    client_of: Connect, target: str, scripted: ScriptedServer, authority: Authority, tmp_path: Path
) -> None:
    scripted.answers = [LIST]
    other = Authority(tmp_path / "other")
    for credentials in (Credentials(tls=True), Credentials(ca_file=other.ca_file), Credentials()):
        with client_of(target, credentials=credentials, retry=False) as client, pytest.raises(TryAgain):
            client.list_providers()
    assert not scripted.asked
    with client_of(target, credentials=Credentials(ca_file=str(authority.ca_file))) as client:
        client.list_providers()


def test_a_caller_has_a_certificate_where_one_is_wanted(
    client_of: Connect, scripted: ScriptedServer, authority: Authority, tmp_path: Path
) -> None:
    scripted.answers = [LIST]
    authority.issue("billing.internal").write(tmp_path, "caller")
    own = Credentials(ca_file=authority.ca_file, cert_file=tmp_path / "caller.crt", key_file=tmp_path / "caller.key")
    with serving(scripted, tls=authority.serves("127.0.0.1", wants_certificates=True)) as target:
        with client_of(target, credentials=own) as client:
            client.list_providers()
        without = Credentials(ca_file=authority.ca_file)
        with client_of(target, credentials=without, retry=False) as client, pytest.raises(TryAgain):
            client.list_providers()


def test_tls_goes_over_a_socket_of_the_file_system(
    client_of: Connect, scripted: ScriptedServer, authority: Authority
) -> None:
    scripted.answers = [LIST]
    with (
        tempfile.TemporaryDirectory(prefix="pw-") as folder,
        serving(scripted, f"unix:{folder}/s", tls=authority.serves("localhost")) as target,
        client_of(target, credentials=Credentials(ca_file=authority.ca_file)) as client,
    ):
        client.list_providers()


# What is refused.


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"cert_file": "a"}, "cert_file, key_file: give both, or neither"),
        ({"key_file": "a"}, "cert_file, key_file: give both, or neither"),
        ({"token": TOKEN, "token_file": "a"}, "token, token_file: give only one of them"),
        ({"token": ""}, "token: must be printable ASCII characters without blanks"),
        ({"token": f"{TOKEN}\n"}, "token: must be printable ASCII characters without blanks"),
        ({"token": "tökén"}, "token: must be printable ASCII characters without blanks"),
        ({"tenant": "tökén"}, "tenant: must be printable ASCII characters without blanks"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        Credentials(**given)
    assert str(caught.value) == problem


def test_files_of_no_use_are_named(
    client_of: Connect, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    issued = authority.issue("billing.internal").write(tmp_path, "caller")
    authority.issue("billing.internal").write(tmp_path, "other")
    (tmp_path / "empty").touch()
    pair = "are no certificate and its key, in PEM and without a password"
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"ca_file": "none"}, "ca_file: none cannot be read (No such file or directory)"),
        ({"ca_file": "empty"}, "ca_file: empty holds no certificate in PEM"),
        ({"ca_file": "caller.key"}, "ca_file: caller.key holds no certificate in PEM"),
        ({"cert_file": "none", "key_file": "caller.key"}, "cert_file: none cannot be read"),
        ({"cert_file": "caller.crt", "key_file": "other.key"}, f"cert_file, key_file: caller.crt, other.key {pair}"),
        ({"cert_file": "caller.key", "key_file": "caller.key"}, f"cert_file, key_file: caller.key, caller.key {pair}"),
        ({"token_file": "none"}, "token_file: none cannot be read (No such file or directory)"),
        ({"token_file": "/dev/zero"}, "token_file: /dev/zero holds more than 1 MiB"),
        ({"token_file": "empty"}, "token_file: empty holds no token, which is one line of"),
        ({"token_file": "caller.key"}, "token_file: caller.key holds no token, which is one line of"),
    )
    for given, problem in cases:
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is compared below
            client_of("127.0.0.1:1", credentials=Credentials(**given))
        assert str(caught.value).startswith(problem)
        assert issued.key.decode().splitlines()[1] not in str(caught.value)
