"""What expressions of PromQL ask for: metrics, their labels, and values of these."""

from __future__ import annotations

from dataclasses import dataclass, field

import promql_parser

from tickgate_server.observe.metrics import NAMES

EVERYWHERE = {"job", "instance"}
"""Labels that Prometheus puts on whatever it scrapes."""

PARTS = ("_bucket", "_sum", "_count")
"""What a histogram's series end in."""


@dataclass
class Query:
    """What one expression asks for."""

    labels: dict[str, set[str]] = field(default_factory=dict)
    """By the name of each series: labels that it is chosen by."""

    values: dict[str, set[str]] = field(default_factory=dict)
    """By label: values that are named."""

    kept: set[str] = field(default_factory=set)
    """Labels that results are told apart by; none where nothing is added up."""


def read(expression: str) -> Query:
    """Return what *expression* asks for.

    Raises:
        ValueError: it is no PromQL.
    """
    found = Query()

    def look(part: promql_parser.Expr) -> None:
        if isinstance(part, promql_parser.MatrixSelector):
            look(part.vector_selector)
        elif isinstance(part, promql_parser.VectorSelector):
            named = found.labels.setdefault(str(part.name), set())
            for matcher in part.matchers.matchers:
                named.add(matcher.name)
                if "$" not in matcher.value and "*" not in matcher.value:
                    found.values.setdefault(matcher.name, set()).update(matcher.value.split("|"))
        elif isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            assert part.modifier.type == promql_parser.AggModifierType.By
            found.kept.update(part.modifier.labels)

    promql_parser.walk(promql_parser.parse(expression), look)
    return found


def metric_of(series: str) -> str:
    """Return the name of the metric that *series* is of."""
    for part in PARTS:
        metric = series.removesuffix(part)
        if metric in NAMES and NAMES[metric].kind == "histogram":
            return metric
    return series


def labels_of(series: str) -> set[str]:
    """Return the labels that *series* has.

    Raises:
        KeyError: no gateway tells such a thing.
    """
    described = NAMES[metric_of(series)]
    if described.kind == "histogram" and metric_of(series) == series:
        raise KeyError(series)
    bound = {"le"} if series.endswith("_bucket") and metric_of(series) != series else set()
    return {*described.labels, *EVERYWHERE, *bound}
