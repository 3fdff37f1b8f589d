"""`moorage plan` against a real API server: its words for bad input, its defaults, and nothing written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.cluster import Kubectl
from typer.testing import CliRunner

from moorage.cli.errors import CliError, Exit
from moorage.cli.main import app
from moorage.controlplane import ControlPlane
from moorage.kube.calls import Call
from moorage.kube.client import Client

Obj = dict[str, Any]

POLICY: Obj = {"when": {"all": [{"name": "always", "schedule": {"from": "2020-01-01T00:00:00Z"}}]}}
CONFIG: Obj = {"images": [{"image": "debian-12"}]}


def obj(kind: str, name: str, spec: Obj) -> Obj:
    return {"apiVersion": "moorage.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def group(replicas: int = 2, **spec: Any) -> Obj:
    members = [{"name": "web", "configRef": {"name": "web"}, "replicas": replicas}]
    return obj("ServerGroup", "shop", {"policyRef": {"name": "always"}, "members": members, **spec})


ALL = (group(), obj("VirtualServerConfig", "web", CONFIG), obj("HostingPolicy", "always", POLICY))


class Calls:
    """A client observer: what was sent."""

    def __init__(self) -> None:
        self.made: list[Call] = []

    def before(self, call: Call) -> None:
        self.made.append(call)

    def after(self, call: Call, outcome: int | BaseException, seconds: float) -> None:
        """Nothing of it is needed."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Every call of the command that is run."""
    found, connect = Calls(), Client.connect

    async def observed(*args: Any, **kwargs: Any) -> Client:
        client = await connect(*args, **kwargs)
        client.observers.append(found)
        return client

    monkeypatch.setattr(Client, "connect", observed)
    return found


@pytest.fixture
def service(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """A HostingService that this namespace alone may use, and that nobody reaches: its status is written by hand."""
    name = f"plan-{namespace}"[:60].rstrip("-")
    kubectl("label", "namespace", namespace, f"plan={namespace}")
    offering = {"name": "small", "cpu": 1, "memory": "1Gi", "arch": "amd64", "pricePerHour": "0.02"}
    spec = {
        "type": "local",
        "endpoint": "http://127.0.0.1:9",
        "allowedNamespaces": {"matchLabels": {"plan": namespace}},
        "offerings": [offering],
    }
    kubectl.apply(obj("HostingService", name, spec))
    available = {
        "type": "Available",
        "status": "True",
        "reason": "Reached",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    patch = json.dumps({"status": {"observedGeneration": 1, "conditions": [available]}})
    kubectl("patch", "hostingservice", name, "--subresource=status", "--type=merge", "-p", patch)
    yield name
    kubectl("delete", "hostingservice", name, "--wait=false")


@pytest.fixture
def plan(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Any:
    """Runs the command; answers its exit code and what it printed."""

    def run(objects: tuple[Obj, ...], *options: str) -> tuple[int, str]:
        file = tmp_path / "objects.yaml"
        file.write_text(yaml.safe_dump_all(objects))
        where = ["-n", namespace, "--kubeconfig", str(control_plane.kubeconfig)]
        result = CliRunner().invoke(app, ["plan", "-f", str(file), *where, *options])
        if isinstance(result.exception, CliError):
            return result.exception.code, f"{result.exception.message}\n{result.exception.hint}"
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout

    return run


def versions(kubectl: Kubectl, namespace: str) -> dict[str, str]:
    """Every object of this test, with its resourceVersion; another test's services come and go."""
    kinds = "servergroups,virtualserverconfigs,hostingpolicies,virtualservers,secrets,controllerrevisions,events"
    found = kubectl.json("get", kinds, "-n", namespace)["items"]
    services = kubectl.json("get", "hostingservices")["items"]
    found += [o for o in services if namespace in o["metadata"]["name"]]
    return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in found}


def test_a_plan_of_new_objects_places_and_prices_them_and_writes_nothing(
    kubectl: Kubectl, namespace: str, service: str, plan: Any, calls: Calls
) -> None:
    before = versions(kubectl, namespace)
    code, said = plan(ALL, "--exit-code")
    assert code == Exit.CHANGES, said
    assert f"would be placed on {service}" in said
    assert "total   2                                     0.04/h" in said
    assert "2 to be created" in said
    found = json.loads(plan(ALL, "-o", "json")[1])[0]
    assert [change["server"] for change in found["changes"]] == ["shop-web-0", "shop-web-1"]
    assert versions(kubectl, namespace) == before
    sent = [call for call in calls.made if call.verb not in {"get", "list"}]
    assert {call.kind.kind for call in sent} == {"ServerGroup", "VirtualServerConfig", "HostingPolicy"}
    assert all(call.dry for call in sent)


def test_what_the_api_server_would_refuse_is_said_in_its_words(plan: Any) -> None:
    code, said = plan((group(replicas=-1),))
    assert code == Exit.FAILED
    assert "ServerGroup shop would be refused: " in said
    assert "is not a number of servers" in said
    code, said = plan((group(polcyRef={"name": "x"}),))
    assert ".spec.polcyRef: field not declared in schema" in said
    scale = {"member": "db", "replicas": 1}
    assert "scale.member is not a member of this group" in plan((group(scale=scale),))[1]


def test_files_win_over_the_cluster_and_the_rest_is_read_from_it(
    kubectl: Kubectl, namespace: str, service: str, plan: Any
) -> None:
    kubectl("apply", "-n", namespace, "-f", "-", input=yaml.safe_dump_all(ALL))
    never = obj(
        "HostingPolicy", "always", {"when": {"all": [{"name": "t", "schedule": {"from": "2999-01-01T00:00:00Z"}}]}}
    )
    code, said = plan((never,), "--exit-code")
    assert code == Exit.OK
    assert "group shop\npolicy always is Unmet\n" in said
    assert "not placed; if the policy were met now, it would be on" in said
    before = versions(kubectl, namespace)
    assert "3 to be created" in plan((group(3),))[1]
    assert versions(kubectl, namespace) == before


@pytest.mark.parametrize("server_side", [False, True])
def test_a_field_that_a_file_has_no_more_goes_as_it_would_with_apply(
    kubectl: Kubectl, namespace: str, service: str, plan: Any, server_side: bool
) -> None:
    both = group()
    both["spec"]["members"].append({"name": "db", "configRef": {"name": "web"}})
    how = ["--server-side"] if server_side else []
    kubectl("apply", *how, "-n", namespace, "-f", "-", input=yaml.safe_dump_all([both, *ALL[1:]]))
    assert "3 to be created" in plan((both,))[1]
    assert "2 to be created" in plan((group(),))[1]
    scaled = json.dumps({"spec": {"suspend": True}})
    kubectl("patch", "sg", "shop", "-n", namespace, "--type=merge", "-p", scaled)
    assert "suspend is set" in plan((group(),))[1], "what somebody else set stays, as with apply"


def test_a_namespace_that_does_not_exist_is_said(control_plane: ControlPlane, tmp_path: Path) -> None:
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(ALL))
    options = ["-n", "nowhere-at-all", "--kubeconfig", str(control_plane.kubeconfig)]
    result = CliRunner().invoke(app, ["plan", "-f", str(file), *options])
    assert isinstance(result.exception, CliError)
    assert 'namespaces "nowhere-at-all" not found' in result.exception.message
