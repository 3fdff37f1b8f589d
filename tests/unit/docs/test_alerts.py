"""The alerts that are shipped are good rules over metrics that exist, and each is explained."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml
from tests.support import needs

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "monitoring" / "alerts.yaml"
PAGE = ROOT / "docs" / "operations.md"

LIFE = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'moorage_group_not_ready{{namespace="shop",group="web",reason="Booting"}}'
        values: '1x20 stale'
      - series: 'moorage_group_not_ready{{namespace="shop",group="web",reason="ItemsPending"}}'
        values: '_x20 1x40'
      - series: 'moorage_group_not_ready{{namespace="shop",group="night",reason="PolicyUnmet"}}'
        values: '1x60'
      - series: 'moorage_objects{{kind="HostingService",condition="Available",status="False",reason="ScopeChanged"}}'
        values: '1x60'
      - series: 'moorage_objects{{kind="ServerGroup",condition="FailoverPending",status="True",reason="NoCandidate"}}'
        values: '2x60'
      - series: 'moorage_service_calls_total{{service="eu",operation="get",result="NotFound"}}'
        values: '0+60x60'
      - series: 'moorage_service_calls_total{{service="eu",operation="get",result="ok"}}'
        values: '0+60x60'
      - series: 'moorage_service_calls_total{{service="us",operation="get",result="Unavailable"}}'
        values: '0+60x60'
    alert_rule_test:
      - {{eval_time: 25m, alertname: MoorageGroupNotReady, exp_alerts: []}}
      - eval_time: 45m
        alertname: MoorageGroupNotReady
        exp_alerts: [{{exp_labels: {{namespace: shop, group: web, severity: warning}}, exp_annotations: {{
          summary: "ServerGroup shop/web has not been ready for 30 minutes"}}}}]
      - eval_time: 5m
        alertname: MoorageServiceFrozen
        exp_alerts: [{{exp_labels: {{reason: ScopeChanged, severity: critical}}, exp_annotations: {{
          summary: "1 hosting services are frozen until a person has looked: ScopeChanged"}}}}]
      - eval_time: 5m
        alertname: MoorageFailoverPending
        exp_alerts: [{{exp_labels: {{reason: NoCandidate, severity: critical}}, exp_annotations: {{
          summary: "2 groups stay on a service that fails them: NoCandidate"}}}}]
      - eval_time: 40m
        alertname: MoorageServiceFailing
        exp_alerts: [{{exp_labels: {{service: us, severity: warning}}, exp_annotations: {{
          summary: "more than a fifth of the calls to us fail"}}}}]
"""


def _alerts() -> list[dict[str, str]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_prometheus_takes_the_rules() -> None:
    promtool = needs.program("promtool", package="prometheus")
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_for_what_calls_for_a_look_and_not_for_what_is_meant(tmp_path: Path) -> None:
    promtool = needs.program("promtool", package="prometheus")
    life = tmp_path / "life.yaml"
    life.write_text(LIFE.format(rules=RULES))
    done = subprocess.run([promtool, "test", "rules", life], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_explained() -> None:
    section = PAGE.read_text().split("### Alerts", 1)[1].split("\n## ", 1)[0]
    explained = set(re.findall(r"^\| `(Moorage\w+)`", section, re.M))
    assert explained == {rule["alert"] for rule in _alerts()}


def test_alerts_rest_on_metrics_that_the_page_names() -> None:
    page = PAGE.read_text()
    used = {name for rule in _alerts() for name in re.findall(r"\bmoorage_(?!configd)\w+", rule["expr"])}
    assert used
    assert sorted(name for name in used if f"`{name}" not in page) == []
