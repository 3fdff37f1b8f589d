"""The cases of HostingService, ServerGroup and VirtualServer."""

from __future__ import annotations

from typing import Any

from tests.support.crd_cases import Case


def _offering(**fields: Any) -> dict[str, Any]:
    return {"offerings": [{"name": "small", "cpu": 1, "memory": "1Gi", **fields}]}


def _service(says: str, at: str, rejected: Any, accepted: Any, before: Any = None) -> Case:
    return Case("HostingService", says, at, rejected, accepted, before)


HOSTING_SERVICE = (
    _service("type of a service cannot change", "spec.type", {"type": "ec2"}, {"region": "b"}, {"region": "a"}),
    _service(
        "project of a service cannot change", "spec.project", {"project": "b"}, {"project": "a"}, {"project": "a"}
    ),
    _service(
        "project of a service cannot change", "spec.project", {}, {"project": "a", "region": "b"}, {"project": "a"}
    ),
    _service("project of a service cannot change", "spec.project", {"project": "a"}, {}, {"region": "a"}),
    _service("write a name of at most 63", "", {"metadata.name": "a" * 64}, {"metadata.name": "a" * 63}),
    _service("not a plain word", "spec.type", {"type": "my type"}, {"type": "my-type"}),
    _service("not a plain word", "spec.offerings[0].name", _offering(name="-"), _offering(name="t3.small")),
    _service("not a plain word", "spec.offerings[0].arch", _offering(arch="amd 64"), _offering(arch="arm64")),
    _service("not a URL", "spec.endpoint", {"endpoint": "ftp://h/"}, {"endpoint": "https://h:1/a?b"}),
    _service("not a URL", "spec.endpoint", {"endpoint": "h:7070"}, {"endpoint": "http://[::1]:1"}),
    _service("not a URL", "spec.endpoint", {"endpoint": "qemu+ext:///system"}, {"endpoint": "qemu:///system"}),
    _service(
        "not an https URL", "spec.configEndpoint", {"configEndpoint": "http://h:1"}, {"configEndpoint": "https://h:1"}
    ),
    _service(
        "not the name of an object",
        "spec.credentialsSecretRef.name",
        {"credentialsSecretRef": {"name": "A_b"}},
        {"credentialsSecretRef": {"name": "a.b"}},
    ),
    _service(
        "not the name of an object",
        "spec.catalogRef.name",
        {"catalogRef": {"name": "A_b"}},
        {"catalogRef": {"name": "prices"}},
    ),
    _service(
        "not a key",
        "spec.catalogRef.key",
        {"catalogRef": {"name": "prices", "key": "a b"}},
        {"catalogRef": {"name": "prices", "key": "offerings.yaml"}},
    ),
    _service(
        "In and NotIn need values",
        "spec.allowedNamespaces.matchExpressions[0]",
        {"allowedNamespaces": {"matchExpressions": [{"key": "team", "operator": "In"}]}},
        {"allowedNamespaces": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a"]}]}},
    ),
    _service(
        "In and NotIn need values",
        "spec.allowedNamespaces.matchExpressions[0]",
        {"allowedNamespaces": {"matchExpressions": [{"key": "team", "operator": "Exists", "values": ["a"]}]}},
        {"allowedNamespaces": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}},
    ),
    _service(
        "write each offering once",
        "spec.offerings",
        {"offerings": _offering()["offerings"] * 2},
        {"offerings": [*_offering()["offerings"], *_offering(name="big")["offerings"]]},
    ),
    _service("not a quantity", "spec.offerings[0].cpu", _offering(cpu=-1), _offering(cpu="500m")),
    _service("not a quantity", "spec.offerings[0].memory", _offering(memory="1 GB"), _offering(memory="1.5Gi")),
    _service(
        "not a price", "spec.offerings[0].pricePerHour", _offering(pricePerHour="2c"), _offering(pricePerHour="0.02")
    ),
    _service("write 0 or more", "spec.limits.servers", {"limits": {"servers": -1}}, {"limits": {"servers": 0}}),
    _service(
        "is not a rate",
        "spec.limits.requestsPerSecond",
        {"limits": {"requestsPerSecond": 0}},
        {"limits": {"requestsPerSecond": 1}},
    ),
    _service(
        "not a number of requests", "spec.limits.burst", {"limits": {"burst": 10001}}, {"limits": {"burst": 10000}}
    ),
    _service(
        "not a number of calls",
        "spec.limits.concurrency",
        {"limits": {"concurrency": 0}},
        {"limits": {"concurrency": 1}},
    ),
    _service("not a duration", "spec.inventoryInterval", {"inventoryInterval": "30"}, {"inventoryInterval": "1m30.5s"}),
    _service(
        "write a duration such as 30s",
        "spec.inventoryInterval",
        {"inventoryInterval": "0m0s"},
        {"inventoryInterval": "50ms"},
    ),
)


def _member(name: str = "db", config: str = "db", **more: Any) -> dict[str, Any]:
    return {"name": name, "configRef": {"name": config}, **more}


def _members(*members: Any, **more: Any) -> dict[str, Any]:
    return {"members": list(members), **more}


def _group(says: str, at: str, rejected: Any, accepted: Any) -> Case:
    return Case("ServerGroup", says, at, rejected, accepted)


def _scaled(**scale: Any) -> dict[str, Any]:
    return {"scale": scale}


_TWO = (_member("db"), _member("web"))
SERVER_GROUP = (
    _group("at most 53 characters", "", {"metadata.name": "a" * 52}, {"metadata.name": "a" * 51}),
    _group("at most 53 characters", "", _members(_member("m" * 51)), _members(_member("m" * 50))),
    _group("cannot contain dots", "", {"metadata.name": "a.b"}, {"metadata.name": "a-b"}),
    _group(
        "not a member of this group",
        "spec.scale.member",
        _members(*_TWO, **_scaled(member="cache")),
        _members(*_TWO, **_scaled(member="web")),
    ),
    _group(
        "has replicas of its own",
        "spec.members",
        _members(_member("web", replicas=2), **_scaled(member="web", replicas=2)),
        _members(_member("web"), _member("db", replicas=1), **_scaled(member="web", replicas=2)),
    ),
    _group("has no member to scale", "spec.scale", _scaled(replicas=2), _scaled(replicas=2, member="db")),
    _group("has no member to scale", "spec.scale", _scaled(), _scaled(member="db")),
    _group(
        "there is none",
        "spec.scale",
        _scaled(replicas=0, minReplicas=0),
        _scaled(member="db", minReplicas=0, replicas=0),
    ),
    _group("there is none", "spec.scale", _scaled(replicas=0, maxReplicas=2), _scaled(member="db", maxReplicas=2)),
    _group(
        "minReplicas is above maxReplicas",
        "spec.scale.minReplicas",
        _scaled(member="db", minReplicas=3, maxReplicas=2),
        _scaled(member="db", minReplicas=2, maxReplicas=2),
    ),
    _group(
        "not a number of servers",
        "spec.scale.minReplicas",
        _scaled(member="db", minReplicas=-1),
        _scaled(member="db", minReplicas=0),
    ),
    _group(
        "not a number of servers",
        "spec.scale.maxReplicas",
        _scaled(member="db", maxReplicas=1001),
        _scaled(member="db", maxReplicas=1000),
    ),
    _group("not a price", "spec.maxPricePerHour", {"maxPricePerHour": "-1"}, {"maxPricePerHour": "12.50"}),
    _group("two members have one name", "spec.members", _members(_member(), _member()), _members(*_TWO)),
    _group("not a label", "spec.members[0].name", _members(_member("Db")), _members(_member("db-1"))),
    _group("not a label", "spec.scale.member", _scaled(member="d.b"), _scaled(member="db")),
    _group(
        "not the name of an object",
        "spec.members[0].configRef.name",
        _members(_member(config="D")),
        _members(_member(config="d.b")),
    ),
    _group(
        "not the name of an object", "spec.policyRef.name", {"policyRef": {"name": ""}}, {"policyRef": {"name": "p"}}
    ),
    _group(
        "not a number of servers",
        "spec.members[0].replicas",
        _members(_member(replicas=-1)),
        _members(_member(replicas=0)),
    ),
    _group(
        "not a number of servers",
        "spec.scale.replicas",
        _scaled(member="db", replicas=-1),
        _scaled(member="db", replicas=9),
    ),
    _group(
        "neither a number nor a percentage",
        "spec.updateStrategy.maxUnavailable",
        {"updateStrategy": {"maxUnavailable": "2"}},
        {"updateStrategy": {"maxUnavailable": 2}},
    ),
    _group(
        "neither a number nor a percentage",
        "spec.remediation.maxUnhealthy",
        {"remediation": {"maxUnhealthy": "101%"}},
        {"remediation": {"maxUnhealthy": "100%"}},
    ),
    _group(
        "neither a number nor a percentage",
        "spec.remediation.maxUnhealthy",
        {"remediation": {"maxUnhealthy": -1}},
        {"remediation": {"maxUnhealthy": 0}},
    ),
    _group(
        "or nothing could ever change",
        "spec.updateStrategy.maxUnavailable",
        {"updateStrategy": {"maxUnavailable": 0}},
        {"updateStrategy": {"maxUnavailable": 1}},
    ),
    _group(
        "or nothing could ever change",
        "spec.updateStrategy.maxUnavailable",
        {"updateStrategy": {"maxUnavailable": "0%"}},
        {"updateStrategy": {"maxUnavailable": "1%"}},
    ),
    _group(
        "not a duration",
        "spec.remediation.bootTimeout",
        {"remediation": {"bootTimeout": "10 minutes"}},
        {"remediation": {"bootTimeout": "10m"}},
    ),
    _group(
        "write a duration such as 30s",
        "spec.remediation.joinTimeout",
        {"remediation": {"joinTimeout": "0s"}},
        {"remediation": {"joinTimeout": "1s"}},
    ),
)

_ADOPTED = {"group": None, "member": None, "image": None, "offering": None, "adopt": {"providerID": "i-1"}}
_NO_GROUP = {"group": None, "member": None}


def _server(says: str, at: str, rejected: Any, accepted: Any, before: Any = None) -> Case:
    return Case("VirtualServer", says, at, rejected, accepted, before)


def _frozen(rejected: Any, before: Any = None) -> Case:
    accepted = {**(before or {}), "revision": "db-7c", "deletionPolicy": "Retain"}
    return _server("never turned into another one", "spec", rejected, accepted, before or {"revision": "db-5b"})


VIRTUAL_SERVER = (
    _frozen({"serviceRef": {"name": "bollard"}}),
    _frozen({"serviceRef": {"name": "anchor", "uid": "u2"}}, {"serviceRef": {"name": "anchor", "uid": "u1"}}),
    _frozen({"group": {"name": "shop", "uid": "other"}}),
    _frozen({"member": "web"}),
    _frozen({"ordinal": 1}),
    _frozen({"placement": 2}, {"placement": 1}),
    _frozen({"image": "debian-13"}),
    _frozen({"offering": "large"}),
    _frozen({"settings": {"disk": {"size": 2}}}, {"settings": {"disk": {"size": 1}}}),
    _frozen({"settings": {"a": 1, "b": 2}}, {"settings": {"a": 1}}),
    _frozen({}, {"settings": {"a": 1}}),
    _frozen({**_ADOPTED, "adopt": {"providerID": "i-2"}}, _ADOPTED),
    _frozen({**_ADOPTED, "configRef": {"name": "db"}}, _ADOPTED),
    _server("cannot belong to a group", "spec", {"adopt": {"providerID": "i-1"}}, _ADOPTED),
    _server("servers are made by groups", "spec", _NO_GROUP, {**_ADOPTED, "configRef": {"name": "db"}}),
    _server("fully resolved", "spec", {"image": None}, {"image": "debian-13"}),
    _server("fully resolved", "spec", {"member": None}, {"member": "web"}),
    _server("fully resolved", "spec", {"offering": None}, {"offering": "t3.large"}),
    _server(
        "write configRef only beside adopt",
        "spec.configRef",
        {"configRef": {"name": "db"}},
        {**_ADOPTED, "configRef": {"name": "db"}},
    ),
    _server(
        "of a group is not only observed",
        "spec.managementPolicy",
        {"managementPolicy": "Observe"},
        {**_ADOPTED, "managementPolicy": "Observe"},
    ),
    _server(
        "cannot go back to being observed",
        "spec.managementPolicy",
        {**_ADOPTED, "managementPolicy": "Observe"},
        {**_ADOPTED, "managementPolicy": "Manage", "driftPolicy": "Repair"},
        {**_ADOPTED, "managementPolicy": "Manage"},
    ),
    _server(
        "nothing is repaired on a server that is only",
        "spec.driftPolicy",
        {**_ADOPTED, "managementPolicy": "Observe", "driftPolicy": "Repair"},
        {**_ADOPTED, "managementPolicy": "Manage", "driftPolicy": "Repair"},
        {**_ADOPTED, "managementPolicy": "Observe"},
    ),
    _server("without dots", "", {"metadata.name": "a" * 64}, {"metadata.name": "a" * 63}),
    _server("without dots", "", {"metadata.name": "a.b"}, {"metadata.name": "a-b"}),
)
