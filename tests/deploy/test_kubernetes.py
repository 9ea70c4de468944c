"""The manifests for Kubernetes, without a cluster: by the API's own schemas, and what they promise read off them."""

from __future__ import annotations

import copy
import inspect
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import tickgate
from tests.deploy.files import DEPLOY, ROOT, read_yaml
from tickgate_server.settings import load
from tools.programs import environment_without_settings

FOLDER = DEPLOY / "kubernetes"
APART = {"kustomization.yaml", "monitoring.yaml"}
"""What the API itself does not know: kustomize's own file, and a kind of the Prometheus operator's."""

MANIFESTS: list[dict[str, Any]] = [
    manifest
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.name not in APART
    for manifest in yaml.safe_load_all(path.read_text())
]


def one(kind: str, name: str) -> dict[str, Any]:
    """Return the manifest of *kind* called *name*."""
    (found,) = (
        each for each in MANIFESTS if each["kind"] == kind and each["metadata"]["name"] == name
    )
    return found


def pod(name: str) -> dict[str, Any]:
    """Return the pod of the Deployment called *name*."""
    template: dict[str, Any] = one("Deployment", name)["spec"]["template"]
    return template


def container(name: str) -> dict[str, Any]:
    """Return the only container of that pod."""
    (only,) = pod(name)["spec"]["containers"]
    found: dict[str, Any] = only
    return found


GATEWAYS = ("tickgate", "tickgate-holder")


def test_the_api_takes_them() -> None:
    """Kubernetes' strict schemas take each manifest: every field is known and of its type."""
    paths = [path for path in sorted(FOLDER.glob("*.yaml")) if path.name not in APART]
    done = subprocess.run(
        [Path(sys.executable).parent / "kubernetes-validate", "--strict", *paths],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("passed") == len(MANIFESTS)


def test_kustomize_names_what_is_there() -> None:
    """kustomization.yaml lists each file but examples and monitoring, and names the image that pods ask for."""
    kustomization = read_yaml("kubernetes/kustomization.yaml")
    files = {path.name for path in FOLDER.glob("*.yaml") if ".example" not in path.name} - APART

    assert set(kustomization["resources"]) == files
    assert {image["name"] for image in kustomization["images"]} == {
        container(name)["image"] for name in GATEWAYS
    }
    assert kustomization["namespace"] == one("Namespace", "market-data")["metadata"]["name"]


@pytest.mark.parametrize("name", [*GATEWAYS, "quant"])
def test_pods_are_shut_in(name: str) -> None:
    """Each pod is nobody, cannot write, can do nothing special, has no token of the cluster and a limit of memory."""
    inside = pod(name)["spec"]
    only = container(name)

    assert inside["automountServiceAccountToken"] is False
    assert inside["securityContext"]["runAsNonRoot"] is True
    assert inside["securityContext"]["runAsUser"] > 10_000
    assert inside["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in only["resources"]["limits"]
    assert {"cpu", "memory"} == set(only["resources"]["requests"])


@pytest.mark.parametrize("name", GATEWAYS)
def test_pods_drain_in_time(name: str) -> None:
    """A pod hears SIGTERM when nobody comes any more, and has longer than it drains before it is killed."""
    settings = tomllib.loads(one("ConfigMap", "tickgate")["data"]["tickgate.toml"])
    pause = container(name)["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert pause >= 5
    assert pod(name)["spec"]["terminationGracePeriodSeconds"] >= pause + settings["drain"] + 10
    assert settings["limits"]["memory_mib"] < 0.9 * 1024
    assert container(name)["resources"]["limits"]["memory"] == "1Gi"


@pytest.mark.parametrize("name", GATEWAYS)
def test_pods_are_probed(name: str) -> None:
    """Start and life are asked of /livez and readiness of /readyz, on the side port."""
    only = container(name)
    ports = {port["name"]: port["containerPort"] for port in only["ports"]}
    paths = {
        kind: only[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "liveness", "readiness")
    }

    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert all(only[f"{kind}Probe"]["httpGet"]["port"] == "http" for kind in paths)
    assert ports == {"grpc": 50051, "http": 9464}
    assert "EXPOSE 50051 9464" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", GATEWAYS)
def test_gateways_start(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The settings of each pod are such that a gateway takes them, and Kubernetes adds none by itself."""
    for variable in os.environ.keys() - environment_without_settings().keys():
        monkeypatch.delenv(variable)
    for key in one("Secret", "tickgate")["stringData"]:
        text = {"redis_url": "redis://r", "postgres_url": "postgresql://p"}.get(key, "x" * 40)
        (tmp_path / key).write_text(text)
    for variable in container(name)["env"]:
        value = variable["value"].replace("/etc/tickgate/secrets", str(tmp_path))
        monkeypatch.setenv(variable["name"], value)
    config = tmp_path / "tickgate.toml"
    config.write_text(one("ConfigMap", "tickgate")["data"]["tickgate.toml"])
    monkeypatch.setenv("TICKGATE_LISTEN", "0.0.0.0:50051")
    settings = load(config)

    assert settings.identity.keys == "postgres"
    assert settings.tls.certificate == "/etc/tickgate/tls/tls.crt"
    assert settings.redis_url.get_secret_value() == "redis://r"
    assert settings.stream.enabled is settings.ingestion.enabled is (name == "tickgate-holder")
    # Otherwise a Service called tickgate-… would be TICKGATE_…_PORT in each pod, which is no setting.
    assert pod(name)["spec"]["enableServiceLinks"] is False


def test_one_pod_holds_the_feed() -> None:
    """There is one holder, next to as many gateways as are needed, and it differs from them in nothing else."""
    holder = one("Deployment", "tickgate-holder")["spec"]
    pods = []
    for name in GATEWAYS:
        inside = copy.deepcopy(pod(name)["spec"])
        inside.pop("topologySpreadConstraints", None)
        inside["containers"][0]["env"] = [
            variable for variable in inside["containers"][0]["env"] if "__" not in variable["name"]
        ]
        pods.append(inside)

    assert holder["replicas"] == 1
    assert "replicas" not in one("Deployment", "tickgate")["spec"], "the autoscaler says how many"
    assert pods[0] == pods[1]


def test_the_budget_knows_how_many_spend_it() -> None:
    """Without Redis all gateways that may exist, those of a rollout too, spend no more than the plan admits."""
    settings = tomllib.loads(one("ConfigMap", "tickgate")["data"]["tickgate.toml"])
    most = one("HorizontalPodAutoscaler", "tickgate")["spec"]["maxReplicas"]
    surges = [
        one("Deployment", name)["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
        for name in GATEWAYS
    ]

    holders = one("Deployment", "tickgate-holder")["spec"]["replicas"]
    assert settings["alpaca"]["budget"]["replicas"] == most + holders + sum(surges)


def test_names_lead_to_pods() -> None:
    """Services, autoscaler, budgets of disruption and the network's policy each select pods that exist."""
    labels = [pod(name)["metadata"]["labels"] for name in GATEWAYS]

    def selected(selector: dict[str, str]) -> int:
        return sum(selector.items() <= each.items() for each in labels)

    assert one("Service", "tickgate")["spec"]["clusterIP"] == "None"
    assert selected(one("Service", "tickgate")["spec"]["selector"]) == 2
    assert selected(one("Service", "tickgate-streams")["spec"]["selector"]) == 1
    assert selected(one("NetworkPolicy", "tickgate")["spec"]["podSelector"]["matchLabels"]) == 2
    for name in GATEWAYS:
        budget = one("PodDisruptionBudget", name)["spec"]
        assert selected(budget["selector"]["matchLabels"]) == 1
        deployment = one("Deployment", name)
        assert deployment["spec"]["selector"]["matchLabels"] == pod(name)["metadata"]["labels"]
    scaled = one("HorizontalPodAutoscaler", "tickgate")["spec"]["scaleTargetRef"]
    assert scaled["name"] == one("Deployment", scaled["name"])["metadata"]["name"]


def test_what_is_mounted_exists() -> None:
    """Each file that a variable or a setting names is in a volume, and each key in the secret is used."""
    settings = one("ConfigMap", "tickgate")["data"]["tickgate.toml"]
    keys = set(one("Secret", "tickgate")["stringData"])
    for name in GATEWAYS:
        mounts = {each["name"]: each["mountPath"] for each in container(name)["volumeMounts"]}
        volumes = {each["name"] for each in pod(name)["spec"]["volumes"]}
        values = [variable["value"] for variable in container(name)["env"]]
        files = [value for value in values if value.startswith("/")]

        assert set(mounts) == volumes
        assert {Path(file).name for file in files if file.startswith(mounts["secrets"])} == keys
        assert f'certificate = "{mounts["tls"]}/tls.crt"' in settings
    assert not any(one("Secret", "tickgate")["stringData"].values()), "an example holds no secret"


def test_consumers_balance_by_themselves() -> None:
    """The example consumer asks for every gateway by the headless name, with arguments that our client takes."""
    text = (FOLDER / "client.example.yaml").read_text()
    (target, _) = container("quant")["env"]
    service = one("Service", "tickgate")

    assert (
        target["value"]
        == f"dns:///{service['metadata']['name']}.{service['metadata']['namespace']}.svc.cluster.local:50051"
    )
    assert {"api_key", "tls"} <= set(inspect.signature(tickgate.connect).parameters)
    assert "ca" in inspect.signature(tickgate.Tls).parameters
    assert "tickgate.Tls(ca=" in text


def test_prometheus_finds_the_side_port() -> None:
    """The ServiceMonitor selects the Service by its label and scrapes a port that it has."""
    monitor = read_yaml("kubernetes/monitoring.yaml")
    service = one("Service", "tickgate")
    (endpoint,) = monitor["spec"]["endpoints"]

    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"
