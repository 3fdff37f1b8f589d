"""Objects in the documentation that are not the same have names of their own."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def test_every_policy_of_the_pages_has_a_name_of_its_own() -> None:
    """A reader who applies two pages would have the second policy take the place of the first."""
    names: Counter[str] = Counter()
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            if "kind: HostingPolicy" in block:
                documents = [d for d in yaml.safe_load_all(block) if d and d.get("kind") == "HostingPolicy"]
                names.update(document["metadata"]["name"] for document in documents)
    assert len(names) > 2
    assert [name for name, count in names.items() if count > 1] == []
