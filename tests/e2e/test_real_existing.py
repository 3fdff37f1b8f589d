"""Servers that somebody made at a real service: observed, taken over, repaired, retained, orphaned, deleted, lost."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator

import pytest
from tests.support import cli
from tests.support.existing import BEDS, HasAnotherAccount, Place, place
from tests.support.real import machine
from tests.support.stack import Api, Obj, Stack, always, condition, group

from moorage.api.names import ANNOTATION_FOUND
from moorage.cli.errors import Exit
from moorage.hosting.abilities import Power, Resize
from moorage.hosting.contract import RELEASED, TAG_SERVER, ServerState
from moorage.hosting.errors import NotFound
from moorage.kube.kinds import HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER

PATIENCE = 180.0


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.bed(bed)) for name, bed in sorted(BEDS.items())])
async def there(request: pytest.FixtureRequest, real_stack: Stack, real_api: Api) -> AsyncIterator[Place]:
    """A service; one after the other."""
    async with place(request.param, real_stack, real_api) as found:
        yield found


@pytest.mark.timeout(600)
async def test_servers_of_somebody_elses_making(there: Place) -> None:
    await there.serve()
    story = _Story(there, *await asyncio.gather(there.make(), there.make()))
    await story.they_are_found()
    await story.one_is_observed()
    await story.it_is_taken_over_and_repaired()
    await story.its_tag_is_told_missing_and_written_again()
    await story.it_is_retained_and_taken_over_again()
    await story.its_object_goes_and_it_is_an_orphan_until_it_is_released()
    await story.nothing_is_done_in_another_account()
    await story.the_other_is_deleted_behind_our_back()
    await there.api.delete(HOSTING_SERVICE, there.service)
    await there.api.gone(HOSTING_SERVICE, there.service)


@pytest.mark.bed("incus")
@pytest.mark.timeout(300)
async def test_a_retained_groups_server_runs_on_as_nobodys(real_stack: Stack, real_api: Api) -> None:
    """It is told as released, is no orphan, and may be taken over by the namespace that had it."""
    async with place("incus", real_stack, real_api) as there:
        await there.serve()
        plain = machine(there.running, "plain", steps=[{"name": "start", "script": "true"}])
        kept = group("g", "policy", ("web", "plain", 1), deletionPolicy="Retain")
        await real_api.apply(plain, always("policy", there.service), kept)
        await real_api.ready("g", PATIENCE)
        (server,) = await real_api.servers("g")
        before = await there.record(server["status"]["providerID"])
        await real_api.delete(SERVER_GROUP, "g")
        await real_api.gone(SERVER_GROUP, "g", PATIENCE)
        assert await real_api.servers() == []
        after = await there.record(before.provider_id)
        assert (after.state, after.tags) == (ServerState.RUNNING, {**before.tags, TAG_SERVER: RELEASED})

        async def counted() -> bool:
            status = (await real_api.get(HOSTING_SERVICE, there.service) or {}).get("status") or {}
            return bool(status.get("released") == 1) and not status.get("orphans")

        await real_api.until("the released server to be counted", counted, PATIENCE)
        orphans = await cli.moorage(real_stack, "orphans", there.service, "--live", "-o", "json")
        assert (orphans.returncode, json.loads(orphans.stdout)) == (Exit.OK, []), orphans.stderr
        found = await cli.moorage(
            real_stack, "import", there.service, "-n", real_api.namespace, "--manage", "-o", "json"
        )
        assert found.returncode == Exit.OK, found.stderr
        (offered,) = json.loads(found.stdout)["items"]
        assert offered["spec"]["adopt"]["providerID"] == before.provider_id
        assert offered["metadata"]["annotations"] == {ANNOTATION_FOUND: "released"}
        await real_api.delete(HOSTING_SERVICE, there.service)
        await real_api.gone(HOSTING_SERVICE, there.service)


class _Story:
    """What happens to two servers: `one`, the object `theirs`, and `other`, the object `spare`."""

    def __init__(self, there: Place, one: str, other: str) -> None:
        self.there, self.api, self.one, self.other = there, there.api, one, other

    async def they_are_found(self) -> None:
        """`moorage import` prints an object for each, once they run."""
        await self.api.until("the servers made by hand to run", self.both_run, PATIENCE)
        printed = await self.cli("import", self.there.service, "-n", self.api.namespace, "-o", "json")
        assert printed.returncode == Exit.OK, printed.stderr
        found = {o["spec"]["adopt"]["providerID"]: o["spec"] for o in json.loads(printed.stdout)["items"]}
        assert [found[i]["managementPolicy"] for i in (self.one, self.other)] == ["Observe", "Observe"], printed.stderr
        for value in self.there.running.credentials.values():
            assert value not in printed.stdout + printed.stderr

    async def one_is_observed(self) -> None:
        """What happens to it is told, and nothing is written to it. The other one is taken over at once."""
        before = await self.there.record(self.one)
        theirs = self.there.adopting("theirs", self.one, managementPolicy="Observe")
        await self.api.apply(theirs, self.there.adopting("spare", self.other))
        seen = await self.is_so("theirs", "Ready", reason="Observed")
        assert seen["status"]["providerID"] == self.one
        assert isinstance(self.there.account, Power)
        await self.there.account.stop(self.one)
        await self.is_so("theirs", "Drifted", reason="Stopped")
        if isinstance(self.there.account, Resize):
            other = self.there.harness.other_offering
            await self.there.account.resize(self.one, other)
            assert before.offering == self.there.running.offering

            async def told() -> bool:
                return f"its offering is {other} instead of {before.offering}" in await self.drift()

            await self.api.until("the other offering to be told", told, PATIENCE)
        assert (await self.there.record(self.one)).tags == before.tags
        await self.is_so("spare", "Ready")

    async def it_is_taken_over_and_repaired(self) -> None:
        """It runs again, as large as before, and carries our tags."""
        await self.patch("theirs", managementPolicy="Manage", driftPolicy="Repair")

        async def repaired() -> Obj | None:
            found = await self.api.condition(VIRTUAL_SERVER, "theirs", "Ready", reason="Ready", seconds=PATIENCE)
            return found if condition(found, "Drifted") is None else None

        ours = await self.api.until("nothing to have drifted any more", repaired, PATIENCE)
        record = await self.there.record(self.one)
        assert (record.state, record.offering) == (ServerState.RUNNING, self.there.running.offering)
        assert record.tags[TAG_SERVER] == ours["metadata"]["uid"]

    async def its_tag_is_told_missing_and_written_again(self) -> None:
        """A tag removed behind our back is told, and written again once that is asked for."""
        before = (await self.there.record(self.one)).tags
        await self.patch("theirs", driftPolicy="Report")
        await self.there.untag(self.one, TAG_SERVER)
        assert not (await self.there.record(self.one)).tags.get(TAG_SERVER)
        await self.is_so("theirs", "Drifted", reason="TagsChanged")
        assert "the tag moorage-server is gone (driftPolicy: Report)" in await self.drift()
        assert not (await self.there.record(self.one)).tags.get(TAG_SERVER)
        await self.patch("theirs", driftPolicy="Repair")

        async def repaired() -> bool:
            return not await self.drift() and (await self.there.record(self.one)).tags == before

        await self.api.until("the tag to be written again", repaired, PATIENCE)
        await self.is_so("theirs", "Ready")

    async def it_is_retained_and_taken_over_again(self) -> None:
        """By default its end as ours is not its end: it runs on, and says that it was released."""
        before = await self.there.record(self.one)
        await self.api.delete(VIRTUAL_SERVER, "theirs")
        await self.api.gone(VIRTUAL_SERVER, "theirs", PATIENCE)
        after = await self.there.record(self.one)
        assert (after.state, after.tags) == (ServerState.RUNNING, {**before.tags, TAG_SERVER: RELEASED})
        await self.api.apply(self.there.adopting("theirs", self.one))
        await self.is_so("theirs", "Ready")

    async def its_object_goes_and_it_is_an_orphan_until_it_is_released(self) -> None:
        """Without its finalizer the object goes alone. What is released may be taken over again."""
        await self.api.patch(VIRTUAL_SERVER, "theirs", {"metadata": {"finalizers": None}})
        await self.api.delete(VIRTUAL_SERVER, "theirs")

        async def told() -> bool:
            status = (await self.api.get(HOSTING_SERVICE, self.there.service) or {}).get("status") or {}
            return [orphan["providerID"] for orphan in status.get("orphans") or ()] == [self.one]

        await self.api.until("the orphan to be told", told, PATIENCE)
        released = await self.cli("orphans", "release", self.there.service, self.one)
        assert released.returncode == Exit.OK, released.stderr
        assert (await self.there.record(self.one)).tags[TAG_SERVER] == RELEASED
        await self.api.apply(self.there.adopting("theirs", self.one, deletionPolicy="Delete"))
        await self.is_so("theirs", "Ready")

    async def nothing_is_done_in_another_account(self) -> None:
        """While the credentials are another account's a deletion waits, and no server is missing. Where there is no
        other account: the deletion is carried out."""
        spare = await self.is_so("spare", "Ready")
        if isinstance(self.there.harness, HasAnotherAccount):
            await self.there.credentials(await self.there.harness.another_account())
            await self.api.condition(
                HOSTING_SERVICE, self.there.service, "Available", "False", "ScopeChanged", seconds=PATIENCE
            )
            await self.api.delete(VIRTUAL_SERVER, "theirs")
            await self.is_so("theirs", "Ready", "False", "ScopeChanged")
            # Meanwhile that account's inventories come in.
            refused = await self.cli("import", self.there.service, "-n", self.api.namespace)
            assert refused.returncode == Exit.FAILED, refused.stdout
            assert "another account than the controller saw at first contact" in refused.stderr
            assert await self.both_run()
            await self.there.credentials(self.there.harness.credentials)
            await self.api.condition(HOSTING_SERVICE, self.there.service, "Available", seconds=PATIENCE)
        else:
            await self.api.delete(VIRTUAL_SERVER, "theirs")
        await self.api.gone(VIRTUAL_SERVER, "theirs", PATIENCE)
        with pytest.raises(NotFound):
            await self.there.record(self.one)
        same = await self.is_so("spare", "Ready")
        assert same["metadata"]["uid"] == spare["metadata"]["uid"]
        assert same["status"]["providerID"] == self.other

    async def the_other_is_deleted_behind_our_back(self) -> None:
        """It is lost, by the word of the service and of two inventories; its object is its user's to delete."""
        await self.there.harness.faults.vanish(self.other)
        lost = await self.is_so("spare", "Stalled", reason="Lost")
        assert lost["status"]["lost"] is True
        assert (condition(lost, "Drifted") or {})["reason"] == "Deleted"
        assert "absent from the complete inventories of" in _message(lost, "Stalled")
        await self.api.delete(VIRTUAL_SERVER, "spare")
        await self.api.gone(VIRTUAL_SERVER, "spare", PATIENCE)

    async def both_run(self) -> bool:
        """Whether both servers run, by the service's own word."""
        records = await asyncio.gather(self.there.record(self.one), self.there.record(self.other))
        return {record.state for record in records} == {ServerState.RUNNING}

    async def drift(self) -> str:
        """What is told of the first one's drift; "" where there is none."""
        return _message(await self.api.get(VIRTUAL_SERVER, "theirs") or {}, "Drifted")

    async def is_so(self, name: str, type_: str, status: str = "True", reason: str | None = None) -> Obj:
        """Wait for a condition of a VirtualServer."""
        return await self.api.condition(VIRTUAL_SERVER, name, type_, status, reason, PATIENCE)

    async def patch(self, name: str, **spec: str) -> None:
        """Change what is wanted of a VirtualServer."""
        await self.api.patch(VIRTUAL_SERVER, name, {"spec": spec})

    async def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The `moorage` command."""
        return await cli.moorage(self.there.stack, *arguments)


def _message(obj: Obj, type_: str) -> str:
    return str((condition(obj, type_) or {}).get("message", ""))
