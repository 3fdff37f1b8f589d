"""A catalogue of prices decides where a group is placed, read under the rules that deploy/ ships."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from tests.support.scene import Scene
from tests.support.stack import SYSTEM, always, config, group

from moorage.kube.kinds import CONFIG_MAP, HOSTING_SERVICE

PLAIN = config("plain", steps=[{"name": "start", "script": "true"}])
AS_OF = "2026-11-01T00:00:00Z"


def prices(price: str) -> dict[str, str]:
    """The ConfigMap's data: the service tells the size of `small`, the catalogue what it costs."""
    return {"offerings": json.dumps({"asOf": AS_OF, "offerings": [{"name": "small", "pricePerHour": price}]})}


@pytest.fixture
async def catalogue(scene: Scene) -> AsyncIterator[str]:
    """The name of a ConfigMap in the controller's namespace."""
    name = f"prices-{scene.service}"
    await scene.api.client.create(CONFIG_MAP, {"metadata": {"name": name, "namespace": SYSTEM}, "data": prices("0.01")})
    yield name
    await scene.api.client.delete(CONFIG_MAP, SYSTEM, name)


async def test_a_group_is_placed_by_the_prices_of_a_catalogue_and_the_next_one_by_what_it_says_then(
    scene: Scene, catalogue: str
) -> None:
    first, second = f"a-{scene.service}", f"b-{scene.service}"
    await scene.serve(first)
    await scene.serve(second, scene.stack.hosts["bollard"], offerings=[], catalogRef={"name": catalogue})
    await scene.api.condition(HOSTING_SERVICE, second, "CatalogueRead")
    small = {"size": {"offerings": [{"name": "small"}]}}
    plain = {**PLAIN, "spec": {**PLAIN["spec"], **small}}
    await scene.api.apply(always("policy", first, second), plain, group("g", "policy", ("web", "plain", 1)))
    found = await scene.api.ready("g")
    assert found["status"]["placement"]["service"] == second
    assert "0.01/h against 0.02/h" in found["status"]["placement"]["message"]
    told = await scene.api.get(HOSTING_SERVICE, second)
    assert told is not None
    sources = {source["name"]: source.get("at") for source in told["status"]["sources"]}
    assert sources["Catalogue"] == AS_OF

    await scene.api.client.patch(CONFIG_MAP, SYSTEM, catalogue, {"data": prices("0.03")}, manager="test")

    async def dearer() -> bool:
        service = await scene.api.get(HOSTING_SERVICE, second)
        offerings = ((service or {}).get("status") or {}).get("offerings") or []
        return any(o["name"] == "small" and o.get("pricePerHour") == "0.03" for o in offerings)

    await scene.api.until("the new price", dearer)
    await scene.api.apply(group("h", "policy", ("web", "plain", 1)))
    found = await scene.api.ready("h")
    assert found["status"]["placement"]["service"] == first
    stays = await scene.api.ready("g")
    assert stays["status"]["placement"]["service"] == second, "what is placed does not move for a price"
