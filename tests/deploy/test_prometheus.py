"""A real Prometheus, with the configuration of deploy/, scrapes a real gateway."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.deploy.files import DEPLOY, read_yaml, rules
from tests.support.debian import debian_program
from tests.support.running import running
from tests.support.stores import postgres_url, redis_url
from tests.support.waiting import until_told
from tickgate.v1 import quote_service_pb2 as quotes_pb
from tickgate_server.observe.metrics import NAMES
from tools.embedded.process import Port

PATIENCE = 40.0
"""Seconds that Prometheus may take over a step, on a machine that does much else."""


class Watcher:
    """A Prometheus that is running."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        """Ask the one at *url*."""
        self._session = session
        self._url = url

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return what its API answers; nothing while it does not."""
        try:
            async with self._session.get(f"{self._url}/api/v1/{path}", params=parameters) as answer:
                return (await answer.json())["data"] if answer.status == 200 else None
        except aiohttp.ClientConnectionError:
            return None

    async def samples(self, expression: str) -> list[dict[str, Any]]:
        """Return what *expression* is now."""
        told = await self.ask("query", query=expression)
        return told["result"] if told else []


@asynccontextmanager
async def prometheus(folder: Path, gateway: str) -> AsyncIterator[Watcher]:
    """Run Prometheus as compose.yaml does, but once a second, and with *gateway* as the only target."""
    configuration = read_yaml("prometheus/prometheus.yml")
    job = next(each for each in configuration["scrape_configs"] if each["job_name"] == "tickgate")
    job["static_configs"] = [{"targets": [gateway]}]
    configuration |= {"scrape_configs": [job], "alerting": {}}
    configuration["global"] |= {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "evaluation_interval": "1s",
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    (folder / "rules.yml").write_text((DEPLOY / "prometheus/rules.yml").read_text())
    with closing(Port()) as port:
        address = f"127.0.0.1:{port.number}"
        process = await asyncio.create_subprocess_exec(
            debian_program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}", "--log.level=error",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with aiohttp.ClientSession() as session:
                yield Watcher(session, f"http://{address}")
        finally:
            process.terminate()
            async with asyncio.timeout(PATIENCE):
                await process.wait()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_prometheus_understands_a_gateway(tmp_path: Path) -> None:
    """It scrapes every metric, evaluates every rule, and finds nothing alarming about a gateway that is well."""
    with redis_url() as redis, postgres_url() as postgres:
        async with (
            running(http_listen="127.0.0.1:0", redis_url=redis, postgres_url=postgres) as stack,
            prometheus(tmp_path, f"127.0.0.1:{stack.gateway.http_port}") as watcher,
        ):
            for _ in range(3):
                await stack.quotes.GetQuote(quotes_pb.GetQuoteRequest(symbol="AAPL"))
            await until_told(
                lambda: watcher.samples("sum(real_data_requests_total) == 3"), bool, within=PATIENCE
            )
            # Evaluated after that, so that each has seen what there is.
            evaluated = await until_told(
                lambda: watcher.ask("rules"), all_evaluated, within=PATIENCE
            )
            names = await watcher.ask("label/__name__/values")
            firing = await watcher.samples('ALERTS{alertstate="firing"}')
            scraped = await watcher.samples('scrape_samples_scraped{job="tickgate"}')

    found = [rule for group in evaluated["groups"] for rule in group["rules"]]
    assert len(found) == len(rules())
    assert {rule["lastError"] for rule in found if rule.get("lastError")} == set()
    assert {rule["health"] for rule in found} == {"ok"}
    plain = {name for name, described in NAMES.items() if described.kind != "histogram"}
    assert plain - set(names) <= NOT_YET
    assert firing == []
    assert (
        int(scraped[0]["value"][1])
        < read_yaml("prometheus/prometheus.yml")["scrape_configs"][0]["sample_limit"] / 4
    )


NOT_YET = {
    "api_keys_up",
    "certificate_expires_seconds",
    "feed_lag_seconds",
    "feed_last_record_age_seconds",
    "ingestion_lag_seconds",
    "ingress_flags_total",
    "ingress_refusals_total",
    "real_data_failures_total",
}
"""Not told of a gateway without keys and TLS that nobody follows, and to which nothing has happened."""


def all_evaluated(told: Any) -> bool:
    """Tell whether each rule has been evaluated."""
    return bool(told) and all(
        rule["health"] != "unknown" for group in told["groups"] for rule in group["rules"]
    )
