"""Both Python clients: who calls, and for whom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.client_adapters import CLIENT_ADAPTERS, connect
from tests.support.scripted import ScriptedServer, serving

from postwire.v1.admin_service_pb2 import GetCallerRequest, ListTenantsRequest, ListTenantsResponse
from postwire_client import GetCallerResponse, Tenant


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def target(scripted: ScriptedServer) -> Iterator[str]:
    with serving(scripted) as address:
        yield address


@pytest.mark.parametrize("adapter", CLIENT_ADAPTERS)
def test_who_calls_and_for_whom(adapter: str, target: str, scripted: ScriptedServer) -> None:
    caller, acme = GetCallerResponse(principal="ops", tenant="acme", roles=["read"]), Tenant(name="acme")
    with connect(adapter, target) as client:
        scripted.answers = [caller]
        assert client.get_caller() == caller
        scripted.answers = [ListTenantsResponse(tenants=[acme])]
        assert client.list_tenants() == [acme]
    assert scripted.asked == [GetCallerRequest(), ListTenantsRequest()]
