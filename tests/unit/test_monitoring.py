"""The files of ``deploy/monitoring``: valid for promtool, complete in themselves and true to the documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from jobs.settings import PROJECT_ROOT
from tests.support.prometheus import FOLDER, alerts, board_expressions, promtool

OPERATING = PROJECT_ROOT / "docs" / "operating" / "monitoring.md"


def test_promtool_accepts_configuration_and_alerts(tmp_path: Path) -> None:
    config = (FOLDER / "prometheus.yml").read_text()
    (tmp_path / "metrics-key").write_text("fm_secret")
    (tmp_path / "prometheus.yml").write_text(config)
    (tmp_path / "alerts.yml").write_text((FOLDER / "alerts.yml").read_text())
    promtool("check", "config", tmp_path / "prometheus.yml")
    promtool("check", "rules", FOLDER / "alerts.yml")
    assert yaml.safe_load(config)["scrape_configs"][0]["authorization"] == {"credentials_file": "metrics-key"}


def test_every_alert_fires_and_stays_quiet_as_its_cases_say() -> None:
    promtool("test", "rules", FOLDER / "alerts_test.yml")
    cases = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    fires: dict[str, set[bool]] = {}
    for case in cases:
        for one in case["alert_rule_test"]:
            fires.setdefault(one["alertname"], set()).add(bool(one["exp_alerts"]))
    assert fires == {alert["alert"]: {True, False} for alert in alerts()}


def test_every_alert_has_a_line_of_the_runbook_and_none_else() -> None:
    text = OPERATING.read_text()
    runbook = text.partition("### Alerts\n")[2].partition("\n#")[0]
    documented = re.findall(r"^\| `(Framemill\w+)` \|", runbook, re.MULTILINE)
    assert documented == [alert["alert"] for alert in alerts()]
    for alert in alerts():
        assert alert["annotations"]["runbook_url"] == "docs/operating/monitoring.md#alerts"
        assert alert["labels"]["severity"] in ("critical", "warning")


def test_every_expression_of_the_board_is_promql(tmp_path: Path) -> None:
    expressions = board_expressions()
    assert len(expressions) > 30
    rules = [{"record": f"board:{number}", "expr": text} for number, text in enumerate(expressions)]
    file = tmp_path / "board.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    promtool("check", "rules", file)


def test_the_board_is_whole() -> None:
    board = json.loads((FOLDER / "grafana" / "framemill.json").read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert all(panel["targets"] and panel["datasource"]["uid"] == "${datasource}" for panel in shown)
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource"]
    assert list(_overlaps(panels)) == []
    provisioning = FOLDER / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "framemill.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((provisioning / "dashboards" / "framemill.yml").read_text())["providers"]
    assert source["type"] == "prometheus"
    assert provider["options"]["path"].endswith("/framemill.json")


def _overlaps(panels: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                if (other := taken.setdefault((x, y), panel["title"])) != panel["title"]:
                    yield other, panel["title"]
