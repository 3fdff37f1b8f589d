"""The demo's story: what is done, what is waited for, and what is verified."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import aiohttp
from rich.console import RenderableType

from moorage.api.conditions import INSTANTIATED, READY, is_true
from moorage.api.hostd import Ledger, LedgerEntry
from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.placement import Placement
from moorage.api.servergroup import PolicyState, ServerGroup
from moorage.api.virtualserver import VirtualServer
from moorage.cli.demo import checks
from moorage.cli.demo.pages import Pages, View
from moorage.cli.demo.screen import Screen
from moorage.cli.demo.stage import NAMESPACE, Stage
from moorage.cli.demo.timeline import Moment, Timeline, moments_table, spans, spans_table
from moorage.cli.demo.world import World
from moorage.cli.errors import CliError
from moorage.cli.views import paint
from moorage.cli.views.explain import Explanation
from moorage.cli.views.tree import Detail, group_tree
from moorage.kube.client import Client
from moorage.kube.kinds import EVENT, HOSTING_POLICY, OWN, SERVER_GROUP, VIRTUAL_SERVER

T = TypeVar("T")

GROUP = "quickstart"
CHOSEN = "bollard"
"""The service that the policy must prefer: the cheapest that has room for all three servers."""
ITEM = "database_address"
SERVERS = 3


@dataclass(slots=True)
class Story:
    """The actors. `milestones` are the moments between which the time is measured.

    `alive` raises where it is pointless to go on waiting.
    """

    stage: Stage
    client: Client
    timeline: Timeline
    screen: Screen
    world: World
    pages: Pages
    alive: Callable[[], None]
    milestones: dict[str, Moment] = field(default_factory=dict)

    async def play(self) -> None:
        """Everything but the end. Raises CliError where something does not hold."""
        await self._asks()
        placement = await self._placed()
        await self._instantiated(placement)
        await self._waiting()
        await self._complete()
        await self._replace()
        await self._look_back()

    async def _asks(self) -> None:
        self.screen.chapter("A group is wanted, and there is no hosting service yet")
        await asyncio.to_thread(self.stage.apply, "policy", "configs", "group", password=True)
        self._milestone("applied", GROUP, "applied: one database, two web servers")
        state = await self._until("the policy's verdict", self._verdict)
        if state.verdict == "Met" or self._group_or_fail().status.placement is not None:
            raise CliError("the policy counts as met although there is no hosting service")
        self._ok(f"nothing happens while the policy is {state.verdict}")

    async def _placed(self) -> Placement:
        self.screen.chapter("Three hosting services arrive: the policy's condition becomes true, one is chosen")
        await asyncio.to_thread(self.stage.apply, "services")
        self._milestone("services", "services", "applied: anchor, bollard, capstan")
        placement = await self._until("a placement", self._placement)
        self.milestones["placed"] = self.timeline.moments[-1]
        policy = self.world.objects(HOSTING_POLICY).get(GROUP)
        reasons = Explanation(self._group_or_fail(), HostingPolicy.from_dict(policy) if policy else None)
        self.screen.show(*reasons.show(datetime.now(UTC)))
        self._ok(checks.chosen(placement, CHOSEN))
        return placement

    async def _instantiated(self, placement: Placement) -> None:
        self.screen.chapter("All servers are created at once, whatever depends on what")
        first_up = await self._until("the first server to run", self._first_up)
        await self._until("all servers to run", self._all_up)
        self._milestone("instantiated", GROUP, f"all {SERVERS} servers run")
        ledger = await self._ledger(placement.service)
        self._ok(checks.parallel(ledger, SERVERS, first_up))

    async def _waiting(self) -> None:
        self.screen.chapter("The web servers start with what is known, and say what they wait for")
        webs = [server.metadata.name for server in self.world.servers("web")]
        await self._until("the web servers' pages", lambda: True if self.pages.views.keys() >= set(webs) else None)
        self._milestone("pages", "web", "both pages are up")
        self._ok(checks.incomplete_first(self.pages.views, webs, ITEM))

    async def _complete(self) -> None:
        self.screen.chapter("The database runs: its address is handed on, and the pages have rows")
        webs = [server.metadata.name for server in self.world.servers("web")]
        address = await self._until("the database's address", self._address)
        self._milestone("published", f"{GROUP}-db-0", "has published its address")
        await self._until("rows on both pages", lambda: self._showing(webs, address))
        self._milestone("shown", "web", "both pages show rows")
        await self._until("the group to be ready", self._ready)
        self._milestone("ready", GROUP, "is ready")
        self._ok(checks.complete(self.pages.now(), webs, address))

    async def _replace(self) -> None:
        self.screen.chapter("The database server is deleted: a new one takes its place, and no web server restarts")
        before, views = self.world.servers("db")[0], self.pages.now()
        old = self._address() or ""
        await self.client.delete(VIRTUAL_SERVER, NAMESPACE, before.metadata.name, uid=before.metadata.uid)
        self._milestone("deleted", before.metadata.name, "deletion asked for")
        address = await self._until("another database's address", lambda: self._other_address(before))
        self._milestone("published again", before.metadata.name, "the new one has published its address")
        await self._until("the new address on both pages", lambda: self._showing(list(views), address))
        self._milestone("shown again", "web", "both pages show rows of the new database")
        await self._until("the group to be ready again", self._ready)
        self._ok(checks.replaced(before, self.world.servers("db")[0], old, address))
        self._ok(checks.complete(self.pages.now(), list(views), address))
        self._ok(checks.not_restarted(views, self.pages.now()))

    async def _look_back(self) -> None:
        self.screen.chapter("What it came to")
        ledgers = {name: await self._ledger(name) for name in self.stage.endpoints}
        self._ok(checks.exactly_once(ledgers, CHOSEN, SERVERS + 1))
        self._ok(checks.secret(self.stage.password, await self._public()))
        self.screen.show("", moments_table(list(self.milestones.values())), "", spans_table(spans(self._pairs())))

    async def end(self) -> None:
        """Delete the group, and see that nothing is left of it. Raises CliError where something is."""
        self.screen.chapter("The group is deleted")
        await self.client.delete(SERVER_GROUP, NAMESPACE, GROUP)
        self._milestone("end", GROUP, "deletion asked for")
        await self._until("the group to be gone", lambda: None if self.world.group(GROUP) else True)
        await self._until("the servers to be gone", lambda: None if self.world.servers() else True)
        self._ok(checks.all_gone(await self._ledger(CHOSEN)))

    # What is looked for

    def _group_or_fail(self) -> ServerGroup:
        group = self.world.group(GROUP)
        if group is None:
            raise CliError(f"the group {GROUP} is gone")
        return group

    def _verdict(self) -> PolicyState | None:
        group = self.world.group(GROUP)
        return group.status.policy if group else None

    def _placement(self) -> Placement | None:
        group = self.world.group(GROUP)
        return group.status.placement if group else None

    def _first_up(self) -> datetime | None:
        up = any(is_true(server.status.conditions, INSTANTIATED) for server in self.world.servers())
        return datetime.now(UTC) if up else None

    def _all_up(self) -> bool | None:
        servers = self.world.servers()
        up = [server for server in servers if is_true(server.status.conditions, INSTANTIATED)]
        return True if len(up) == len(servers) == SERVERS else None

    def _address(self) -> str | None:
        databases = self.world.servers("db")
        return self.world.output(databases[0], "address") if databases else None

    def _other_address(self, before: VirtualServer) -> str | None:
        others = [server for server in self.world.servers("db") if server.metadata.uid != before.metadata.uid]
        return self.world.output(others[0], "address") if others else None

    def _showing(self, servers: list[str], address: str) -> bool | None:
        views = self.pages.now()
        there = [views[server] for server in servers if server in views]
        return True if len(there) == len(servers) and all(_shows(view, address) for view in there) else None

    def _ready(self) -> bool | None:
        group = self._group_or_fail()
        current = group.status.observed_generation == group.metadata.generation
        everybody = [server for server in self.world.servers() if is_true(server.status.conditions, READY)]
        return True if current and is_true(group.status.conditions, READY) and len(everybody) == SERVERS else None

    # What else

    async def _until(self, what: str, look: Callable[[], T | None]) -> T:
        return await self.world.until(what, look, alive=self.alive)

    def _ok(self, text: str) -> None:
        self.screen.verified(text)

    def _milestone(self, key: str, subject: str, text: str) -> None:
        self.milestones[key] = self.timeline.mark(subject, text)

    def _pairs(self) -> list[tuple[str, Moment, Moment]]:
        m = self.milestones
        return [
            ("from the arrival of the services to the choice of one", m["services"], m["placed"]),
            ("from the choice to three running servers (1 s of it is the boot)", m["placed"], m["instantiated"]),
            ("from the database's address to both pages that show its rows", m["published"], m["shown"]),
            ("from applying the services to a group that is ready", m["services"], m["ready"]),
            ("from deleting the database to the address of a new one", m["deleted"], m["published again"]),
            ("from that address to both pages that show its rows", m["published again"], m["shown again"]),
        ]

    async def _ledger(self, service: str) -> tuple[LedgerEntry, ...]:
        url = f"{self.stage.endpoints[service]}/v1/ledger"
        headers = {"Authorization": f"Bearer {self.stage.token}"}
        async with aiohttp.ClientSession(trust_env=False) as session, session.get(url, headers=headers) as answer:
            return Ledger.model_validate(await answer.json()).items

    async def _public(self) -> dict[str, str]:
        """Everything that anybody may read, by what it is."""
        texts = {kind.plural: json.dumps((await self.client.list(kind)).items) for kind in OWN}
        texts["events"] = json.dumps((await self.client.list(EVENT)).items)
        texts["the logs"] = "\n".join(
            path.read_text(errors="replace") for path in sorted(self.stage.directory.glob("*.log"))
        )
        return texts


def tree(world: World, *, ascii_only: bool, cut: bool = False) -> RenderableType | None:
    """The group as it is now; None before there is one. With `cut` each line is cut to the terminal's width."""
    group = world.group(GROUP)
    if group is None:
        return None
    node = group_tree(group, world.servers(), Detail(datetime.now(UTC)))
    return paint.tree(node, ascii_only=ascii_only, cut=cut)


def _shows(view: View, address: str) -> bool:
    return view.database == address and bool(view.boats) and not view.waiting


async def stay(alive: Callable[[], None]) -> None:
    """Wait for Ctrl-C. Raises what `alive` raises where something that must run has ended by itself."""
    while True:
        alive()
        await asyncio.sleep(1)
