"""From servers to objects: which are printed, under which name, and what may be taken over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from moorage.api.hostingservice import HostingService
from moorage.api.names import ANNOTATION_FOUND
from moorage.cli.imports import Imported, Wish, imported, summary
from moorage.cli.services import Known, Look
from moorage.hosting.contract import ServerRecord, ServerState, identity_tags

META = {"name": "anchor", "uid": "svc-uid"}
SERVICE = HostingService.from_dict({"metadata": META, "spec": {"type": "local", "endpoint": "http://h"}})
NOBODY = Known(frozenset(), frozenset(), frozenset())
PLAIN = ServerRecord("i-1", None, {}, ServerState.RUNNING, name="web", image="debian-12", offering="small")


def tagged(server: str, namespace: str = "ns", installation: str = "inst", service: str = "svc-uid") -> ServerRecord:
    return replace(PLAIN, tags=identity_tags(installation, namespace, service, server))


def run(*records: ServerRecord, known: Known = NOBODY, can_retag: bool = True, **wish: Any) -> Imported:
    return imported(Look(SERVICE, records, can_retag), known, Wish("ns", **wish))


def only(found: Imported) -> dict[str, Any]:
    assert len(found.objects) == 1
    return found.objects[0]


def test_a_free_server_is_observed_unless_it_is_to_be_managed() -> None:
    obj = only(run(PLAIN))
    assert obj["metadata"] == {"name": "web", "namespace": "ns"}
    assert obj["spec"] == {
        "serviceRef": {"name": "anchor"},
        "adopt": {"providerID": "i-1"},
        "managementPolicy": "Observe",
        "image": "debian-12",
        "offering": "small",
    }
    assert only(run(PLAIN, manage=True))["spec"]["managementPolicy"] == "Manage"


@pytest.mark.parametrize(
    ("record", "can_retag", "note", "policy"),
    [
        (tagged("released"), True, "released", "Manage"),
        (tagged("released", namespace="other"), True, "released by namespace other", "Observe"),
        (tagged("uid", installation="other", service="other"), True, "another owner", "Observe"),
        (tagged("uid"), True, "an orphan", "Observe"),
        (PLAIN, False, "cannot write tags", "Observe"),
    ],
    ids=["released", "released elsewhere", "another owner's", "orphan", "no tags"],
)
def test_what_may_be_taken_over_and_why_not(record: ServerRecord, can_retag: bool, note: str, policy: str) -> None:
    obj = only(run(record, can_retag=can_retag, others=True, manage=True))
    assert note in obj["metadata"]["annotations"][ANNOTATION_FOUND]
    assert obj["spec"]["managementPolicy"] == policy


@pytest.mark.parametrize(
    ("record", "known"),
    [
        (tagged("uid"), Known(frozenset({"uid"}), frozenset(), frozenset())),
        (PLAIN, Known(frozenset(), frozenset({("anchor", "i-1")}), frozenset())),
        (tagged("uid", installation="other"), NOBODY),
        (replace(PLAIN, state=ServerState.TERMINATING), NOBODY),
        (replace(PLAIN, provider_id="i" * 513), NOBODY),
    ],
    ids=["made", "adopted", "another owner's", "on its way out", "no id that fits"],
)
def test_what_is_left_out_is_counted(record: ServerRecord, known: Known) -> None:
    found = run(record, known=known)
    assert found.objects == []
    assert sum(found.left_out.values()) == 1
    assert summary(found).startswith("none; 1 left out: ")


def test_an_adopted_id_of_another_service_is_another_server() -> None:
    only(run(PLAIN, known=Known(frozenset(), frozenset({("bollard", "i-1")}), frozenset())))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Web_Server.1", "web-server-1"),
        ("-x-", "x"),
        ("a" * 70, "a" * 63),
        ("日本", "server-"),
        (None, "server-"),
        ("taken", "taken-"),
    ],
)
def test_names_are_host_names(name: str | None, expected: str) -> None:
    known = Known(frozenset(), frozenset(), frozenset({("ns", "taken"), ("other", "x")}))
    found = only(run(replace(PLAIN, name=name), known=known))["metadata"]["name"]
    assert found.startswith(expected)
    assert len(found) <= 63
    assert found == expected or len(found) == len(expected) + 8


def test_names_are_unique() -> None:
    found = run(*(replace(PLAIN, provider_id=f"i-{n}", name="b" * 80) for n in range(20)))
    assert len({obj["metadata"]["name"] for obj in found.objects}) == 20


def test_what_the_schema_would_refuse_is_left_out() -> None:
    spec = only(run(replace(PLAIN, offering="2 cores / 4 GB", image="i" * 600)))["spec"]
    assert not {"offering", "image"} & spec.keys()
