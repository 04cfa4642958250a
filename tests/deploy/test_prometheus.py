"""Alerts and dashboard ask for metrics, labels and values that a real server prints."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from grounding.engines.base import DeviceMemory
from grounding.jobs.heartbeat import Heartbeat
from grounding.jobs.metrics import FETCH, LABELLED_COUNTERS, MODEL
from grounding.jobs.outbox.outbox import DeliveryResult
from grounding.jobs.store import JobStore
from tests.serving import Start

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
CASES = Path(__file__).parent / "alerts_test.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
OPERATING = (ROOT / "docs" / "operating.md").read_text()
ERRORS = (ROOT / "docs" / "errors.md").read_text()

NO_METRIC_LABELS = {"le", "job", "instance"}
"""Of buckets, and what Prometheus itself adds."""


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in rules()},
    **{
        f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
        for panel in panels()
        for target in panel["targets"]
    },
}


def walk(node: Any) -> Iterator[Any]:
    """Yield each node of a parsed expression."""
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "vs", "param"):
        if (child := getattr(node, name, None)) is not None and not isinstance(child, str):
            yield from walk(child)
    for child in getattr(node, "args", None) or ():
        yield from walk(child)


@pytest.fixture
def exposed(start: Start, redis: Any) -> dict[str, set[str]]:
    """The labels of each metric that a server prints of which every counter has counted."""
    store = JobStore(redis)
    for _, prefix, *_ in LABELLED_COUNTERS:
        store.count(f"{prefix}x", 1)
    store.count(f"{FETCH}ok:1", 1)
    store.count(f"{MODEL}1", 1)
    heartbeat = Heartbeat(redis, "w", "shapes")
    heartbeat.measure = lambda: DeviceMemory("gpu", 1, 2)
    heartbeat.update(phase="ready")
    families = text_string_to_metric_families(start().get("/metrics").text)
    return {s.name: set(s.labels) for family in families for s in family.samples}


def asked(expression: str) -> tuple[dict[str, set[str]], set[str]]:
    """Return the metrics of an expression with the labels it selects, and those it groups by."""
    metrics: dict[str, set[str]] = {}
    grouped: set[str] = set()
    for node in walk(promql.parse(expression)):
        if isinstance(node, promql.VectorSelector):
            names = {matcher.name for matcher in node.matchers.matchers}
            metrics.setdefault(node.name, set()).update(names)
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            grouped |= set(node.modifier.labels)
    return metrics, grouped


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_what_an_expression_asks_for_is_there(
    exposed: dict[str, set[str]], expression: str
) -> None:
    metrics, grouped = asked(expression)
    assert set(re.findall(r"grounding_\w+", expression)) == set(metrics)
    assert set(metrics) <= set(exposed)
    for name, labels in metrics.items():
        assert labels <= exposed[name] | NO_METRIC_LABELS
    assert grouped <= {label for name in metrics for label in exposed[name]} | NO_METRIC_LABELS


def test_every_metric_is_on_the_dashboard(exposed: dict[str, set[str]]) -> None:
    shown = {name for panel in EXPRESSIONS.values() for name in asked(panel)[0]}
    # Of a histogram, the buckets are what is drawn.
    wanted = {name for name in exposed if not re.search(r"_(count|sum|created)$", name)}
    assert wanted - shown == set()


def test_the_values_that_are_asked_for_are_the_program_s() -> None:
    known = {"expired", "ok", "worker_died", "cancelled", "nobody_waits"}
    known |= {str(one) for one in DeliveryResult}
    found = re.findall(r'\w+(?:=|!=|=~|!~)"([^"]*)"', " ".join(EXPRESSIONS.values()))
    assert {value for text in found for value in text.split("|")} <= known


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_tells_cause_and_cure_and_is_in_the_documents(rule: dict[str, Any]) -> None:
    text = rule["annotations"]["description"]
    assert re.match(r"Cause: .+ Cure: .+", text)
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert f"`{rule['alert']}`" in OPERATING
    for setting in re.findall(r"GROUNDING_\w+", text):
        assert setting in (ROOT / "docs" / "settings.md").read_text()


def test_the_runbook_has_a_section_for_each_alert_and_the_alert_leads_to_it() -> None:
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert set(headings) == {rule["alert"] for rule in rules()}
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_every_alert_has_figures_at_which_it_is_raised() -> None:
    tests = yaml.safe_load(CASES.read_text())["tests"]
    raised = {
        re.search(r'alertname="(\w+)"', sample["labels"])[1]  # type: ignore[index]
        for one in tests
        for expected in one["promql_expr_test"]
        for sample in expected["exp_samples"]
    }
    assert raised == {rule["alert"] for rule in rules()}


COUNTS = re.compile(r"_(?:total|count|bucket)$")


def test_counters_start_in_the_figures_as_a_fresh_server_starts_them(start: Start) -> None:
    """Prometheus sees no increase in a series that begins with 1."""
    families = text_string_to_metric_families(start().get("/metrics").text)
    fresh = {(s.name, *s.labels.items()): s.value for one in families for s in one.samples}
    assert {value for (name, *_), value in fresh.items() if COUNTS.search(name)} == {0}
    quiet, *raising = yaml.safe_load(CASES.read_text())["tests"]
    assert "quiet" in quiet["name"]
    for one in (series for case in raising for series in case["input_series"]):
        selector = promql.parse(one["series"])
        labels = ((matcher.name, matcher.value) for matcher in selector.matchers.matchers)
        if COUNTS.search(selector.name):
            first = "0" if (selector.name, *labels) in fresh else "_"
            assert re.match(r"0\+|0x|_", one["values"])[0][0] == first, one  # type: ignore[index]


def test_panels_do_not_overlap_and_have_a_unit() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        assert panel["fieldConfig"]["defaults"]["unit"]
        taken |= cells


@pytest.mark.deploy
@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "--lint-fatal", str(ALERTS)],
        ["check", "config", "--syntax-only", str(ALERTS.parent / "prometheus.yml")],
        ["test", "rules", str(CASES)],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_promtool_finds_no_fault(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
