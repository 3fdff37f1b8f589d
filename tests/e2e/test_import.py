"""What runs at a service already is printed as objects; orphans are seen, released and deleted by a command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from tests.e2e.test_adoption import adopting, made_by_hand, tag
from tests.support import cli
from tests.support.scene import Scene, kubectl
from tests.support.stack import SYSTEM, Obj, config

from moorage.api.names import ANNOTATION_FOUND, ANNOTATION_ORPHANS
from moorage.cli.errors import Exit
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, VIRTUAL_SERVER

PLAIN = config("plain", steps=[{"name": "start", "script": "true"}])
TOKEN = "canary-token-4711"


async def moorage(scene: Scene, *arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command against the scene's installation."""
    return await cli.moorage(scene.stack, *arguments, kubeconfig=kubeconfig)


@pytest.fixture
async def guarded(scene: Scene, tmp_path: Path) -> AsyncIterator[Scene]:
    """A scene on a hosting service of its own, which asks for a token."""
    (tmp_path / "token").write_text(TOKEN)
    name = f"guarded-{scene.service}"
    scene.host = scene.stack.hostd(name, "--token-file", str(tmp_path / "token"))
    scene.host.token = TOKEN
    secret = {"metadata": {"name": scene.service, "namespace": SYSTEM}, "stringData": {"token": TOKEN}}
    await scene.api.client.create(SECRET, secret)
    await scene.serve(credentialsSecretRef={"name": scene.service})
    yield scene
    await scene.api.client.patch(SECRET, SYSTEM, scene.service, {"metadata": {"finalizers": None}})
    await scene.api.client.delete(SECRET, SYSTEM, scene.service)


def by_id(objects: list[Obj]) -> dict[str, Obj]:
    """By the id of the server that each stands for."""
    return {obj["spec"]["adopt"]["providerID"]: obj for obj in objects}


async def test_what_runs_there_is_printed_as_objects_that_the_api_server_takes(guarded: Scene, tmp_path: Path) -> None:
    scene = guarded
    free, twin = made_by_hand(scene, "web"), made_by_hand(scene, "app")
    released = made_by_hand(scene, "old", **{"moorage-server": "released", "moorage-namespace": scene.api.namespace})
    theirs = made_by_hand(scene, "theirs", **{"moorage-installation": "other", "moorage-server": "other-uid"})
    known = made_by_hand(scene, "known")
    await scene.api.apply(adopting(scene, "app", known["id"], managementPolicy="Observe"))

    printed = await moorage(scene, "import", scene.service, "-n", scene.api.namespace)
    assert printed.returncode == Exit.OK, printed.stderr
    objects = by_id(list(yaml.safe_load_all(printed.stdout)))
    assert objects.keys() == {free["id"], twin["id"], released["id"]}
    assert "1 left out: VirtualServers stand for them already" in printed.stderr
    assert "1 left out: their tags name another owner" in printed.stderr
    assert objects[released["id"]]["metadata"]["annotations"] == {ANNOTATION_FOUND: "released"}
    names = {obj["metadata"]["name"] for obj in objects.values()}
    assert {"web", "old"} < names
    assert objects[twin["id"]]["metadata"]["name"].startswith("app-")
    assert {obj["spec"]["managementPolicy"] for obj in objects.values()} == {"Observe"}
    assert objects[free["id"]]["spec"]["offering"] == "small"

    everything = await moorage(
        scene, "import", scene.service, "-n", scene.api.namespace, "--all", "--manage", "-o", "json"
    )
    listed = by_id(json.loads(everything.stdout)["items"])
    assert listed.keys() == {*objects, theirs["id"]}
    managed = {key for key, obj in listed.items() if obj["spec"]["managementPolicy"] == "Manage"}
    assert managed == {free["id"], twin["id"], released["id"]}
    assert TOKEN not in printed.stdout + printed.stderr + everything.stdout + everything.stderr

    for name, text in (("a.yaml", printed.stdout), ("b.json", everything.stdout)):
        (tmp_path / name).write_text(text)
        tried = await kubectl(scene.api, scene.stack, "create", "--dry-run=server", "-f", str(tmp_path / name))
        assert tried.count("created (server dry run)") == len(objects) + (name == "b.json")
    await kubectl(scene.api, scene.stack, "apply", "-f", str(tmp_path / "b.json"))
    for key, obj in listed.items():
        await scene.api.condition(VIRTUAL_SERVER, obj["metadata"]["name"], "Ready")
        assert key == theirs["id"] or tag(scene, {"id": key}) not in {"None", "released"}
    assert tag(scene, theirs) == "other-uid"
    again = await moorage(scene, "import", scene.service, "-n", scene.api.namespace, "--all")
    assert again.stdout == ""
    assert scene.stack.controller is not None
    log = scene.stack.controller.log.read_text(errors="replace")
    assert scene.service in log
    assert TOKEN not in log


async def test_who_may_not_read_the_credentials_is_told_which_rule_is_missing(guarded: Scene) -> None:
    scene, where = guarded, guarded.api.namespace
    stack = scene.stack
    stack.plane.run_kubectl("create", "serviceaccount", "viewer", f"--namespace={where}")
    stack.plane.run_kubectl(
        "create", "clusterrolebinding", where, "--clusterrole=moorage-services-view", f"--serviceaccount={where}:viewer"
    )
    kubeconfig = stack.plane.kubeconfig_for("viewer", where)
    refused = await moorage(scene, "import", scene.service, "-n", where, kubeconfig=kubeconfig)
    assert refused.returncode == Exit.FORBIDDEN
    assert "resources: [secrets], verbs: [get]" in refused.stderr
    stack.plane.run_kubectl("delete", "clusterrolebinding", where)


async def orphaned(scene: Scene, *names: str) -> list[str]:
    """Take objects away without their servers, as a restored backup or a careless hand does; gives the ids."""
    ids: list[str] = []
    for name in names:
        ids.append((await scene.server(name))["status"]["providerID"])
        await scene.api.patch(VIRTUAL_SERVER, name, {"metadata": {"finalizers": None}})
        await scene.api.delete(VIRTUAL_SERVER, name)

    async def told() -> bool:
        service = await scene.api.get(HOSTING_SERVICE, scene.service)
        assert service is not None
        return {o["providerID"] for o in (service.get("status") or {}).get("orphans") or ()} >= set(ids)

    await scene.api.until("the orphans to be told", told)
    return ids


async def test_orphans_are_listed_released_and_deleted_from_the_command_line(scene: Scene) -> None:
    await scene.begin(PLAIN, members=(("web", "plain", 2),))
    await scene.api.ready("g")
    first, second = await orphaned(scene, "g-web-0", "g-web-1")

    shown = await moorage(scene, "orphans", scene.service)
    assert shown.returncode == Exit.OK, shown.stderr
    assert {first, second} <= set(shown.stdout.split())
    everywhere = json.loads((await moorage(scene, "orphans", "-o", "json")).stdout)
    assert {first, second} <= {o["providerID"] for o in everywhere}
    live = json.loads((await moorage(scene, "orphans", scene.service, "--live", "-o", "json")).stdout)
    assert {(o["providerID"], o["namespace"]) for o in live} == {(i, scene.api.namespace) for i in (first, second)}

    released = await moorage(scene, "orphans", "release", scene.service, first)
    assert released.returncode == Exit.OK, released.stderr
    assert tag(scene, {"id": first}) == "released"
    asked = await moorage(scene, "orphans", "delete", scene.service, second)
    assert asked.returncode == Exit.FAILED
    assert "say --yes" in asked.stderr
    deleted = await moorage(scene, "orphans", "delete", scene.service, second, "--yes")
    assert deleted.returncode == Exit.OK, deleted.stderr
    assert tag(scene, {"id": second}) is None

    service = await scene.api.get(HOSTING_SERVICE, scene.service)
    assert service is not None
    assert ANNOTATION_ORPHANS not in (service["metadata"].get("annotations") or {})
    unknown = await moorage(scene, "orphans", "release", scene.service, first)
    assert unknown.returncode == Exit.NOT_FOUND
    # Nobody's any more: neither listed, nor in the way of anyone who adopts it.
    await scene.api.apply(adopting(scene, "again", first))
    await scene.api.condition(VIRTUAL_SERVER, "again", "Instantiated")
    await scene.api.delete(VIRTUAL_SERVER, "again")
    await scene.api.gone(VIRTUAL_SERVER, "again")
    scene.host.call("DELETE", f"/v1/servers/{first}")
