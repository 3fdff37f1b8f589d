"""Sensitive values: they reach the guests that need them, and are readable nowhere but in Secrets."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from tests.support.scene import Scene, output_of
from tests.support.stack import config

from moorage.api.names import outputs_secret
from moorage.kube.kinds import EVENT, OWN, SECRET

REVISIONS = "controllerrevisions.apps"


async def everything_but_secrets(scene: Scene) -> dict[str, str]:
    """What can be read about the namespace without leave to read Secrets, by where it is found."""
    found: dict[str, str] = {}
    for kind in (*OWN, EVENT):
        listing = await scene.api.client.list(kind, scene.api.namespace if kind.namespaced else None)
        found[kind.kind] = json.dumps(listing.items)
    revisions = scene.stack.plane.run_kubectl("get", REVISIONS, "--output=json", "--namespace", scene.api.namespace)
    found["ControllerRevision"] = revisions.stdout
    # The names, labels and annotations of Secrets are read by more people than their data are.
    listing = await scene.api.client.list(SECRET, scene.api.namespace)
    found["metadata of Secrets"] = json.dumps([secret["metadata"] for secret in listing.items])
    found["/metrics"] = scene.stack.metrics()
    assert scene.stack.controller is not None
    processes = [scene.stack.controller, *(h.process for h in scene.stack.hosts.values() if h.process is not None)]
    for process in processes:
        found[f"log of {process.name}"] = process.log.read_text(errors="replace")
        for name in ("cmdline", "environ"):
            found[f"{name} of {process.name}"] = (Path("/proc") / str(process.popen.pid) / name).read_text()
    return found | user_data(scene)


def user_data(scene: Scene) -> dict[str, str]:
    """What the hosting service was given for each server, and what a process list on its host shows."""
    found: dict[str, str] = {}
    for server in scene.here():
        folder = scene.host.folder / scene.host.name / "servers" / server["id"]
        found[f"user-data of {server['name']}"] = (folder / "user-data").read_text()
        found[f"record of {server['name']}"] = (folder / "server.json").read_text()
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(entry.read_text(errors="replace"))
        except OSError:
            continue
    return found | {"process list": "\n".join(lines)}


async def test_sensitive_values_are_readable_nowhere_but_in_secrets(scene: Scene) -> None:
    given, made, later = (f"canary-{word}-{secrets.token_hex(8)}" for word in ("given", "made", "later"))
    await scene.api.secret("password", key=given)
    key = {"secretKeyRef": {"name": "password", "key": "key"}}
    secret_item: dict[str, Any] = {"name": "password", "valueFrom": key}
    db = config(
        "db",
        configuration=[secret_item],
        files=[{"path": "/password", "content": "${password}", "mode": "0600"}],
        steps=[{"name": "start", "script": 'test -n "${password}"'}],
        outputs=[
            {"name": "token", "file": "/token", "sensitive": True, "refresh": "100ms", "after": ["start"]},
            {"name": "bad", "command": 'echo "${password}"', "pattern": "^never$"},
        ],
    )
    web = config(
        "web",
        configuration=[
            secret_item,
            {"name": "token", "valueFrom": {"output": {"member": "db", "name": "token"}}},
            {"name": "url", "template": "db://${password}:${token}@db"},
            {"name": "tokens", "valueFrom": {"output": {"member": "db", "name": "token", "select": "All"}}},
        ],
        files=[{"path": "/url", "content": "${url} ${tokens}", "mode": "0600"}],
        steps=[{"name": "fails", "script": "test -n ${token} && exit 3", "retries": 0}],
        readiness={"exec": {"command": "test -z ${token}"}},
    )
    await scene.begin(db, web, members=(("db", "db", 1), ("web", "web", 1)))
    await scene.joined_all()
    one, two = await scene.api.servers("g")
    (scene.root(one) / "token").write_text(made)
    await scene.file(two, "/url", f'db://{given}:{made}@db ["{made}"]')
    (scene.root(one) / "token").write_text(later)
    await scene.file(two, "/url", f'db://{given}:{later}@db ["{later}"]')

    def told(servers: list[dict[str, Any]]) -> bool:
        return all((s["status"].get("agent") or {}).get("steps") for s in servers)

    await scene.until("the failing step to be told", told)
    one, two = await scene.api.servers("g")
    assert output_of(one, "token") is None
    assert await scene.data(outputs_secret(one["metadata"]["uid"]), "token") == later
    states = {i["name"]: i["sensitive"] for i in two["status"]["configuration"]["items"]}
    assert states == {"password": True, "token": True, "tokens": True, "url": True}
    for place, text in (await everything_but_secrets(scene)).items():
        for canary in (given, made, later):
            assert canary not in text, f"a sensitive value is readable in: {place}"
    tokens = [await scene.data(s["metadata"]["uid"], "token") for s in (one, two)]
    readable = await everything_but_secrets(scene)
    for place, text in readable.items():
        # hostd is the hosting service: user-data, and what it keeps of it, are where the join token has to be.
        if not place.startswith(("user-data", "record")):
            assert not any(token in text for token in tokens), f"a join token is readable in: {place}"
