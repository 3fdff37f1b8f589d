"""The backend `kubevirt`: virtual machines as objects of a Kubernetes cluster that runs KubeVirt.

One namespace is one account. A machine is named by its key, which the API server keeps unique, so a repeated creation
finds what the first one made. Its user-data is in a Secret that belongs to it and is written after it: whatever is
interrupted, nothing is left that does not go with the machine.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import quote

from moorage.hosting.contract import (
    MAX_CONSOLE,
    Capacity,
    CreateRequest,
    Inventory,
    Offering,
    ServerRecord,
)
from moorage.hosting.errors import (
    AuthenticationError,
    HostingError,
    Invalid,
    KeyConflict,
    NotFound,
    TimedOut,
    Unavailable,
    stranger,
)
from moorage.hosting.factory import ServiceSpec, capabilities, parse_settings
from moorage.hosting.http import Http, endpoint_url, tls_context
from moorage.hosting.kubevirt.answers import CLUSTER, parsed, reason_of, refusal
from moorage.hosting.kubevirt.cluster import Cluster
from moorage.hosting.kubevirt.objects import ANNOTATION_REQUEST, LABEL_KEY, OWN_LABELS, seed, virtual_machine
from moorage.hosting.kubevirt.offerings import offerings_of
from moorage.hosting.kubevirt.records import Obj, record
from moorage.hosting.kubevirt.settings import KubevirtServerSettings, KubevirtSettings

MAX_USER_DATA: Final = 512 * 1024
"""Bytes of user-data: a Secret takes a mebibyte, its encoding needs a third more."""
SHORTEST_WATCH: Final = 1.0
"""Seconds. Who ends a watch sooner would be asked without a pause; whoever listens makes one after an error."""
QUOTA: Final = "count/virtualmachines.kubevirt.io"
TRUST: Final = "the key `ca.crt` of the credentials"
_LABEL_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
_LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")
_HOST_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_NAMESPACE = _HOST_NAME


def open_backend(spec: ServiceSpec, credentials: Mapping[str, bytes]) -> KubevirtBackend:
    """Open a backend; see `BackendFactory.open`. The credentials are those of a Secret of a ServiceAccount (`token`,
    `ca.crt`), or `tls.crt` and `tls.key` with `ca.crt`."""
    settings = parse_settings(KubevirtSettings, spec.settings)
    base = endpoint_url(spec.endpoint, "the cluster's API server", plain=settings.allow_plain_http)
    if spec.project is None or not _NAMESPACE.match(spec.project):
        raise Invalid("must be the namespace in which the virtual machines are made", field="project")
    if spec.region:
        raise Invalid("a service of type kubevirt has no regions: write one HostingService a cluster", field="region")
    token = credentials.get("token")
    certificate, key = credentials.get("tls.crt"), credentials.get("tls.key")
    if (certificate is None) != (key is None):
        raise AuthenticationError("the credentials hold one of `tls.crt` and `tls.key`: write both")
    if token is None and certificate is None:
        raise AuthenticationError("the credentials hold neither `token` nor `tls.crt` and `tls.key`")
    roots = credentials.get("ca.crt", b"").decode("ascii", errors="replace")
    try:
        tls = tls_context(roots, certificate, key)
    except Invalid:
        raise AuthenticationError("the key `ca.crt` of the credentials is not a bundle of PEM certificates") from None
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {_printable(token)}"
    return KubevirtBackend(Http(base, headers=headers, tls=tls, trust=TRUST), spec.project, settings)


def _printable(token: bytes) -> str:
    text = token.decode("ascii", errors="replace").strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise AuthenticationError("the key `token` of the credentials is not a bearer token")
    return text


class KubevirtBackend:
    """One namespace of one cluster. Satisfies `Backend` and the abilities Retag, Power and Events."""

    def __init__(self, http: Http, namespace: str, settings: KubevirtSettings) -> None:
        self._cluster = Cluster(http, namespace, timeout=settings.request_timeout, page_size=settings.page_size)
        self._namespace = namespace
        self._settings = settings
        self._core = f"api/v1/namespaces/{namespace}"
        self._machines = f"apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachines"
        self._instances = f"apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances"
        self.capabilities = capabilities(settings, idempotent_create=True, listing_lag=0.0)

    # What the service is

    async def account(self) -> str:
        """See `Backend.account`: the uid of the namespace, which no other one ever has."""
        found = await self._cluster.ask("GET", self._core, "namespace")
        uid = (found.get("metadata") or {}).get("uid")
        if not isinstance(uid, str) or not uid:
            raise Unavailable(f"namespace: {stranger(CLUSTER)}")
        return uid

    async def offerings(self) -> tuple[Offering, ...]:
        """See `Backend.offerings`: those declared in the settings, and the cluster's instance types."""
        kinds: list[dict[str, Any]] = []
        if self._settings.instance_types:
            path = "apis/instancetype.kubevirt.io/v1beta1/virtualmachineclusterinstancetypes"
            kinds = await self._cluster.pages(path, "instance types")
        return offerings_of(self._settings, kinds)

    async def capacity(self) -> Capacity:
        """See `Backend.capacity`: what a ResourceQuota of the namespace allows, where there is one to be seen."""
        limit: int | None = None
        # Quotas may be hidden from these credentials: then `create` finds out.
        with suppress(AuthenticationError):
            quotas = await self._cluster.pages(f"{self._core}/resourcequotas", "quotas")
            found = [((q.get("status") or {}).get("hard") or {}).get(QUOTA) for q in quotas]
            limits = [int(text) for text in found if text is not None and str(text).isdigit()]
            limit = min(limits, default=None)
        first = await self._cluster.ask("GET", self._machines, "virtual machines", query={"limit": "1"})
        more = (first.get("metadata") or {}).get("remainingItemCount") or 0
        return Capacity(limit=limit, used=len(first.get("items") or ()) + int(more))

    # Servers

    async def inventory(self) -> Inventory:
        """See `Backend.inventory`."""
        async with _bounded(self._settings.inventory_timeout, "the inventory did not end in time"):
            account = await self.account()
            return Inventory(account=account, servers=await self._servers({}))

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """See `Backend.find`."""
        if not _LABEL_VALUE.match(key):
            return ()
        async with _bounded(self._settings.inventory_timeout, "the search did not end in time"):
            return await self._servers({"labelSelector": f"{LABEL_KEY}={key}"})

    async def get(self, provider_id: str) -> ServerRecord:
        """See `Backend.get`."""
        machine = await self._machine(provider_id)
        return record(machine, await self._instance(machine["metadata"]["name"]))

    async def create(self, request: CreateRequest) -> ServerRecord:
        """See `Backend.create`."""
        settings = parse_settings(KubevirtServerSettings, request.settings)
        self._settings.check(settings)
        _check(request)
        wanted = virtual_machine(request, settings, self._settings.size(request.offering))
        async with _bounded(self._settings.create_timeout, "the creation did not end in time"):
            machine = await self._post_machine(request, wanted)
            if not machine["metadata"].get("deletionTimestamp"):
                await self._post_seed(request, machine)
            return record(machine, None)

    async def delete(self, provider_id: str) -> None:
        """See `Backend.delete`."""
        name, uid = _split(provider_id)
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        options["preconditions"] = {"uid": uid}
        answer = await self._cluster.call(
            "DELETE",
            f"{self._machines}/{name}",
            "delete",
            body=options,
        )
        if answer.status in {200, 202} or (answer.status == 409 and reason_of(answer) == "Conflict"):
            return  # a conflict: the name belongs to another machine by now, so this one is gone
        error = refusal(answer, "delete", self._namespace)
        if not isinstance(error, NotFound):
            raise error

    async def console(self, provider_id: str) -> str | None:
        """See `Backend.console`: the log of the launcher pod's container `guest-console-log`."""
        machine = await self._machine(provider_id)
        name = machine["metadata"]["name"]
        pods = await self._cluster.pages(f"{self._core}/pods", "pods", {"labelSelector": f"vm.kubevirt.io/name={name}"})
        if not pods:
            return ""
        pod = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))["metadata"]["name"]
        answer = await self._cluster.call(
            "GET",
            f"{self._core}/pods/{quote(pod, safe='')}/log",
            "console",
            query={"container": "guest-console-log", "tailLines": "1000"},
        )
        if answer.status == 400 and reason_of(answer) == "BadRequest":
            return None  # the container is not there: an older KubeVirt, or the log is switched off
        if answer.status != 200:
            raise refusal(answer, "console", self._namespace)
        text = answer.raw.decode(errors="replace")
        return "".join(c for c in text if c == "\n" or c.isprintable())[-MAX_CONSOLE:]

    # Abilities

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """See `Retag.retag`."""
        _check_tags(tags)
        machine = await self._machine(provider_id)
        changed = await self._patch(machine, {"metadata": {"labels": dict(tags)}}, "retag")
        labels = changed["metadata"].get("labels") or {}
        if any(labels.get(name) != value for name, value in tags.items()):
            raise Unavailable("retag: the cluster did not confirm the new tags")

    async def start(self, provider_id: str) -> None:
        """See `Power.start`."""
        await self._patch(await self._machine(provider_id), {"spec": {"runStrategy": "Always"}}, "start")

    async def stop(self, provider_id: str) -> None:
        """See `Power.stop`."""
        await self._patch(await self._machine(provider_id), {"spec": {"runStrategy": "Halted"}}, "stop")

    async def events(self) -> AsyncIterator[str]:
        """See `Events.events`: a watch of the virtual machines."""
        while True:
            page = await self._cluster.ask("GET", self._machines, "events", query={"limit": "1"})
            version = str((page.get("metadata") or {}).get("resourceVersion") or "")
            yield ""
            while version:
                # Each watch goes on where the one before ended; the version is "" where it lost its place.
                began = time.monotonic()
                async for machine, seen in self._cluster.watch(self._machines, version):
                    version = seen
                    if machine is not None:
                        yield record(machine, None).provider_id
                if time.monotonic() - began < SHORTEST_WATCH:
                    raise Unavailable("events: the cluster ends each watch at once")

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._cluster.close()

    # How

    async def _servers(self, query: Mapping[str, str]) -> tuple[ServerRecord, ...]:
        # Instances first: a machine that starts between the two calls is there without an address, and a machine
        # that is gone by then is in neither.
        instances = await self._cluster.pages(self._instances, "instances", query)
        running = {str(i["metadata"]["name"]): i for i in instances}
        machines = await self._cluster.pages(self._machines, "virtual machines", query)
        found = {r.provider_id: r for r in (record(m, running.get(m["metadata"]["name"])) for m in machines)}
        if len(found) != len(machines):
            raise Unavailable("the cluster listed a virtual machine twice")
        return tuple(found.values())

    async def _machine(self, provider_id: str) -> dict[str, Any]:
        name, uid = _split(provider_id)
        machine = await self._cluster.ask("GET", f"{self._machines}/{name}", "get")
        meta = machine.get("metadata") or {}
        if machine.get("kind") != "VirtualMachine" or meta.get("name") is None:
            raise Unavailable("get: the answer makes no sense")
        if meta.get("uid") != uid:
            raise NotFound("get: another virtual machine has the name by now")
        return machine

    async def _instance(self, name: str) -> dict[str, Any] | None:
        try:
            return await self._cluster.ask("GET", f"{self._instances}/{quote(name, safe='')}", "instance")
        except NotFound:
            return None

    async def _post_machine(self, request: CreateRequest, wanted: dict[str, Any]) -> dict[str, Any]:
        query = {"fieldValidation": "Strict"}
        answer = await self._cluster.call(
            "POST",
            self._machines,
            "create",
            timeout=self._settings.create_timeout,
            query=query,
            body=wanted,
        )
        if answer.status in {200, 201, 202}:
            machine = parsed(answer, "create")
        elif answer.status == 409 and reason_of(answer) == "AlreadyExists":
            try:
                machine = await self._cluster.ask("GET", f"{self._machines}/{request.key}", "create")
            except NotFound:
                raise Unavailable("create: the server was there a moment ago and is gone") from None
            if (machine["metadata"].get("annotations") or {}).get(ANNOTATION_REQUEST) != request.digest():
                raise KeyConflict("create: the key is used by a server that was asked for with another request")
        else:
            raise _about_the_request(refusal(answer, "create", self._namespace))
        meta = machine.get("metadata") or {}
        if meta.get("name") != request.key or not meta.get("uid"):
            raise Unavailable("the cluster answered with another server than the one created")
        return machine

    async def _post_seed(self, request: CreateRequest, machine: dict[str, Any]) -> None:
        """The user-data. The machine is there already, so no refusal may say that nothing was created."""
        try:
            answer = await self._cluster.call(
                "POST",
                f"{self._core}/secrets",
                "user-data",
                timeout=self._settings.create_timeout,
                body=seed(request, machine),
            )
            if answer.status == 409 and reason_of(answer) == "AlreadyExists":
                found = await self._cluster.ask("GET", f"{self._core}/secrets/{request.key}", "user-data")
                owners = found["metadata"].get("ownerReferences") or ()
                if not any(owner.get("uid") == machine["metadata"]["uid"] for owner in owners):
                    raise Unavailable("user-data: the Secret of an earlier machine is still there")
            elif answer.status not in {200, 201, 202}:
                raise refusal(answer, "user-data", self._namespace)
        except HostingError as error:
            if not error.definite:
                raise
            text = f"the virtual machine is there, but its user-data could not be written: {error.message}"
            raise Unavailable(text) from None

    async def _patch(self, machine: Obj, change: dict[str, Any], what: str) -> dict[str, Any]:
        name = machine["metadata"]["name"]
        # With the uid in it, the API server refuses the change of a machine made anew under the name.
        body = {**change, "metadata": {**change.get("metadata", {}), "uid": machine["metadata"]["uid"]}}
        return await self._cluster.ask(
            "PATCH",
            f"{self._machines}/{quote(name, safe='')}",
            what,
            body=body,
            content="application/merge-patch+json",
        )


@asynccontextmanager
async def _bounded(seconds: float, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimedOut(what) from None


def _split(provider_id: str) -> tuple[str, str]:
    """Name (as a segment of a path) and uid of a provider id. The name alone is none: it may come to mean another
    machine, and would be a second id of the one it means now."""
    name, _, uid = provider_id.partition("/")
    if not name or name in {".", ".."} or not uid:
        raise Invalid("is not the id of a virtual machine, which is NAME/UID", field="providerID")
    return quote(name, safe=""), uid


def _check(request: CreateRequest) -> None:
    """What the API server would refuse by fields of its own. Raises Invalid naming ours."""
    if not _HOST_NAME.match(request.key):
        raise Invalid("must be a DNS label: lower-case letters, digits and hyphens", field="key")
    if not _HOST_NAME.match(request.name):
        raise Invalid("must be a DNS label: lower-case letters, digits and hyphens, at most 63", field="name")
    if len(request.user_data.encode()) > MAX_USER_DATA:
        raise Invalid(f"is longer than {MAX_USER_DATA} bytes", field="userData")
    _check_tags(request.tags)


def _check_tags(tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        if not _LABEL_NAME.match(name) or name in OWN_LABELS or not _LABEL_VALUE.match(value):
            text = "must be a label: letters, digits, - _ . and at most 63 characters, name and value"
            raise Invalid(text, field=f"tags.{name}")


def _about_the_request(error: HostingError) -> HostingError:
    """Nothing that a creation names by itself is a server: what is not found is part of the request."""
    return Invalid(error.message, field="offering") if isinstance(error, NotFound) else error
