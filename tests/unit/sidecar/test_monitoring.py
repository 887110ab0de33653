"""Alert rules, dashboard and documentation name metrics that there are, and all of them; promtool takes them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import get_args
from unittest.mock import AsyncMock, create_autospec

import pytest
import yaml
from prometheus_client import generate_latest

from callinteractive.events import FetchOutcome
from cli.kamailio_figures import KamailioFigures
from cli.trunk_states import TrunkFigures, TrunkStates
from sidecar.admission import Admission
from sidecar.durations import Durations
from sidecar.media.rtpengine import NgClient
from sidecar.metrics import COUNTS, REFUSED, Configured, Metrics
from sidecar.outcomes import Outcomes
from sidecar.rtpengine_metrics import EngineCounters, RtpengineMetrics
from sidecar.sip import UserAgent
from sidecar.sip_figures import SipFigures
from sidecar.state.figures import StateFigures
from sidecar.state.storing import Figures, StoringKeeper
from sidecar.webhook_figures import WebhookFigures
from tests.support.monitoring import FOLDER, METRIC, alerts, dashboard, expressions, panels, used_by
from tests.unit.sidecar.test_app import GAUGES
from tests.unit.sidecar.test_metrics import SOME, FakeEngine, FakeNg

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs/metrics.md").read_text()


async def existing() -> set[str]:
    """All metrics of sidecars and edges, without Kamailio's own: a test with Kamailio looks at those."""
    metrics = Metrics(lambda: GAUGES, lambda: dict.fromkeys(COUNTS, 0))
    rtpengine = RtpengineMetrics([FakeEngine("a", FakeNg(SOME))])
    await rtpengine.refresh()
    waits = Durations()
    agent, admission = create_autospec(UserAgent, instance=True), create_autospec(Admission, instance=True, waits=waits)
    agent.refusals.counts, agent.draining = {}, False
    keeper = create_autospec(StoringKeeper, instance=True, is_failing=False, unsaved=0)
    keeper.figures = Figures()
    for each in (
        EngineCounters([FakeEngine("a", NgClient("127.0.0.1", 1))]),  # type: ignore[arg-type]
        rtpengine,
        Outcomes(),
        WebhookFigures(list),
        SipFigures(agent, admission),
        StateFigures(keeper),
        Configured(lambda: ("a", "b", "")),
        KamailioFigures(AsyncMock()),
        TrunkFigures(create_autospec(TrunkStates, instance=True, registered={}, up={})),
    ):
        metrics.include(each)
    return set(re.findall(r"^# TYPE (\S+) ", generate_latest(metrics._registry).decode(), re.MULTILINE))


def promtool(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_the_documentation_names_every_metric_and_no_other():
    cells = re.findall(r"^\|( `.*?` )\|", DOCUMENT, re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell) if METRIC.match(name)]
    named = [name for name in named if name not in REFUSED]
    assert len(named) == len(set(named)), "named twice"
    assert set(named) == await existing()


def test_the_documentation_names_every_reason_for_a_refusal():
    table = DOCUMENT.partition("The reasons of `callinteractive_refused_total`")[2].partition("\n\nKamailio")[0]
    assert re.findall(r"^\| `(\w+)` ", table, re.MULTILINE) == list(REFUSED)


def test_the_documentation_names_every_outcome_of_a_request():
    table = DOCUMENT.partition("| outcome | what happened |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` ", table, re.MULTILINE)) == {"ok", "given_up", *get_args(FetchOutcome)}


async def test_alerts_ask_for_metrics_that_there_are():
    assert {name for rule in alerts() for name in used_by(rule["expr"])} <= await existing()


def test_every_alert_says_what_is_wrong_and_what_to_do():
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket"), rule
        assert {"summary", "action"} == rule["annotations"].keys(), rule


async def test_the_dashboard_asks_for_metrics_that_there_are():
    known = await existing()
    for title, expression in expressions():
        assert METRIC.search(expression), title
        assert used_by(expression) <= known, title


def test_the_dashboards_panels_have_a_name_and_a_place_of_their_own():
    all_of_them = dashboard()["panels"]
    assert len({panel["id"] for panel in all_of_them}) == len(all_of_them)
    assert all(panel["title"] for panel in all_of_them)
    for one, other in combinations((panel["gridPos"] for panel in all_of_them), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    assert max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in all_of_them) == 24


def test_the_dashboard_uses_no_data_source_of_ours():
    """Whoever imports it chooses a data source; ours has another uid."""
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}
    variables = {variable["name"] for variable in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels())))
    assert used - {"__rate_interval"} <= variables


def test_promtool_takes_the_files(tmp_path):
    for name in ("alerts.yaml", "prometheus.yaml"):
        shutil.copy(FOLDER / name, tmp_path)
    assert f"{len(alerts())} rules found" in promtool("check", "config", "prometheus.yaml", cwd=tmp_path)
    promtool("check", "rules", "alerts.yaml", cwd=tmp_path)


def test_promtool_takes_the_dashboards_expressions(tmp_path):
    rules = []
    for number, (_, expression) in enumerate(expressions()):
        asked = re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "1m"))
        rules.append({"record": f"panel:{number}", "expr": asked})
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", "rules.yaml", cwd=tmp_path)


def test_every_alert_fires_when_it_should_and_not_otherwise(tmp_path):
    tests = Path(__file__).with_name("alerts_test.yaml")
    for path in (FOLDER / "alerts.yaml", tests):
        shutil.copy(path, tmp_path)
    promtool("test", "rules", tests.name, cwd=tmp_path)
    told = tests.read_text()
    assert [rule["alert"] for rule in alerts() if rule["alert"] not in told] == [], "no test"


def test_promtool_finds_a_mistake(tmp_path):
    (tmp_path / "alerts.yaml").write_text((FOLDER / "alerts.yaml").read_text().replace("sum by", "sum bye", 1))
    with pytest.raises(AssertionError, match="parse error"):
        promtool("check", "rules", "alerts.yaml", cwd=tmp_path)
