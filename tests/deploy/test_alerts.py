"""Alerts fire when they should and reach whom they should, shown by Prometheus' and Alertmanager's own tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, MANUAL, alerts, headings, read_yaml
from tests.support.debian import debian_program

RULES = DEPLOY / "prometheus"

RECEIVERS = {"critical": "page", "warning": "chat", "info": "digest"}
"""Who is told, by severity."""

ASKED_FOR = {
    "RealDataShareLow": "critical",
    "SlowAnswers": "warning",
    "HitShareLow": "info",
    "FeedSilent": "critical",
    "StreamLag": "warning",
    "GapOpen": "warning",
    "BudgetExhausted": "warning",
}
"""What an operator was promised to be told of, and how loudly."""


def run(*command: str | Path, cwd: Path = RULES) -> subprocess.CompletedProcess[str]:
    """Run *command* to its end."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_prometheus_takes_its_configuration() -> None:
    """Promtool finds no fault with the configuration and the rules that it names."""
    done = run(debian_program("promtool"), "check", "config", "prometheus.yml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_alerts_fire_and_do_not() -> None:
    """Promtool shows each alert in `rules_test.yml` firing where it is expected, and no other."""
    done = run(debian_program("promtool"), "test", "rules", "rules_test.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_shown_to_fire_and_not_to() -> None:
    """For each alert there is a story in which it fires at one moment and does not at another."""
    both = set()
    for story in read_yaml("prometheus/rules_test.yml")["tests"]:
        moments = [
            {sample["labels"].split('"')[1] for sample in moment["exp_samples"]}
            for moment in story["promql_expr_test"]
        ]
        both |= set().union(*moments) - set.intersection(*moments)

    assert both == {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("circuit_state == 2", "circuit_state >= 1"),
        ("feed_gap_open > 0", "feed_gap_open > 5"),
        ("share5m < 0.95", "share5m < 0.5"),
        ("market_open == 1", "market_open >= 0"),
    ],
)
def test_a_wrong_rule_is_found(before: str, after: str, tmp_path: Path) -> None:
    """A rule with another threshold fails its story, so the stories can tell."""
    for name in ("rules.yml", "rules_test.yml"):
        shutil.copyfile(RULES / name, tmp_path / name)
    text = (tmp_path / "rules.yml").read_text()
    assert before in text
    (tmp_path / "rules.yml").write_text(text.replace(before, after))

    done = run(debian_program("promtool"), "test", "rules", "rules_test.yml", cwd=tmp_path)

    assert done.returncode != 0


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_alerts_say_what_to_do(alert: dict[str, dict[str, str]]) -> None:
    """Each alert has a severity, a summary, a description of whole sentences, and a runbook that exists."""
    said = alert["annotations"]
    page, _, heading = said["runbook"].partition("#")

    assert set(alert["labels"]) == {"severity"}
    assert alert["labels"]["severity"] in RECEIVERS
    assert set(said) == {"summary", "description", "runbook"}
    assert said["summary"]
    assert said["description"].endswith(".")
    assert page == MANUAL.relative_to(DEPLOY.parent).as_posix()
    assert heading in headings(MANUAL)


def test_the_manual_lists_every_alert() -> None:
    """The manual's table has each alert, as loud as it is, and leads to the same runbook."""
    rows = re.findall(
        r"^\| (\w+) \| (\w+) \| .+ \| \[.+\]\(#([\w-]+)\) \|$", MANUAL.read_text(), re.MULTILINE
    )
    there = [
        (
            alert["alert"],
            alert["labels"]["severity"],
            alert["annotations"]["runbook"].partition("#")[2],
        )
        for alert in alerts()
    ]

    assert rows == there


def test_what_was_promised_is_watched() -> None:
    """The alerts that operators were promised are there, as loud as promised."""
    found = {alert["alert"]: alert["labels"]["severity"] for alert in alerts()}

    assert ASKED_FOR.items() <= found.items()


def test_alertmanager_takes_its_configuration() -> None:
    """Amtool finds no fault with the routes and the receivers."""
    done = run(debian_program("amtool"), "check-config", DEPLOY / "alertmanager.yml")

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_alerts_reach_somebody(alert: dict[str, dict[str, str]]) -> None:
    """Amtool walks each alert through the routes to the receiver of its severity, and to no other."""
    severity = alert["labels"]["severity"]
    done = run(
        debian_program("amtool"),
        "config", "routes", "test", f"--config.file={DEPLOY / 'alertmanager.yml'}",
        f"--verify.receivers={RECEIVERS[severity]}",
        f"alertname={alert['alert']}", f"severity={severity}", "job=tickgate",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == [RECEIVERS[severity]]


def test_quietened_alerts_exist() -> None:
    """Each name in a rule that quietens alerts is that of an alert."""
    known = {alert["alert"] for alert in alerts()}
    for rule in read_yaml("alertmanager.yml")["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            name, _, value = matcher.partition("=")
            assert name.rstrip("!") == "alertname"
            assert set(value.strip('~"').split("|")) <= known
