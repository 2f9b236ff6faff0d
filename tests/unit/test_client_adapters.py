"""What the two Python clients have in common, and what people see of them before they call anything."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

from postwire.v1 import (
    admin_service_pb2,
    dispatch_service_pb2,
    inbox_service_pb2,
    provider_service_pb2,
    suppression_service_pb2,
)
from postwire_client import AsyncClient, Client


def public(cls: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    one, other = public(Client), public(AsyncClient)
    assert list(one) == list(other)
    for name in one:
        parameters = [list(signature.parameters.values()) for signature in (one[name], other[name])]
        if name == "dispatch_many":  # which takes an AsyncIterable as well
            del parameters[0][1], parameters[1][1]
        assert parameters[0] == parameters[1], name


def test_every_call_of_the_contract_has_its_method() -> None:
    files = (
        admin_service_pb2,
        dispatch_service_pb2,
        inbox_service_pb2,
        provider_service_pb2,
        suppression_service_pb2,
    )
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    of_contract = [name for service in services for name in service.methods_by_name]
    methods = {"dispatch_many" if name == "DispatchStream" else snake(name) for name in of_contract}
    assert set(public(Client)) == methods | {"__init__", "close"}


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def test_methods_say_what_they_are_where_people_look() -> None:
    for cls in (Client, AsyncClient):
        assert inspect.signature(cls.get_message).return_annotation == "Message"
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            if not name.startswith("_"):
                assert inspect.getdoc(method), name
                assert method.__qualname__ == f"{cls.__name__}.{name}"
                assert "Call[" not in str(inspect.signature(method)), name
    assert inspect.iscoroutinefunction(AsyncClient.get_message)
    assert not inspect.iscoroutinefunction(Client.get_message)
    assert repr(Client("[::1]:50051")) == "Client('[::1]:50051')"


def test_importing_the_client_loads_nothing_of_the_server() -> None:
    code = "import sys, postwire_client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "postwire_client.async_client" in loaded
    assert {name for name in loaded if name.startswith("postwire.")} - {"postwire.v1"} == {
        f"postwire.v1.{name}"
        for name in (
            "admin_service_pb2",
            "admin_service_pb2_grpc",
            "dispatch_service_pb2",
            "dispatch_service_pb2_grpc",
            "error_reason_pb2",
            "inbox_service_pb2",
            "inbox_service_pb2_grpc",
            "message_pb2",
            "provider_service_pb2",
            "provider_service_pb2_grpc",
            "suppression_service_pb2",
            "suppression_service_pb2_grpc",
        )
    }
    assert not loaded & {"aiohttp", "apsw", "click", "opentelemetry", "rich"}
