"""Bad input is ordinary: each kind of it gets a rejection or a condition with a remedy, and nothing else stops."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.stack import SYSTEM, Api, Obj, Stack, always, condition, config, group, kind_of, service

from moorage.kube.errors import Invalid, NotFound
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, VIRTUAL_SERVER, Kind


@pytest.fixture
async def place(api: Api, stack: Stack) -> AsyncIterator[str]:
    """A HostingService of the test's own, a policy `always` that is met and chooses it, a configuration `good`.

    At the end the controller must not have logged a traceback.
    """
    name = f"place-{secrets.token_hex(3)}"
    await api.apply(
        service(name, stack.hosts["anchor"].url, inventoryInterval="1s"),
        always("always", name),
        config("good", steps=[{"name": "s", "script": "true"}]),
    )
    yield name
    await api.delete(HOSTING_SERVICE, name)
    assert stack.controller is not None
    assert "Traceback" not in stack.controller.log.read_text()


def policy(name: str, condition_: Obj, *services: str) -> Obj:
    """A HostingPolicy of one condition."""
    made = always(name, *services)
    made["spec"]["when"] = {"all": [{"name": "it", **condition_}]}
    return made


def vs(name: str, service_: str, provider_id: str) -> Obj:
    """A VirtualServer that adopts."""
    spec = {"serviceRef": {"name": service_}, "adopt": {"providerID": provider_id}}
    return {"apiVersion": "moorage.dev/v1alpha1", "kind": "VirtualServer", "metadata": {"name": name}, "spec": spec}


# What the API server refuses


def without(obj: Obj, **spec: Any) -> Obj:
    """The object with other fields of its spec."""
    return {**obj, "spec": {**obj["spec"], **spec}}


REJECTED = {
    "an empty when": (without(always("x"), when={}), "at least one condition"),
    "a condition of no kind": (policy("x", {}), "schedule"),
    "two members of one name": (group("x", "p", ("m", "c", 1), ("m", "d", 1)), "a name of its own"),
    "replicas below 0": (group("x", "p", ("m", "c", -1)), "0 to 1000"),
    "no members": (group("x", "p"), "members"),
    "a name too long for a child": (group("x" * 50, "p", ("member", "c", 1)), "at most 53 characters"),
    "a server that nobody asked for": (
        without(vs("x", "s", "i"), adopt=None, image="a", offering="b"),
        "write a ServerGroup",
    ),
    "an adopted server of a group": (
        without(vs("x", "s", "i"), group={"name": "g", "uid": "u"}, member="m", image="a", offering="b"),
        "without group",
    ),
}


@pytest.mark.parametrize("what", REJECTED)
async def test_is_rejected(api: Api, what: str) -> None:
    obj, phrase = REJECTED[what]
    with pytest.raises(Invalid) as error:
        await api.apply(obj)
    assert phrase in str(error.value)


# What only the controller can see

LOOP = "[1,2,3,4,5,6,7,8,9,10].all({0}, {1})"
EXPENSIVE = LOOP.format("a", LOOP.format("b", LOOP.format("c", LOOP.format("d", LOOP.format("e", "a > 0")))))


def output_of(member: str, name: str) -> Obj:
    """The source of an item: an output of another member."""
    return {"output": {"member": member, "name": name}}


def bad_objects(place: str) -> list[Obj]:
    """All that is wrong, each in an object of its own name; nothing but the service is right."""
    items: dict[str, Any] = {
        "cycle": [{"name": "a", "template": "${b}"}, {"name": "b", "template": "${a}"}],
        "unknown-item": [{"name": "url", "template": "postgres://${passwrod}"}, {"name": "password", "value": "x"}],
        "nobody": [{"name": "address", "valueFrom": output_of("m", "adress")}],
        "no-secret": [{"name": "pw", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "password"}}}],
    }
    configs = [config(name, configuration=found) for name, found in items.items()]
    configs.append(config("settings", settings=[{"serviceType": "local", "values": {"bootDelai": 1}}]))
    configs.append(without(config("image"), images=[{"image": "process/no-such-image"}]))
    policies = [
        policy("cron", {"schedule": {"cron": "61 * * * *", "duration": "1h"}}, place),
        policy("expression", {"service": {"expression": "services.exists(s, s.price <"}}, place),
        policy("expensive", {"service": {"expression": EXPENSIVE}}, place),
        always("elsewhere", "not-there"),
    ]
    return [
        *configs,
        *(group(c["metadata"]["name"], "always", ("m", c["metadata"]["name"], 1)) for c in configs),
        *policies,
        *(group(p["metadata"]["name"], p["metadata"]["name"], ("m", "good", 1)) for p in policies),
        group("no-config", "always", ("m", "not-there", 1)),
        group("no-policy", "not-there", ("m", "good", 1)),
        group("nothing", "allways", ("m", "goood", 1)),
        vs("adopts-nothing", place, "i-not-there"),
        vs("on-nothing", "not-there", "i-not-there"),
    ]


TOLD = [
    # kind, name, condition, status, reason, a word of the message
    ("VirtualServerConfig", "cycle", "Valid", "False", "ItemCycle", "a -> b -> a"),
    ("VirtualServerConfig", "unknown-item", "Valid", "False", "NoSuchItem", "did you mean password?"),
    ("VirtualServerConfig", "settings", "Valid", "False", "InvalidSettings", "bootDelai"),
    ("HostingPolicy", "cron", "Ready", "False", "InvalidSchedule", "write for instance"),
    ("HostingPolicy", "expression", "Ready", "False", "ExpressionInvalid", "line 1"),
    ("HostingPolicy", "expensive", "Ready", "False", "ExpressionTooExpensive", "nest fewer loops"),
    ("ServerGroup", "cycle", "Stalled", "True", "ConfigInvalid", "a -> b -> a"),
    ("ServerGroup", "unknown-item", "Stalled", "True", "ConfigInvalid", "did you mean password?"),
    ("ServerGroup", "nobody", "Ready", "False", "ItemsPending", "declares no output adress"),
    ("ServerGroup", "no-secret", "Ready", "False", "ItemsPending", "Secret absent"),
    ("ServerGroup", "image", "Placed", "False", "NoFeasibleService", "no image 'process/no-such-image'"),
    ("ServerGroup", "cron", "PolicyMet", "Unknown", "PolicyUnknown", "write for instance"),
    ("ServerGroup", "expression", "PolicyMet", "Unknown", "PolicyUnknown", "line 1"),
    ("ServerGroup", "expensive", "PolicyMet", "Unknown", "PolicyUnknown", "nest fewer loops"),
    ("ServerGroup", "elsewhere", "Placed", "False", "NoFeasibleService", "NotSelected"),
    ("ServerGroup", "cron", "Stalled", "True", "PolicyInvalid", "write for instance"),
    ("ServerGroup", "expensive", "Stalled", "True", "PolicyInvalid", "nest fewer loops"),
    ("ServerGroup", "no-config", "Stalled", "True", "ConfigNotFound", "create it or change configRef"),
    ("ServerGroup", "no-policy", "Stalled", "True", "PolicyNotFound", "create it or change policyRef"),
    ("ServerGroup", "nothing", "Stalled", "True", "ConfigNotFound", "did you mean good?"),
    ("ServerGroup", "nothing", "Stalled", "True", "ConfigNotFound", "did you mean always?"),
    ("ServerGroup", "settings", "Ready", "False", None, "bootDelai"),
    ("VirtualServer", "adopts-nothing", "Stalled", "True", "AdoptNotFound", "i-not-there"),
    ("VirtualServer", "on-nothing", "Ready", "False", "ServiceNotFound", "does not exist"),
]


async def test_each_bad_object_is_told_and_a_good_group_beside_them_becomes_ready(api: Api, place: str) -> None:
    objects = bad_objects(place)
    await api.apply(*objects, group("good", "always", ("m", "good", 1)))
    await api.ready("good")
    kinds = {obj["kind"]: kind_of(obj) for obj in objects}
    for kind, name, type_, status, reason, phrase in TOLD:
        await told(api, kinds[kind], name, type_, status, reason, phrase)
    await api.ready("good")
    for name in ("adopts-nothing", "on-nothing"):
        await api.delete(VIRTUAL_SERVER, name)
        await api.gone(VIRTUAL_SERVER, name)


async def told(api: Api, kind: Kind, name: str, type_: str, status: str, reason: str | None, phrase: str) -> None:
    """Wait until the condition is so and its message holds the phrase."""

    async def probe() -> bool:
        obj = await api.get(kind, name)
        found = condition(obj, type_) if obj is not None else None
        return (
            found is not None
            and found["status"] == status
            and reason in {None, found["reason"]}
            and phrase in found["message"]
        )

    await api.until(f"{kind.kind} {name}: {type_}={status} {reason} with {phrase!r}", probe)


# Services


async def stranger() -> TestServer:
    """A web server, which has a page for whatever it is asked."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><h1>Welcome</h1>", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    server = TestServer(app)
    await server.start_server()
    return server


async def test_a_service_that_cannot_be_used_is_told_and_others_go_on(
    api: Api, stack: Stack, place: str, tmp_path: Path
) -> None:
    token, suffix = tmp_path / "token", secrets.token_hex(3)
    token.write_text("right")
    guarded = stack.hostd(f"guarded-{suffix}", "--token-file", str(token))
    secret = f"credentials-{suffix}"
    ref: Obj = {"credentialsSecretRef": {"name": secret}}
    anchor = stack.hosts["anchor"].url
    site = await stranger()
    wrong = {
        f"web-{suffix}": (service("", str(site.make_url("/"))), "Unavailable", "is the endpoint that of a hostd?"),
        f"absent-{suffix}": (
            service("", guarded.url, **ref),
            "AuthenticationFailed",
            f"Secret {secret} does not exist",
        ),
        f"none-{suffix}": (service("", guarded.url), "AuthenticationFailed", ""),
        f"type-{suffix}": (without(service("", anchor), type="heap"), "Invalid", "there are: "),
        f"settings-{suffix}": (service("", anchor, settings={"pageSise": 3}), "Invalid", "pageSise"),
        f"nowhere-{suffix}": (service("", "http://127.0.0.1:9"), "Unavailable", ""),
    }
    named = [{**obj, "metadata": {"name": name}} for name, (obj, _, _) in wrong.items()]
    try:
        await api.apply(*named)
        for name, (_, reason, phrase) in wrong.items():
            await told(api, HOSTING_SERVICE, name, "Available", "False", reason, phrase)
        await api.apply(group("good", "always", ("m", "good", 1)))
        await api.ready("good")
        body = {"metadata": {"name": secret, "namespace": SYSTEM}, "stringData": {"token": "wrong"}}
        await api.client.create(SECRET, body, manager="test")
        await told(api, HOSTING_SERVICE, f"absent-{suffix}", "Available", "False", "AuthenticationFailed", "")
        right = {"stringData": {"token": "right"}}
        await api.client.patch(SECRET, SYSTEM, secret, right, manager="test")
        await told(api, HOSTING_SERVICE, f"absent-{suffix}", "Available", "True", None, "")
        assert stack.controller is not None
        assert "right" not in (await api.describe())
    finally:
        for name in wrong:
            await api.delete(HOSTING_SERVICE, name)
        with contextlib.suppress(NotFound):
            await api.client.delete(SECRET, SYSTEM, secret)
        guarded.stop()
        await site.close()
