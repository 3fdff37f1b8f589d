"""What a person meets on the real API server: descriptions, columns, short names, defaults, scale, sizes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.support.cluster import Kubectl
from tests.support.crd_cases import BASES, built
from tests.support.crd_server import TABLE, Server, path_of

from moorage.api.kinds import KINDS, KindInfo
from moorage.api.names import API_VERSION
from moorage.api.servergroup import ServerGroup
from moorage.controlplane import ControlPlane

EACH_KIND = pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
REPEATED = re.compile(r"\.when\.(all|any)\.(all|any|not)\.")
"""What a condition can be is described once, where it stands alone: within combinations it would be said ten times."""
SINCE = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def server(control_plane: ControlPlane) -> Iterator[Server]:
    with Server.at(control_plane.kubeconfig) as server:
        yield server


def fresh_name() -> str:
    return f"shown-{uuid.uuid4().hex[:12]}"


@EACH_KIND
def test_each_field_has_a_description(server: Server, info: KindInfo) -> None:
    schemas = server.request("GET", f"/openapi/v3/apis/{API_VERSION}").done()["components"]["schemas"]
    ours = next(
        schema
        for schema in schemas.values()
        if any(gvk["kind"] == info.kind for gvk in schema.get("x-kubernetes-group-version-kind", ()))
    )
    assert [path for path, text in described(ours, info.kind) if len(text) < 8 and not REPEATED.search(path)] == []


def described(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, child in schema.get("properties", {}).items():
        if name != "metadata":
            yield f"{path}.{name}", child.get("description", "")
            yield from described(child.get("items", child), f"{path}.{name}")


@EACH_KIND
def test_kubectl_explains_the_kind_and_its_spec(kubectl: Kubectl, info: KindInfo) -> None:
    told = kubectl("explain", f"{info.short_name}.spec").stdout
    assert str(info.model.model_fields["spec"].annotation.__doc__).split(".")[0] in " ".join(told.split())
    assert "<no description>" not in told
    for field in BASES[info.kind]:
        assert f"  {field}\t" in told


@EACH_KIND
def test_the_api_server_fills_in_the_defaults_of_the_model(server: Server, info: KindInfo) -> None:
    least = built(info.kind, {})
    stored = server.create(least, dry_run=True).done()
    read: Any = info.model.from_dict(least)
    assert stored["spec"] == read.to_dict()["spec"]
    assert stored["status"] == {"observedGeneration": -1}
    again: Any = info.model.from_dict(stored)
    assert again.status == read.status


def test_defaults_within_lists_are_those_of_the_model(server: Server) -> None:
    config = {
        "configuration": [{"name": "a", "valueFrom": {"output": {"member": "db", "name": "x"}}}],
        "files": [{"path": "/a"}],
        "steps": [{"name": "s", "script": "true"}],
        "outputs": [{"name": "o", "field": "id"}],
        "readiness": {"tcp": {"port": "80"}},
        "size": {"cpu": 2},
    }
    whole = built("VirtualServerConfig", config)
    spec = server.create(whole, dry_run=True).done()["spec"]
    model: Any = next(i for i in KINDS if i.kind == "VirtualServerConfig").model
    written = model.from_dict(whole).to_dict()["spec"]
    assert {**spec, "size": None} == {**written, "size": None}


STATUS: dict[str, dict[str, Any]] = {
    "HostingService": {"servers": 4, "capacity": {"used": 4, "available": 6}},
    "VirtualServerConfig": {"usedBy": {"groups": 2, "servers": 5}},
    "HostingPolicy": {"nextCheckTime": "2026-01-01T08:00:00Z"},
    "ServerGroup": {
        "replicas": 3,
        "readyReplicas": 2,
        "pendingItems": 1,
        "policy": {"name": "cheap", "verdict": "Met", "since": SINCE},
        "placement": {"number": 1, "service": "anchor", "time": SINCE, "message": "the cheapest"},
    },
    "VirtualServer": {"addresses": [{"type": "Internal", "address": "127.1.2.3"}], "state": "Running"},
}
SHOWN = {
    "HostingService": ["local", "", "True", "Fine", "4", "6"],
    "VirtualServerConfig": ["True", "Fine", "debian-12", "2", "5"],
    "HostingPolicy": ["False", "Waiting", "Keep", "2026-01-01T08:00:00Z"],
    "ServerGroup": ["False", "Waiting", "Met", "anchor", "3", "2", "1"],
    "VirtualServer": ["False", "Waiting", "anchor", "127.1.2.3", "Running"],
}


def condition(type_: str, status: str, reason: str) -> dict[str, str]:
    message = "item db_address of web-0 waits for output address of db-0"
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": SINCE}


@EACH_KIND
def test_kubectl_get_prints_state_reason_place_and_age(server: Server, kubectl: Kubectl, info: KindInfo) -> None:
    stored = server.create(built(info.kind, {}, fresh_name())).done()
    name = stored["metadata"]["name"]
    conditions = [
        condition("Ready", "False", "Waiting"),
        condition("Available", "True", "Fine"),
        condition("Valid", "True", "Fine"),
    ]
    status = {"observedGeneration": 1, "conditions": conditions, **STATUS[info.kind]}
    try:
        server.replace({**stored, "status": status}, part="status").done()
        table = server.request("GET", f"{path_of(info.kind)}/{name}", accept=TABLE).done()
        columns = [c["name"] for c in table["columnDefinitions"] if c["priority"] == 0]
        assert columns == ["Name", *(c.name for c in info.columns if not c.wide)]
        assert columns[-1] == "Age"
        narrow = [
            "" if cell is None else f"{cell}"
            for cell, column in zip(table["rows"][0]["cells"], table["columnDefinitions"], strict=True)
            if column["priority"] == 0
        ]
        assert narrow[1:-1] == SHOWN[info.kind]
        printed = kubectl("get", info.short_name, name, "--output=wide", "--namespace=default").stdout
        assert "waits for output address of db-0" in printed
    finally:
        server.delete(stored)


def test_one_word_gets_all_kinds_of_a_namespace(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply({**built("ServerGroup", {}), "metadata": {"name": "shop", "namespace": namespace}})
    kubectl.apply({**built("HostingPolicy", {}), "metadata": {"name": "cheap", "namespace": namespace}})
    printed = kubectl("get", "moorage", "--output=name", f"--namespace={namespace}").stdout.split()
    assert {"servergroup.moorage.dev/shop", "hostingpolicy.moorage.dev/cheap"} <= set(printed)


def test_scale_acts_on_the_scaled_member(kubectl: Kubectl, namespace: str) -> None:
    members = [{"name": m, "configRef": {"name": m}} for m in ("db", "web")]
    group = built("ServerGroup", {"members": members, "scale": {"member": "web"}})
    kubectl.apply({**group, "metadata": {"name": "shop", "namespace": namespace}})
    kubectl("scale", "sg/shop", "--replicas=4", f"--namespace={namespace}")
    stored = ServerGroup.from_dict(kubectl.json("get", "sg", "shop", f"--namespace={namespace}"))
    assert [stored.spec.replicas_of(m) for m in stored.spec.members] == [1, 4]


def test_scale_of_a_group_without_a_scaled_member_says_what_to_write(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply({**built("ServerGroup", {}), "metadata": {"name": "shop", "namespace": namespace}})
    answer = kubectl("scale", "sg/shop", "--replicas=4", f"--namespace={namespace}", check=False)
    assert answer.returncode != 0
    assert "write spec.scale.member: <name of a member> beside replicas" in answer.stderr


def test_the_largest_objects_are_within_the_cost_of_the_rules(server: Server) -> None:
    long = "x" * 55
    items = [{"name": f"{long}_{i}", "template": "${x}"} for i in range(128)]
    steps = [{"name": f"{long}-{i}", "script": "true"} for i in range(32)]
    after = [step["name"] for step in steps]
    config = {
        "configuration": items,
        "files": [{"path": f"/{'x' * 1000}/{i}", "content": "${x}"} for i in range(64)],
        "steps": steps,
        "outputs": [{"name": f"{long}_{i}", "command": "true", "after": after} for i in range(32)],
    }
    server.create(built("VirtualServerConfig", config), dry_run=True).done()
    members = [{"name": f"m{i}", "configRef": {"name": f"{long}{i}"}} for i in range(32)]
    server.create(built("ServerGroup", {"members": members}), dry_run=True).done()
    offerings = [{"name": f"{long}{i}", "cpu": "1500m", "memory": "1.5Gi", "pricePerHour": "0.123"} for i in range(200)]
    server.create(built("HostingService", {"offerings": offerings}), dry_run=True).done()


@pytest.mark.parametrize(
    ("kind", "fields", "says"),
    [
        ("ServerGroup", {"members": []}, "should have at least 1 items"),
        ("ServerGroup", {"policyRef": None}, "Required value"),
        ("ServerGroup", {"deletionPolicy": "Keep"}, 'supported values: "Delete", "Retain"'),
        ("ServerGroup", {"members": [{"name": f"m{i}", "configRef": {"name": "a"}} for i in range(33)]}, "at most 32"),
        ("HostingPolicy", {"when": None}, "Required value"),
        ("VirtualServerConfig", {"images": []}, "should have at least 1 items"),
        ("VirtualServerConfig", {"configuration": [{"name": "a", "value": 80}]}, "must be of type string"),
        ("VirtualServer", {"serviceRef": {"name": "a_b"}}, "should match"),
        ("VirtualServer", {"member": "Db"}, "should match"),
        ("VirtualServer", {"offering": "t3 small"}, "should match"),
        ("VirtualServer", {"ordinal": -1}, "greater than or equal to 0"),
        ("VirtualServer", {"placement": -1}, "greater than or equal to 0"),
        ("HostingService", {"orphanPolicy": "Keep"}, 'supported values: "Report", "Delete"'),
    ],
)
def test_the_schema_refuses_what_has_another_shape(server: Server, kind: str, fields: Any, says: str) -> None:
    causes = server.create(built(kind, fields), dry_run=True).refused()
    assert any(says in message for _, message in causes), causes


def test_a_mistyped_field_is_named(server: Server) -> None:
    answer = server.create(built("ServerGroup", {"suspended": True}), dry_run=True)
    assert answer.status == 400
    assert 'unknown field "spec.suspended"' in answer.body["message"]
