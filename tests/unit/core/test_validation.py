from __future__ import annotations

import pytest
from tests.support.configuration import spec

from moorage.core.validation import validate

VALID = """
configuration:
- {name: port, value: "80"}
- {name: db_address, valueFrom: {output: {member: db, name: address}}}
- {name: peers, valueFrom: {output: {member: web, name: address, select: Join, separator: ","}}, default: ""}
- {name: pw, valueFrom: {secretKeyRef: {name: s, key: password}}}
- {name: url, template: "postgres://u:${pw}@${db_address}/x"}
files:
- {path: /etc/app.conf, content: "url=${url} $${HOME}"}
steps:
- {name: start, script: 'exec app "${url}" ${port:-80} $HOME $${HOME}'}
outputs:
- {name: address, command: 'echo ${port}', after: [start], pattern: "^[0-9.]+$"}
- {name: host, field: address}
readiness: {tcp: {port: "${port}"}}
"""


def test_a_valid_configuration_has_no_problems() -> None:
    assert validate(spec(VALID)) == []
    assert validate(spec("")) == []


@pytest.mark.parametrize(
    ("text", "path", "reason", "message"),
    [
        (
            'configuration: [{name: port, value: "1"}, {name: url, template: "x${prot}"}]',
            "spec.configuration[url].template",
            "NoSuchItem",
            "line 1, column 2: there is no item prot (did you mean port?); for a literal ${prot} write $${prot}",
        ),
        (
            "configuration: [{name: a, template: '${b}'}, {name: b, template: '${c}'}, {name: c, template: '${a}'}]",
            "spec.configuration[a].template",
            "ItemCycle",
            "a -> b -> c -> a: an item cannot be made of itself",
        ),
        (
            "configuration: [{name: a, template: '${a}'}]",
            "spec.configuration[a].template",
            "ItemCycle",
            "a -> a: an item cannot be made of itself",
        ),
        (
            "configuration: [{name: a, value: x}, {name: a, value: y}]",
            "spec.configuration[1]",
            "Duplicate",
            "there is another item a",
        ),
        ("configuration: [{name: a}]", "spec.configuration[a]", "Invalid", "has none; write exactly one of value, "),
        (
            "configuration: [{name: a, value: x, template: y}]",
            "spec.configuration[a]",
            "Invalid",
            "has value and template; write exactly one",
        ),
        (
            "configuration: [{name: a, valueFrom: {}}]",
            "spec.configuration[a].valueFrom",
            "Invalid",
            "write exactly one of output, secretKeyRef, configMapKeyRef, field",
        ),
        ("configuration: [{name: a, value: x, default: y}]", "spec.configuration[a].default", "Invalid", "remove"),
        ("configuration: [{name: PATH, value: x}]", "spec.configuration[PATH]", "Reserved", "choose another name"),
        ("configuration: [{name: LD_PRELOAD, value: x}]", "spec.configuration[LD_PRELOAD]", "Reserved", "another name"),
        ('configuration: [{name: a, value: "x\\0"}]', "spec.configuration[a].value", "NotText", "NUL"),
        (
            "configuration: [{name: a, valueFrom: {output: {member: m, name: o, separator: x}}}]",
            "spec.configuration[a].valueFrom.output.separator",
            "Invalid",
            "write select: Join, or remove separator",
        ),
        (
            "files: [{path: /a, content: '${x:-1}'}]",
            "spec.files[/a].content",
            "InvalidTemplate",
            "line 1, column 1: only ${x} is known here",
        ),
        ("files: [{path: /a}, {path: /a}]", "spec.files[1]", "Duplicate", "there is another file /a"),
        ("files: [{path: /a/../b}]", "spec.files[/a/../b].path", "Invalid", "without . and ..: /b"),
        ("files: [{path: /a/b/c}, {path: /a}]", "spec.files[/a/b/c].path", "Invalid", "/a is a file as well"),
        ("files: [{path: /var/lib/moorage/key}]", "spec.files[/var/lib/moorage/key].path", "Reserved", "agent's own"),
        (
            "steps: [{name: s, script: 'echo ${HOME}'}]",
            "spec.steps[s].script",
            "NoSuchItem",
            "there is no item HOME (none is declared); for a variable of the shell write $HOME or $${HOME}",
        ),
        ("steps: [{name: s, script: 'echo ${'}]", "spec.steps[s].script", "InvalidTemplate", "write $${"),
        ('steps: [{name: s, script: "a\\0"}]', "spec.steps[s].script", "NotText", "NUL"),
        ("steps: [{name: s, script: x}, {name: s, script: y}]", "spec.steps[1]", "Duplicate", "another step s"),
        (
            "steps: [{name: start, script: x}]\noutputs: [{name: o, command: x, after: [strat]}]",
            "spec.outputs[o].after",
            "NoSuchStep",
            "there is no step strat (did you mean start?)",
        ),
        (
            "steps: [{name: s, script: x}]\noutputs: [{name: o, command: x, after: [s, s]}]",
            "spec.outputs[o].after",
            "Duplicate",
            "names the step s more than once",
        ),
        ("outputs: [{name: o}]", "spec.outputs[o]", "Invalid", "exactly one of command, file, field"),
        ("outputs: [{name: o, field: id}, {name: o, field: name}]", "spec.outputs[1]", "Duplicate", "another output o"),
        ("outputs: [{name: o, command: 'echo ${no}'}]", "spec.outputs[o].command", "NoSuchItem", "no item no"),
        (
            "outputs: [{name: o, command: x, pattern: '(?=a)'}]",
            "spec.outputs[o].pattern",
            "InvalidPattern",
            "look-around",
        ),
        ("outputs: [{name: o, command: x, pattern: 'a('}]", "spec.outputs[o].pattern", "InvalidPattern", "RE2"),
        ("readiness: {}", "spec.readiness", "Invalid", "exactly one of exec, tcp, http"),
        ("readiness: {tcp: {port: '65536'}}", "spec.readiness.tcp.port", "Invalid", "from 1 to 65535"),
        ("readiness: {tcp: {port: '${p}'}}", "spec.readiness.tcp.port", "NoSuchItem", "no item p"),
        ("readiness: {http: {url: 'http://h/${p}'}}", "spec.readiness.http.url", "NoSuchItem", "no item p"),
        ("readiness: {exec: {command: 'x ${p}'}}", "spec.readiness.exec.command", "NoSuchItem", "no item p"),
        (
            "settings: [{serviceType: local}, {serviceType: local}]",
            "spec.settings[1]",
            "Duplicate",
            "another setting for local",
        ),
    ],
)
def test_a_problem_has_a_path_a_reason_and_what_to_write_instead(
    text: str, path: str, reason: str, message: str
) -> None:
    problems = validate(spec(text))
    assert [(p.path, p.reason) for p in problems] == [(path, reason)]
    assert message in problems[0].message
    assert str(problems[0]).startswith(f"{path}: ")


def test_all_problems_are_told_at_once_and_none_shows_a_value() -> None:
    problems = validate(
        spec(
            """
            configuration:
            - {name: a, value: hunter2, default: hunter2}
            - {name: b, template: "hunter2 ${nope} ${"}
            - {name: c, template: "hunter2${c}"}
            steps: [{name: s, script: "hunter2 ${nope}"}]
            readiness: {tcp: {port: "65536"}}
            """
        )
    )
    assert len(problems) == 6
    assert "hunter2" not in repr(problems)
    assert problems == sorted(problems)


def test_two_spellings_of_one_file_are_found() -> None:
    problems = validate(spec("files: [{path: /a/b}, {path: /a/./b}]"))
    assert [(p.path, p.reason) for p in problems] == [
        ("spec.files[/a/./b]", "Duplicate"),
        ("spec.files[/a/./b].path", "Invalid"),
    ]
