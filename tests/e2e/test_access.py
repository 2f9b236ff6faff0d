"""Who may call what: each method of the contract with each kind of credential, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.e2e.calls import TIMEOUT, refusal_of, refused, request
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.support.access import bearer, declared, made_key

from postwire.api.roles import ROLES
from postwire.core.principal import Role
from postwire.v1 import admin_service_pb2, dispatch_service_pb2, provider_service_pb2

STREAMS_IN: Final = {"postwire.v1.DispatchService/DispatchStream"}

KEYS: Final = {role.value: made_key() for role in Role}
EXPIRED, FOREIGN, ADMIN, UNKNOWN = made_key(), made_key(), made_key(), made_key()

TOML: Final = "\n".join(
    (
        *(declared(key, "acme", role) for role, key in KEYS.items()),
        declared(EXPIRED, "acme", *KEYS, expires="2020-01-01T00:00:00Z"),
        declared(FOREIGN, "globex", "send", "read", "operate"),
        declared(ADMIN, ""),
    )
)


@dataclass(frozen=True)
class Shown:
    """What a call shows, and with which of the roles it goes through; or why it is refused whatever it asks for."""

    name: str
    metadata: tuple[tuple[str, str], ...]
    roles: tuple[Role, ...] = ()
    reason: str = ""


ALL: Final = tuple(Role)
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
]

CODES: Final = {
    "NO_CREDENTIALS": grpc.StatusCode.UNAUTHENTICATED,
    "INVALID_CREDENTIALS": grpc.StatusCode.UNAUTHENTICATED,
    "ROLE_REQUIRED": grpc.StatusCode.PERMISSION_DENIED,
    "TENANT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "postwire.toml").write_text(TOML, encoding="utf-8")
    with Server(folder) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: Server) -> grpc.Channel:
    return server.channel()


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
    for file in (admin_service_pb2, dispatch_service_pb2, provider_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


def test_the_table_has_every_method_of_the_contract() -> None:
    assert list(ROLES) == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_who_may_call(channel: grpc.Channel, method: str) -> None:
    expected = {
        one.name: one.reason or ("" if set(one.roles) & {*ROLES[method], Role.ADMIN} else "ROLE_REQUIRED")
        for one in SHOWN
    }
    assert {one.name: reason_of(channel, method, one.metadata) for one in SHOWN} == expected


def test_the_role_that_is_needed_is_named(server: Server) -> None:
    send = bearer(KEYS["operate"])
    found = refused(lambda: server.dispatch.Dispatch(request(), metadata=send, timeout=TIMEOUT))
    assert found.text == "this needs the role send"
    asked = dispatch_service_pb2.GetMessageRequest(message_id="x")
    assert refused(lambda: server.dispatch.GetMessage(asked, metadata=send, timeout=TIMEOUT)).text == (
        "this needs the role send or read"
    )


def test_health_is_open(server: Server) -> None:
    asked = health_pb2.HealthCheckRequest()
    assert server.health.Check(asked, timeout=TIMEOUT).status == health_pb2.HealthCheckResponse.SERVING
    assert server.health.Check(asked, metadata=bearer(UNKNOWN), timeout=TIMEOUT).status


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
