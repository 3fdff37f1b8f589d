from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.configuration import compiled, given, member, server, with_secret

from moorage.api.virtualserver import VirtualServer
from moorage.core.configuration import (
    DeliveryRecord,
    GroupFacts,
    ItemMark,
    MemberFacts,
    OwnFacts,
    PublishedOutput,
    Resolution,
    ServerInput,
    StoredObject,
    UpstreamServer,
    resolve,
)

DB = "{name: db, valueFrom: {output: {member: db, name: address%s}}%s}"


def config(*items: str, rest: str = "") -> str:
    return "configuration: [" + ", ".join(items) + "]\n" + rest


def db(select: str = "", more: str = "") -> str:
    return DB % (select and f", select: {select}", more and f", {more}")


def state(resolution: Resolution, name: str) -> tuple[bool, str, str]:
    item = resolution.items[name]
    return item.known, item.reason, item.message


def remembering(facts: ServerInput, name: str, *, sensitive: bool = False) -> ServerInput:
    mark = ItemMark(1, "mark", facts.config.items[name].definition, sensitive)
    return replace(facts, record=DeliveryRecord(revision=1, items={name: mark}))


def test_an_output_is_pending_until_it_is_published_and_says_what_it_waits_for() -> None:
    program = compiled(config(db()))
    waiting = "output address of server g-db-0: not published yet"
    assert state(resolve(given(program, db=member())), "db") == (False, "NotPublished", waiting)
    assert state(resolve(given(program, db=member(server("g-db-0")))), "db") == (False, "NotPublished", waiting)
    known = resolve(given(program, db=member(server("g-db-0", address="10.0.0.1"))))
    assert state(known, "db") == (True, "", "")
    assert not known.items["db"].stale
    assert known.needed_secrets == frozenset()


def test_first_is_the_lowest_ordinal_and_no_other() -> None:
    program = compiled(config(db("First")))
    second = server("g-db-1", address="10.0.0.2")
    assert not resolve(given(program, db=member(second, replicas=2))).items["db"].known
    first = server("g-db-0", address="10.0.0.1")
    assert resolve(given(program, db=member(second, first, replicas=2))).items["db"].version == "uid-g-db-0:1"


@pytest.mark.parametrize("select", ["All", "Join"])
def test_all_and_join_wait_for_every_desired_replica(select: str) -> None:
    program = compiled(config(db(select)))
    one, two, extra = (server(f"g-db-{n}", address=f"10.0.0.{n}") for n in range(3))
    partial = resolve(given(program, db=member(two, replicas=2)))
    assert state(partial, "db") == (False, "NotPublished", "output address of server g-db-0: not published yet")
    whole = resolve(given(program, db=member(two, extra, one, replicas=2)))
    assert whole.items["db"].version == "uid-g-db-0:1,uid-g-db-1:1"
    assert resolve(given(program, db=member(replicas=0))).items["db"].known


def test_first_of_no_replicas_is_pending_with_the_reason() -> None:
    resolution = resolve(given(compiled(config(db())), db=member(replicas=0)))
    assert state(resolution, "db") == (False, "NoReplicas", "output address of member db: the member has no replicas")


@pytest.mark.parametrize(
    ("item", "reason", "message"),
    [
        (
            "{name: x, valueFrom: {output: {member: dbb, name: address}}}",
            "NoSuchMember",
            "output address: group g has no member dbb (did you mean db?)",
        ),
        (
            "{name: x, valueFrom: {output: {member: db, name: adress}}}",
            "NoSuchOutput",
            "member db declares no output adress (did you mean address?)",
        ),
        (
            "{name: x, valueFrom: {output: {group: other, member: db, name: address}}}",
            "NoSuchGroup",
            "output address of group other: there is no such group",
        ),
        ("{name: x, valueFrom: {secretKeyRef: {name: s, key: k}}}", "SecretNotFound", "Secret s: not found"),
        ("{name: x, valueFrom: {configMapKeyRef: {name: c, key: k}}}", "ConfigMapNotFound", "ConfigMap c: not found"),
        ("{name: x, valueFrom: {field: address}}", "FieldUnknown", "field address of this server: not known yet"),
        ("{name: x, template: '${nope}'}", "NoSuchItem", "there is no item nope (there is x)"),
        ("{name: x, template: '${x}'}", "ItemCycle", "the item needs itself, by way of other items"),
    ],
)
def test_what_is_missing_is_named_and_everything_else_goes_on(item: str, reason: str, message: str) -> None:
    program = compiled(config(item, "{name: fine, value: v}") if "nope" not in item else config(item))
    resolution = resolve(given(program, db=member(declared={"address": False})))
    assert state(resolution, "x") == (False, reason, message)
    assert all(other.known for name, other in resolution.items.items() if name != "x")


def test_a_missing_key_is_named_where_the_keys_are_known() -> None:
    program = compiled(config("{name: x, valueFrom: {secretKeyRef: {name: s, key: k}}}"))
    resolution = resolve(with_secret(given(program), "s", keys=frozenset({"other"})))
    assert state(resolution, "x") == (False, "KeyNotFound", "key k missing in Secret s")
    unknown = resolve(with_secret(given(program), "s"))
    assert unknown.items["x"].known
    assert unknown.needed_secrets == {"s"}


def test_an_output_that_was_refused_tells_the_error() -> None:
    upstream = server("g-db-0", errors={"address": "PatternMismatch"})
    resolution = resolve(given(compiled(config(db())), db=member(upstream)))
    assert state(resolution, "db") == (
        False,
        "PatternMismatch",
        "output address of server g-db-0: refused (PatternMismatch)",
    )
    stays = server("g-db-0", address=PublishedOutput(3, "10.0.0.1", error="TooLarge"))
    item = resolve(given(compiled(config(db())), db=member(stays))).items["db"]
    assert (item.known, item.stale, item.reason) == (True, True, "LastKnownValue")
    assert item.message == "last known value in force; output address of server g-db-0: refused (TooLarge)"


def test_a_server_without_a_group_must_name_one() -> None:
    facts = replace(given(compiled(config(db()))), own=OwnFacts(name="adopted", namespace="shop"))
    known, reason, message = state(resolve(facts), "db")
    assert (known, reason) == (False, "NoSuchGroup")
    assert "name the group in output.group" in message


def test_outputs_of_another_group() -> None:
    program = compiled(config("{name: x, valueFrom: {output: {group: data, member: db, name: address}}}"))
    other = GroupFacts({"db": member(server("data-db-0", address="10.9.0.1"))})
    facts = given(program)
    resolution = resolve(replace(facts, groups={**facts.groups, "data": other}))
    assert resolution.items["x"].known
    waiting = resolve(replace(facts, groups={"data": GroupFacts({"db": member()})})).items["x"]
    assert waiting.message == "output address of server data-db-0: not published yet"


def test_own_fields() -> None:
    names = ["name", "namespace", "group", "member", "ordinal", "service", "region", "address", "providerID"]
    program = compiled(config(*(f"{{name: f_{name}, valueFrom: {{field: {name}}}}}" for name in names)))
    facts = given(program)
    assert {i.name for i in resolve(facts).pending} == {"f_address", "f_providerID"}
    told = replace(facts, own=replace(facts.own, address="10.0.0.9", provider_id="i-1"))
    assert not resolve(told).pending


def test_a_default_is_in_force_until_the_value_is_known() -> None:
    program = compiled(config(db(more="default: localhost")))
    item = resolve(given(program, db=member())).items["db"]
    assert (item.known, item.default_in_force, item.stale, item.reason) == (True, True, False, "DefaultInForce")
    assert item.message == "default in force; output address of server g-db-0: not published yet"
    later = resolve(given(program, db=member(server("g-db-0", address="10.0.0.1")))).items["db"]
    assert (later.default_in_force, later.reason) == (False, "")


@pytest.mark.parametrize(
    "upstream",
    [
        MemberFacts(1),
        MemberFacts(1, (server("g-db-0", uid="new"),)),
        MemberFacts(1, (server("g-db-0", address="10.0.0.1", away=True),)),
        MemberFacts(1, (server("g-db-0", errors={"address": "NotText"}),)),
        MemberFacts(0),
        MemberFacts(1, (), {}),
    ],
)
def test_the_last_value_stays_in_force_marked_stale_while_its_source_is_away(upstream: MemberFacts) -> None:
    facts = given(compiled(config(db(more="default: d"), "{name: t, template: 'x${db}'}")), db=upstream)
    resolution = resolve(remembering(facts, "db"))
    item = resolution.items["db"]
    assert (item.known, item.stale, item.default_in_force, item.reason) == (True, True, False, "LastKnownValue")
    assert item.message.startswith("last known value in force; ")
    assert resolution.items["t"].stale
    assert resolution.items["t"].message == f"item db: {item.message}"


def test_a_new_dependent_does_not_get_the_value_of_a_server_that_goes_away() -> None:
    upstream = member(server("g-db-0", address="10.0.0.1", away=True))
    assert not resolve(given(compiled(config(db())), db=upstream)).items["db"].known


def test_of_two_placements_the_newer_server_counts() -> None:
    old = UpstreamServer("g-db-0", "old", 0, {"address": PublishedOutput(1, "10.0.0.1")}, placement=1)
    new = UpstreamServer("g-db-0-2", "new", 0, placement=2)
    resolution = resolve(given(compiled(config(db())), db=member(old, new)))
    assert resolution.items["db"].message == "output address of server g-db-0-2: not published yet"


def test_another_definition_is_not_served_by_the_old_value() -> None:
    before = remembering(given(compiled(config(db())), db=member()), "db")
    after = replace(before, config=compiled(config(db("All"))))
    assert resolve(before).items["db"].stale
    assert not resolve(after).items["db"].known


def test_sensitivity_is_inherited_and_kept() -> None:
    program = compiled(
        config(
            "{name: pw, valueFrom: {secretKeyRef: {name: s, key: k}}}",
            "{name: url, template: 'x${pw}'}",
            "{name: again, template: '${url}'}",
            "{name: plain, value: v}",
            "{name: flagged, value: v, sensitive: true}",
            "{name: over, template: '${flagged}'}",
            db("Join"),
        )
    )
    upstream = member(server("g-db-0"), declared={"address": True})
    items = resolve(given(program, db=upstream)).items
    assert {name for name, item in items.items() if item.sensitive} == {"pw", "url", "again", "flagged", "over", "db"}
    gone = remembering(given(program), "db", sensitive=True)
    assert resolve(gone).items["db"].sensitive


def test_inputs_change_with_versions_and_facts_only() -> None:
    program = compiled(config(db(), "{name: pw, valueFrom: {secretKeyRef: {name: s, key: k}}}"))
    facts = with_secret(given(program, db=member(server("g-db-0", address="10.0.0.1"))), "s")
    inputs = resolve(facts).inputs
    assert resolve(facts).inputs == inputs
    newer = member(server("g-db-0", address=PublishedOutput(2, "10.0.0.1")))
    replaced = member(server("g-db-0", uid="other", address="10.0.0.1"))
    different = [
        with_secret(facts, "s", "2"),
        replace(facts, secrets={}),
        replace(facts, revision="web-2"),
        replace(facts, groups={"g": GroupFacts({"db": newer})}),
        replace(facts, groups={"g": GroupFacts({"db": replaced})}),
        replace(facts, groups={"g": GroupFacts({"db": MemberFacts(1, facts.groups["g"].members["db"].servers, {})})}),
    ]
    digests = [resolve(other).inputs for other in different]
    assert len({inputs, *digests}) == len(digests)
    assert digests[-1] == inputs
    unrelated = {**facts.groups["g"].members, "cache": member(server("g-cache-0", x="1"))}
    assert resolve(replace(facts, groups={"g": GroupFacts(unrelated)})).inputs == inputs


def test_needed_secrets_are_those_of_values_in_force() -> None:
    program = compiled(config(db("All"), "{name: pw, valueFrom: {secretKeyRef: {name: s, key: k}}}"))
    upstream = member(
        server("g-db-0", address=PublishedOutput(1, None)), server("g-db-1", address="10.0.0.2"), replicas=2
    )
    resolution = resolve(with_secret(given(program, db=upstream), "s"))
    assert resolution.needed_secrets == {"s", "uid-g-db-0-outputs"}
    facts = given(compiled(config("{name: c, valueFrom: {configMapKeyRef: {name: m, key: k}}}")))
    assert resolve(replace(facts, config_maps={"m": StoredObject("u", "1")})).needed_config_maps == {"m"}


def test_facts_are_read_from_a_virtual_server() -> None:
    body = {
        "metadata": {"name": "g-db-0", "namespace": "shop", "uid": "u1"},
        "spec": {"serviceRef": {"name": "east"}, "group": {"name": "g", "uid": "x"}, "member": "db", "placement": 2},
        "status": {
            "providerID": "i-1",
            "addresses": [{"type": "External", "address": "1.1.1.1"}, {"type": "Internal", "address": "10.0.0.1"}],
            "agent": {
                "outputs": [
                    {"name": "address", "value": "10.0.0.1", "version": 2},
                    {"name": "pw", "inSecret": True, "version": 1},
                    {"name": "bad", "error": "TooLarge"},
                    {"name": "kept", "value": "v", "version": 1, "error": "PatternMismatch"},
                ]
            },
        },
    }
    vs = VirtualServer.from_dict(body)
    upstream = UpstreamServer.from_virtual_server(vs, {"pw": True})
    assert upstream.outputs == {
        "address": PublishedOutput(2, "10.0.0.1"),
        "pw": PublishedOutput(1, None, sensitive=True),
        "kept": PublishedOutput(1, "v", error="PatternMismatch"),
    }
    assert (upstream.errors, upstream.placement, upstream.away) == ({"bad": "TooLarge"}, 2, False)
    own = OwnFacts.from_virtual_server(vs, region="eu")
    assert (own.address, own.provider_id, own.group, own.region) == ("10.0.0.1", "i-1", "g", "eu")
    lost = VirtualServer.from_dict({**body, "status": {"lost": True}})
    assert UpstreamServer.from_virtual_server(lost).away


def test_no_value_shows_in_a_repr() -> None:
    program = compiled(config("{name: a, value: hunter2}", db(more="default: hunter2")))
    facts = given(program, db=member(server("g-db-0", address="hunter2")))
    assert "hunter2" not in repr(facts)
    assert "hunter2" not in repr(resolve(facts))
