"""What `docs/placement.md` shows is what happens: its YAML is read and placed by, its words are those of the code."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from moorage.api.catalogue import CatalogRef
from moorage.api.hostingservice import DataSource, HostingServiceSpec, Offering
from moorage.api.selection import Preferred, Select, SpotUse
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.catalogue import MAX_LENGTH, read_catalogue
from moorage.core.placement import MemberRequest, PlacementRequest, Reason, invalid_expressions, place
from moorage.core.placement.requirements import OF_OFFERINGS
from moorage.core.services import ServiceView

PAGE = (Path(__file__).parents[3] / "docs" / "placement.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OFFERINGS = (
    Offering(name="small", cpu=Decimal(1), memory=Decimal(2**30), price_per_hour=Decimal("0.02")),
    Offering(name="arm", cpu=Decimal(4), memory=Decimal(2**33), arch="arm64", price_per_hour=Decimal("0.08")),
)
SERVICES = [
    ServiceView(
        name,
        region="eu-1",
        labels={"tier": "production", "jurisdiction": "eu"},
        offerings=OFFERINGS,
        sources=(DataSource(name="Service", at=NOW),),
        limit=100,
        used=used,
        room=100 - used,
    )
    for name, used in (("eu-small", 10), ("eu-large", 20))
]
CONFIG = VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}], "size": {"cpu": 1, "memory": "1Gi"}})


def blocks(kind: str) -> list[Any]:
    return [yaml.safe_load(b) for b in BLOCKS if b.startswith(kind)]


def test_every_block_is_tried() -> None:
    assert len(BLOCKS) == sum(len(blocks(kind)) for kind in ("# select", "# catalogue", "# HostingService"))
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize("block", blocks("# select"))
def test_each_selection_finds_a_service(block: dict[str, Any]) -> None:
    select = Select.from_dict(block)
    request = PlacementRequest("default", {}, (MemberRequest("web", 2, CONFIG),), now=NOW)
    assert invalid_expressions(select) == ()
    assert set(block) <= set(select.model_dump(by_alias=True))
    assert place(request, select, SERVICES).chosen in SERVICES


def test_the_catalogue_is_read_and_the_service_refers_to_it() -> None:
    found = read_catalogue(next(b for b in BLOCKS if b.startswith("# catalogue")))
    assert [o.name for o in found.offerings] == ["t3.small", "rack-a", "spare"]
    assert found.as_of is not None
    spec = {"type": "local", "endpoint": "http://h", **blocks("# HostingService")[0]["spec"]}
    assert HostingServiceSpec.from_dict(spec).catalog_ref == CatalogRef(name="prices")
    assert f"{MAX_LENGTH:,} characters" in PAGE


def test_every_view_and_key_is_on_the_page() -> None:
    for word in (*get_args(Preferred), *get_args(SpotUse), *OF_OFFERINGS):
        assert f"`{word}`" in PAGE, word


def test_every_reason_of_the_code_is_on_the_page() -> None:
    for reason in Reason:
        assert f"`{reason}" in PAGE, reason
