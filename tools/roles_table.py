"""Who may call which method, as the contract's comments say it: server/postwire/api/roles.py.

The comment of every method ends in a line such as `Role: send or read.`: whoever has one of these may call it.
"""

import re
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from postwire.core.principal import Role

TABLE: Final = Path("server/postwire/api/roles.py")

_SERVICES, _METHODS = 6, 2  # field numbers of descriptor.proto, of which the paths of `SourceCodeInfo` are made
_LINE: Final = re.compile(r"^ *Role: ([a-z]+(?: or [a-z]+)*)\.$", re.MULTILINE)

_HEAD: Final = '''\
"""Generated from protos/ by `make generate`. Do not edit: which roles a method takes, of which a caller needs one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from postwire.core.principal import Role

ROLES: Final[Mapping[str, tuple[Role, ...]]] = MappingProxyType(
    {
'''


class NoRole(Exception):
    """The comment of a method does not say who may call it; the text names it."""


def render(image: FileDescriptorSet, package: str = "postwire.v1") -> str:
    """The table of an image that has kept its comments.

    Raises `NoRole` for a method whose comment names no role, or one that there is not.
    """
    rows = []
    for file in image.file:
        if file.package != package:
            continue
        comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
        for index, service in enumerate(file.service):
            for number, call in enumerate(service.method):
                method = f"{package}.{service.name}/{call.name}"
                roles = _roles(method, comments.get((_SERVICES, index, _METHODS, number), ""))
                rows.append(f'        "{method}": ({", ".join(roles)}{"," if len(roles) == 1 else ""}),\n')
    return f"{_HEAD}{''.join(rows)}    }}\n)\n"


def _roles(method: str, comment: str) -> list[str]:
    lines = _LINE.findall(comment)
    if len(lines) != 1:
        raise NoRole(f"{method}: its comment needs one line that says who may call it, such as `Role: send or read.`")
    known = {role.value: f"Role.{role.name}" for role in Role}
    names = lines[0].split(" or ")
    if unknown := [name for name in names if name not in known]:
        raise NoRole(f"{method}: there is no role {unknown[0]}, those known are {', '.join(known)}")
    return [known[name] for name in names]
