"""What is asked of Incus: also for what has no counterpart on a test machine, virtual machines and clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.hosting.incus.fake import (
    OPERATION,
    REQUEST,
    SETTINGS,
    UUID,
    Fake,
    done,
    instance,
    ok,
    opened,
    page,
    refused,
    started,
)

from moorage.hosting.contract import CreateRequest, ServerState
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    KeyConflict,
    QuotaError,
    Throttled,
    Unavailable,
    Unknown,
)
from moorage.hosting.incus.settings import IncusSettings

ONE = f"GET instances/{REQUEST.key}"
WAIT = f"GET {OPERATION.removeprefix('/1.0/')}/wait"
STATE = f"PUT instances/{REQUEST.key}/state"
PROJECT = {"GET projects/shop": ok({"name": "shop", "config": {}})}
THERE = {"GET images/aliases/debian": ok({"type": "container"}), "GET profiles/default": ok({})}
NEVER = "1970-01-01T00:00:00Z"


async def made(
    request: CreateRequest, allowed: dict[str, Any] | None = None, fake: Fake | None = None
) -> dict[str, Any]:
    """What is posted for the request."""
    fake = fake or Fake({"POST instances": started(), WAIT: done(), ONE: ok(instance(request))})
    settings = IncusSettings.model_validate({**SETTINGS.model_dump(by_alias=True), **(allowed or {})})
    await opened(fake, settings).create(request)
    return fake.body("POST instances")  # type: ignore[no-any-return]


async def test_a_container_is_made_whole_in_one_call_and_started_by_it() -> None:
    body = await made(REQUEST)
    assert body["name"] == REQUEST.key
    assert (body["type"], body["start"], body["profiles"]) == ("container", True, ["default"])
    assert body["source"] == {"type": "image", "alias": "debian"}
    assert body["config"] == {
        "cloud-init.user-data": "#!/bin/sh\n",
        "limits.cpu": "1",
        "limits.memory": "1073741824B",
        "user.moorage-installation": "here",
        "user.moorage-namespace": "shop",
        "user.moorage-service": "svc",
        "user.moorage-server": "u1",
        "user.moorage-key": REQUEST.key,
        "user.moorage-name": "web-0",
        "user.moorage-offering": "small",
        "user.moorage-request": REQUEST.digest(),
    }
    assert body["devices"] == {}


async def test_a_virtual_machine_with_a_disk_and_a_network_of_its_own() -> None:
    settings = {
        "instanceType": "virtual-machine",
        "profiles": ["base", "vm"],
        "storagePool": "fast",
        "diskSize": "20Gi",
        "network": "lan",
        "config": {"security.secureboot": "false", "limits.memory.hugepages": "true"},
    }
    allowed = {"serverProfiles": ["base", "vm"], "serverOptions": ["limits.*", "security.secureboot"]}
    body = await made(replace(REQUEST, offering="large", settings=settings, image="a" * 64), allowed)
    assert (body["type"], body["profiles"]) == ("virtual-machine", ["base", "vm"])
    assert body["source"] == {"type": "image", "fingerprint": "a" * 64}
    assert body["devices"] == {
        "root": {"type": "disk", "path": "/", "pool": "fast", "size": f"{20 * 1024**3}B"},
        "eth0": {"type": "nic", "name": "eth0", "network": "lan"},
    }
    assert (body["config"]["limits.cpu"], body["config"]["security.secureboot"]) == ("4", "false")


@pytest.mark.parametrize("target", ["node-2", "@gpu"])
async def test_a_member_or_a_group_of_a_cluster_is_asked_for(target: str) -> None:
    fake = Fake({"POST instances": started(), WAIT: done(), ONE: ok(instance(location="node-2"))})
    request = replace(REQUEST, settings={"target": target})
    fake._answers[ONE] = ok(instance(request, location="node-2"))
    assert (await opened(fake).create(request)).zone == "node-2"
    assert fake.calls[0][1] == {"project": "shop", "target": target}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"offering": "huge"}, "offering"),
        ({"key": "Not-a-name"}, "key"),
        ({"image": ""}, "image"),
        ({"user_data": "x" * 600_000}, "userData"),
        ({"tags": {"with space": "x"}}, "tags.with space"),
        ({"tags": {"empty": ""}}, "tags.empty"),
        ({"tags": {"moorage-request": "x"}}, "tags.moorage-request"),
        ({"settings": {"config": {"user.moorage-key": "x"}}}, "settings"),
        ({"settings": {"config": {"limits.cpu": "9"}}}, "settings"),
        ({"settings": {"config": {"raw.lxc": "x"}}}, "settings.config"),
        ({"settings": {"config": {"security.privileged": "true"}}}, "settings.config"),
        ({"settings": {"config": {"security.protection.delete": "true"}}}, "settings.config"),
        ({"settings": {"profiles": ["default", "privileged"]}}, "settings.profiles"),
        ({"settings": {"diskSize": "1Gi"}}, "settings"),
        ({"settings": {"target": "a/b"}}, "settings.target"),
        ({"settings": {"nonsense": 1}}, "settings.nonsense"),
    ],
)
async def test_what_incus_would_lose_or_refuse_is_refused_before_it_is_asked(
    changes: dict[str, Any], field: str
) -> None:
    fake = Fake({})
    with pytest.raises(Invalid) as caught:
        await opened(fake).create(replace(REQUEST, **changes))
    assert caught.value.field == field
    assert fake.calls == []


async def test_a_name_that_is_taken_by_the_same_request_is_its_server() -> None:
    taken = refused(500, "UNIQUE constraint failed: instances.project_id, instances.name", status=200)
    fake = Fake({"POST instances": started(), WAIT: taken, ONE: ok(instance())})
    assert (await opened(fake).create(REQUEST)).provider_id == f"{REQUEST.key}/{UUID}"
    assert fake.named == ["POST instances", WAIT, ONE]


@pytest.mark.parametrize("config", [{"user.moorage-request": "another"}, {"user.moorage-request": ""}])
async def test_a_name_that_is_taken_by_another_request_is_a_conflict(config: dict[str, str]) -> None:
    taken = refused(500, "already exists", status=200)
    fake = Fake({"POST instances": started(), WAIT: taken, ONE: ok(instance(config=config))})
    with pytest.raises(KeyConflict):
        await opened(fake).create(REQUEST)


async def test_an_operation_that_is_forgotten_says_nothing_and_the_instance_is_looked_at() -> None:
    gone = refused(404, "Operation not found")
    fake = Fake({"POST instances": started(), WAIT: gone, ONE: ok(instance())})
    assert (await opened(fake).create(REQUEST)).state is ServerState.RUNNING
    fake = Fake({"POST instances": started(), WAIT: gone, ONE: refused(404, "not found"), **PROJECT, **THERE})
    with pytest.raises(Unavailable) as caught:
        await opened(fake).create(REQUEST)
    assert not caught.value.definite


async def test_a_quota_that_is_used_up_does_not_hide_what_an_earlier_attempt_made() -> None:
    full = refused(500, 'Reached maximum number of instances in project "shop"')
    fake = Fake({"POST instances": full, ONE: ok(instance())})
    assert (await opened(fake).create(REQUEST)).key == REQUEST.key
    fake = Fake({"POST instances": full, ONE: refused(404, "Instance not found"), **PROJECT})
    with pytest.raises(QuotaError):
        await opened(fake).create(REQUEST)


@pytest.mark.parametrize(
    ("missing", "settings", "field"),
    [
        ("images/aliases/debian", {}, "image"),
        ("profiles/default", {}, "settings.profiles"),
        ("storage-pools/fast", {"storagePool": "fast"}, "settings.storagePool"),
        ("networks/lan", {"network": "lan"}, "settings.network"),
        ("nothing", {"target": "node-9"}, "settings.target"),
    ],
)
async def test_what_a_request_names_and_is_not_there_is_named(
    missing: str, settings: dict[str, Any], field: str
) -> None:
    answers = {"POST instances": refused(404, "not found"), ONE: refused(404, "not found"), **PROJECT, **THERE}
    answers |= {"GET storage-pools/fast": ok({}), "GET networks/lan": ok({})}
    if missing != "nothing":
        answers[f"GET {missing}"] = refused(404, "not found")
    with pytest.raises(Invalid) as caught:
        await opened(Fake(answers)).create(replace(REQUEST, settings=settings))
    assert caught.value.field == field


async def test_a_project_that_lets_no_server_name_a_member_is_no_trouble_with_the_credentials() -> None:
    # Incus 6.0.4, internal/server/project/permissions.go
    forbidden = refused(403, "This project doesn't allow cluster member targeting")
    fake = Fake({"POST instances": forbidden, ONE: refused(404, "not found"), **PROJECT, **THERE})
    with pytest.raises(Invalid, match=r"cluster\.target=allow") as caught:
        await opened(fake).create(replace(REQUEST, settings={"target": "node-2"}))
    assert caught.value.field == "settings.target"


async def test_an_image_of_the_other_kind_is_refused_by_its_kind() -> None:
    failed = refused(500, "Requested image's type \"virtual-machine\" doesn't match", status=200)
    answers = {"POST instances": started(), WAIT: failed, ONE: refused(404, "not found"), **PROJECT, **THERE}
    answers["GET images/aliases/debian"] = ok({"type": "virtual-machine"})
    with pytest.raises(Invalid, match="is not one of a container") as caught:
        await opened(Fake(answers)).create(REQUEST)
    assert caught.value.field == "image"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refused(500, 'Reached maximum aggregate value "1GiB" for "limits.memory"'), QuotaError),
        (refused(500, "write /var/lib: no space left on device", status=200), CapacityError),
        (refused(403, "Cluster member is evacuated"), CapacityError),
        (refused(500, "Failed checking if instance creation allowed: forbidden"), Invalid),
        (refused(500, "Failed creating instance record: Unknown configuration key: a.b", status=200), Invalid),
        (refused(400, "Name can only contain"), Invalid),
        (refused(500, "Something else went wrong", status=200), Unknown),
        (refused(500, "database is locked"), Unavailable),
        (refused(403, "not authorized"), AuthenticationError),
        (page(401), AuthenticationError),
        (page(404), Unavailable),
        (page(429), Throttled),
        (page(502), Unavailable),
        (page(418), Unknown),
    ],
)
async def test_each_refusal_has_its_class(answer: Any, error: type[HostingError]) -> None:
    by_operation = answer.status == 200
    answers = {"POST instances": started() if by_operation else answer, WAIT: answer}
    with pytest.raises(HostingError) as caught:
        await opened(Fake({**answers, ONE: refused(404, "not found"), **PROJECT, **THERE})).create(REQUEST)
    assert type(caught.value) is error


async def test_a_server_whose_maker_died_before_its_start_is_started_by_the_next_attempt() -> None:
    taken = refused(500, "already exists", status=200)
    pending = instance(status="Stopped", last_used_at=NEVER)
    fake = Fake(
        {
            "POST instances": started("2026-11-01T11:00:00Z"),
            WAIT: [taken, done()],
            ONE: [ok(pending), ok(instance())],
            "GET operations": ok({"success": [{"resources": {"instances": [f"/1.0/instances/{REQUEST.key}"]}}]}),
            STATE: started(),
        }
    )
    assert (await opened(fake).create(REQUEST)).state is ServerState.RUNNING
    assert fake.body(STATE) == {"action": "start"}


async def test_a_server_that_another_attempt_is_still_making_is_left_to_it() -> None:
    taken = refused(500, "already exists", status=200)
    under_way = {"running": [{"resources": {"instances": [f"/1.0/instances/{REQUEST.key}?project=shop"]}}]}
    pending = instance(status="Stopped", last_used_at=NEVER)
    answers = {"POST instances": started(), WAIT: taken, ONE: ok(pending), "GET operations": ok(under_way)}
    fake = Fake(answers)
    assert (await opened(fake).create(REQUEST)).state is ServerState.PENDING
    assert STATE not in fake.named


async def test_a_server_that_was_stopped_later_is_not_started_by_a_repetition() -> None:
    taken = refused(500, "already exists", status=200)
    stopped = ok(instance(status="Stopped"))
    answers = {"POST instances": started("2026-11-02T10:00:00Z"), WAIT: taken, ONE: stopped, "GET operations": ok({})}
    fake = Fake(answers)
    assert (await opened(fake).create(REQUEST)).state is ServerState.STOPPED
    assert STATE not in fake.named


async def test_a_server_that_cannot_start_is_failed_for_everyone() -> None:
    broken = refused(500, "Failed to run: forkstart", status=200)
    stopped = ok(instance(status="Stopped"), "etag-1")
    answers = {"POST instances": started(), WAIT: broken, ONE: stopped, "GET operations": ok({})}
    fake = Fake({**answers, f"PATCH instances/{REQUEST.key}": ok({})})
    found = await opened(fake).create(REQUEST)
    assert (found.state, found.message) == (ServerState.FAILED, "create: Failed to run: forkstart")
    assert fake.body(f"PATCH instances/{REQUEST.key}") == {"config": {"user.moorage-failed": found.message}}
    marked = Fake({ONE: ok(instance(status="Stopped", config={"user.moorage-failed": "why"}))})
    later = await opened(marked).get(found.provider_id)
    assert (later.state, later.message) == (ServerState.FAILED, "why")


async def test_the_settings_used_here_have_the_sizes() -> None:
    assert [offering.name for offering in await opened(Fake({})).offerings()] == ["small", "large"]
    assert SETTINGS.size("none") is None
