"""compose.yaml, without a container engine: by Compose's own schema, and what it promises read off it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.deploy.files import DEPLOY, ROOT, read_yaml
from tests.support.stores import postgres_url, redis_url
from tickgate.v1 import quote_service_pb2 as quotes_pb
from tickgate.v1 import quote_service_pb2_grpc as quotes
from tickgate_server.settings import Settings, load
from tools.programs import environment_without_settings, program, sandbox_program

COMPOSE = read_yaml("compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MIB = 1024 * 1024


def example() -> dict[str, str]:
    """Return the variables of deploy/.env.example."""
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def substituted(text: str, variables: dict[str, str]) -> str:
    """Return *text* as Compose reads it: `:-` gives a default for what is empty, `-` for what is not set."""

    def value(found: re.Match[str]) -> str:
        name, operator, default = found[1], found[2], found[3]
        given = variables.get(name)
        if operator == ":-":
            return given or default
        return default if given is None else given

    return re.sub(r"\$\{(\w+)(:?-)([^}]*)\}", value, text)


def seconds(duration: str) -> float:
    """Return a duration such as 30s or 5m in seconds."""
    return float(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


def load_as_the_container(
    monkeypatch: pytest.MonkeyPatch, folder: Path, variables: dict[str, str]
) -> Settings:
    """Return the settings of the gateway's container: its variables, its file and its secrets."""
    for variable in os.environ.keys() - environment_without_settings().keys():
        monkeypatch.delenv(variable)
    make_secrets(folder)
    for name, given in SERVICES["gateway"]["environment"].items():
        text = substituted(given, variables)
        text = text.replace("/run/secrets/", f"{folder}/secrets/")
        monkeypatch.setenv(
            name, text.replace("/etc/tickgate/tickgate.toml", f"{DEPLOY}/tickgate.toml")
        )
    monkeypatch.setenv("TICKGATE_LISTEN", "0.0.0.0:50051")
    monkeypatch.setenv("TICKGATE_HTTP_LISTEN", "0.0.0.0:9464")
    return load(Path(os.environ["TICKGATE_CONFIG"]))


def make_secrets(folder: Path, **variables: str) -> Path:
    """Run a copy of secrets.sh in *folder* and return where it has put them."""
    script = folder / "secrets.sh"
    script.write_text((DEPLOY / "secrets.sh").read_text())
    subprocess.run(
        ["/bin/sh", script], env={"PATH": os.defpath} | variables, check=True, capture_output=True
    )
    return folder / "secrets"


def test_it_is_compose() -> None:
    """The Compose Specification's schema takes it."""
    done = subprocess.run(
        [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", "vendor.compose-spec",
         DEPLOY / "compose.yaml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_it_names_is_there() -> None:
    """Each file, volume, network, secret, config and service that it names exists, and each one declared is used."""
    used: dict[str, set[str]] = {
        "volumes": set(),
        "networks": set(),
        "secrets": set(),
        "configs": set(),
    }
    for service in SERVICES.values():
        for mounted in service.get("volumes", ()):
            source = mounted.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_dir()
            else:
                used["volumes"].add(source)
        used["networks"] |= set(service["networks"])
        used["secrets"] |= set(service.get("secrets", ()))
        used["configs"] |= {config["source"] for config in service.get("configs", ())}
        assert set(service.get("depends_on", ())) <= set(SERVICES)
    for kind, names in used.items():
        assert names == set(COMPOSE[kind]), kind
    for config in COMPOSE["configs"].values():
        assert (DEPLOY / config["file"]).is_file()


def test_the_script_makes_every_secret(tmp_path: Path) -> None:
    """secrets.sh makes each secret that is mounted, lets nobody else into the folder, and keeps what is there."""
    folder = make_secrets(tmp_path, APCA_API_KEY_ID="PK1")
    before = {path.name: path.read_text() for path in folder.iterdir()}
    make_secrets(tmp_path, APCA_API_KEY_ID="PK2")
    after = {path.name: path.read_text() for path in folder.iterdir()}

    assert set(before) == set(COMPOSE["secrets"])
    assert all(secret["file"] == f"./secrets/{name}" for name, secret in COMPOSE["secrets"].items())
    assert before == after
    assert before["apca_api_key_id"] == "PK1"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert before["redis_password"] in before["redis_url"]
    assert before["redis_conf"] == f"requirepass {before['redis_password']}\n"
    passwords = [before[name] for name in before if name.endswith("_password")]
    assert len(set(passwords)) == len(passwords)
    assert all(re.fullmatch(r"[0-9a-f]{64}", password) for password in passwords)


def test_a_key_that_comes_later_is_taken(tmp_path: Path) -> None:
    """Who began before the sandbox, without a key of Alpaca's, runs secrets.sh again with one, and keeps all else."""
    folder = make_secrets(tmp_path)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    make_secrets(tmp_path, APCA_API_KEY_ID="PK1", APCA_API_SECRET_KEY="hush")
    after = {path.name: path.read_text() for path in folder.iterdir()}

    assert before["apca_api_key_id"] == before["apca_api_secret_key"] == ""
    assert after == before | {"apca_api_key_id": "PK1", "apca_api_secret_key": "hush"}


def test_secrets_are_files_and_nothing_else() -> None:
    """No service is given a secret in its environment or its command, and git keeps none."""
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if (
                re.search("KEY|SECRET|PASSWORD|_URL$", name)
                and "ALPACA__" not in name
                and name != "LOGS_URL"
            ):
                assert name.endswith("_FILE"), name
                assert value.startswith("/run/secrets/")
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", "deploy/secrets/identity_secret", "deploy/.env"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert len(ignored.stdout.split()) == 2
    assert not any(re.search("KEY|SECRET|PASSWORD", name) for name in example())


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_shut_in(name: str) -> None:
    """Each service has a read-only tree, no rights, limits, a health check, a user, and comes back by itself."""
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert set(limits) == {"cpus", "memory", "pids"}
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["healthcheck"]["retries"] >= 3
    # Ours say in the image whom they run as.
    assert "build" in service or re.fullmatch(r"\d+:\d+", service["user"])
    assert re.search(r":[v\d$]", service["image"]), (
        "an image without a version is another one tomorrow"
    )
    assert not any("docker.sock" in volume for volume in service.get("volumes", ()))


def test_ports_are_open_to_this_machine_alone() -> None:
    """Every published port is on the loopback, unless the operator names another address for callers."""
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert substituted(port, {}).startswith("127.0.0.1:")
    assert COMPOSE["networks"]["stores"]["internal"] is True
    assert SERVICES["redis"]["networks"] == SERVICES["postgres"]["networks"] == ["stores"]


def test_what_is_needed_is_waited_for() -> None:
    """Whoever needs another service waits until it is healthy; Prometheus watches a gateway that is not."""
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            expected = (
                "service_started"
                if (name, other) == ("prometheus", "gateway")
                else "service_healthy"
            )
            assert how["condition"] == expected, (name, other)
    assert {"redis", "postgres"} <= set(SERVICES["gateway"]["depends_on"])
    # A service of a profile that is off must not hold up the others.
    assert SERVICES["gateway"]["depends_on"]["sandbox"]["required"] is False


def test_the_gateway_starts_before_the_sandbox(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the example's variables the gateway takes its settings: keys in PostgreSQL, and made-up prices."""
    settings = load_as_the_container(monkeypatch, tmp_path, example())

    assert settings.environment == "sandbox"
    assert settings.data_url == "http://sandbox:50080"
    assert settings.identity.keys == "postgres"
    assert settings.postgres_url.get_secret_value().startswith("postgresql://tickgate:")
    assert settings.redis_url.get_secret_value().startswith("redis://:")
    assert "sandbox" in example()["COMPOSE_PROFILES"]


def test_the_gateway_goes_to_alpaca(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With Alpaca's pair in files and the sandbox's addresses emptied, it takes Alpaca's own."""
    make_secrets(tmp_path, APCA_API_KEY_ID="PK1", APCA_API_SECRET_KEY="S1")
    emptied = {name: "" for name in example() if name.endswith("_URL")}
    variables = example() | {"TICKGATE_ENVIRONMENT": "paper", "COMPOSE_PROFILES": ""} | emptied

    settings = load_as_the_container(monkeypatch, tmp_path, variables)

    assert settings.data_url == "https://data.alpaca.markets"
    assert settings.keys == ("PK1", "S1")


def test_the_container_outlives_the_drain() -> None:
    """The engine waits longer than the gateway drains, and the gateway refuses calls before the kernel kills it."""
    settings = tomllib.loads((DEPLOY / "tickgate.toml").read_text())
    gateway = SERVICES["gateway"]

    assert seconds(gateway["stop_grace_period"]) >= settings["drain"] + 10
    assert gateway["deploy"]["resources"]["limits"]["memory"] == "1G"
    assert 512 * MIB < settings["limits"]["memory_mib"] * MIB < 0.9 * 1024 * MIB


def test_logs_can_be_kept_and_shipped() -> None:
    """Log files are on a named volume, which the shipper reads as the gateway's user, and goes on with where it was."""
    settings = tomllib.loads((DEPLOY / "tickgate.toml").read_text())
    shipper = read_yaml("vector.yaml")
    logs = "logs:/var/log/tickgate"

    assert "TICKGATE_LOG__FILE=/" not in (DEPLOY / ".env.example").read_text()
    assert "set /var/log/tickgate/tickgate.log" in (DEPLOY / ".env.example").read_text()
    assert settings["audit"]["file"].startswith("/var/log/tickgate/")
    assert logs in SERVICES["gateway"]["volumes"]
    assert logs in SERVICES["shipper"]["volumes"]
    assert shipper["sources"]["files"]["include"] == ["/var/log/tickgate/*.log"]
    assert shipper["data_dir"] == "/var/log/tickgate"
    assert f"USER {SERVICES['shipper']['user']}" in (ROOT / "Dockerfile").read_text()
    assert shipper["transforms"]["lines"]["inputs"] == list(shipper["sources"])
    assert shipper["sinks"]["out"]["inputs"] == list(shipper["transforms"])


def test_prometheus_scrapes_what_runs() -> None:
    """Each target of Prometheus is a service on its network, at a port that it opens."""
    for job in read_yaml("prometheus/prometheus.yml")["scrape_configs"]:
        for target in job["static_configs"][0]["targets"]:
            host, _, port = target.partition(":")
            service = "prometheus" if host == "127.0.0.1" else host
            assert "watch" in SERVICES[service]["networks"]
            assert any(published.endswith(f":{port}") for published in SERVICES[service]["ports"])


def test_grafana_finds_what_it_shows() -> None:
    """Grafana's data sources are services that it can reach, and its dashboards are the ones that are mounted."""
    sources = read_yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    (provider,) = read_yaml("grafana/provisioning/dashboards/tickgate.yaml")["providers"]
    grafana = SERVICES["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    dashboard = json.loads((DEPLOY / "grafana/dashboards/tickgate.json").read_text())
    (chosen,) = (each for each in dashboard["templating"]["list"] if each["type"] == "datasource")

    for source in sources:
        host, _, port = source["url"].removeprefix("http://").partition(":")
        assert set(SERVICES[host]["networks"]) & set(grafana["networks"])
        assert any(published.endswith(f":{port}") for published in SERVICES[host]["ports"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert chosen["current"]["value"] in {source["uid"] for source in sources}


def test_each_profile_is_known() -> None:
    """The profiles are those that the example names."""
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", ())}
    text = (DEPLOY / ".env.example").read_text()

    assert profiles == {"sandbox", "logs"}
    assert all(profile in text for profile in profiles)
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert used <= set(example())


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_first_key_opens_the_gateway(tmp_path: Path) -> None:
    """As its container starts it, secrets in files, it answers who has the first key, and writes down who that was."""
    secrets = make_secrets(tmp_path)
    logs = tmp_path / "logs"
    logs.mkdir()
    config = tmp_path / "tickgate.toml"
    config.write_text(
        (DEPLOY / "tickgate.toml").read_text().replace("/var/log/tickgate", str(logs))
    )
    with (
        sandbox_program("--at", "2026-10-01T15:00:00Z") as sandbox,
        redis_url() as redis,
        postgres_url() as postgres,
    ):
        for name, url in (("redis_url", redis), ("postgres_url", postgres)):
            (secrets / name).chmod(0o600)
            (secrets / name).write_text(url)
        environment = {
            name: substituted(value, example())
            .replace("/run/secrets", str(secrets))
            .replace("/etc/tickgate/tickgate.toml", str(config))
            .replace("sandbox:50080", sandbox.address)
            for name, value in SERVICES["gateway"]["environment"].items()
        } | {"TICKGATE_LISTEN": "127.0.0.1:0", "TICKGATE_HTTP_LISTEN": "127.0.0.1:0"}
        with program("tickgate-server", ["-m", "tickgate_server", "serve"], environment) as gateway:
            refused = asked(gateway.address, "")
            (order,) = re.findall(
                r"^#\s+tickgate-server (keys create .*)$",
                (DEPLOY / "compose.yaml").read_text(),
                re.MULTILINE,
            )
            made = subprocess.run(
                [sys.executable, "-m", "tickgate_server", *order.split()],
                env=environment_without_settings() | environment,
                capture_output=True, text=True, timeout=60, check=True,
            )  # fmt: skip
            token = made.stdout.strip()
            # The gateway sees it within identity.reload_every.
            patience = time.monotonic() + 20
            while (answered := asked(gateway.address, token)) is not grpc.StatusCode.OK:
                assert time.monotonic() < patience, answered
        lines = (logs / "audit.log").read_text().splitlines()

    assert refused is grpc.StatusCode.UNAUTHENTICATED
    assert json.loads(lines[-1])["consumer"] == "quant"
    assert not any(token in line for line in [*lines, *gateway.lines])


def asked(address: str, token: str) -> grpc.StatusCode:
    """Ask the gateway for a quote with *token*, and return what status that has."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(address) as channel:
        try:
            quotes.QuoteServiceStub(channel).GetQuote(
                quotes_pb.GetQuoteRequest(symbol="AAPL"), metadata=metadata, timeout=20
            )
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK
