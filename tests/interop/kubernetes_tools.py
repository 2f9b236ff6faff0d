"""kustomize, kubeconform, and what Kubernetes says its resources look like: all of it from modules of Go, pinned."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MODULE: Final = Path(__file__).parent / "kubernetes"
PACKAGES: Final = ("github.com/yannh/kubeconform/cmd/kubeconform", "sigs.k8s.io/kustomize/kustomize/v5")

SCHEMAS: Final = "sigs.k8s.io/kubectl-validate"
"""The module that has the schemas within, so that nothing else has to be fetched."""

VERSION: Final = "1.35"
"""Of Kubernetes, whose schemas are used: the newest that the module has."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that were built, in `folder`, and the `schemas`, a file a kind."""

    folder: Path
    schemas: Path

    def render(self, kustomization: Path) -> str:
        """What would be applied, as YAML."""
        done = subprocess.run((self.folder / "kustomize", "build", kustomization), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def check(self, manifests: str) -> tuple[int, Mapping[str, Any]]:
        """What kubeconform says of manifests: its exit code, and its report."""
        location = f"{self.schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
        command = (self.folder / "kubeconform", "-strict", "-summary", "-output", "json", "-schema-location", location)
        done = subprocess.run(command, input=manifests, capture_output=True, text=True)
        assert done.stdout, done.stderr
        report: Mapping[str, Any] = json.loads(done.stdout)
        return done.returncode, report


def build(folder: Path) -> None:
    """Build the programs, which takes a minute or two; then go finds that nothing has changed."""
    done = subprocess.run(
        ("go", "build", "-o", f"{folder}{os.sep}", *PACKAGES), cwd=MODULE, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def write_schemas(folder: Path) -> None:
    """Write what each kind of resource has to look like, in the way that kubeconform reads: a file a kind."""
    done = subprocess.run(("go", "mod", "download", "-json", SCHEMAS), cwd=MODULE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    source = Path(json.loads(done.stdout)["Dir"], "pkg", "openapiclient", "builtins", VERSION)
    for file in source.rglob("*.json"):
        components = json.loads(file.read_text(encoding="utf-8"))["components"]
        for schema in components["schemas"].values():
            if "properties" in schema:
                schema.setdefault("additionalProperties", False)
        for kind, name in _kinds(components["schemas"]):
            whole = {"$ref": f"#/components/schemas/{name}", "components": components}
            (folder / f"{kind}.json").write_text(json.dumps(whole), encoding="utf-8")


def _kinds(schemas: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The kinds that schemas are of, as kubeconform names the files, and the names of their schemas."""
    for name, schema in schemas.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            group = kind["group"].split(".")[0]
            if "spec" in schema["properties"] or "data" in schema["properties"] or kind["kind"] == "ServiceAccount":
                yield "-".join(filter(None, (kind["kind"].lower(), group, kind["version"]))), name
