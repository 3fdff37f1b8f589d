"""The cases of VirtualServerConfig."""

from __future__ import annotations

from typing import Any

from tests.support.crd_cases import Case


def _config(says: str, at: str, rejected: Any, accepted: Any) -> Case:
    return Case("VirtualServerConfig", says, at, rejected, accepted)


def _item(**fields: Any) -> dict[str, Any]:
    return {"configuration": [{"name": "db_address", **fields}]}


def _from(**source: Any) -> dict[str, Any]:
    return _item(valueFrom=source)


def _published(**fields: Any) -> dict[str, Any]:
    return _from(output={"member": "db", "name": "address", **fields})


def _file(**fields: Any) -> dict[str, Any]:
    return {"files": [{"path": "/etc/app.conf", **fields}]}


def _step(**fields: Any) -> dict[str, Any]:
    return {"steps": [{"name": "start", "script": "exec app", **fields}]}


def _output(**fields: Any) -> dict[str, Any]:
    return {
        "outputs": [{"name": "address", **({"field": "address"} if not fields.keys() & {"command"} else {}), **fields}]
    }


def _sources(**fields: Any) -> dict[str, Any]:
    return {"outputs": [{"name": "address", **fields}]}


def _ready(**fields: Any) -> dict[str, Any]:
    return {"readiness": fields}


def _probed(**fields: Any) -> dict[str, Any]:
    return _ready(exec={"command": "true"}, **fields)


_ITEM, _SOURCE = "spec.configuration[0]", "spec.configuration[0].valueFrom"
_ONE_OF = "an item needs exactly one of value, valueFrom and template"
_ONE_SOURCE = "valueFrom needs exactly one of output"
_ONE_OUTPUT = "an output needs exactly one of"
_ONE_PROBE = "a readiness probe needs exactly one of"
_NAME = "not a name that a shell can use"

ITEMS = (
    _config(_ONE_OF, _ITEM, _item(), _item(value="")),
    _config(_ONE_OF, _ITEM, _item(value="a", template="b"), _item(template="b")),
    _config(_ONE_OF, _ITEM, _item(value="a", valueFrom={"field": "name"}), _from(field="name")),
    _config("needs no default", f"{_ITEM}.default", _item(value="a", default="b"), _item(template="a", default="b")),
    _config(
        "the agent's or the shell's own", f"{_ITEM}.name", _item(name="PATH", value="a"), _item(name="PATHS", value="a")
    ),
    _config(
        "the agent's or the shell's own",
        f"{_ITEM}.name",
        _item(name="MOORAGE_ROOT", value="a"),
        _item(name="ROOT", value="a"),
    ),
    _config(_NAME, f"{_ITEM}.name", _item(name="db-address", value="a"), _item(name="_x1", value="a")),
    _config(_NAME, f"{_ITEM}.name", _item(name="1st", value="a"), _item(name="first", value="a")),
    _config(_NAME, f"{_SOURCE}.output.name", _published(name="a b"), _published(name="a_b")),
    _config(
        "two items have one name",
        "spec.configuration",
        {"configuration": _item(value="a")["configuration"] * 2},
        {"configuration": [{"name": "a", "value": "1"}, {"name": "A", "value": "1"}]},
    ),
    _config(_ONE_SOURCE, _SOURCE, _from(), _from(field="ordinal")),
    _config(
        _ONE_SOURCE,
        _SOURCE,
        _from(field="name", secretKeyRef={"name": "s", "key": "k"}),
        _from(secretKeyRef={"name": "s", "key": "k"}),
    ),
    _config(
        _ONE_SOURCE,
        _SOURCE,
        _from(output={"member": "db", "name": "a"}, configMapKeyRef={"name": "s", "key": "k"}),
        _from(configMapKeyRef={"name": "s", "key": "k"}),
    ),
    _config(
        "a separator is of use only",
        f"{_SOURCE}.output.separator",
        _published(separator=";"),
        _published(select="Join", separator=";"),
    ),
    _config("not a label", f"{_SOURCE}.output.member", _published(member="D"), _published(select="All")),
    _config("not a label", f"{_SOURCE}.output.group", _published(group="a.b"), _published(group="a-b")),
    _config(
        "not a key",
        f"{_SOURCE}.secretKeyRef.key",
        _from(secretKeyRef={"name": "s", "key": "a/b"}),
        _from(secretKeyRef={"name": "s", "key": "a.b_C-d"}),
    ),
    _config(
        "not the name of an object",
        f"{_SOURCE}.configMapKeyRef.name",
        _from(configMapKeyRef={"name": "A", "key": "k"}),
        _from(configMapKeyRef={"name": "a", "key": "k"}),
    ),
)

_SMALL = {"name": "small"}
SIZES = (
    _config("write a name of at most 63", "", {"metadata.name": "a" * 64}, {"metadata.name": "a" * 63}),
    _config(
        "not a plain word",
        "spec.images[0].serviceType",
        {"images": [{"image": "a", "serviceType": "a b"}]},
        {"images": [{"image": "a", "serviceType": "local", "region": "eu-1"}]},
    ),
    _config(
        "In and NotIn need values",
        "spec.images[0].serviceSelector.matchExpressions[0]",
        {"images": [{"image": "a", "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]},
        {"images": [{"image": "a", "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}]},
    ),
    _config("not a quantity", "spec.size.memory", {"size": {"memory": "lots"}}, {"size": {"memory": "512Mi"}}),
    _config("not a quantity", "spec.size.cpu", {"size": {"cpu": "-2"}}, {"size": {"cpu": 2}}),
    _config(
        "not the name of an object",
        "spec.size.offerings[0].service",
        {"size": {"offerings": [{**_SMALL, "service": "A"}]}},
        {"size": {"offerings": [{**_SMALL, "service": "a"}]}},
    ),
    _config(
        "write the settings of each serviceType once",
        "spec.settings",
        {"settings": [{"serviceType": "local", "values": {}}] * 2},
        {"settings": [{"serviceType": "local", "values": {"any": [1, {"thing": True}]}}, {"serviceType": "ec2"}]},
    ),
)

FILES_AND_STEPS = (
    _config("write each file once", "spec.files", {"files": _file()["files"] * 2}, _file()),
    _config("not the absolute path", "spec.files[0].path", _file(path="etc/app"), _file(path="/etc/my app")),
    _config("not the absolute path", "spec.files[0].path", _file(path="/etc/"), _file(path="/a")),
    _config("not the absolute path", "spec.outputs[0].file", _sources(file="port"), _sources(file="/run/port")),
    _config("not an octal mode", "spec.files[0].mode", _file(mode="u+x"), _file(mode="0755")),
    _config("not an octal mode", "spec.files[0].mode", _file(mode="0888"), _file(mode="644")),
    _config("not an owner", "spec.files[0].owner", _file(owner="a b"), _file(owner="app:app")),
    _config("two steps have one name", "spec.steps", {"steps": _step()["steps"] * 2}, _step()),
    _config("not a label", "spec.steps[0].name", _step(name="Start"), _step(name="start-2")),
    _config("not a duration", "spec.steps[0].timeout", _step(timeout="1d"), _step(timeout="1h30m")),
    _config("write a duration such as 30s", "spec.steps[0].timeout", _step(timeout="0s"), _step(timeout="10ms")),
    _config("not a number of tries", "spec.steps[0].retries", _step(retries=-1), _step(retries=0)),
)

OUTPUTS = (
    _config(_ONE_OUTPUT, "spec.outputs[0]", _sources(), _sources(command="hostname")),
    _config(_ONE_OUTPUT, "spec.outputs[0]", _sources(field="id", file="/p"), _sources(file="/p")),
    _config(_ONE_OUTPUT, "spec.outputs[0]", _sources(field="id", command="id"), _sources(field="id")),
    _config("two outputs have one name", "spec.outputs", {"outputs": _output()["outputs"] * 2}, _output()),
    _config(
        "write in outputs[].after only names",
        "spec.outputs",
        {**_step(), **_output(command="a", after=["strat"])},
        {**_step(), **_output(command="a", after=["start"])},
    ),
    _config(
        "write in outputs[].after only names",
        "spec.outputs",
        _output(command="a", after=["start"]),
        _output(command="a"),
    ),
    _config("not a duration", "spec.outputs[0].refresh", _output(refresh="often"), _output(refresh="5s")),
    _config("not a size in bytes", "spec.outputs[0].maxBytes", _output(maxBytes=0), _output(maxBytes=524288)),
    _config("not a size in bytes", "spec.outputs[0].maxBytes", _output(maxBytes=524289), _output(pattern="^[0-9]+$")),
)

READINESS = (
    _config(_ONE_PROBE, "spec.readiness", _ready(), _probed()),
    _config(_ONE_PROBE, "spec.readiness", _probed(tcp={"port": "80"}), _ready(tcp={"port": "80"})),
    _config(_ONE_PROBE, "spec.readiness", _probed(http={"url": "http://h"}), _ready(http={"url": "http://h"})),
    _config("not a port", "spec.readiness.tcp.port", _ready(tcp={"port": "http"}), _ready(tcp={"port": "${port}"})),
    _config("not a port", "spec.readiness.tcp.port", _ready(tcp={"port": "0"}), _ready(tcp={"port": "8080"})),
    _config(
        "not a URL",
        "spec.readiness.http.url",
        _ready(http={"url": "localhost/"}),
        _ready(http={"url": "http://127.0.0.1:${port}/"}),
    ),
    _config("write a duration such as 30s", "spec.readiness.period", _probed(period="0s"), _probed(period="1s")),
    _config("not a duration", "spec.readiness.timeout", _probed(timeout="x"), _probed(timeout="1s")),
    _config("not a number of failures", "spec.readiness.failureThreshold", _probed(failureThreshold=0), _probed()),
)

VIRTUAL_SERVER_CONFIG = (*ITEMS, *SIZES, *FILES_AND_STEPS, *OUTPUTS, *READINESS)
