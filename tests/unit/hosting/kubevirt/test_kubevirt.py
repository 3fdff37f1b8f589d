"""The backend kubevirt: the objects it makes, what it reads from them, and what refusals mean."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from moorage.hosting.contract import CreateRequest, ServerState
from moorage.hosting.errors import (
    AuthenticationError,
    HostingError,
    Invalid,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
    Unknown,
)
from moorage.hosting.http import Answer
from moorage.hosting.kubevirt import FACTORY
from moorage.hosting.kubevirt.answers import parsed, refusal
from moorage.hosting.kubevirt.objects import seed, virtual_machine
from moorage.hosting.kubevirt.offerings import offerings_of
from moorage.hosting.kubevirt.records import STATES, record
from moorage.hosting.kubevirt.settings import KubevirtServerSettings, KubevirtSettings, Size
from moorage.testing.service import Spec

REQUEST = CreateRequest("m-k", "db-0", "registry.example/debian:12", "u1.small", "#!/bin/sh\n", {"moorage-server": "u"})
META = {"name": "m-k", "uid": "1-2", "creationTimestamp": "2026-11-01T10:00:00Z", "labels": {"moorage-key": "m-k"}}
CREDENTIALS = {"token": b"abc", "ca.crt": b""}


def machine(**status: Any) -> dict[str, Any]:
    return {"metadata": META, "spec": {"runStrategy": "Always", "template": {"spec": {}}}, "status": status}


def made(settings: dict[str, Any] | None = None, size: Size | None = None) -> dict[str, Any]:
    return virtual_machine(REQUEST, KubevirtServerSettings.model_validate(settings or {}), size)


def test_a_machine_is_named_by_its_key_and_boots_the_image_with_the_seed() -> None:
    found = made()
    assert found["metadata"]["name"] == "m-k"
    assert found["metadata"]["labels"] == {"moorage-server": "u", "moorage-key": "m-k"}
    assert found["spec"]["instancetype"] == {"kind": "VirtualMachineClusterInstancetype", "name": "u1.small"}
    template = found["spec"]["template"]["spec"]
    assert template["hostname"] == "db-0"
    assert template["volumes"] == [
        {"name": "root", "containerDisk": {"image": REQUEST.image}},
        {"name": "seed", "cloudInitNoCloud": {"secretRef": {"name": "m-k"}}},
    ]
    assert template["networks"] == [{"name": "default", "pod": {}}]
    assert "user_data" not in json.dumps(found)
    assert "#!/bin/sh" not in json.dumps(found)


def test_a_declared_size_takes_the_place_of_an_instance_type() -> None:
    size = Size.model_validate({"name": "u1.small", "cpu": 2, "memory": "1Gi", "arch": "arm64"})
    found = made(size=size)["spec"]
    assert "instancetype" not in found
    assert found["template"]["spec"]["domain"]["cpu"] == {"cores": 2, "sockets": 1, "threads": 1}
    assert found["template"]["spec"]["domain"]["memory"] == {"guest": str(1024**3)}
    assert found["template"]["spec"]["architecture"] == "arm64"


def test_a_machine_runs_on_the_nodes_that_its_settings_select() -> None:
    selected = {"topology.kubernetes.io/zone": "a"}
    assert made({"nodeSelector": selected})["spec"]["template"]["spec"]["nodeSelector"] == selected
    assert "nodeSelector" not in made()["spec"]["template"]["spec"], "without a word the cluster decides"


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("DataSource", {"sourceRef": {"kind": "DataSource", "name": "debian", "namespace": "images"}}),
        ("PersistentVolumeClaim", {"source": {"pvc": {"name": "debian", "namespace": "images"}}}),
    ],
)
def test_a_disk_of_its_own_is_cloned_and_goes_with_the_machine(kind: str, source: dict[str, Any]) -> None:
    settings = KubevirtServerSettings.model_validate(
        {"imageSource": kind, "diskSize": "10Gi", "storageClass": "fast", "network": "vlan7", "preference": "linux"}
    )
    found = virtual_machine(replace(REQUEST, image="images/debian"), settings, None)["spec"]
    (template,) = found["dataVolumeTemplates"]
    storage = {"resources": {"requests": {"storage": str(10 * 1024**3)}}, "storageClassName": "fast"}
    assert template["spec"] == {"storage": storage, **source}
    assert found["template"]["spec"]["volumes"][0] == {"name": "root", "dataVolume": {"name": "m-k"}}
    assert found["template"]["spec"]["networks"] == [{"name": "default", "multus": {"networkName": "vlan7"}}]
    assert found["preference"]["name"] == "linux"
    assert record({**machine(), "spec": found}, None).image == "images/debian"


def test_a_source_that_is_no_name_is_refused() -> None:
    settings = KubevirtServerSettings.model_validate({"imageSource": "DataSource"})
    with pytest.raises(Invalid) as caught:
        virtual_machine(replace(REQUEST, image="a/b/c"), settings, None)
    assert caught.value.field == "image"


def test_the_seed_belongs_to_the_machine() -> None:
    found = seed(REQUEST, machine())
    assert found["metadata"]["ownerReferences"][0]["uid"] == "1-2"
    assert found["data"] == {"userdata": "IyEvYmluL3NoCg=="}


@pytest.mark.parametrize("word", STATES)
def test_every_state_is_read(word: str) -> None:
    assert record(machine(printableStatus=word), None).state is STATES[word]


def test_a_state_that_is_not_known_is_unknown_and_named() -> None:
    found = record(machine(printableStatus="Dreaming"), None)
    assert found.state is ServerState.UNKNOWN
    assert "Dreaming" in found.message


def test_addresses_are_those_of_the_instance_while_it_runs() -> None:
    instance = {"status": {"interfaces": [{"ipAddresses": ["10.1.1.1", "fe80::1"]}], "nodeName": "n1"}}
    found = record(machine(printableStatus="Running"), instance)
    assert [a.address for a in found.addresses] == ["10.1.1.1"]
    assert found.zone == "n1"
    assert record(machine(printableStatus="Stopped"), instance).addresses == ()


def test_what_is_no_machine_is_no_record() -> None:
    with pytest.raises(Unavailable):
        record({"metadata": {}}, None)


def status(reason: str, message: str = "no", **details: Any) -> bytes:
    return json.dumps({"kind": "Status", "reason": reason, "message": message, "details": details}).encode()


@pytest.mark.parametrize(
    ("code", "raw", "error", "field"),
    [
        (401, status("Unauthorized"), AuthenticationError, None),
        (403, status("Forbidden"), AuthenticationError, None),
        (403, status("Forbidden", "x is forbidden: exceeded quota: q"), QuotaError, None),
        (404, status("NotFound", name="m-k", kind="virtualmachines"), NotFound, None),
        (404, status("NotFound", name="ns", kind="namespaces"), Invalid, "project"),
        (404, b"404 page not found", Unavailable, None),
        (404, status("NotFound"), Unavailable, None),
        (409, status("Conflict"), Unavailable, None),
        (422, status("Invalid", causes=[{"field": "spec.instancetype.name"}]), Invalid, "offering"),
        (422, status("Invalid", causes=[{"field": "spec.template.spec.volumes[0]"}]), Invalid, "image"),
        (400, status("BadRequest"), Invalid, None),
        (429, status("TooManyRequests"), Throttled, None),
        (500, b"", Unavailable, None),
        (503, b"<html>", Unavailable, None),
        (302, b"", Unknown, None),
    ],
)
def test_refusals_are_typed(code: int, raw: bytes, error: type[HostingError], field: str | None) -> None:
    found = refusal(Answer(code, 3.0, "", raw), "create", "ns")
    assert type(found) is error
    if isinstance(found, Invalid):
        assert found.field == field
    if isinstance(found, Throttled):
        assert found.retry_after == 3.0


def test_offerings_are_the_declared_ones_and_the_clusters() -> None:
    settings = KubevirtSettings.model_validate(
        {"sizes": [{"name": "big", "cpu": 8, "memory": "16Gi"}], "prices": {"u1.small": "0.02"}}
    )
    kinds = [{"metadata": {"name": "u1.small"}, "spec": {"cpu": {"guest": 1}, "memory": {"guest": "2Gi"}}}]
    assert [(o.name, int(o.cpu), str(o.price_per_hour)) for o in offerings_of(settings, kinds)] == [
        ("big", 8, "None"),
        ("u1.small", 1, "0.02"),
    ]
    with pytest.raises(Unavailable):
        offerings_of(settings, [{"metadata": {"name": "x"}, "spec": {}}])


@pytest.mark.parametrize(
    ("spec", "credentials", "error", "field"),
    [
        (Spec(None, project="ns"), CREDENTIALS, Invalid, "endpoint"),
        (Spec("https://c:6443"), CREDENTIALS, Invalid, "project"),
        (Spec("https://c:6443", project="No"), CREDENTIALS, Invalid, "project"),
        (Spec("https://c:6443", "eu", "ns"), CREDENTIALS, Invalid, "region"),
        (Spec("https://c:6443", project="ns", settings={"x": 1}), CREDENTIALS, Invalid, "settings.x"),
        (Spec("https://c:6443", project="ns"), {}, AuthenticationError, None),
        (Spec("https://c:6443", project="ns"), {"token": b"a b"}, AuthenticationError, None),
        (Spec("https://c:6443", project="ns"), {"tls.crt": b"a"}, AuthenticationError, None),
        (Spec("https://c:6443", project="ns"), {"tls.crt": b"a", "tls.key": b"b"}, AuthenticationError, None),
        (Spec("https://c:6443", project="ns"), {"token": b"a", "ca.crt": b"canary"}, AuthenticationError, None),
    ],
)
def test_what_cannot_be_opened_says_why(
    spec: Spec, credentials: dict[str, bytes], error: type[HostingError], field: str | None
) -> None:
    with pytest.raises(error) as caught:
        FACTORY.open(spec, credentials)
    assert "canary" not in str(caught.value)
    if isinstance(caught.value, Invalid):
        assert caught.value.field == field


@pytest.mark.parametrize("provider_id", ["web", "web/", "/1-2", "..", "../1-2"])
async def test_a_name_alone_is_no_id(provider_id: str) -> None:
    backend = FACTORY.open(Spec("https://cluster.example", "", "shop", {}), CREDENTIALS)
    for call in (backend.get, backend.delete):
        with pytest.raises(Invalid) as caught:
            await call(provider_id)
        assert caught.value.field == "providerID"
    await backend.close()


@pytest.mark.parametrize(
    ("service", "server", "field"),
    [
        ({}, {"imageSource": "PersistentVolumeClaim"}, "settings.imageSource"),
        ({"imageSources": ["DataSource"]}, {}, "settings.imageSource"),
        ({"networks": []}, {"network": "vlan7"}, "settings.network"),
        ({"networks": ["vlan8"]}, {"network": "vlan7"}, "settings.network"),
    ],
)
async def test_a_server_gets_no_disk_and_no_network_that_the_service_does_not_leave_to_it(
    service: dict[str, Any], server: dict[str, Any], field: str
) -> None:
    backend = FACTORY.open(Spec("https://cluster.example", "", "shop", service), CREDENTIALS)
    with pytest.raises(Invalid) as caught:
        await backend.create(replace(REQUEST, settings=server))
    assert caught.value.field == field
    await backend.close()


def test_what_the_service_leaves_to_a_server_is_allowed() -> None:
    everything = KubevirtSettings.model_validate({"imageSources": ["PersistentVolumeClaim"], "networks": ["vlan7"]})
    everything.check(
        KubevirtServerSettings.model_validate({"imageSource": "PersistentVolumeClaim", "network": "vlan7"})
    )
    KubevirtSettings().check(KubevirtServerSettings(network="vlan7"))


def test_an_answer_that_is_nested_without_end_makes_no_sense() -> None:
    deep = Answer(500, None, "", b"[" * 200_000)
    with pytest.raises(Unavailable, match="makes no sense"):
        parsed(deep, "get")
    assert type(refusal(deep, "get", "shop")) is Unavailable
