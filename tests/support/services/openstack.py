"""A real Nova with Keystone, Glance and Placement, for the contract's suite."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pymysql
from tests.support.hostd import until

from moorage.hosting.abilities import Ability
from moorage.hosting.contract import Backend
from moorage.hosting.errors import Retryable
from moorage.testbed import Running
from moorage.testbed.openstack import kill_compute, restart, start_compute
from moorage.testbed.openstack.calls import Refused, Session
from moorage.testbed.openstack.prepared import QUOTA
from moorage.testing import BackendContract
from moorage.testing.base import in_state, needs_ability, outcome
from moorage.testing.changes import retagged_twice
from moorage.testing.service import Faults, Made, ServiceUnderTest

WHY = {
    "capacity": "Nova refuses nobody for want of room: the server is there, and then in state ERROR",
    "throttle": "Nova refuses nobody for a rate; the proxy does it",
    "lag": "Nova's lists are not late",
    "skew": "nothing is signed with a time",
}
NOTHING = "00000000-0000-4000-8000-000000000000"
SECOND = 1.1
"""Seconds to wait after a user is enabled: tokens end when it is disabled, and those of the same second may, too."""
UNAUTHORIZED = 401
_ADMINS: dict[tuple[str, str], Session] = {}
LEFT = """\
SELECT (SELECT COUNT(*) FROM nova.instances WHERE deleted = 0)
    + (SELECT COUNT(*) FROM nova_cell0.instances WHERE deleted = 0)
    + (SELECT COUNT(*) FROM nova_api.build_requests)
"""
LEDGER = """\
SELECT i.uuid, m.value FROM {0}.instances i LEFT JOIN {0}.instance_metadata m
    ON m.instance_uuid = i.uuid AND m.`key` = 'moorage-key' WHERE i.id > {1}
"""


class NovaContract(BackendContract):
    """The contract, where Nova is behind the backend."""

    async def test_retag_sets_some_tags_and_leaves_the_others(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        """Nova changes no metadata of a server that it still builds; the caller repeats."""
        retagger = needs_ability(backend, Ability.RETAG)
        request = service.request()
        made = await backend.create(request)
        early = await outcome(retagger.retag(made.provider_id, {"new": "yes"}))
        assert early is None or isinstance(early, Retryable)
        await in_state(service, backend, made.provider_id)
        await retagged_twice(service, retagger, made.provider_id, request)


class OpenStackFaults(Faults):
    """What the cloud's administrator can do."""

    why = WHY

    def __init__(self, service: OpenStackService) -> None:
        self._service = service
        self._changed: set[str] = set()

    async def clear(self) -> None:
        if "user" in self._changed:
            await self._service.enable_user(True)
            await asyncio.sleep(SECOND)
        if "project" in self._changed:
            await self._service.enable_project(True)
        if "quota" in self._changed:
            await self._service.set_quota(QUOTA)
        if "host" in self._changed:
            await self._service.enable_host(True)
        self._changed.clear()

    async def quota(self, servers: int) -> None:
        self._changed.add("quota")
        await self._service.set_quota({**QUOTA, "instances": servers})

    async def revoke(self) -> None:
        self._changed.add("user")
        await self._service.enable_user(False)

    async def project_gone(self) -> None:
        self._changed.add("project")
        await self._service.enable_project(False)

    async def expire(self) -> None:
        await self._service.enable_user(False)
        await self._service.enable_user(True)
        await asyncio.sleep(SECOND)

    async def vanish(self, provider_id: str) -> None:
        await self._service.admin("DELETE", "compute", f"/servers/{provider_id}")

    async def boot_fails(self) -> None:
        self._changed.add("host")
        await self._service.enable_host(False)

    async def restart(self) -> None:
        await asyncio.to_thread(restart, self._service.running)


class OpenStackService(ServiceUnderTest):
    """One project of the bed's cloud."""

    type = "openstack"
    faults_at = "one per operation"
    console_says = "booted"
    other_offering = "medium"
    shows_addresses = False
    unknown_id = "01234567-89ab-4def-8123-456789abcdef"

    def __init__(self, running: Running) -> None:
        super().__init__()
        self.running = running
        self.facts: dict[str, str] = running.extra["facts"]
        self.endpoint, self.region = running.endpoint, running.region
        self.settings = {
            **running.settings,
            "createTimeout": "10s",
            "listingLag": "500ms",
            "serverNetworks": [NOTHING, "no-such-network"],
            "serverPorts": True,
        }
        self.credentials = {name: value.encode() for name, value in running.credentials.items()}
        self.image, self.offering = running.image, running.offering
        self.faults = OpenStackFaults(self)
        wrong = {**self.credentials, "applicationCredentialSecret": b"wrong"}
        unknown = {**self.credentials, "applicationCredentialId": b"0" * 32}
        self.wrong_credentials = ({}, {"applicationCredentialId": b"x"}, wrong, unknown)
        self._socket = Path(running.extra["databaseSocket"])
        self._began = {"nova": 0, "nova_cell0": 0}
        self._database: pymysql.Connection[Any] | None = None
        self._names = itertools.count(1)

    async def admin(self, method: str, service: str, path: str, body: object = None) -> dict[str, Any]:
        """A call as the cloud's administrator."""
        return await asyncio.to_thread(self._admin, method, service, path, body)

    def _admin(self, method: str, service: str, path: str, body: object) -> dict[str, Any]:
        # A login costs Keystone a second of hashing: all tests share one.
        endpoints: dict[str, str] = self.running.extra["endpoints"]
        key = endpoints["identity"], self.facts["password"]
        for last in (False, True):
            session = _ADMINS.get(key) or Session(endpoints, "admin", self.facts["password"], "admin")
            _ADMINS[key] = session
            try:
                return session(method, service, path, body)
            except Refused as refused:
                if refused.status != UNAUTHORIZED or last:
                    raise
                del _ADMINS[key]  # its hour is over
        raise AssertionError("unreachable: the second try returns or raises")

    def addresses(self) -> Sequence[str]:
        """Keystone and what its catalogue leads to."""
        endpoints: dict[str, str] = self.running.extra["endpoints"]
        return [self.endpoint, *endpoints.values()]

    def invalid_requests(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """What Nova, or the backend before asking it, refuses."""
        return [
            *super().invalid_requests(),
            ({"image": NOTHING}, "image"),
            ({"settings": {"keyName": "no-such-key"}}, "settings.keyName"),
            ({"settings": {"zone": "no-such-zone"}}, "settings.zone"),
            ({"settings": {"serverGroup": NOTHING}}, "settings.serverGroup"),
            ({"settings": {"networks": [{"network": NOTHING}]}}, "settings.networks"),
            ({"settings": {"networks": [{"network": "no-such-network"}]}}, "settings.networks"),
            ({"settings": {"networks": [{"port": NOTHING}]}}, "settings.networks"),
            ({"settings": {"networks": [{"network": "another"}]}}, "settings.networks"),
            ({"settings": {"networks": "auto"}}, "settings.networks"),
            ({"tags": {"moorage-key": "mine"}}, "tags.moorage-key"),
            ({"settings": {"unheardOf": 1}}, "settings.unheardOf"),
            ({"user_data": "#!/bin/sh\n" + "#" * 50_000}, "userData"),
            ({"name": "x" * 300}, "name"),
            ({"tags": {"a": "x" * 300}}, "tags"),
            ({"tags": {"a/b": "x"}}, "tags"),
        ]

    def invalid_specs(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """Refused by `open`, and regions and interfaces that the catalogue has not."""
        return [
            ({"endpoint": "ftp://127.0.0.1"}, "endpoint"),
            ({"region": "RegionTwo"}, "region"),
            ({"pageSize": 0}, "settings.pageSize"),
            ({"caBundle": "x"}, "settings.caBundle"),
        ]

    async def elsewhere(self) -> Backend:
        """Another project of the same user."""
        return self.other_project()

    def other_project(self) -> Backend:
        """A backend on it, with a password."""
        from moorage.hosting.registry import backend
        from moorage.testing.service import Spec

        credentials = {"username": self.facts["user"].encode(), "password": self.facts["user_password"].encode()}
        spec = Spec(self.endpoint, self.region, self.facts["other"], dict(self.settings))
        opened = backend(self.type).open(spec, credentials)
        self._opened.append(opened)
        return opened

    async def another_account(self) -> Mapping[str, bytes]:
        """Credentials of that project that need not name it: an application credential, as the first project's are."""
        return await asyncio.to_thread(self._application_credential, self.facts["other"])

    def _application_credential(self, project: str) -> Mapping[str, bytes]:
        user = Session(self.running.extra["endpoints"], self.facts["user"], self.facts["user_password"], project)
        wanted = {"name": f"test-{secrets.token_hex(4)}", "roles": [{"name": "member"}]}
        path = f"/users/{user.user}/application_credentials"
        made = user("POST", "identity", path, {"application_credential": wanted})["application_credential"]
        names = {"applicationCredentialId": "id", "applicationCredentialSecret": "secret"}
        return {key: str(made[name]).encode() for key, name in names.items()}

    async def begin(self) -> None:
        """No faults, no servers, and the ledger from here on."""
        await super().begin()
        for name in self._began:
            ((newest,),) = self._rows(f"SELECT COALESCE(MAX(id), 0) FROM {name}.instances")
            self._began[name] = int(newest)

    async def end(self) -> None:
        """Leave nothing."""
        await super().end()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the databases say, in a millisecond: no thread is worth it."""
        if self._database is None:
            self._database = pymysql.connect(unix_socket=f"{self._socket}", user="root", autocommit=True)
        with self._database.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    async def ledger(self) -> list[Made]:
        """Every server in Nova's databases since the beginning, and those that wait for a host."""
        rows = [row for name, began in self._began.items() for row in self._rows(LEDGER.format(name, began))]
        made = {uuid: Made(uuid, key) for uuid, key in rows}
        for server in await self._servers():
            made.setdefault(server["id"], Made(server["id"], server["metadata"].get("moorage-key")))
        return list(made.values())

    async def foreign(self) -> str:
        """A server as somebody's script makes it, in the same project."""
        user = Session(
            self.running.extra["endpoints"], self.facts["user"], self.facts["user_password"], self.facts["project"]
        )
        (flavor,) = [f for f in user("GET", "compute", "/flavors")["flavors"] if f["name"] == self.offering]
        (image,) = user("GET", "image", f"/v2/images?name={self.image}")["images"]
        server = {"name": "foreign", "flavorRef": flavor["id"], "imageRef": image["id"], "networks": "none"}
        made = await asyncio.to_thread(user, "POST", "compute", "/servers", {"server": server})
        return str(made["server"]["id"])

    async def remove_all(self) -> None:
        """Delete every server of every project, and see it gone."""
        # Most often there are none, which the databases tell faster than the API.
        ((left,),) = self._rows(LEFT)
        if not left:
            return
        servers: list[dict[str, Any]] = []
        for _ in range(600):
            servers = await self._servers()
            if not servers:
                return
            for server in servers:
                if server["OS-EXT-STS:task_state"] != "deleting":
                    try:
                        await self.admin("DELETE", "compute", f"/servers/{server['id']}")
                    except Refused as refused:
                        if refused.status not in {404, 409}:
                            raise
            await asyncio.sleep(0.1)
        raise AssertionError(f"servers do not go: {[server['id'] for server in servers]}")

    async def _servers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.admin("GET", "compute", "/servers/detail?all_tenants=1"))["servers"]
        return found

    async def enable_user(self, enabled: bool) -> None:
        """Let the user, and its application credential, work or not. Its tokens end in any case."""
        users = (await self.admin("GET", "identity", f"/users?name={self.facts['user']}"))["users"]
        await self.admin("PATCH", "identity", f"/users/{users[0]['id']}", {"user": {"enabled": enabled}})

    async def enable_project(self, enabled: bool) -> None:
        """Let the project be used or not. Its servers stay."""
        path = f"/projects/{self.facts['project_id']}"
        await self.admin("PATCH", "identity", path, {"project": {"enabled": enabled}})

    async def set_quota(self, quota: Mapping[str, int]) -> None:
        """Of the project."""
        await self.admin("PUT", "compute", f"/os-quota-sets/{self.facts['project_id']}", {"quota_set": dict(quota)})

    @asynccontextmanager
    async def without_compute(self) -> AsyncIterator[None]:
        """Nova's host is dead, and comes back at the end."""
        await asyncio.to_thread(kill_compute, self.running)
        try:
            yield
        finally:
            await asyncio.to_thread(start_compute, self.running)

    async def is_being_built(self, provider_id: str) -> None:
        """Wait until the host has begun to make a server (or has made it already)."""

        async def begun() -> bool:
            rows = self._rows(f"SELECT vm_state, task_state FROM nova.instances WHERE uuid = '{provider_id}'")
            return any(vm != "building" or task not in {None, "scheduling"} for vm, task in rows)

        await until(begun, "the server is being built")

    async def enable_host(self, enabled: bool) -> None:
        """Let servers be scheduled, or find no host."""
        services = (await self.admin("GET", "compute", "/os-services?binary=nova-compute"))["services"]
        status = {"status": "enabled" if enabled else "disabled"}
        await self.admin("PUT", "compute", f"/os-services/{services[0]['id']}", status)
