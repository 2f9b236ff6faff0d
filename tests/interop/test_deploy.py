"""What `deploy/` has for Kubernetes and Compose is what these take: strictly, with nothing that they do not know."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
import yaml
from tests.interop import kubernetes_tools
from tests.interop.conftest import TOOLS
from tests.interop.kubernetes_tools import Tools
from tests.support.needed import Need
from tests.support.reader import ROOT

KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
COMPOSE: Final = ROOT / "deploy" / "compose.yaml"
COMPOSE_MODULE: Final = Path(__file__).parent / "compose"

BOTH: Final = {"ConfigMap": 1, "NetworkPolicy": 1, "Service": 1, "ServiceAccount": 1}
KINDS: Final = {"sqlite": {"StatefulSet": 1, **BOTH}, "postgres": {"Deployment": 1, "PodDisruptionBudget": 1, **BOTH}}


@pytest.fixture(scope="module")
def tools(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Tools:
    need("go")
    kubernetes_tools.build(TOOLS)
    schemas = tmp_path_factory.mktemp("schemas")
    kubernetes_tools.write_schemas(schemas)
    return Tools(TOOLS, schemas)


@pytest.mark.parametrize("store", KINDS)
def test_kubernetes_takes_every_resource(tools: Tools, store: str) -> None:
    rendered = tools.render(KUBERNETES / store)
    status, report = tools.check(rendered)
    assert status == 0, report
    kinds = Counter(one["kind"] for one in yaml.safe_load_all(rendered))
    assert kinds == KINDS[store]
    assert report["summary"] == {"valid": kinds.total(), "invalid": 0, "errors": 0, "skipped": 0}


def test_the_kustomization_that_the_page_shows_is_one(tools: Tools, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "nodes.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "postwire").symlink_to(ROOT)
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "kustomization.yaml").write_text(shown, encoding="utf-8")
    (tmp_path / "ours" / "postwire.toml").write_text("# Ours\n", encoding="utf-8")
    rendered = tools.render(tmp_path / "ours")
    assert tools.check(rendered)[0] == 0
    by_kind = {one["kind"]: one for one in yaml.safe_load_all(rendered)}
    assert by_kind["ConfigMap"]["data"] == {"postwire.toml": "# Ours\n"}
    pod = by_kind["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example.com/postwire:1.0"
    (name,) = {one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one}
    assert name == by_kind["ConfigMap"]["metadata"]["name"]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("readOnlyRootFilesystem: true", "readonlyRootFilesystem: true"),
        ("periodSeconds: 10", "periodSeconds: ten"),
        ("replicas: 3", "replicas: 3.5"),
        ("maxUnavailable: 1", "maxUnavailable: [1]"),
    ],
)
def test_a_mistake_would_be_found(tools: Tools, right: str, wrong: str) -> None:
    rendered = tools.render(KUBERNETES / "postgres")
    assert right in rendered
    status, report = tools.check(rendered.replace(right, wrong))
    assert (status, report["summary"]["invalid"]) == (1, 1), report


def test_compose_takes_its_file(need: Need, tmp_path: Path) -> None:
    need("go")
    program = TOOLS / "compose"
    package = "github.com/compose-spec/compose-go/v2/cmd"
    built = subprocess.run(("go", "build", "-o", program, package), cwd=COMPOSE_MODULE, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run(
        (program, "-format", "json", COMPOSE), cwd=tmp_path, capture_output=True, text=True, env={"PATH": os.defpath}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["services"].keys() == {"postgres", "node-1", "node-2"}
