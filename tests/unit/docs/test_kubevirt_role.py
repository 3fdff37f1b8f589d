"""The rules that the page on kubevirt asks for are those under which the suite runs."""

from __future__ import annotations

from pathlib import Path

import yaml

from moorage.testbed.kubevirt.simulator import HERE

PAGE = Path(__file__).parents[3] / "docs" / "backends" / "kubevirt.md"


def test_the_page_shows_the_rules_of_the_test_bed() -> None:
    # The suite reads consoles, too, which the controller never does: that role is told apart, in words.
    block = PAGE.read_text().split("```yaml\n")[1].split("```")[0]
    shown = {(o["kind"], o["metadata"]["name"]): o["rules"] for o in yaml.safe_load_all(block)}
    used = {
        (o["kind"], o["metadata"]["name"]): o["rules"]
        for o in yaml.safe_load_all((HERE / "role.yaml").read_text())
        if "rules" in o and o["metadata"]["name"] != "moorage-console"
    }
    assert shown == used
