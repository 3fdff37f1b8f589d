from __future__ import annotations

import json

import pytest
from hypothesis import given as forall
from hypothesis import strategies as st
from tests.support.configuration import spec

from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.dependencies import (
    GroupGraph,
    GroupSource,
    Node,
    deletion_order,
    find_deadlocks,
    server_dependents,
    to_dot,
    to_mermaid,
    to_text,
    unresolvable,
)

DB = """
configuration:
- {name: web_url, valueFrom: {output: {member: web, name: url}}}
steps: [{name: start, script: 'db ${web_url}'}]
outputs: [{name: address, command: cat /run/address, after: [start]}]
"""
WEB = """
configuration:
- {name: db_address, valueFrom: {output: {member: db, name: address}}}
- {name: pw, valueFrom: {secretKeyRef: {name: s, key: k}}}
- {name: dsn, template: "${pw}@${db_address}"}
files: [{path: /etc/dsn, content: "${dsn}"}]
steps: [{name: serve, script: 'serve ${db_address}'}]
outputs: [{name: url, command: cat /run/url, after: [serve]}]
readiness: {http: {url: "http://127.0.0.1/"}}
"""


def build(published: tuple[tuple[str, str, str], ...] = (), **members: str) -> GroupGraph:
    return GroupGraph.build("shop", {name: spec(text) for name, text in members.items()}, published=published)


def test_a_true_deadlock_is_found_and_told_with_its_path() -> None:
    (deadlock,) = find_deadlocks(build(db=DB, web=WEB))
    assert deadlock.describe("shop").startswith(
        "web.db_address <- db.address (output) <- step start <- db.web_url <- web.url (output) <- step serve "
        "<- web.db_address: none of these can ever be known; give an item of the circle a default"
    )
    assert [node.label("shop") for node in deadlock.blocked] == [
        "file /etc/dsn of web",
        "web.dsn",
        "readiness of web",
    ]


def test_mutual_dependencies_between_servers_are_no_deadlock() -> None:
    graph = build(db=DB, web=WEB.replace(", after: [serve]", ""))
    assert find_deadlocks(graph) == ()
    assert server_dependents(graph) == {"db": frozenset(), "web": frozenset()}
    assert deletion_order(graph) == (("db", "web"),)


@pytest.mark.parametrize(
    ("db", "published"),
    [(DB.replace("name: url}}}", "name: url}}, default: none}"), ()), (DB, (("shop", "web", "url"),))],
)
def test_a_default_or_a_published_output_breaks_a_deadlock(
    db: str, published: tuple[tuple[str, str, str], ...]
) -> None:
    assert find_deadlocks(build(published, db=db, web=WEB)) == ()


def test_an_output_that_waits_for_its_own_value_is_a_deadlock() -> None:
    own = """
    configuration: [{name: me, valueFrom: {output: {member: web, name: url, select: All}}}]
    outputs: [{name: url, command: 'echo ${me}'}]
    """
    (deadlock,) = find_deadlocks(build(web=own))
    assert deadlock.describe("shop").startswith("web.me <- web.url (output) <- web.me: ")


def test_a_deadlock_over_two_groups_is_found() -> None:
    ours = "configuration: [{name: x, valueFrom: {output: {group: other, member: b, name: o}}}]\n"
    ours += "outputs: [{name: o, command: 'echo ${x}'}]"
    theirs = "configuration: [{name: y, valueFrom: {output: {group: shop, member: a, name: o}}}]\n"
    theirs += "outputs: [{name: o, command: 'echo ${y}'}]"
    graph = GroupGraph.build("shop", {"a": spec(ours)}, others={"other": GroupSource({"b": spec(theirs)})})
    (deadlock,) = find_deadlocks(graph)
    assert "shop" not in deadlock.describe("shop")
    assert deadlock.describe("shop").startswith("a.x <- other/b.o (output) <- other/b.y <- a.o (output) <- a.x: ")
    assert graph.problems == ()


def test_what_is_missing_is_named_and_stops_nothing_else() -> None:
    web = """
    configuration:
    - {name: a, valueFrom: {output: {member: dbb, name: address}}}
    - {name: b, valueFrom: {output: {member: db, name: adress}}}
    - {name: c, valueFrom: {output: {group: nope, member: db, name: address}}}
    - {name: d, valueFrom: {output: {member: db, name: address}}}
    - {name: e, valueFrom: {output: {member: gone, name: address}}}
    """
    db = "outputs: [{name: address, field: address}]"
    graph = GroupGraph.build("shop", {"web": spec(web), "db": spec(db), "gone": None})
    assert [(p.path, p.reason) for p in graph.problems] == [
        ("members[web].configuration[a]", "NoSuchMember"),
        ("members[web].configuration[b]", "NoSuchOutput"),
        ("members[web].configuration[c]", "NoSuchGroup"),
    ]
    assert "group shop has no member dbb (did you mean db?)" in graph.problems[0].message
    assert "member db declares no output adress (did you mean address?)" in graph.problems[1].message
    assert "there is no group nope" in graph.problems[2].message
    assert find_deadlocks(graph) == ()
    assert graph.needs[Node("shop", "web", "item", "d")] == (Node("shop", "db", "output", "address"),)
    assert graph.missing == {Node("shop", "web", "item", name) for name in "abc"}


def test_first_of_no_replicas_is_a_problem_all_of_none_is_empty() -> None:
    web = """
    configuration:
    - {name: first, valueFrom: {output: {member: db, name: address}}}
    - {name: every, valueFrom: {output: {member: db, name: address, select: All}}}
    """
    members = {"web": spec(web), "db": spec("outputs: [{name: address, field: address}]")}
    graph = GroupGraph.build("shop", members, {"db": 0})
    (problem,) = graph.problems
    assert (problem.path, problem.reason) == ("members[web].configuration[first]", "NoReplicas")


def test_sensitivity_flows_through_templates_commands_and_members() -> None:
    web = """
    configuration:
    - {name: pw, valueFrom: {secretKeyRef: {name: s, key: k}}}
    - {name: dsn, template: "x:${pw}"}
    outputs:
    - {name: dsn, command: 'echo ${dsn}'}
    - {name: port, command: cat /run/port}
    - {name: declared, file: /run/x, sensitive: true}
    """
    app = """
    configuration: [{name: dsn, valueFrom: {output: {member: web, name: dsn}}}]
    outputs: [{name: again, command: 'echo ${dsn}'}]
    """
    graph = build(web=web, app=app)
    assert graph.declared_outputs("web") == {"declared": True, "dsn": True, "port": False}
    assert graph.declared_outputs("app") == {"again": True}


def test_dependents_go_before_what_they_depend_on() -> None:
    def tier(below: str | None) -> VirtualServerConfigSpec:
        item = f"configuration: [{{name: x, valueFrom: {{output: {{member: {below}, name: o}}}}}}]\n" if below else ""
        return spec(f"{item}outputs: [{{name: o, field: address}}]")

    members = {"a": tier(None), "b": tier("a"), "c": tier("b"), "d": tier("a"), "e": None}
    graph = GroupGraph.build("g", members)
    assert server_dependents(graph) == {
        "a": {"b", "d"},
        "b": {"c"},
        "c": frozenset(),
        "d": frozenset(),
        "e": frozenset(),
    }
    assert deletion_order(graph) == (("c", "d", "e"), ("b",), ("a",))


def test_exports_are_stable_and_well_formed() -> None:
    graph = build(db=DB, web=WEB)
    again = GroupGraph.build("shop", {"web": spec(WEB), "db": spec(DB)})
    for export in (to_text, to_dot, to_mermaid):
        assert export(graph) == export(again)
    assert to_text(graph) == (
        "group shop\n"
        "├─ db\n"
        "│  ├─ item web_url <- web.url (output)\n"
        "│  ├─ output address <- step start\n"
        "│  └─ step start <- item web_url\n"
        "└─ web\n"
        "   ├─ file /etc/dsn <- item dsn\n"
        "   ├─ item db_address <- db.address (output)\n"
        "   ├─ item dsn (sensitive) <- item db_address, item pw\n"
        "   ├─ item pw (sensitive)\n"
        "   ├─ output url <- step serve\n"
        "   ├─ readiness <- item db_address, item dsn, item pw\n"
        "   └─ step serve <- item db_address\n"
        "deadlock: web.db_address <- db.address (output) <- step start <- db.web_url <- web.url (output) <- step serve "
        "<- web.db_address\n"
    )
    mermaid = to_mermaid(graph)
    assert mermaid.startswith('flowchart LR\n  subgraph m0["db"]\n')
    assert '[/"file /etc/dsn"/]' in mermaid
    assert mermaid.count("subgraph") == mermaid.count("  end\n") == 2
    assert to_dot(graph).count("{") == to_dot(graph).count("}")


def test_odd_names_do_not_break_the_exports() -> None:
    graph = build(web=json.dumps({"files": [{"path": '/a"b]\\x', "content": ""}]}))
    assert '"file /a\\"b]\\\\x"' in to_dot(graph)
    assert "#34;" in to_mermaid(graph)


NAMES = ("a", "b", "c")


@st.composite
def groups(draw: st.DrawFn) -> dict[str, VirtualServerConfigSpec]:
    """Random groups: items from outputs and templates, steps over items, outputs after steps and over items."""
    some = st.lists(st.sampled_from(NAMES), max_size=2, unique=True)
    members = {}
    for name in ("m", "n"):
        items = []
        for item in NAMES:
            kind = draw(st.sampled_from(["value", "output", "template"]))
            source: dict[str, object] = {"value": "x"}
            if kind == "output":
                target = {"member": draw(st.sampled_from(["m", "n"])), "name": draw(st.sampled_from(NAMES))}
                source = {"valueFrom": {"output": target}}
            elif kind == "template":
                source = {"template": "".join(f"${{{need}}}" for need in draw(some))}
            if kind != "value" and draw(st.integers(0, 4)) == 0:
                source["default"] = "d"
            items.append({"name": item, **source})
        steps = [{"name": step, "script": ":" + "".join(f"${{{n}}}" for n in draw(some))} for step in NAMES]
        outputs = [
            {"name": output, "command": ":" + "".join(f"${{{n}}}" for n in draw(some)), "after": draw(some)}
            for output in NAMES
        ]
        body = {"images": [{"image": "i"}], "configuration": items, "steps": steps, "outputs": outputs}
        members[name] = VirtualServerConfigSpec.from_dict(body)
    return members


def simulate(members: dict[str, VirtualServerConfigSpec]) -> set[tuple[str, str, str]]:
    """What comes to be known when everything that can happen happens: written apart from the graph, on the models."""
    known: set[tuple[str, str, str]] = set()

    def holds(member: str, text: str) -> bool:
        return all((member, "item", name) in known for name in NAMES if f"${{{name}}}" in text)

    while True:
        before = len(known)
        for member, config in members.items():
            for item in config.configuration:
                output = item.value_from.output if item.value_from else None
                if (
                    item.default is not None
                    or item.value is not None
                    or (output and (output.member, "output", output.name) in known)
                    or (item.template is not None and holds(member, item.template))
                ):
                    known.add((member, "item", item.name))
            known |= {(member, "step", step.name) for step in config.steps if holds(member, step.script)}
            for out in config.outputs:
                if holds(member, out.command or "") and all((member, "step", step) in known for step in out.after):
                    known.add((member, "output", out.name))
        if len(known) == before:
            return known


@forall(groups())
def test_deadlocks_are_exactly_what_never_resolves(members: dict[str, VirtualServerConfigSpec]) -> None:
    graph = GroupGraph.build("g", members)
    known = simulate(members)
    stuck = {(node.member, node.kind, node.name) for node in unresolvable(graph)}
    assert stuck == {(node.member, node.kind, node.name) for node in graph.needs} - known
    deadlocks = find_deadlocks(graph)
    assert bool(deadlocks) == bool(stuck)
    for deadlock in deadlocks:
        assert deadlock.path[0] == deadlock.path[-1]
        for node, need in zip(deadlock.path, deadlock.path[1:], strict=False):
            assert need in graph.needs[node]
    told = {node for deadlock in deadlocks for node in (*deadlock.path, *deadlock.blocked)}
    assert {(node.member, node.kind, node.name) for node in told} <= stuck


@forall(groups())
def test_the_order_of_what_is_given_does_not_matter(members: dict[str, VirtualServerConfigSpec]) -> None:
    turned = {
        name: config.model_copy(
            update={
                "configuration": config.configuration[::-1],
                "steps": config.steps[::-1],
                "outputs": config.outputs[::-1],
            }
        )
        for name, config in reversed(members.items())
    }
    assert to_text(GroupGraph.build("g", turned)) == to_text(GroupGraph.build("g", members))


@forall(groups())
def test_a_wave_of_deletions_never_precedes_its_dependents(members: dict[str, VirtualServerConfigSpec]) -> None:
    graph = GroupGraph.build("g", members)
    waves = deletion_order(graph)
    number = {member: index for index, wave in enumerate(waves) for member in wave}
    assert sorted(number) == sorted(members)
    for member, dependents in server_dependents(graph).items():
        assert all(number[dependent] < number[member] for dependent in dependents)
