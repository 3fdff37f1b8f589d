from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.support.configuration import KEY, Channel, compiled, given, member, server, with_secret

from moorage.api.channel import Document
from moorage.core.configuration import (
    MAX_ITEM_BYTES,
    DeliveryRecord,
    PublishedOutput,
    ServerInput,
    StoredObject,
    UpstreamServer,
    Values,
    next_revision,
    remembered_values,
    render,
    resolve,
)

WEB = """
configuration:
- {name: port, value: "80"}
- {name: db, valueFrom: {output: {member: db, name: address}}}
- {name: pw, valueFrom: {secretKeyRef: {name: s, key: k}}}
- {name: url, template: "postgres://u:${pw}@${db}/x"}
- {name: note, valueFrom: {configMapKeyRef: {name: c, key: k}}, required: false}
files:
- {path: /etc/url, mode: "0600", owner: "app:app", content: "url=${url} $${HOME}\\n"}
- {path: /etc/port, content: "${port}"}
steps:
- {name: start, script: 'exec app "${db}" $${HOME}', timeout: 1500ms, retries: 1, onChange: Ignore}
- {name: early, script: 'echo ${port}'}
outputs:
- {name: dsn, command: 'echo ${url}', after: [start], pattern: "^p"}
- {name: host, field: address}
- {name: pid, file: /run/pid, maxBytes: 16}
readiness: {http: {url: "http://127.0.0.1:${port}/"}, period: 250ms}
"""
SECRETS = {"s": {"k": b"hunter2"}}
UP = server("g-db-0", address="10.0.0.1")


def facts(*servers: UpstreamServer, text: str = WEB, revision: str = "web-1") -> ServerInput:
    return with_secret(given(compiled(text), revision, db=member(*servers)), "s")


def test_the_first_document_is_incomplete_and_useful() -> None:
    channel = Channel()
    channel.render(facts(), SECRETS)
    document = channel.document
    assert document == {
        "revision": 1,
        "server": {"name": "g-web-0", "namespace": "shop", "group": "g", "member": "web", "ordinal": 0},
        "pending": [
            {"item": "db", "waitingFor": "output address of member db"},
            {"item": "note", "waitingFor": "key k of ConfigMap c"},
            {"item": "url", "waitingFor": "item db"},
        ],
        "items": {"port": "80"},
        "files": [
            {"path": "/etc/url", "mode": "0600", "owner": "app:app", "pending": ["url"]},
            {"path": "/etc/port", "mode": "0644", "owner": "root", "content": "80", "pending": []},
        ],
        "steps": [
            {
                "name": "start",
                "script": 'exec app "${db}" ${HOME}',
                "env": ["db"],
                "onChange": "Ignore",
                "timeoutSeconds": 1.5,
                "retries": 1,
                "pending": ["db"],
            },
            {
                "name": "early",
                "script": "echo ${port}",
                "env": ["port"],
                "onChange": "Rerun",
                "timeoutSeconds": 60,
                "retries": 3,
                "pending": [],
            },
        ],
        "outputs": [
            {
                "name": "dsn",
                "command": "echo ${url}",
                "env": ["url"],
                "after": ["start"],
                "refreshSeconds": 30,
                "maxBytes": 4096,
                "sensitive": True,
                "pattern": "^p",
                "pending": ["url"],
            },
            {
                "name": "host",
                "field": "address",
                "env": [],
                "after": [],
                "refreshSeconds": 30,
                "maxBytes": 4096,
                "sensitive": False,
                "pending": [],
            },
            {
                "name": "pid",
                "file": "/run/pid",
                "env": [],
                "after": [],
                "refreshSeconds": 30,
                "maxBytes": 16,
                "sensitive": False,
                "pending": [],
            },
        ],
        "readiness": {
            "http": {"url": "http://127.0.0.1:${port}/"},
            "env": ["port"],
            "periodSeconds": 0.25,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
            "pending": [],
        },
    }
    assert Document.model_validate(document).steps[0].pending == ("db",)


def test_the_later_document_is_complete_and_holds_only_what_is_needed() -> None:
    channel = Channel()
    channel.render(facts(), SECRETS)
    channel.render(facts(UP), SECRETS)
    document = channel.document
    assert document["revision"] == 2
    assert document["files"][0]["content"] == "url=postgres://u:hunter2@10.0.0.1/x ${HOME}\n"
    assert document["items"] == {"db": "10.0.0.1", "port": "80", "url": "postgres://u:hunter2@10.0.0.1/x"}
    assert document["steps"][0]["pending"] == []
    assert channel.values == b'{"pw":"hunter2"}'


def test_address_and_id_of_the_server_are_told_where_an_output_needs_them() -> None:
    known = facts()
    known = replace(known, own=replace(known.own, address="10.0.0.7", provider_id="i-7"))
    assert render(known, Values(SECRETS)).document["server"]["address"] == "10.0.0.7"
    assert "id" not in render(known, Values(SECRETS)).document["server"]


def test_a_revision_is_new_exactly_when_the_document_differs() -> None:
    channel = Channel()
    _, first = channel.render(facts(), SECRETS)
    assert (channel.record.revision, first.configuration is not None) == (1, True)
    _, same = channel.render(facts(), SECRETS)
    assert (channel.record.revision, same.configuration, same.values) == (1, None, None)
    assert same.record == first.record
    channel.render(facts(UP), SECRETS)
    assert channel.record.revision == 2
    moved = server("g-db-0", uid="new", address="10.0.0.1")
    _, equal = channel.render(facts(moved), SECRETS)
    assert (channel.record.revision, equal.configuration) == (2, None)
    assert equal.record.inputs != same.record.inputs


def test_an_items_revision_is_the_first_that_carried_its_value() -> None:
    channel = Channel()
    channel.render(facts(), SECRETS)
    channel.render(facts(UP), SECRETS)
    revisions = {name: mark.revision for name, mark in channel.record.items.items()}
    assert revisions == {"port": 1, "pw": 1, "db": 2, "url": 2}
    channel.render(facts(UP), {"s": {"k": b"other"}})
    revisions = {name: mark.revision for name, mark in channel.record.items.items()}
    assert revisions == {"port": 1, "pw": 3, "db": 2, "url": 3}


def test_redelivery_when_the_upstream_server_is_replaced() -> None:
    channel = Channel()
    channel.render(facts(UP), SECRETS)
    away, _ = channel.render(facts(server("g-db-0", address="10.0.0.1", away=True)), SECRETS)
    assert channel.record.revision == 1
    assert away.resolution.items["db"].stale
    gone, delivery = channel.render(facts(), SECRETS)
    assert (delivery.configuration, gone.resolution.items["url"].stale) == (None, True)
    fresh, _ = channel.render(facts(server("g-db-0", uid="new", address="10.0.0.2")), SECRETS)
    assert channel.record.revision == 2
    assert not fresh.resolution.items["db"].stale
    assert channel.document["items"]["db"] == "10.0.0.2"


def test_a_value_that_only_a_file_uses_is_remembered_beside_the_document() -> None:
    text = """
    configuration: [{name: db, valueFrom: {output: {member: db, name: address}}}]
    files: [{path: /etc/db, content: "${db}"}]
    """
    channel = Channel()
    channel.render(facts(UP, text=text))
    assert (channel.document["items"], channel.values) == ({}, b'{"db":"10.0.0.1"}')
    channel.render(facts(text=text))
    assert channel.document["files"][0]["content"] == "10.0.0.1"
    channel.values = b"not json"
    rendered, _ = channel.render(facts(text=text))
    assert not rendered.resolution.items["db"].known


def test_a_default_is_not_remembered_as_a_value() -> None:
    text = 'configuration: [{name: db, valueFrom: {output: {member: db, name: address}}, default: "%s"}]'
    channel = Channel()
    channel.render(facts(text=text % "a"))
    rendered, _ = channel.render(facts(text=text % "b"))
    assert rendered.values == {"db": "b"}
    assert not rendered.resolution.items["db"].stale


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        ({"s": {"k": b"\xff"}}, "NotText", "key k of Secret s: the value is not text (UTF-8 without NUL)"),
        ({"s": {"k": b"a\0b"}}, "NotText", "key k of Secret s: the value is not text (UTF-8 without NUL)"),
        ({"s": {"k": b"x" * (MAX_ITEM_BYTES + 1)}}, "TooLarge", "the value is larger than 65536 bytes"),
        ({"s": {"other": b"x"}}, "KeyNotFound", "key k of Secret s: the key is missing"),
        ({}, "SecretNotFound", "key k of Secret s: the Secret is not found"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_and_everything_else_goes_on(
    data: dict[str, dict[str, bytes]], reason: str, message: str
) -> None:
    channel = Channel()
    given_facts = facts(UP)
    rendered, delivery = channel.render(given_facts, data)
    item = rendered.resolution.items["pw"]
    assert (item.known, item.reason) == (False, reason)
    assert message in item.message
    assert rendered.refused == {"pw": reason}
    assert rendered.resolution.items["url"].reason == "WaitingForItem"
    assert channel.document["items"] == {"db": "10.0.0.1", "port": "80"}
    again = resolve(replace(given_facts, record=delivery.record))
    assert (again.items["pw"].reason, again.items["url"].reason) == (reason, "WaitingForItem")
    transient = reason == "SecretNotFound"
    assert (again.inputs == delivery.record.inputs) is not transient


def test_a_value_that_becomes_too_large_leaves_the_last_one_in_force() -> None:
    channel = Channel()
    channel.render(facts(UP), SECRETS)
    large = server("g-db-0", address=PublishedOutput(2, None))
    secrets = {**SECRETS, "uid-g-db-0-outputs": {"address": b"x" * (MAX_ITEM_BYTES + 1)}}
    rendered, delivery = channel.render(facts(large), secrets)
    item = rendered.resolution.items["db"]
    assert (item.known, item.stale, channel.record.revision) == (True, True, 1)
    assert item.message == (
        "last known value in force; output address of member db: the value is larger than 65536 bytes"
    )
    assert resolve(replace(facts(large), record=delivery.record)).items["db"].stale


def test_templates_over_templates_cannot_blow_up() -> None:
    items = ['{name: a0, value: "' + "x" * 1000 + '"}']
    items += [f"{{name: a{n}, template: '{f'${{a{n - 1}}}' * 100}'}}" for n in range(1, 9)]
    rendered = render(facts(text=f"configuration: [{', '.join(items)}]"), Values())
    assert rendered.refused == {"a1": "TooLarge"}
    assert set(rendered.values) == {"a0"}


def test_outputs_of_several_servers_are_joined_in_order_of_their_ordinals() -> None:
    text = """
    configuration:
    - {name: all, valueFrom: {output: {member: db, name: a, select: All}}}
    - {name: comma, valueFrom: {output: {member: db, name: a, select: Join}}}
    - {name: space, valueFrom: {output: {member: db, name: a, select: Join, separator: " "}}}
    - {name: glued, valueFrom: {output: {member: db, name: a, select: Join, separator: ""}}}
    """
    servers = [server("g-db-1", a='y"é'), server("g-db-0", a=PublishedOutput(1, None))]
    values = Values({"uid-g-db-0-outputs": {"a": b"x"}})
    rendered = render(given(compiled(text), db=member(*servers, replicas=2)), values)
    assert rendered.values == {"all": '["x","y\\"é"]', "comma": 'x,y"é', "space": 'x y"é', "glued": 'xy"é'}
    assert render(given(compiled(text), db=member(replicas=0)), Values()).values["all"] == "[]"


def test_a_document_too_large_leaves_out_its_largest_file_and_names_it() -> None:
    items = ", ".join(f"{{name: i{n}, valueFrom: {{secretKeyRef: {{name: s, key: k}}}}}}" for n in range(13))
    text = f"""
    configuration: [{items}]
    files:
    - {{path: /small, content: "x"}}
    - {{path: /large, content: "{"".join(f"${{i{n}}}" for n in range(11))}"}}
    - {{path: /larger, content: "{"".join(f"${{i{n}}}" for n in range(13))}"}}
    """
    rendered = render(facts(text=text), Values({"s": {"k": b"x" * MAX_ITEM_BYTES}}))
    assert [problem.path for problem in rendered.problems] == ["spec.files[/larger].content", "spec"]
    assert "the largest item is i9" in rendered.problems[1].message
    assert "file /larger would have" in rendered.problems[0].message
    assert not rendered.complete
    assert next_revision(DeliveryRecord(), rendered, KEY, "r").configuration is None
    few = render(facts(text=text), Values({"s": {"k": b"x" * 25_000}}))
    assert [problem.path for problem in few.problems] == ["spec.files[/larger]"]
    assert [file["path"] for file in few.document["files"]] == ["/small", "/large"]
    assert next_revision(DeliveryRecord(), few, KEY, "r").configuration is not None


def test_a_mask_takes_the_place_of_sensitive_values_and_needs_no_secret() -> None:
    shown = render(facts(UP), Values(), mask="<sensitive>")
    assert shown.values["url"] == "<sensitive>"
    assert shown.document["files"][0]["content"] == "url=<sensitive> ${HOME}\n"
    assert shown.document["items"]["db"] == "10.0.0.1"
    assert shown.refused == {}


def test_nothing_sensitive_is_in_a_repr_the_record_or_a_state() -> None:
    channel = Channel()
    rendered, delivery = channel.render(facts(UP), SECRETS)
    states = channel.observe(rendered)
    shown = [
        repr(rendered),
        repr(delivery),
        json.dumps(delivery.record.to_object()),
        repr(states),
        repr(Values(SECRETS)),
    ]
    assert all("hunter2" not in text for text in shown)


@pytest.mark.parametrize("damaged", [None, [], "x", {"items": {"a": [1]}}, {"revision": "x"}, {"items": 3}])
def test_a_record_that_somebody_damaged_is_begun_anew_without_going_back(damaged: object) -> None:
    record = DeliveryRecord.from_object(damaged, revision=7)
    assert record == DeliveryRecord(revision=7)
    rendered = render(facts(UP), Values(SECRETS))
    assert next_revision(record, rendered, KEY, "r").record.revision == 8


def test_remembered_values_are_read_from_whatever_is_there() -> None:
    assert remembered_values(None, None) == {}
    assert remembered_values(b"[]", b"\xff") == {}
    assert remembered_values(b'{"items":{"a":"1","b":2}}', b'{"c":"3"}') == {"a": "1", "c": "3"}


def test_a_config_map_may_hold_text_or_bytes() -> None:
    text = "configuration: [{name: c, valueFrom: {configMapKeyRef: {name: m, key: k}}}]"
    known = replace(facts(text=text), config_maps={"m": StoredObject("u", "1")})
    assert render(known, Values({}, {"m": {"k": "v"}})).values == {"c": "v"}
    assert render(known, Values({}, {"m": {"k": b"v"}})).values == {"c": "v"}
    assert render(known, Values({}, {"m": {}})).refused == {"c": "KeyNotFound"}
