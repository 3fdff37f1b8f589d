"""The commands that look around, on the quickstart with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from tests.support.examples import documents
from tests.support.stack import Api, Obj, Stack, always, config, group, service

from moorage.cli.errors import Exit
from moorage.kube.kinds import HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER

PASSWORD = "canary-5d1c"


def quickstart(stack: Stack) -> list[Obj]:
    """The quickstart's objects, with the endpoints of this installation's services."""
    found = documents("quickstart")
    for document in found:
        if document["kind"] == "HostingService":
            document["spec"]["endpoint"] = stack.hosts[document["metadata"]["name"]].url
            del document["spec"]["credentialsSecretRef"]  # the services of the tests ask for no token
    return found


async def moorage(
    api: Api, stack: Stack, *arguments: str, kubeconfig: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command against the test's namespace."""
    where = ["-n", api.namespace, "--kubeconfig", str(kubeconfig or stack.plane.kubeconfig)]
    command: Sequence[str] = [sys.executable, "-m", "moorage.cli", *arguments, *where]
    environment = {**os.environ, "NO_COLOR": "1"}
    return await asyncio.to_thread(
        subprocess.run,
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def boot(script: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a script as somebody on the server would, in a session of its own."""
    shell = subprocess.Popen(["sh", "-s"], stdin=subprocess.PIPE, env=environment, start_new_session=True, text=True)
    assert shell.stdin is not None
    shell.stdin.write(script)
    shell.stdin.close()
    return shell


async def test_the_commands_show_the_quickstart_and_no_secret(api: Api, stack: Stack) -> None:
    await api.secret("quickstart-database", password=PASSWORD)
    await api.apply(*quickstart(stack))
    await api.ready("quickstart")
    said = ""

    tree = await moorage(api, stack, "tree", "quickstart", "--check")
    assert tree.returncode == Exit.OK, tree.stderr
    assert "✓ ServerGroup quickstart  3/3 servers ready" in tree.stdout
    assert "Output address" in tree.stdout
    node = json.loads((await moorage(api, stack, "tree", "quickstart", "-o", "json")).stdout)
    assert (node["kind"], node["state"]) == ("ServerGroup", "Ready")

    explain = await moorage(api, stack, "explain", "quickstart")
    assert "affordable" in explain.stdout
    assert "placed on" in explain.stdout
    reasons = yaml.safe_load((await moorage(api, stack, "explain", "quickstart", "-o", "yaml")).stdout)
    feasible = {candidate["service"] for candidate in reasons["placement"]["candidates"] if candidate["feasible"]}
    assert feasible == {"anchor", "bollard", "capstan"}

    graph = await moorage(api, stack, "graph", "quickstart", "--check")
    assert graph.returncode == Exit.OK
    assert "item database_address <- db.address (output)" in graph.stdout
    assert (await moorage(api, stack, "graph", "quickstart", "-o", "mermaid")).stdout.startswith("flowchart LR")
    assert (await moorage(api, stack, "graph", "quickstart", "-o", "dot")).stdout.startswith('digraph "quickstart"')

    render = await moorage(api, stack, "render", "quickstart-web-0")
    document = yaml.safe_load(render.stdout)
    files = {file["path"]: file for file in document["files"]}
    assert files["/etc/web/database.url"]["content"] == "********"
    assert document["pending"] == []
    assert document["revision"] >= 1

    for run in (tree, explain, graph, render):
        said += run.stdout + run.stderr
    assert PASSWORD not in said

    unknown = await moorage(api, stack, "tree", "quickstar")
    assert unknown.returncode == Exit.NOT_FOUND
    assert "did you mean quickstart?" in unknown.stderr
    refused = await moorage(api, stack, "enroll", "quickstart-db-0", "--yes")
    assert refused.returncode == Exit.FAILED
    assert "created with its agent" in refused.stderr


async def test_a_group_that_is_not_ready_and_one_that_may_not_be_seen(api: Api, stack: Stack) -> None:
    await api.apply(*[document for document in quickstart(stack) if document["kind"] != "HostingService"])
    waiting = await moorage(api, stack, "tree", "quickstart", "--check")
    assert waiting.returncode == Exit.NOT_READY
    assert "quickstart is not ready" in waiting.stderr

    stack.plane.run_kubectl("create", "serviceaccount", "nobody", f"--namespace={api.namespace}")
    kubeconfig = stack.plane.kubeconfig_for("nobody", api.namespace)
    refused = await moorage(api, stack, "tree", "quickstart", kubeconfig=kubeconfig)
    assert refused.returncode == Exit.FORBIDDEN
    assert 'needs the rule {apiGroups: ["moorage.dev"], resources: [servergroups], verbs: [get]}' in refused.stderr
    assert refused.stdout == ""


async def test_a_group_that_no_service_takes_is_explained_and_one_whose_half_is_missing_is_drawn(
    api: Api, stack: Stack
) -> None:
    name = f"cli-{secrets.token_hex(3)}"
    wants = [{"name": "address", "valueFrom": {"output": {"member": "dbb", "name": "address"}}}]
    huge = config("huge")
    huge["spec"]["size"] = {"cpu": 4096, "memory": "1Gi"}
    await api.apply(
        service(name, stack.hosts["anchor"].url),
        always("always", name),
        huge,
        config("web", configuration=wants),
        group("big", "always", ("m", "huge", 1)),
        group("half", "always", ("web", "web", 1), ("db", "absent", 1)),
    )
    try:
        await api.condition(SERVER_GROUP, "big", "Placed", "False", "NoFeasibleService")
        explain = await moorage(api, stack, "explain", "big")
        assert "no hosting service can take the group\n" in explain.stdout
        assert re.search(rf"^{name} +NoOffering: member m: none of its", explain.stdout, re.MULTILINE)
        assert explain.stdout.count("NoOffering") == 1
        assert "NoFeasibleService, as above" in explain.stdout

        await api.condition(SERVER_GROUP, "half", "Stalled", "True", "ConfigNotFound")
        graph = await moorage(api, stack, "graph", "half")
        assert "├─ db (its configuration does not exist)" in graph.stdout
        assert "item address <- unknown dbb.address (output)" in graph.stdout
        events = stack.plane.run_kubectl("get", "events", f"--namespace={api.namespace}", "--output=json").stdout
        warned = [e for e in json.loads(events)["items"] if e["involvedObject"]["name"] == "half"]
        assert [(e["type"], e["reason"], e.get("count", 1)) for e in warned] == [("Warning", "ConfigNotFound", 1)]
    finally:
        await api.delete(HOSTING_SERVICE, name)


async def test_an_adopted_server_is_enrolled_with_the_script_that_is_printed(
    api: Api, stack: Stack, tmp_path: Path
) -> None:
    host = stack.hosts["anchor"]
    request = {"key": "m-foreign", "name": "foreign", "image": "process/shell", "offering": "small", "userData": ""}
    server = host.call("POST", "/v1/servers", request)
    await api.apply(
        service("anchor", host.url),
        always("unused", "anchor"),
        config(
            "plain",
            configuration=[{"name": "greeting", "value": "hello"}],
            files=[{"path": "/etc/greeting", "content": "${greeting}"}],
        ),
        {
            "apiVersion": "moorage.dev/v1alpha1",
            "kind": "VirtualServer",
            "metadata": {"name": "adopted"},
            "spec": {
                "serviceRef": {"name": "anchor"},
                "configRef": {"name": "plain"},
                "adopt": {"providerID": server["id"]},
            },
        },
    )

    async def script() -> subprocess.CompletedProcess[str] | None:
        run = await moorage(api, stack, "enroll", "adopted", "--yes")
        return run if run.returncode == Exit.OK else None

    asked = await moorage(api, stack, "enroll", "adopted")
    printed = await api.until("the script of the adopted server", script)
    assert asked.returncode != Exit.OK  # nobody is there to answer the question
    assert asked.stdout == ""
    guest = {
        "PATH": os.environ["PATH"],
        "MOORAGE_ROOT": str(tmp_path / "root"),
        "MOORAGE_STATE": str(tmp_path / "state"),
    }
    agent = boot(printed.stdout, guest)
    try:
        await api.condition(VIRTUAL_SERVER, "adopted", "Configured")
        assert (tmp_path / "root" / "etc" / "greeting").read_text() == "hello"
        again = await moorage(api, stack, "enroll", "adopted", "--yes")
        assert "has an agent already" in again.stderr
    finally:
        os.killpg(agent.pid, signal.SIGKILL)
        agent.wait()
