"""Metrics: what was counted, in the words of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .counters import Counters


class Metrics(Collector):
    """The numbers of one gateway, in a registry of its own: several may live in one process."""

    def __init__(self, counters: Counters) -> None:
        """Tell *counters*."""
        self._counters = counters
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all numbers as text, and its content type, for somebody who accepts *accept*."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterable[Metric]:
        """Yield the numbers."""
        ready = GaugeMetricFamily("gateway_ready", "Whether the gateway can be asked.")
        ready.add_metric((), not self._counters.unready)
        yield ready
