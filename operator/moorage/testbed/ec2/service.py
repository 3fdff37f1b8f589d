"""What the proxy does with each operation: what moto lacks, and everything else as moto does it."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from moorage.testbed.ec2 import query
from moorage.testbed.ec2.faults import FaultState
from moorage.testbed.ec2.guests import Guests
from moorage.testbed.ec2.ledger import Entry, Ledger, Tokens, Use
from moorage.testbed.ec2.query import Form, Refused, Reply
from moorage.testbed.ec2.signing import Caller
from moorage.testbed.ec2.simulator import Simulator

MAX_USER_DATA = 16 * 1024
Handler = Callable[[Caller, Form], Awaitable[Reply]]
_NOT_COMPARED = frozenset({"ClientToken", "Version", "Action"})


class Service:
    """EC2 of one region, with every account that has a key. See the package."""

    def __init__(self, simulator: Simulator, region: str, guests: Guests) -> None:
        self.faults = FaultState()
        self.ledger = Ledger()
        self.calls: Counter[str] = Counter()
        self.boots = False
        self.region = region
        self._simulator = simulator
        self._guests = guests
        self._tokens = Tokens()
        self._making: Counter[tuple[str, bool, str]] = Counter()
        self._zones: dict[str, str] = {}
        self._operations: Mapping[str, Handler] = {
            "RunInstances": self._run,
            "DescribeInstances": self._describe,
            "TerminateInstances": self._terminate,
            "StartInstances": self._start,
            "StopInstances": self._stop,
            "CreateTags": self._known_only,
            "GetConsoleOutput": self._console,
            "CreateVolume": self._create_volume,
            "AssociateAddress": self._associate,
        }

    async def call(self, caller: Caller, form: Form) -> Reply:
        """One request. Raises Refused."""
        operation = form.get("Action", "")
        self.calls[operation] += 1
        if caller.region != self.region:
            raise Refused("AuthFailure", "Credential should be scoped to a valid region", 401)
        await self.faults.before(operation)
        handler = self._operations.get(operation, self._simulator.ask)
        reply = await handler(caller, form)
        self.faults.after(operation)
        return reply

    # RunInstances

    async def _run(self, caller: Caller, form: Form) -> Reply:
        _check_user_data(form)
        token = form.get("ClientToken")
        if token is None or self.faults.now.ignore_tokens:
            return await self._make(caller, form)
        # A token is kept for one availability zone where the request says which, else for the region.
        scope = (caller.account, caller.region, "RunInstances", await self._zone(caller, form), token)
        async with self._tokens.lock(scope):
            use = self._tokens.get(scope)
            if use is None:
                reply = await self._make(caller, form)
                made = _made(reply)
                if made:
                    self._tokens.put(scope, Use(_parameters(form), made[0]))
                return reply
        if use.parameters != _parameters(form):
            raise Refused(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )
        entry = self.ledger.get(use.made)
        if entry is not None and entry.ended is not None and not self.faults.now.return_terminated:
            raise Refused(
                "IdempotentInstanceTerminated",
                "The client token you have provided is associated with a terminated instance. "
                "Please use a different client token.",
            )
        found = await self._simulator.do(caller, "DescribeInstances", {"InstanceId.1": use.made})
        return Reply(200, query.as_run_answer(found.tree())) if found.ok else found

    async def _make(self, caller: Caller, form: Form) -> Reply:
        spot = form.get("InstanceMarketOptions.MarketType") == "spot"
        zone = await self._zone(caller, form)
        self._check_room(caller, spot=spot, zone=zone)
        self._making[caller.account, spot, zone] += 1
        try:
            reply = await self._simulator.ask(caller, form)
        finally:
            self._making[caller.account, spot, zone] -= 1
        user_data = base64.b64decode(form.get("UserData", ""))
        for made in _made(reply):
            self.ledger.add(Entry(made, caller.account, form.get("ClientToken"), spot, zone, user_data))
        if self.boots and reply.ok:
            await self._boot(reply)
        return reply

    def _used(self, account: str, *, spot: bool | None = None, zone: str | None = None) -> int:
        """How many instances there are, and are being made."""
        making = sum(
            count
            for (owner, market, where), count in self._making.items()
            if owner == account and spot in {None, market} and zone in {None, where}
        )
        return self.ledger.living(account, spot=spot, zone=zone) + making

    def _check_room(self, caller: Caller, *, spot: bool, zone: str) -> None:
        faults, account = self.faults.now, caller.account
        if faults.quota is not None and self._used(account) >= faults.quota:
            raise Refused(
                "VcpuLimitExceeded",
                "You have requested more vCPU capacity than your current vCPU limit allows for the instance bucket "
                "that the specified instance type belongs to.",
            )
        rooms = [(faults.capacity, self._used(account))]
        if spot:
            rooms.append((faults.spot_capacity, self._used(account, spot=True)))
        if zone in faults.zone_capacity:
            rooms.append((faults.zone_capacity[zone], self._used(account, zone=zone)))
        if any(room is not None and used >= room for room, used in rooms):
            # A server's error to EC2, with the status of one.
            where = "the Availability Zone you requested" + (f" ({zone})" if zone else "")
            raise Refused(
                "InsufficientInstanceCapacity", f"We currently do not have sufficient capacity in {where}.", 500
            )

    async def _zone(self, caller: Caller, form: Form) -> str:
        zone = form.get("Placement.AvailabilityZone")
        if zone is not None:
            return zone
        subnet = form.get("SubnetId") or form.get("NetworkInterface.1.SubnetId")
        if subnet is None:
            return ""
        if subnet not in self._zones:
            found = await self._simulator.do(caller, "DescribeSubnets", {"SubnetId.1": subnet})
            self._zones[subnet] = found.tree().findtext(".//availabilityZone", "") if found.ok else ""
        return self._zones[subnet]

    async def _boot(self, reply: Reply) -> None:
        for instance in query.instances(reply.tree()):
            entry = self.ledger.get(query.text(instance, "instanceId"))
            if entry is not None:
                await self._guests.start(entry.id, entry.user_data)

    # Other operations

    async def _describe(self, caller: Caller, form: Form) -> Reply:
        ids = query.listed(form, "InstanceId")
        if ids:
            self._check_visible(ids)
            return await self._simulator.ask(caller, form)
        lag = self.faults.now.listing_lag
        if not lag:
            return await self._simulator.ask(caller, form)
        wanted, late = query.filters(form).get("instance-state-name"), self.ledger.just_ended(lag)
        # Those that ended are asked for only where some just did: the simulator forgets none that ever were, and needs
        # seconds for thousands.
        asked = query.without_filter(form, "instance-state-name") if late else form
        reply = await self._simulator.ask(caller, asked)
        if not reply.ok:
            return reply
        tree, hidden = reply.tree(), self.ledger.young(lag)
        for instance in query.instances(tree):
            if query.text(instance, "instanceId") in late:
                query.show_running(instance)
            if wanted is not None and query.state(instance) not in wanted:
                hidden.add(query.text(instance, "instanceId"))
        query.keep_instances(tree, hidden)
        return Reply(200, query.dump(tree))

    def _check_visible(self, ids: list[str]) -> None:
        young = self.ledger.young(self.faults.now.lookup_lag)
        hidden = [one for one in ids if one in young]
        if hidden:
            plural = "s" if len(hidden) > 1 else ""
            verb = "do" if plural else "does"
            raise Refused(
                "InvalidInstanceID.NotFound", f"The instance ID{plural} '{', '.join(hidden)}' {verb} not exist"
            )

    async def _known_only(self, caller: Caller, form: Form) -> Reply:
        self._check_visible(query.listed(form, "ResourceId"))
        return await self._simulator.ask(caller, form)

    async def _terminate(self, caller: Caller, form: Form) -> Reply:
        ids = query.listed(form, "InstanceId")
        self._check_visible(ids)
        reply = await self._simulator.ask(caller, form)
        if reply.ok:
            await self._ended(ids)
        return reply

    async def _ended(self, ids: list[str]) -> None:
        for one in ids:
            self.ledger.end(one)
        await asyncio.gather(*(self._guests.remove(one) for one in ids))

    async def _start(self, caller: Caller, form: Form) -> Reply:
        ids = query.listed(form, "InstanceId")
        self._check_visible(ids)
        reply = await self._simulator.ask(caller, form)
        if self.boots and reply.ok:
            for one in ids:
                found = await self._simulator.do(caller, "DescribeInstances", {"InstanceId.1": one})
                if found.ok:
                    await self._boot(found)
        return reply

    async def _stop(self, caller: Caller, form: Form) -> Reply:
        ids = query.listed(form, "InstanceId")
        self._check_visible(ids)
        reply = await self._simulator.ask(caller, form)
        if reply.ok:
            await asyncio.gather(*(self._guests.stop(one) for one in ids))
        return reply

    async def _console(self, caller: Caller, form: Form) -> Reply:
        instance_id = form.get("InstanceId", "")
        written = self._guests.console(instance_id) if self.boots else None
        if written is None:
            return await self._simulator.ask(caller, form)
        output = base64.b64encode(written).decode()
        body = (
            f'<GetConsoleOutputResponse xmlns="{query.NAMESPACE}"><requestId>{query.request_id()}</requestId>'
            f"<instanceId>{instance_id}</instanceId><output>{output}</output></GetConsoleOutputResponse>"
        )
        return Reply(200, body.encode())

    async def _create_volume(self, caller: Caller, form: Form) -> Reply:
        token = form.get("ClientToken")
        if token is None or self.faults.now.ignore_tokens:
            return await self._simulator.ask(caller, form)
        scope = (caller.account, caller.region, "CreateVolume", "", token)
        async with self._tokens.lock(scope):
            use = self._tokens.get(scope)
            if use is None:
                reply = await self._simulator.ask(caller, form)
                if reply.ok:
                    self._tokens.put(scope, Use(_parameters(form), reply.body.decode()))
                return reply
        if use.parameters != _parameters(form):
            raise Refused("IdempotentParameterMismatch", "The parameters do not match those of the previous request.")
        return Reply(200, use.made.encode())

    async def _associate(self, caller: Caller, form: Form) -> Reply:
        """moto leads an address to its new server and leaves it on the old one: it is taken from there first."""
        if form.get("AllowReassociation") == "true":
            asked = {"AllocationId.1": form.get("AllocationId", "")}
            found = await self._simulator.do(caller, "DescribeAddresses", asked)
            association = found.tree().findtext(".//associationId", "") if found.ok else ""
            if association:
                await self._simulator.do(caller, "DisassociateAddress", {"AssociationId": association})
        return await self._simulator.ask(caller, form)

    # Told by the control API

    def boot(self, *, enabled: bool) -> None:
        """Whether instances boot from now on. Raises ValueError where this machine cannot run guests."""
        if enabled and not self._guests.possible:
            raise ValueError("guests need Debian and root, to be installed")
        self.boots = enabled

    async def vanish(self, account: str, instance_id: str) -> None:
        """Terminate an instance behind everyone's back."""
        caller = Caller(account, "ec2", self.region)
        await self._simulator.do(caller, "TerminateInstances", {"InstanceId.1": instance_id})
        await self._ended([instance_id])

    async def remove_all(self) -> None:
        """Terminate every instance."""
        for entry in [one for one in self.ledger if one.ended is None]:
            await self.vanish(entry.account, entry.id)


def _check_user_data(form: Form) -> None:
    try:
        raw = base64.b64decode(form.get("UserData", ""), validate=True)
    except binascii.Error:
        raise Refused("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.") from None
    if len(raw) > MAX_USER_DATA:
        raise Refused("InvalidParameterValue", f"User data is limited to {MAX_USER_DATA} bytes")


def _parameters(form: Form) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in form.items() if name not in _NOT_COMPARED))


def _made(reply: Reply) -> list[str]:
    if not reply.ok:
        return []
    return [query.text(instance, "instanceId") for instance in query.instances(reply.tree())]
