"""KubeVirt's API on a real API server, for the contract's suite."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import ssl
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config import new_client_from_config
from tests.support.hostd import until

from moorage.hosting.contract import Backend
from moorage.hosting.registry import backend
from moorage.testbed import Running
from moorage.testbed.kubevirt.simulator import GROUP, HERE, NAMESPACE
from moorage.testing.proxy import FaultProxy
from moorage.testing.service import Faults, Made, ServiceUnderTest, Spec

ROLE = HERE / "role.yaml"
COUNT = "count/virtualmachines.kubevirt.io"
_names = itertools.count(1)


WHY = {
    "capacity": "a cluster tells that nodes are full only after the creation: the server stays Pending and says so",
    "throttle": "the API server's fairness cannot be set to refuse single clients; the proxy does it",
    "lag": "etcd's lists are consistent",
    "project_gone": "a namespace that is made again is another; a test of its own deletes one",
    "expire": "a ServiceAccount's token from a Secret does not expire",
    "skew": "nothing in the protocol is signed with a time",
}


class KubevirtFaults(Faults):
    """What a cluster can be told to do wrong: quota and credentials by its own means, nodes by the simulator's."""

    def __init__(self, service: KubevirtService) -> None:
        self._service = service
        self._revoked = False
        self.why = WHY

    async def clear(self) -> None:
        if self._revoked:
            await self._service.rules("apply")
            self._revoked = False
        with contextlib.suppress(ApiException):
            await self._service.do("delete_namespaced_resource_quota", "suite", NAMESPACE)

    async def quota(self, servers: int) -> None:
        hard = {COUNT: str(servers)}
        await self._service.do(
            "create_namespaced_resource_quota", NAMESPACE, {"metadata": {"name": "suite"}, "spec": {"hard": hard}}
        )

        async def in_force() -> bool:
            quota = await self._service.do("read_namespaced_resource_quota", "suite", NAMESPACE)
            return bool(quota.status.hard)

        await until(in_force, "the quota's status")

    async def revoke(self) -> None:
        self._revoked = True
        await self._service.rules("delete")

    async def vanish(self, provider_id: str) -> None:
        await self._service.machines("delete", provider_id.partition("/")[0])

    async def boot_fails(self) -> None:
        self._service.image = "broken"


class KubevirtService(ServiceUnderTest):
    """One namespace of the bed's cluster."""

    type = "kubevirt"
    silence = "moorage.hosting.kubevirt.cluster:SILENCE"
    faults_at = "one per operation"

    def __init__(self, running: Running) -> None:
        super().__init__()
        self.endpoint = running.endpoint
        self.project = running.project
        self.credentials = {name: value.encode() for name, value in running.credentials.items()}
        self.image, self.offering, self.other_offering = running.image, running.offering, "u1.medium"
        self._image = running.image
        self.unknown_id = f"m-nobody/{uuid.uuid4()}"
        self.wrong_credentials = [{**self.credentials, "token": b"nobody"}, {"ca.crt": self.credentials["ca.crt"]}]
        self.upstream_tls = ssl.create_default_context(cadata=running.credentials["ca.crt"])
        self.faults = KubevirtFaults(self)
        api: Any = new_client_from_config(running.extra["kubeconfig"])  # type: ignore[no-untyped-call]
        self._core: Any = client.CoreV1Api(api)
        self._objects: Any = client.CustomObjectsApi(api)
        self._kubeconfig, self._kubectl = running.extra["kubeconfig"], running.extra["kubectl"]
        self._ledger = Path(running.extra["ledger"])
        self._began = 0

    async def do(self, method: str, *arguments: Any) -> Any:
        """A call of the core API as the administrator."""
        call: Any = getattr(self._core, method)
        return await asyncio.to_thread(functools.partial(call, *arguments))

    async def machines(self, verb: str, *arguments: Any) -> Any:
        """A call about virtual machines as the administrator."""
        call: Any = getattr(self._objects, f"{verb}_namespaced_custom_object")
        return await asyncio.to_thread(functools.partial(call, *GROUP, "virtualmachines", *arguments))

    async def rules(self, verb: str) -> None:
        """Take the role of the credentials away (`delete`), or give it (`apply`)."""
        await self._run(verb, "--filename", str(ROLE))

    async def _run(self, *words: str, given: str = "") -> None:
        argv = [self._kubectl, "--kubeconfig", self._kubeconfig, *words]
        await asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True, text=True, input=given)

    async def elsewhere(self) -> Backend:
        """Another namespace of the cluster."""
        return await self.in_namespace("elsewhere")

    async def in_namespace(self, name: str) -> Backend:
        """A backend on another namespace, with the same credentials. The namespace is made where it is not there; the
        simulator does not look at it, so servers in it stay Pending."""
        with contextlib.suppress(ApiException):
            await self.do("create_namespace", {"metadata": {"name": name}})
        await self._run("apply", "--filename", "-", given=yaml.safe_dump_all(_rules_in(name)))
        opened = backend(self.type).open(Spec(self.endpoint, "", name, dict(self.settings)), self.credentials)
        self._opened.append(opened)
        return opened

    async def delete_namespace(self, name: str) -> None:
        """Delete a namespace and all that is in it, and see it gone."""
        with contextlib.suppress(ApiException):
            await self.do("delete_namespace", name)

        async def gone() -> bool:
            return all(each.metadata.name != name for each in (await self.do("list_namespace")).items)

        await until(gone, f"the end of namespace {name}")

    async def begin(self) -> None:
        """An empty namespace, and the ledger from here on."""
        self.image = self._image
        await self.faults.clear()
        await self.remove_all()
        self._began = len(self._lines())

    async def end(self) -> None:
        """Remove what is there."""
        await self.faults.clear()
        await self.remove_all()

    def open_through(self, proxy: FaultProxy, **changes: Any) -> Backend:
        """The roots are part of the credentials."""
        trusting = {**self.credentials, "ca.crt": proxy.authority.encode()}
        return self.open(endpoint=proxy.url(self.endpoint), **{"credentials": trusting, **changes})

    def lagging(self, seconds: float) -> dict[str, Any]:
        """Lists are never late."""
        return {}

    def invalid_requests(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """What the cluster finds out only after the creation (an image, an instance type) is not among them."""
        return [
            ({"name": "Not A Name"}, "name"),
            ({"key": "no key"}, "key"),
            ({"tags": {"t": "x" * 64}}, "tags.t"),
            ({"tags": {"moorage-key": "x"}}, "tags.moorage-key"),
            ({"user_data": "x" * 600_000}, "userData"),
            ({"settings": {"nonsense": 1}}, "settings.nonsense"),
            ({"image": "a/b/c", "settings": {"imageSource": "DataSource"}}, "image"),
        ]

    def invalid_specs(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """An endpoint that is none, and a region, which there are none of."""
        return [
            ({"endpoint": "https://"}, "endpoint"),
            ({"region": "eu"}, "region"),
            ({"pageSize": 0}, "settings.pageSize"),
        ]

    async def ledger(self) -> list[Made]:
        """The simulator's, once it has all that is there now."""
        here = {item["metadata"]["uid"] for item in (await self.machines("list"))["items"]}
        while True:
            lines = self._lines()
            if here <= {line["uid"] for line in lines}:
                return [Made(f"{line['name']}/{line['uid']}", line["key"]) for line in lines[self._began :]]
            await asyncio.sleep(0.02)

    def _lines(self) -> list[dict[str, Any]]:
        text = self._ledger.read_text() if self._ledger.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    async def foreign(self) -> str:
        """A machine without a label of ours."""
        domain = {"domain": {"devices": {}}, "volumes": [{"name": "root", "containerDisk": {"image": self.image}}]}
        body = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": {"name": f"foreign-{next(_names)}-{id(self):x}"},
            "spec": {"runStrategy": "Always", "template": {"spec": domain}},
        }
        made = await self.machines("create", body)
        return f"{made['metadata']['name']}/{made['metadata']['uid']}"

    async def remove_all(self) -> None:
        """Delete all machines, and wait until they are gone."""
        for item in (await self.machines("list"))["items"]:
            with contextlib.suppress(ApiException):
                await self.machines("delete", item["metadata"]["name"])

        async def empty() -> bool:
            return not (await self.machines("list"))["items"]

        await until(empty, "an empty namespace")


def _rules_in(namespace: str) -> list[dict[str, Any]]:
    """The role of the credentials, for another namespace than the bed's."""
    rules: list[dict[str, Any]] = list(yaml.safe_load_all(ROLE.read_text()))
    name = f"moorage-in-{namespace}"
    for rule in rules:
        match rule["kind"]:
            case "Role" | "RoleBinding":
                rule["metadata"]["namespace"] = namespace
            case "ClusterRole":
                rule["metadata"]["name"] = name
                rule["rules"] = [{**each, "resourceNames": [namespace]} for each in rule["rules"][:1]]
            case "ClusterRoleBinding":
                rule["metadata"]["name"] = rule["roleRef"]["name"] = name
            case other:
                raise AssertionError(f"the role has a {other} in it")
    return rules
