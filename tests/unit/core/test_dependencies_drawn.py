"""What is drawn of a group: every member, and what its items need although it does not exist."""

from __future__ import annotations

import yaml

from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.dependencies import GroupGraph, deletion_order, find_deadlocks, to_dot, to_mermaid, to_text

WEB = """
configuration:
- {name: address, valueFrom: {output: {member: dbb, name: address}}}
- {name: url, valueFrom: {output: {member: db, name: url}}}
- {name: elsewhere, valueFrom: {output: {group: nope, member: m, name: x}}}
- {name: lost, valueFrom: {output: {member: gone, name: y}}}
- {name: dsn, template: "${address} ${passwrod}"}
steps: [{name: serve, script: 'serve ${dns}'}]
outputs: [{name: port, command: "echo ${prt}", after: [start]}]
readiness: {tcp: {port: "${prt}"}}
"""


def graph() -> GroupGraph:
    """A group of which half does not exist."""
    web = VirtualServerConfigSpec.from_dict({"images": [{"image": "i"}], **yaml.safe_load(WEB)})
    empty = VirtualServerConfigSpec.from_dict({"images": [{"image": "i"}]})
    return GroupGraph.build("shop", {"web": web, "db": empty, "gone": None})


def test_every_member_is_drawn_and_what_does_not_exist_is_marked() -> None:
    assert to_text(graph()).split("problem: ")[0] == (
        "group shop\n"
        "├─ db (nothing to configure)\n"
        "├─ gone (its configuration does not exist)\n"
        "└─ web\n"
        "   ├─ item address <- unknown dbb.address (output)\n"
        "   ├─ item dsn <- item address, unknown item passwrod\n"
        "   ├─ item elsewhere <- unknown nope/m.x (output)\n"
        "   ├─ item lost <- unknown gone.y (output)\n"
        "   ├─ item url <- unknown db.url (output)\n"
        "   ├─ output port <- unknown item prt, unknown step start\n"
        "   ├─ readiness <- item address, item dsn, item elsewhere, item lost, item url, unknown item prt\n"
        "   └─ step serve <- unknown item dns\n"
    )


def test_the_drawings_have_them_too() -> None:
    mermaid, dot = to_mermaid(graph()), to_dot(graph())
    for text in ("nothing to configure", "its configuration does not exist", "unknown dbb.address", "unknown web.dns"):
        assert text in mermaid
        assert text in dot
    assert mermaid.count("subgraph") == mermaid.count("  end\n") == 3
    assert mermaid.splitlines()[-1].endswith(" unknown")
    assert dot.count("{") == dot.count("}")
    assert dot.count("style=dashed, color=red") == 8


def test_what_does_not_exist_is_no_part_of_the_graph() -> None:
    found = graph()
    assert not {need for needs in found.unknown.values() for need in needs} & found.needs.keys()
    assert find_deadlocks(found) == ()
    assert sorted(member for wave in deletion_order(found) for member in wave) == ["db", "gone", "web"]
