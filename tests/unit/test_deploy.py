"""What `deploy/` runs Postwire with is what it takes, and leaves it the time that it needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from postwire.config.schema import Config, load
from postwire.config.types import parse_duration
from postwire.providers.builtin import KINDS

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
KUBERNETES: Final = DEPLOY / "kubernetes"
STORES: Final = ("sqlite", "postgres")


def image_environment() -> dict[str, str]:
    """What the image sets."""
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return dict(re.findall(r"(POSTWIRE_[A-Z_]+__[A-Z_]+)=(\S+)", text))


def manifest(name: str) -> Any:
    return yaml.safe_load((KUBERNETES / name).read_text(encoding="utf-8"))


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def loaded(folder: Path, text: str, environ: dict[str, str]) -> Config:
    """A configuration, with all secrets in a folder in place of where they are in a pod."""
    for name in ("password", "ca.crt"):
        (folder / name).write_text("secret\n", encoding="utf-8")
    file = folder / "postwire.toml"
    file.write_text(text.replace("/run/secrets/database", str(folder)), encoding="utf-8")
    return load(path=file, environ=environ, kinds=KINDS)


@pytest.mark.parametrize("store", STORES)
def test_the_configuration_of_a_pod_is_one_that_the_server_takes(store: str, tmp_path: Path) -> None:
    text = (KUBERNETES / store / "postwire.toml").read_text(encoding="utf-8")
    config = loaded(tmp_path, text.replace("/var/lib/postwire", str(tmp_path)), image_environment())
    assert (config.store.url is not None) == (store == "postgres")


def test_what_a_pod_mounts_is_where_its_configuration_looks() -> None:
    pod, own = (manifest(name)["spec"]["template"]["spec"] for name in ("base/pod.yaml", "postgres/deployment.yaml"))
    mounts = {one["name"]: one["mountPath"] for spec in (pod, own) for one in spec["containers"][0]["volumeMounts"]}
    assert mounts.keys() == {one["name"] for spec in (pod, own) for one in spec["volumes"]}
    text = (KUBERNETES / "postgres" / "postwire.toml").read_text(encoding="utf-8")
    assert set(re.findall(r"/run/secrets/(\w+)/", text)) == {"database"}
    assert mounts["database"] == "/run/secrets/database"
    assert pod["containers"][0]["args"] == ["serve", "--config", f"{mounts['config']}/postwire.toml"]


def test_a_stop_leaves_time_for_what_is_under_way() -> None:
    grace = load(path=None, environ={}, kinds=KINDS).server.grace
    assert manifest("base/pod.yaml")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > grace
    for name, service in compose()["services"].items():
        assert parse_duration(service["stop_grace_period"]) > grace, name


def test_the_probes_ask_where_the_image_listens() -> None:
    (container,) = manifest("base/pod.yaml")["spec"]["template"]["spec"]["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    environ = image_environment()
    assert environ["POSTWIRE_SERVER__LISTEN"].endswith(f":{ports['grpc']}")
    assert environ["POSTWIRE_TELEMETRY__METRICS_LISTEN"].endswith(f":{ports['metrics']}")
    assert {container[f"{one}Probe"]["grpc"]["port"] for one in ("liveness", "readiness")} == {ports["grpc"]}
    assert {one["port"]: one["targetPort"] for one in manifest("base/service.yaml")["spec"]["ports"]} == {
        ports["grpc"]: "grpc",
        ports["metrics"]: "metrics",
    }


def test_the_nodes_of_compose_share_one_database_and_no_port(tmp_path: Path) -> None:
    nodes = {name: service for name, service in compose()["services"].items() if name.startswith("node-")}
    configs = [loaded(tmp_path, "", image_environment() | service["environment"]) for service in nodes.values()]
    assert len(nodes) == 2
    assert len({config.store.url for config in configs}) == 1
    assert [config.nodes.name for config in configs] == list(nodes)
    published = [port.rsplit(":", 1)[0] for service in nodes.values() for port in service["ports"]]
    assert len(set(published)) == 4
    assert all(port.startswith("127.0.0.1:") for port in published), "whoever reaches them may send"


def test_what_compose_runs_needs_nothing_but_its_volumes() -> None:
    file = compose()
    assert file["services"]["postgres"]["command"][:3] == ["postgres", "-c", "listen_addresses="]
    for name in ("node-1", "node-2"):
        node = file["services"][name]
        assert (node["read_only"], node["cap_drop"], node["tmpfs"]) == (True, ["ALL"], ["/tmp"])
        (mounted,) = node["volumes"]
        assert node["environment"]["POSTWIRE_STORE__URL"].endswith(f"?host={mounted.partition(':')[2]}")
