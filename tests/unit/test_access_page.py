"""docs/access.md says of every method what the contract says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tests.support.access import access_of
from tools.roles_table import NoRole, render

from postwire.api.access import UnknownMethod
from postwire.api.guard import Calls, Guard
from postwire.api.roles import ROLES
from postwire.core.principal import Role

PAGE = (Path(__file__).parents[2] / "docs/access.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("role", Role)
def test_the_page_names_the_methods_of_each_role(role: Role) -> None:
    (row,) = re.findall(rf"^\| `{role.value}` \| (.*) \|$", PAGE, re.MULTILINE)
    of_role = [method.partition("/")[2] for method, roles in ROLES.items() if role in roles]
    assert sorted(re.findall(r"`([A-Za-z]+)`", row)) == sorted(of_role)


def of(comment: str) -> FileDescriptorSet:
    """A contract with one method, which has this comment."""
    image = FileDescriptorSet()
    file = image.file.add(package="postwire.v1", name="a.proto")
    file.service.add(name="Greeter").method.add(name="Greet")
    file.source_code_info.location.add(path=[6, 0, 2, 0], leading_comments=comment)
    return image


@pytest.mark.parametrize(
    ("comment", "roles"),
    [(" Greets.\n\n Role: send.\n", "(Role.SEND,)"), (" Role: send or operate.", "(Role.SEND, Role.OPERATE)")],
)
def test_the_table_is_made_from_the_comments(comment: str, roles: str) -> None:
    assert f'"postwire.v1.Greeter/Greet": {roles},\n' in render(of(comment))


@pytest.mark.parametrize(
    "comment", [" Greets.\n", " Role: root.", " Role: send", " Role: send.\n Role: read.\n", " In the Role: send.", ""]
)
def test_a_method_that_does_not_say_who_may_call_it_is_refused(comment: str) -> None:
    with pytest.raises(NoRole, match=r"postwire\.v1\.Greeter/Greet: "):
        render(of(comment))


def test_a_server_does_not_start_with_a_method_that_is_not_in_the_table() -> None:
    class Servicer:
        async def Greet(self, request: object, call: object) -> None:
            pass

    guarded = Guard(Calls(), [], access_of("")).around("postwire.v1.Greeter", Servicer())
    with pytest.raises(UnknownMethod, match=r"^postwire\.v1\.Greeter/Greet: the contract does not say"):
        _ = guarded.Greet
