"""Properties of configuration over random configurations and random lives of the servers that it depends on."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st
from tests.support.configuration import Channel

from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.configuration import (
    CompiledConfig,
    DeliveryRecord,
    GroupFacts,
    MemberFacts,
    OwnFacts,
    PublishedOutput,
    ServerInput,
    StoredObject,
    UpstreamServer,
    Values,
    compile_config,
    render,
    resolve,
)

NAMES = ("a", "b", "c", "d", "e")
SECRET = {"s": {"k": b"hunter2"}}


@st.composite
def configurations(draw: st.DrawFn, *, sensitive: bool = True) -> VirtualServerConfigSpec:
    some = st.lists(st.sampled_from(NAMES), max_size=3)
    items = []
    for name in NAMES:
        kind = draw(st.sampled_from(["value", "output", "output", "secret", "template", "template"]))
        source: dict[str, object] = {"value": "v"}
        if kind == "output":
            select = draw(st.sampled_from(["First", "All", "Join"]))
            source = {"valueFrom": {"output": {"member": "db", "name": "address", "select": select}}}
        elif kind == "secret":
            source = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
        elif kind == "template":
            source = {"template": "<" + "".join(f"${{{need}}}" for need in draw(some)) + ">"}
        if kind != "value" and draw(st.integers(0, 3)) == 0:
            source["default"] = "default"
        if sensitive:
            source["sensitive"] = draw(st.integers(0, 5)) == 0
        items.append({"name": name, **source})
    uses = [f": {''.join(f'${{{need}}}' for need in draw(some))}" for _ in range(3)]
    return VirtualServerConfigSpec.from_dict(
        {
            "images": [{"image": "i"}],
            "configuration": items,
            "files": [{"path": "/f", "content": uses[0]}],
            "steps": [{"name": "s", "script": uses[1]}],
            "outputs": [{"name": "o", "command": uses[2]}],
        }
    )


@dataclass(frozen=True)
class Moment:
    """What may be seen of the upstream member and of the Secret at one time."""

    member: MemberFacts
    secret: int | None


@st.composite
def moments(draw: st.DrawFn) -> Moment:
    servers = []
    for ordinal in range(3):
        state = draw(st.sampled_from(["absent", "silent", "published", "published", "in secret", "away", "refused"]))
        if state == "absent":
            continue
        uid = draw(st.sampled_from(["u1", "u2"])) + str(ordinal)
        version = draw(st.integers(1, 2))
        value = None if state == "in secret" else f"{uid}.{version}"
        published = {"address": PublishedOutput(version, value)} if state not in {"silent", "refused"} else {}
        errors = {"address": "TooLarge"} if state == "refused" else {}
        servers.append(UpstreamServer(f"g-db-{ordinal}", uid, ordinal, published, errors, state == "away"))
    replicas = draw(st.integers(0, 3))
    return Moment(MemberFacts(replicas, tuple(servers)), draw(st.sampled_from([None, 1, 2])))


def seen(config: CompiledConfig, moment: Moment, record: DeliveryRecord | None = None) -> ServerInput:
    return ServerInput(
        config,
        "r1",
        OwnFacts("g-web-0", "ns", "uid", "g", "web"),
        {"g": GroupFacts({"db": moment.member})},
        {} if moment.secret is None else {"s": StoredObject("u", str(moment.secret))},
        record=record or DeliveryRecord(),
    )


def stored(moment: Moment) -> dict[str, dict[str, bytes]]:
    outputs = {
        f"{server.uid}-outputs": {"address": f"{server.uid}.{published.version}".encode()}
        for server in moment.member.servers
        for published in server.outputs.values()
    }
    return {**outputs, **({} if moment.secret is None else {"s": {"k": f"hunter{moment.secret}".encode()}})}


@forall(configurations(), st.lists(moments(), min_size=1, max_size=6))
def test_a_known_value_never_goes_back_to_pending(config: VirtualServerConfigSpec, life: list[Moment]) -> None:
    channel, program = Channel(), compile_config(config)
    known: set[str] = set()
    revision = 0
    for moment in life:
        rendered, delivery = channel.render(seen(program, moment), stored(moment))
        now_known = {name for name, item in rendered.resolution.items.items() if item.known}
        assert known <= now_known
        assert now_known == set(rendered.values)
        known = now_known
        assert channel.record.revision - revision == (1 if delivery.configuration is not None else 0)
        revision = channel.record.revision


@forall(configurations(), moments(), moments())
def test_the_same_inputs_give_the_same_and_nothing_to_write(
    config: VirtualServerConfigSpec, before: Moment, now: Moment
) -> None:
    channel, program = Channel(), compile_config(config)
    channel.render(seen(program, before), stored(before))
    channel.render(seen(program, now), stored(now))
    record, document = channel.record, channel.configuration
    assert resolve(seen(program, now, record)).inputs in {record.inputs, record.tried}
    _, delivery = channel.render(seen(program, now), stored(now))
    assert (delivery.record, delivery.configuration, channel.configuration) == (record, None, document)


@forall(configurations(), moments(), moments())
def test_equal_inputs_mean_an_equal_document(config: VirtualServerConfigSpec, one: Moment, two: Moment) -> None:
    program = compile_config(config)
    first, second = seen(program, one), seen(program, two)
    if resolve(first).inputs == resolve(second).inputs:
        documents = [render(facts, Values(stored(moment))).document for facts, moment in ((first, one), (second, two))]
        assert documents[0] == documents[1]


@forall(configurations(), moments(), moments())
def test_the_order_in_which_facts_and_items_are_given_does_not_matter(
    config: VirtualServerConfigSpec, before: Moment, moment: Moment
) -> None:
    def turned(one: Moment) -> Moment:
        return Moment(replace(one.member, servers=one.member.servers[::-1]), one.secret)

    other = config.model_copy(update={"configuration": config.configuration[::-1]})
    channels = [Channel(), Channel()]
    for one in (before, moment):
        channels[0].render(seen(compile_config(config), one), stored(one))
        channels[1].render(seen(compile_config(other), turned(one)), stored(one))
    assert channels[0].configuration == channels[1].configuration
    assert channels[0].record == channels[1].record


@forall(configurations(sensitive=False), moments(), st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_sensitivity_is_monotone(
    config: VirtualServerConfigSpec, moment: Moment, fewer: set[str], more: set[str]
) -> None:
    def sensitive(flags: set[str]) -> set[str]:
        items = tuple(item.model_copy(update={"sensitive": item.name in flags}) for item in config.configuration)
        program = compile_config(config.model_copy(update={"configuration": items}))
        resolution = resolve(seen(program, moment))
        found = {name for name, item in resolution.items.items() if item.sensitive}
        assert flags <= found
        for name, compiled in program.items.items():
            inherits = compiled.broken is None and found.intersection(compiled.needs)
            assert name in found or not inherits
        return found

    assert sensitive(fewer) <= sensitive(fewer | more)


@forall(configurations(), st.lists(moments(), min_size=1, max_size=3))
@settings(max_examples=60)
def test_no_sensitive_value_is_in_what_is_shown(config: VirtualServerConfigSpec, life: list[Moment]) -> None:
    channel, program = Channel(), compile_config(config)
    for moment in life:
        facts = seen(program, moment)
        rendered, delivery = channel.render(facts, stored(moment))
        states = channel.observe(rendered)
        shown = repr((facts, rendered, delivery, states)) + json.dumps(delivery.record.to_object())
        masked = render(facts, Values({}, {}, {}), mask="*")
        assert "hunter" not in shown
        assert "hunter" not in json.dumps(masked.document)


@forall(configurations(), st.lists(moments(), min_size=1, max_size=5), st.data())
def test_a_state_is_acknowledged_only_after_the_revision_that_carried_the_value(
    config: VirtualServerConfigSpec, life: list[Moment], data: st.DataObject
) -> None:
    channel, program = Channel(), compile_config(config)
    for moment in life:
        rendered, _ = channel.render(seen(program, moment), stored(moment))
        channel.delivered = data.draw(st.integers(channel.delivered, channel.record.revision))
        channel.acknowledged = data.draw(st.integers(channel.acknowledged, channel.delivered))
        for name, state in channel.observe(rendered).items():
            known = rendered.resolution.items[name].known
            assert (state.state == "Pending") == (not known)
            assert (state.state == "Acknowledged") == (known and 0 < state.revision <= channel.acknowledged)
