"""What the project must do, line by line: values that come from another running server."""

from __future__ import annotations

from pathlib import Path

from tests.support.scene import Scene, Watcher, agent, item_of, output_of, step_of
from tests.support.stack import Obj, config

from moorage.kube.kinds import SERVER_GROUP, VIRTUAL_SERVER

ORDER = ["Pending", "Resolved", "Delivered", "Acknowledged"]


def in_order(states: list[str]) -> bool:
    """Whether the states are a part of the four, in their order, from the first to the last."""
    return [s for s in ORDER if s in states] == states and states[:1] == ORDER[:1] and states[-1:] == ORDER[-1:]


async def test_c8_the_manager_obtains_the_value_from_the_first_running_server(scene: Scene, tmp_path: Path) -> None:
    """C8: an item of the second depends on the first configuration; the manager obtains its value from the first
    running server. The first withholds it until a step of the second, which has incomplete configuration, has run."""
    meeting = tmp_path / "met"
    settings = [{"serviceType": "local", "values": {"environment": {"MEETING": str(meeting)}}}]
    first = config(
        "first",
        settings=settings,
        configuration=[{"name": "port", "value": "4711"}],
        outputs=[
            {
                "name": "address",
                "command": 'until test -e "$MEETING"; do sleep 0.05; done\n'
                'echo "$SERVER_ADDRESS:${port} $(cat "$MEETING")"',
            }
        ],
    )
    second = config(
        "second",
        settings=settings,
        configuration=[
            {"name": "me", "valueFrom": {"field": "name"}},
            {"name": "upstream", "valueFrom": {"output": {"member": "first", "name": "address"}}},
        ],
        steps=[
            {"name": "begin", "script": 'echo "after ${me}" > "$MEETING.new" && mv "$MEETING.new" "$MEETING"'},
            {"name": "use", "script": 'printf %s "${upstream}" > "$MOORAGE_ROOT/used"'},
        ],
    )
    await scene.begin(first, second, members=(("first", "first", 1), ("second", "second", 1)))
    await scene.api.ready("g")
    one, two = await scene.api.servers("g")
    obtained = output_of(one, "address")
    assert obtained == f"{one['status']['addresses'][0]['address']}:4711 after g-second-0"
    assert scene.read(two, "/used") == obtained
    item = item_of(two, "upstream")
    assert item is not None
    assert (item["state"], item["stale"]) == ("Acknowledged", False)


async def test_c9_it_first_transmits_incomplete_configuration_then_the_obtained_value(scene: Scene) -> None:
    """C9: it first transmits incomplete configuration to the second, then the obtained value; items go Pending ->
    Resolved -> Delivered -> Acknowledged in status; the second starts work with what it has."""
    first = config("first", outputs=[{"name": "address", "command": 'cat "$MOORAGE_ROOT/let-go"'}])
    second = config(
        "second",
        configuration=[
            {"name": "known", "value": "from the start"},
            {"name": "upstream", "valueFrom": {"output": {"member": "first", "name": "address"}}},
        ],
        files=[{"path": "/known", "content": "${known}"}, {"path": "/upstream", "content": "${upstream}"}],
        steps=[
            {"name": "begin", "script": 'echo "${known}" >> "$MOORAGE_ROOT/begun"'},
            {
                "name": "use",
                "script": 'until test -e "$MOORAGE_ROOT/finish"; do sleep 0.05; done\n'
                'echo "${upstream}" >> "$MOORAGE_ROOT/used"',
            },
        ],
    )
    async with Watcher(scene.api, VIRTUAL_SERVER) as seen:
        await scene.begin(first, second, members=(("first", "first", 1), ("second", "second", 1)))

        def incomplete(servers: list[Obj]) -> bool:
            return len(servers) == 2 and agent(servers[-1], "acknowledgedRevision") >= 1

        await scene.until("the second to acknowledge its incomplete revision", incomplete)
        one, two = await scene.server("g-first-0"), await scene.server("g-second-0")
        begun = step_of(two, "begin")
        assert begun is not None
        assert (begun["state"], begun["attempts"]) == ("Succeeded", 1)
        assert scene.read(two, "/known") == "from the start"
        assert scene.read(two, "/upstream") is None
        assert scene.read(two, "/used") is None
        assert output_of(one, "address") is None
        group = await scene.api.condition(SERVER_GROUP, "g", "Configured", "False")
        assert [(p["server"], p["item"]) for p in group["status"]["pending"]] == [("g-second-0", "upstream")]
        (scene.root(one) / "let-go").write_text("10.1.2.3")

        def delivered(servers: list[Obj]) -> bool:
            item = item_of(servers[-1], "upstream")
            return item is not None and item["state"] == "Delivered"

        await scene.until("the value to be delivered while the step that uses it still runs", delivered)
        (scene.root(two) / "finish").write_text("")
        await scene.api.ready("g")
    two = await scene.server("g-second-0")
    assert scene.read(two, "/upstream") == "10.1.2.3"
    assert scene.read(two, "/used") == "10.1.2.3\n"
    assert scene.read(two, "/begun") == "from the start\n", "the value arrived without a restart"
    assert in_order(seen.item_states("g-second-0", "upstream"))
    assert {s["metadata"]["uid"] for s in seen.of("g-second-0")} == {two["metadata"]["uid"]}
    joined = seen.told("g-second-0", lambda o: ((o.get("status") or {}).get("agent") or {}).get("joinedAt"))
    assert len(joined) == 1, "one agent, which joined once"
