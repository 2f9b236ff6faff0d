"""Who may call what: each method of the contract with each kind of credential, over a real socket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.e2e.calls import TIMEOUT, refusal_of, refused, request
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.support.access import bearer, declared, made_key
from tests.support.certificates import Authority
from tests.support.tokens import AUDIENCE, ISSUER, PRIVATE, key_set, token

from postwire.api.roles import ROLES
from postwire.core.principal import Role
from postwire.v1 import (
    admin_service_pb2,
    dispatch_service_pb2,
    dispatch_service_pb2_grpc,
    inbox_service_pb2,
    provider_service_pb2,
    suppression_service_pb2,
)

STREAMS_IN: Final = {"postwire.v1.DispatchService/DispatchStream"}

KEYS: Final = {role.value: made_key() for role in Role}
EXPIRED, FOREIGN, ADMIN, UNKNOWN = made_key(), made_key(), made_key(), made_key()

TOML: Final = "\n".join(
    (
        *(declared(key, "acme", role) for role, key in KEYS.items()),
        declared(EXPIRED, "acme", *KEYS, expires="2020-01-01T00:00:00Z"),
        declared(FOREIGN, "globex", "send", "read", "operate"),
        declared(ADMIN, ""),
        *(
            f'[[tenants.{tenant}.certificates]]\n{kind} = "{name}"\nroles = ["{role}"]\n'
            for tenant, kind, name, role in (
                ("acme", "uri", "spiffe://example.com/billing", "send"),
                ("acme", "dns", "reports.example.com", "read"),
                ("globex", "uri", "spiffe://example.com/globex", "send"),
            )
        ),
        f'[auth.jwt]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\njwks_file = "keys.json"\n',
    )
)

CERTIFICATES: Final[dict[str, tuple[str, ...]]] = {
    "nobody": ("nobody.example.com",),
    "billing": ("spiffe://example.com/billing",),
    "reports": ("Reports.example.com",),
    "both": ("localhost", "spiffe://example.com/billing", "reports.example.com"),
    "two tenants": ("spiffe://example.com/billing", "spiffe://example.com/globex"),
    "globex": ("spiffe://example.com/globex",),
    "below": ("spiffe://example.com/billing/more", "a.reports.example.com"),
    "beyond": ("*.example.com", "spiffe://example.com/Billing"),
}
"""The names in the certificates of callers."""


@dataclass(frozen=True)
class Shown:
    """What a call shows, and with which of the roles it goes through; or why it is refused whatever it asks for."""

    name: str
    metadata: tuple[tuple[str, str], ...]
    roles: tuple[Role, ...] = ()
    reason: str = ""
    certificate: str = "nobody"


NOW: Final = time.time()
ALL: Final = tuple(Role)
TO_GLOBEX: Final = (("postwire-tenant", "globex"),)
SHOWN: Final = [
    Shown("nothing", (), reason="NO_CREDENTIALS"),
    Shown("an unknown key", bearer(UNKNOWN), reason="INVALID_CREDENTIALS"),
    Shown("another secret", bearer(f"pw_{KEYS['send'].id}_{UNKNOWN.text[-52:]}"), reason="INVALID_CREDENTIALS"),
    Shown("another scheme", (("authorization", f"Basic {KEYS['send'].text}"),), reason="INVALID_CREDENTIALS"),
    Shown("no token", (("authorization", "Bearer "),), reason="INVALID_CREDENTIALS"),
    Shown("two keys", bearer(KEYS["send"]) + bearer(KEYS["read"]), reason="INVALID_CREDENTIALS"),
    Shown("an expired key", bearer(EXPIRED), reason="INVALID_CREDENTIALS"),
    *(Shown(role, bearer(key), (Role(role),)) for role, key in KEYS.items() if role != "admin"),
    Shown("admin", bearer(KEYS["admin"]), ALL),
    Shown("an administrator", bearer(ADMIN), ALL),
    Shown("an administrator for a tenant", bearer(ADMIN, "acme"), ALL),
    Shown("an administrator for no tenant", bearer(ADMIN, "initech"), reason="TENANT_NOT_FOUND"),
    Shown("its own tenant", bearer(FOREIGN, "globex"), (Role.SEND, Role.READ, Role.OPERATE)),
    Shown("another tenant", bearer(FOREIGN, "acme"), reason="ROLE_REQUIRED"),
    Shown("a tenant that is not there", bearer(FOREIGN, "initech"), reason="ROLE_REQUIRED"),
    Shown("lower case", (("authorization", f"bearer {KEYS['send'].text}"),), (Role.SEND,)),
    *(Shown(f"a token {name}", bearer(token(NOW, name)), (Role.SEND,)) for name in PRIVATE),
    Shown("a token of two roles", bearer(token(NOW, roles="read operate")), (Role.READ, Role.OPERATE)),
    Shown("a token without roles", bearer(token(NOW, roles=None)), ()),
    Shown("an administrator's token", bearer(token(NOW, tenant=None, roles=["admin"]), "globex"), ALL),
    Shown("another tenant's token", bearer(token(NOW), "globex"), reason="ROLE_REQUIRED"),
    Shown("an expired token", bearer(token(NOW, exp=NOW - 3600)), reason="INVALID_CREDENTIALS"),
    Shown("a token of nobody's", bearer(token(NOW, header={"kid": "none"})), reason="INVALID_CREDENTIALS"),
    Shown("a certificate", (), (Role.SEND,), certificate="billing"),
    Shown("a certificate with a DNS name", (), (Role.READ,), certificate="reports"),
    Shown("a certificate with two names", (), (Role.SEND, Role.READ), certificate="both"),
    Shown("a certificate of two tenants", (), reason="INVALID_CREDENTIALS", certificate="two tenants"),
    Shown("a certificate with names below", (), reason="NO_CREDENTIALS", certificate="below"),
    Shown("a certificate with names like it", (), reason="NO_CREDENTIALS", certificate="beyond"),
    Shown("a common name", (), reason="NO_CREDENTIALS", certificate="common name"),
    Shown("a certificate for another tenant", TO_GLOBEX, reason="ROLE_REQUIRED", certificate="billing"),
    Shown("a key beside its certificate", bearer(KEYS["read"]), (Role.READ,), certificate="billing"),
    Shown("a token beside its certificate", bearer(token(NOW)), (Role.SEND,), certificate="reports"),
    Shown("a key beside another's", bearer(KEYS["send"]), reason="INVALID_CREDENTIALS", certificate="globex"),
    Shown("a token beside another's", bearer(token(NOW)), reason="INVALID_CREDENTIALS", certificate="globex"),
    Shown("a wrong key beside a certificate", bearer(UNKNOWN), reason="INVALID_CREDENTIALS", certificate="billing"),
    Shown("an administrator beside another's", bearer(ADMIN), reason="INVALID_CREDENTIALS", certificate="globex"),
]

CODES: Final = {
    "NO_CREDENTIALS": grpc.StatusCode.UNAUTHENTICATED,
    "INVALID_CREDENTIALS": grpc.StatusCode.UNAUTHENTICATED,
    "ROLE_REQUIRED": grpc.StatusCode.PERMISSION_DENIED,
    "TENANT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
}


Channels = dict[str, grpc.Channel]


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Channels]:
    """Connections to a server, by the names of the certificates that they show."""
    folder = tmp_path_factory.mktemp("server")
    authority = Authority(folder / "authority")
    ca = authority.ca_file.read_bytes()
    authority.issue("127.0.0.1").write(folder)
    issued = {name: authority.issue(*names) for name, names in CERTIFICATES.items()}
    issued["common name"] = authority.issue("nobody.example.com", common_name="reports.example.com")
    tls = '[server.tls]\ncert_file = "tls.crt"\nkey_file = "tls.key"\nclient_ca_file = "authority/ca.pem"\n'
    (folder / "postwire.toml").write_text(f'{tls}client_auth = "required"\n{TOML}', encoding="utf-8")
    (folder / "keys.json").write_text(key_set(), encoding="utf-8")
    running = Server(folder)
    running.credentials = grpc.ssl_channel_credentials(ca, issued["nobody"].key, issued["nobody"].chain)
    made: Channels = {}
    with running:
        for name, one in issued.items():
            running.credentials = grpc.ssl_channel_credentials(ca, one.key, one.chain)
            made[name] = running.channel()
        yield made


@pytest.fixture
def channel(channels: Channels) -> grpc.Channel:
    """The connection of somebody with a certificate that nobody knows."""
    return channels["nobody"]


def reason_of(channel: grpc.Channel, method: str, metadata: tuple[tuple[str, str], ...]) -> str:
    """Why an empty call is refused by the guard; empty where it gets through, whatever becomes of it then."""
    raw: Any = channel  # as bytes: its types want serializers
    path = f"/{method}"
    if method in STREAMS_IN:
        call = raw.stream_stream(path)(iter(()), metadata=metadata, timeout=TIMEOUT)
    else:
        call = raw.unary_stream(path)(b"", metadata=metadata, timeout=TIMEOUT)
    try:
        next(call, None)
    except grpc.RpcError as error:
        found = refusal_of(error)
        assert found.code is not grpc.StatusCode.UNIMPLEMENTED
        if found.reason in CODES:
            assert found.code is CODES[found.reason]
            if found.reason == "ROLE_REQUIRED":
                assert "this needs the role " in found.text
            return str(found.reason)
    finally:
        call.cancel()
    return ""


METHODS: Final = [
    f"{service.full_name}/{method.name}"
    for file in (
        admin_service_pb2,
        dispatch_service_pb2,
        inbox_service_pb2,
        provider_service_pb2,
        suppression_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


def test_the_table_has_every_method_of_the_contract() -> None:
    assert list(ROLES) == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_who_may_call(channels: Channels, method: str) -> None:
    expected = {
        one.name: one.reason or ("" if set(one.roles) & {*ROLES[method], Role.ADMIN} else "ROLE_REQUIRED")
        for one in SHOWN
    }
    assert {one.name: reason_of(channels[one.certificate], method, one.metadata) for one in SHOWN} == expected


def test_the_role_that_is_needed_is_named(channel: grpc.Channel) -> None:
    stub, operates = dispatch_service_pb2_grpc.DispatchServiceStub(channel), bearer(KEYS["operate"])
    found = refused(lambda: stub.Dispatch(request(), metadata=operates, timeout=TIMEOUT))
    assert found.text == "this needs the role send"
    asked = dispatch_service_pb2.GetMessageRequest(message_id="x")
    found = refused(lambda: stub.GetMessage(asked, metadata=operates, timeout=TIMEOUT))
    assert found.text == "this needs the role send or read"


def test_health_is_open(channel: grpc.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)  # its types know no methods
    asked = health_pb2.HealthCheckRequest()
    for metadata in ((), bearer(UNKNOWN)):
        answer = stub.Check(asked, metadata=metadata, timeout=TIMEOUT)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    listed: Any = health_pb2
    assert set(stub.List(listed.HealthListRequest(), timeout=TIMEOUT).statuses) >= {"", "liveness"}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [((), "NO_CREDENTIALS"), (bearer(UNKNOWN), "INVALID_CREDENTIALS"), (bearer(KEYS["send"]), "")],
)
def test_reflection_is_for_whoever_may_call_at_all(
    channel: grpc.Channel, metadata: tuple[tuple[str, str], ...], reason: str
) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = iter((reflection_pb2.ServerReflectionRequest(list_services=""),))
    call = stub.ServerReflectionInfo(asked, metadata=metadata, timeout=TIMEOUT)
    if reason:
        assert refused(lambda: next(call)).reason == reason
    else:
        assert next(call).list_services_response.service


def test_without_keys_nobody_is_asked_and_there_is_one_tenant(serve: Serve) -> None:
    server = serve()
    for metadata in ((), bearer(UNKNOWN), (("postwire-tenant", "default"),)):
        assert server.dispatch.Dispatch(request(), metadata=metadata, timeout=TIMEOUT).message.message_id
    named = (("postwire-tenant", "acme"),)
    found = refused(lambda: server.dispatch.Dispatch(request(), metadata=named, timeout=TIMEOUT))
    assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")
