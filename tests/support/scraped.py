"""What a gateway's /metrics says, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from .running import Stack
from .waiting import until_told

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
_OF_HISTOGRAM = ("_bucket", "_count", "_sum")


class Scrape:
    """All numbers of one moment."""

    def __init__(self, text: str, families: Iterable[Metric]) -> None:
        """Read *families*, which stood in *text*."""
        self.text = text
        self.families = {family.name: family for family in families}
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    @classmethod
    def plain(cls, text: str) -> Self:
        """Read the text format of Prometheus."""
        return cls(text, text_string_to_metric_families(text))

    @classmethod
    def open(cls, text: str) -> Self:
        """Read OpenMetrics."""
        return cls(text, open_metrics_families(text))  # type: ignore[no-untyped-call]  # the library's

    @property
    def kinds(self) -> dict[str, str]:
        """The type of each metric, by the name of its samples; a histogram's without what they end in."""
        kinds: dict[str, str] = {}
        for family in self.families.values():
            is_counter = family.type == "counter"
            kinds[f"{family.name}_total" if is_counter else family.name] = family.type
        return kinds

    @property
    def labels(self) -> dict[str, set[tuple[str, ...]]]:
        """The sets of labels of each metric's samples, but for a histogram's "le"."""
        labels: dict[str, set[tuple[str, ...]]] = {}
        for name, pairs in self.samples:
            plain = name
            for end in _OF_HISTOGRAM:
                if name.removesuffix(end) in self.families and name not in self.families:
                    plain = name.removesuffix(end)
            told = tuple(sorted(label for label, _ in pairs if label != "le"))
            labels.setdefault(plain, set()).add(told)
        return labels

    def value(self, name: str, **labels: str) -> float:
        """Return a number; 0 where there is none."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all numbers that have *labels* among theirs."""
        wanted = set(labels.items())
        return sum(
            value for (one, told), value in self.samples.items() if one == name and wanted <= told
        )

    def since(self, before: Scrape) -> dict[str, float]:
        """Return what has changed since *before*, written as Prometheus does, without histograms' buckets and sums."""
        moved: dict[str, float] = {}
        for (name, labels), value in self.samples.items():
            change = value - before.samples.get((name, labels), 0.0)
            if change and not name.endswith(("_bucket", "_sum")):
                told = ",".join(f"{label}={text}" for label, text in sorted(labels))
                moved[f"{name}{{{told}}}" if told else name] = change
        return moved


class Side:
    """The side port of a gateway."""

    def __init__(self, port: int, http: aiohttp.ClientSession) -> None:
        """Ask *port*."""
        self.port = port
        self.http = http

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Return the status and the text of the answer."""
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.http.request(method, url, headers=headers) as response:
            return response.status, await response.text()

    async def scrape(self) -> Scrape:
        """Return all numbers."""
        status, text = await self.ask("/metrics")
        assert status == 200, text
        return Scrape.plain(text)

    async def until(self, right: Callable[[Scrape], Any]) -> Scrape:
        """Scrape until that is *right*."""
        return await until_told(self.scrape, lambda told: bool(right(told)))


@asynccontextmanager
async def beside(stack: Stack) -> AsyncIterator[Side]:
    """Ask the side port of *stack*."""
    assert stack.gateway.http_port is not None
    async with aiohttp.ClientSession() as http:
        yield Side(stack.gateway.http_port, http)
