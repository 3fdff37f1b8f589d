"""Which service a VirtualServer gets, whatever its writer put into it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from moorage.api.names import ANNOTATION_STATE
from moorage.api.virtualserver import VirtualServer
from moorage.controllers.context import Context
from moorage.controllers.observation import connection_of, refusal
from moorage.controllers.state import SecretState
from moorage.controllers.tables import Tables, register
from moorage.kube.errors import InvalidObject
from moorage.kube.store import Store, Table


def put(table: Table[Any], name: str, uid: str, *, namespace: str = "", made: str = "", **parts: Any) -> None:
    meta = {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": "1", **parts.pop("metadata", {})}
    table.ingest({"metadata": {**meta, "creationTimestamp": made or "2026-01-01T00:00:00Z"}, **parts})


def put_server(tables: Tables, name: str, namespace: str, service: dict[str, str], made: str = "") -> VirtualServer:
    spec = {"serviceRef": service, "group": {"name": "g", "uid": "u"}, "member": "m", "image": "i", "offering": "o"}
    put(tables.servers, name, f"uid-{name}", namespace=namespace, made=made, spec=spec)
    server = tables.servers.parsed(namespace, name)
    assert server is not None
    return server


@pytest.fixture
def tables() -> Tables:
    made = register(Store(), "inst")
    selector = {"matchExpressions": [{"key": "untrusted", "operator": "DoesNotExist"}]}
    spec = {"type": "local", "endpoint": "http://h", "allowedNamespaces": selector, "limits": {"servers": 1}}
    put(made.services, "guarded", "uid-guarded", spec=spec)
    put(made.services, "open", "uid-open", spec={"type": "local", "endpoint": "http://h"})
    put(made.namespaces, "shop", "uid-shop")
    put(made.namespaces, "lab", "uid-lab", metadata={"labels": {"untrusted": "true"}})
    return made


def test_the_uid_of_a_service_does_not_open_it_under_the_name_of_another(tables: Tables) -> None:
    connections: dict[str, Any] = {f"uid-{name}": SimpleNamespace(name=name) for name in ("guarded", "open")}
    context = cast(Context, SimpleNamespace(connections=connections))
    forged = put_server(tables, "forged", "lab", {"name": "open", "uid": "uid-guarded"})
    assert refusal(tables, forged) is None
    assert connection_of(context, tables, forged) is None
    honest = put_server(tables, "honest", "shop", {"name": "guarded", "uid": "uid-guarded"})
    assert connection_of(context, tables, honest) is connections["uid-guarded"]


def test_a_server_of_a_suspended_group_is_not_made_although_its_object_is_there(tables: Tables) -> None:
    server = put_server(tables, "posted", "shop", {"name": "open"})
    spec: dict[str, Any] = {"policyRef": {"name": "p"}, "members": [{"name": "m", "configRef": {"name": "c"}}]}
    put(tables.groups, "g", "u", namespace="shop", spec={**spec, "suspend": True})
    assert (refusal(tables, server) or ("",))[0] == "Suspended"
    put(tables.groups, "g", "u", namespace="shop", spec=spec, metadata={"resourceVersion": "2"})
    assert refusal(tables, server) is None


def test_objects_of_a_namespace_that_is_not_allowed_take_no_place_from_others(tables: Tables) -> None:
    for number in range(3):
        stranger = put_server(tables, f"stranger-{number}", "lab", {"name": "guarded"})
        assert (refusal(tables, stranger) or ("",))[0] == "NotAllowedInNamespace"
    assert refusal(tables, put_server(tables, "first", "shop", {"name": "guarded"}, "2026-01-02T00:00:00Z")) is None
    second = put_server(tables, "second", "shop", {"name": "guarded"}, "2026-01-03T00:00:00Z")
    assert (refusal(tables, second) or ("",))[0] == "LimitReached"


def test_a_namespace_that_was_not_seen_yet_is_let_in_by_no_selector(tables: Tables) -> None:
    assert (refusal(tables, put_server(tables, "a", "new", {"name": "guarded"})) or ("",))[0] == "NotAllowedInNamespace"
    assert refusal(tables, put_server(tables, "b", "new", {"name": "open"})) is None


@pytest.mark.parametrize("data", ["text", [1], 7, None, {"spec": []}])
def test_a_forged_revision_is_an_invalid_object_and_nothing_worse(tables: Tables, data: Any) -> None:
    put(tables.revisions, "forged", "uid-forged", namespace="shop", data=data)
    with pytest.raises(InvalidObject):
        tables.revisions.parsed("shop", "forged")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"attempts": [[1e999, ""]]}', "{}", "7"])
def test_a_forged_state_is_damaged_and_nothing_worse(text: str) -> None:
    with pytest.raises(ValueError, match="damaged"):
        SecretState.of({"metadata": {"annotations": {ANNOTATION_STATE: text}}})


def test_a_forged_record_of_deliveries_is_taken_as_none() -> None:
    forged = {"metadata": {"annotations": {ANNOTATION_STATE: '{"attempts": [], "delivery": {"revision": 1e999}}'}}}
    assert SecretState.of(forged).delivery.revision == 0
