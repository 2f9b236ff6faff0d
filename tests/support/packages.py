"""Packages that add kinds of providers, as an installer would leave them in a directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

from tests.support import forking

from postwire.providers.builtin import KINDS
from postwire.providers.kinds import GROUP

MODULE = """
from dataclasses import dataclass

from postwire.core import Channel, DispatchResult, Outcome
from postwire.providers.base import Kind, ProviderHealth


@dataclass(frozen=True, slots=True)
class Settings:
    url: str = "http://127.0.0.1:1"


class Provider:
    def __init__(self, context, settings):
        self.name, self.channels, self.kind = context.name, context.channels, "KIND_NAME"

    async def check(self):
        return ProviderHealth(ok=True)

    async def close(self):
        pass


KIND = Kind(settings=Settings, make=Provider, channels=(Channel.SMS,), summary="Somebody's own.")
"""
"""A module that declares a kind which carries SMS."""


def install(folder: Path, package: str, kinds: dict[str, str], **modules: str) -> None:
    """Write a package's modules, by their names, and what an installer notes of it; `kinds` are its entry points."""
    noted = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    noted.mkdir()
    (noted / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    points = "".join(f"{name} = {value}\n" for name, value in kinds.items())
    (noted / "entry_points.txt").write_text(f"[{GROUP}]\n{points}", encoding="utf-8")
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


def installed(folder: Path) -> Callable[[], Iterable[EntryPoint]]:
    """What `Kinds` asks for, of the packages in that directory alone."""
    return lambda: [point for one in distributions(path=[str(folder)]) for point in one.entry_points]


def postwire_with(packages: Path, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own that has the packages of a folder."""
    env = os.environ | {"PYTHONPATH": str(packages)}
    return forking.run(*args, cwd=cwd, env=env, prepare=f"{__name__}:look_for_packages")


def look_for_packages() -> None:
    """Have a fork find what an interpreter would that began with its environment."""
    sys.path.insert(0, os.environ["PYTHONPATH"])
    vars(KINDS).pop("_points", None)
