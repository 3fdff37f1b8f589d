"""Values that change, servers that are replaced, dependencies in a circle: configuration after the first delivery."""

from __future__ import annotations

from typing import Any

from tests.support.scene import Scene, Watcher, item_of, output_of
from tests.support.stack import Obj, config, group

from moorage.kube.kinds import SERVER_GROUP, VIRTUAL_SERVER

MEMBERS = (("db", "db", 1), ("web", "web", 1))


def upstream(member: str, name: str = "value", **more: Any) -> Obj:
    """An item's source: an output of another member."""
    return {"output": {"member": member, "name": name, **more}}


DB = config(
    "db",
    files=[{"path": "/value", "content": "one"}],
    outputs=[{"name": "value", "file": "/value", "refresh": "100ms"}],
)
WEB = config(
    "web",
    configuration=[{"name": "port", "value": "80"}, {"name": "db", "valueFrom": upstream("db")}],
    files=[{"path": "/db", "content": "${db}"}],
    steps=[
        {"name": "alone", "script": 'echo "${port}" >> "$MOORAGE_ROOT/alone"'},
        {"name": "uses", "script": 'echo "${db}" >> "$MOORAGE_ROOT/uses"'},
        {"name": "once", "script": 'echo "${db}" >> "$MOORAGE_ROOT/once"', "onChange": "Ignore"},
    ],
)


async def test_a_value_that_changes_reaches_dependents_and_reruns_only_affected_steps(scene: Scene) -> None:
    await scene.begin(DB, WEB, members=MEMBERS)
    await scene.api.ready("g")
    db, web = await scene.api.servers("g")
    assert scene.read(web, "/uses") == "one\n"
    (scene.root(db) / "value").write_text("two")
    await scene.file(web, "/uses", "one\ntwo\n")
    await scene.file(web, "/db", "two")
    assert scene.read(web, "/alone") == "80\n"
    assert scene.read(web, "/once") == "one\n"
    assert output_of(await scene.server("g-db-0"), "value") == "two"


async def test_the_last_value_stays_in_force_marked_stale_while_its_server_is_replaced(scene: Scene) -> None:
    db = config(
        "db",
        outputs=[{"name": "value", "command": 'test -e "$MOORAGE_ROOT/go" && echo "$SERVER_ADDRESS"'}],
    )
    await scene.begin(db, WEB, members=MEMBERS)
    await scene.joined_all()

    async def addressed() -> Obj | None:
        found = await scene.server("g-db-0")
        return found if found["status"].get("addresses") else None

    first = await scene.api.until("the address in its status", addressed)
    old = first["status"]["addresses"][0]["address"]
    (scene.root(first) / "go").write_text("")
    await scene.api.ready("g")
    async with Watcher(scene.api, VIRTUAL_SERVER) as seen:
        await scene.api.delete(VIRTUAL_SERVER, "g-db-0")
        second = await scene.replaced(first)

        async def stale() -> bool:
            item = item_of(await scene.server("g-web-0"), "db")
            return item is not None and bool(item["stale"]) and item["state"] == "Acknowledged"

        await scene.api.until("the value to be marked stale", stale)
        await scene.api.condition(VIRTUAL_SERVER, "g-db-0", "Configured")
        web = await scene.server("g-web-0")
        assert scene.read(web, "/db") == old, "the last value stays in force"
        assert scene.read(web, "/uses") == f"{old}\n"
        second = await scene.server("g-db-0")
        new = second["status"]["addresses"][0]["address"]
        (scene.root(second) / "go").write_text("")
        await scene.file(web, "/uses", f"{old}\n{new}\n")
        await scene.api.ready("g")
    assert new != old
    assert scene.read(web, "/alone") == "80\n"
    assert scene.read(web, "/once") == f"{old}\n"
    assert "Pending" not in seen.item_states("g-web-0", "db"), "a value in force is never taken back"
    item = item_of(await scene.server("g-web-0"), "db")
    assert item is not None
    assert not item["stale"]


async def test_servers_may_depend_on_each_other(scene: Scene) -> None:
    def peer(name: str, other: str) -> Obj:
        return config(
            name,
            configuration=[{"name": "peer", "valueFrom": upstream(other)}],
            steps=[
                {"name": "start", "script": 'echo "I am $SERVER_ADDRESS" > "$MOORAGE_ROOT/self"'},
                {"name": "meet", "script": 'echo "${peer}" > "$MOORAGE_ROOT/peer"'},
            ],
            outputs=[{"name": "value", "file": "/self", "after": ["start"]}],
        )

    await scene.begin(peer("a", "b"), peer("b", "a"), members=(("a", "a", 1), ("b", "b", 1)))
    await scene.api.ready("g")
    a, b = await scene.api.servers("g")
    addresses = [s["status"]["addresses"][0]["address"] for s in (a, b)]
    assert scene.read(a, "/peer") == f"I am {addresses[1]}\n"
    assert scene.read(b, "/peer") == f"I am {addresses[0]}\n"


async def test_items_that_can_never_resolve_are_an_error_that_shows_the_path(scene: Scene) -> None:
    def blocked(name: str, other: str) -> Obj:
        return config(
            name,
            configuration=[{"name": "peer", "valueFrom": upstream(other)}],
            steps=[{"name": "start", "script": "echo ${peer}"}],
            outputs=[{"name": "value", "command": "hostname", "after": ["start"]}],
        )

    await scene.begin(blocked("a", "b"), blocked("b", "a"), members=(("a", "a", 1), ("b", "b", 1)))
    stalled = await scene.api.condition(SERVER_GROUP, "g", "Stalled", reason="Deadlock")
    message = next(c["message"] for c in stalled["status"]["conditions"] if c["type"] == "Stalled")
    for word in ("a", "b", "peer", "value", "start"):
        assert word in message


async def test_first_all_and_join_follow_the_replicas(scene: Scene) -> None:
    node = config("node", outputs=[{"name": "value", "command": "hostname"}])
    reader = config(
        "reader",
        configuration=[
            {"name": "first", "valueFrom": upstream("node", select="First")},
            {"name": "all", "valueFrom": upstream("node", select="All")},
            {"name": "joined", "valueFrom": upstream("node", select="Join", separator=" + ")},
        ],
        files=[{"path": "/seen", "content": "${first} | ${all} | ${joined}"}],
    )
    objects = (("node", "node", 2), ("reader", "reader", 1))
    await scene.begin(node, reader, members=objects)
    await scene.api.ready("g")
    server = await scene.server("g-reader-0")
    names = [f"g-node-{i}" for i in range(3)]

    def words(count: int) -> str:
        quoted = ",".join(f'"{name}"' for name in names[:count])
        return f"{names[0]} | [{quoted}] | {' + '.join(names[:count])}"

    assert scene.read(server, "/seen") == words(2)
    for count in (3, 1):
        members = [("node", "node", count), ("reader", "reader", 1)]
        await scene.api.apply(group("g", "policy", *members))
        await scene.file(server, "/seen", words(count))
    await scene.api.ready("g")


async def test_outputs_of_another_group(scene: Scene) -> None:
    reader = config(
        "reader",
        configuration=[{"name": "far", "valueFrom": upstream("db", group="other")}],
        files=[{"path": "/far", "content": "${far}"}],
    )
    await scene.begin(reader, members=(("m", "reader", 1),))
    waiting = await scene.api.condition(SERVER_GROUP, "g", "Configured", "False", "ItemsPending")
    assert "other" in waiting["status"]["pending"][0]["waitingFor"]
    await scene.api.apply(DB, group("other", "policy", ("db", "db", 1)))
    await scene.api.ready("g")
    assert scene.read(await scene.server("g-m-0"), "/far") == "one"


async def test_a_default_is_in_force_until_the_value_is_known(scene: Scene) -> None:
    db = config("db", outputs=[{"name": "value", "file": "/let-go"}])
    web = config(
        "web",
        configuration=[{"name": "db", "valueFrom": upstream("db"), "default": "nobody"}],
        steps=[{"name": "uses", "script": 'echo "${db}" >> "$MOORAGE_ROOT/uses"'}],
    )
    await scene.begin(db, web, members=MEMBERS)
    await scene.api.condition(VIRTUAL_SERVER, "g-db-0", "Configured")
    web_server = await scene.server("g-web-0")
    await scene.file(web_server, "/uses", "nobody\n")
    (scene.root(await scene.server("g-db-0")) / "let-go").write_text("somebody")
    await scene.file(web_server, "/uses", "nobody\nsomebody\n")
    await scene.api.ready("g")


async def test_an_item_that_is_not_required_holds_nothing_up(scene: Scene) -> None:
    db = config("db", outputs=[{"name": "value", "file": "/let-go"}])
    web = config(
        "web",
        configuration=[{"name": "db", "valueFrom": upstream("db"), "required": False}],
        files=[{"path": "/db", "content": "${db}"}],
    )
    await scene.begin(db, web, members=MEMBERS)
    await scene.api.ready("g")
    web_server = await scene.server("g-web-0")
    item = item_of(web_server, "db")
    assert item is not None
    assert item["state"] == "Pending"
    assert scene.read(web_server, "/db") is None
    (scene.root(await scene.server("g-db-0")) / "let-go").write_text("late")
    await scene.file(web_server, "/db", "late")
