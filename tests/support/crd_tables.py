"""The cases of HostingService, HostingPolicy, ServerGroup and VirtualServer."""

from __future__ import annotations

from typing import Any

from tests.support.crd_cases import Case

JAN, FEB = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


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


def _when(*conditions: Any) -> dict[str, Any]:
    return {"when": {"all": list(conditions)}}


def _scheduled(**schedule: Any) -> dict[str, Any]:
    return _when({"name": "hours", "schedule": {k.rstrip("_"): v for k, v in schedule.items()}})


def _cron(line: str, duration: str = "10h", **more: Any) -> dict[str, Any]:
    return _scheduled(cron=line, duration=duration, **more)


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "service": {"expression": "services.exists(s, s.available)"}}


def _voted(**vote: Any) -> dict[str, Any]:
    return _when({"name": "a", "vote": {"output": "busy", "share": 50, **vote}})


def _policy(says: str, at: str, rejected: Any, accepted: Any) -> Case:
    return Case("HostingPolicy", says, at, rejected, accepted)


def _required(**requirement: Any) -> dict[str, Any]:
    return {"select": {"requirements": [{"key": "region", **requirement}]}}


def _true(name: str) -> dict[str, Any]:
    return {"name": name, "expression": "service.available"}


def _preferred(*preferences: Any) -> dict[str, Any]:
    return {"select": {"preferences": [{"by": by, "weight": weight} for by, weight in preferences]}}


def _fails(when: dict[str, Any]) -> dict[str, Any]:
    return {"failover": {"when": when, "action": "Rebuild"}}


_FORM = "either cron with duration, or from, until or both"
_FIRST = "spec.when.all[0]"
_SHARE = {"unhealthyShare": "50%", "unhealthyFor": "10m"}
HOSTING_POLICY = (
    _policy("a failover has no occasion", "spec.failover.when", _fails({}), _fails({"unreachableFor": "10m"})),
    _policy("a share of unhealthy", "spec.failover.when", _fails({"unhealthyShare": 1}), _fails(_SHARE)),
    _policy(
        "a share of unhealthy",
        "spec.failover.when",
        _fails({"unreachableFor": "10m", "unhealthyFor": "10m"}),
        _fails({"unreachableFor": "10m", **_SHARE}),
    ),
    _policy(
        "must be above 0; write a duration",
        "spec.failover.when.unreachableFor",
        _fails({"unreachableFor": "0s"}),
        _fails({"unreachableFor": "1s"}),
    ),
    _policy(
        "must be above 0, or nothing",
        "spec.failover.when.unhealthyShare",
        _fails({**_SHARE, "unhealthyShare": "0%"}),
        _fails({**_SHARE, "unhealthyShare": 2}),
    ),
    _policy(
        "neither a number nor a percentage",
        "spec.failover.when.unhealthyShare",
        _fails({**_SHARE, "unhealthyShare": "half"}),
        _fails({**_SHARE, "unhealthyShare": "100%"}),
    ),
    _policy("at least one condition", "spec.when", {"when": {}}, {"when": {"any": [_named("a")]}}),
    _policy("at least one condition", "spec.when", {"when": {"all": [], "any": []}}, {"when": {"all": [_named("a")]}}),
    _policy(
        "a condition of all and one of any",
        "spec.when",
        {"when": {"all": [_named("a")], "any": [_named("a")]}},
        {"when": {"all": [_named("a")], "any": [_named("b")]}},
    ),
    _policy("two conditions have one name", "spec.when.all", _when(_named("a"), _named("a")), _when(_named("a"))),
    _policy("each entry of all and any needs exactly one of", _FIRST, _when({"name": "a"}), _when(_named("a"))),
    _policy(
        "each entry of all and any needs exactly one of",
        _FIRST,
        _when({**_named("a"), "schedule": {"from": JAN}}),
        _when({"name": "a", "schedule": {"from": JAN}}),
    ),
    _policy(
        "each entry of all and any needs exactly one of",
        _FIRST,
        _when({"name": "a", "approval": {}, "vote": {"output": "busy", "share": 50}}),
        _when({"name": "a", "approval": {}}),
    ),
    _policy(
        "cannot be held longer",
        f"{_FIRST}.holdFor",
        _when({"name": "a", "approval": {"maxAge": "24h"}, "holdFor": "1h"}),
        _when({"name": "a", "approval": {"maxAge": "24h"}, "holdFor": "0s", "for": "10m"}),
    ),
    _policy(
        "write a duration such as 30s",
        f"{_FIRST}.approval.maxAge",
        _when({"name": "a", "approval": {"maxAge": "0s"}}),
        _when({"name": "a", "approval": {"maxAge": "8h"}}),
    ),
    _policy(
        "not a duration",
        f"{_FIRST}.approval.maxAge",
        _when({"name": "a", "approval": {"maxAge": "8 hours"}}),
        _when({"name": "a", "approval": {"maxAge": "8h"}}),
    ),
    _policy("not a share", f"{_FIRST}.vote.share", _voted(share=0), _voted(share=1)),
    _policy("not a share", f"{_FIRST}.vote.share", _voted(share=101), _voted(share=100, of="Desired")),
    _policy("a name that a shell can use", f"{_FIRST}.vote.output", _voted(output="is-busy"), _voted(output="is_busy")),
    _policy("not a label", f"{_FIRST}.vote.member", _voted(member="Web"), _voted(member="web")),
    _policy("not a duration", f"{_FIRST}.vote.calm", _voted(calm="10"), _voted(calm="10m")),
    _policy("not a label", f"{_FIRST}.name", _when(_named("a.b")), _when(_named("a-b"))),
    _policy(_FORM, f"{_FIRST}.schedule", _scheduled(cron="0 8 * * *"), _cron("0 8 * * *")),
    _policy(_FORM, f"{_FIRST}.schedule", _scheduled(timeZone="UTC"), _scheduled(until=FEB)),
    _policy(_FORM, f"{_FIRST}.schedule", _cron("0 8 * * *", from_=JAN), _scheduled(from_=JAN, until=FEB)),
    _policy(_FORM, f"{_FIRST}.schedule", _scheduled(from_=JAN, duration="1h"), _scheduled(from_=JAN)),
    _policy(
        "ends before it begins",
        f"{_FIRST}.schedule.until",
        _scheduled(from_=FEB, until=JAN),
        _scheduled(from_=JAN, until=FEB),
    ),
    _policy("not a cron line", f"{_FIRST}.schedule.cron", _cron("0 8 * *"), _cron("*/5 8-18 1,15 * MON-FRI")),
    _policy("not a cron line", f"{_FIRST}.schedule.cron", _cron("0 0 8 * * *"), _cron("0 8 * * 1-5")),
    _policy("not a cron line", f"{_FIRST}.schedule.cron", _cron("every day"), _cron("0  8 * * 7")),
    _policy(
        "not a duration", f"{_FIRST}.schedule.duration", _cron("0 8 * * *", "ten hours"), _cron("0 8 * * *", "10h")
    ),
    _policy("not a duration", f"{_FIRST}.for", _when({**_named("a"), "for": "5"}), _when({**_named("a"), "for": "0s"})),
    _policy(
        "not a duration",
        f"{_FIRST}.holdFor",
        _when({**_named("a"), "holdFor": "-1s"}),
        _when({**_named("a"), "holdFor": "1h"}),
    ),
    _policy(
        "write a duration such as 30s",
        f"{_FIRST}.schedule.duration",
        _cron("0 8 * * *", "0s"),
        _cron("0 8 * * *", "1m"),
    ),
    _policy(
        "not a time zone",
        f"{_FIRST}.schedule.timeZone",
        _cron("0 8 * * *", timeZone="+01:00"),
        _cron("0 8 * * *", timeZone="Europe/Zurich"),
    ),
    _policy(
        "not the name of an object",
        "spec.select.services.names[0]",
        {"select": {"services": {"names": ["EU_1"]}}},
        {"select": {"services": {"names": ["eu-1"]}}},
    ),
    _policy(
        "In and NotIn need values",
        "spec.select.services.selector.matchExpressions[0]",
        {"select": {"services": {"selector": {"matchExpressions": [{"key": "tier", "operator": "In"}]}}}},
        {"select": {"services": {"selector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}}}},
    ),
    _policy(
        "In, NotIn, Gt and Lt need values",
        "spec.select.requirements[0]",
        _required(operator="NotIn", values=[]),
        _required(operator="NotIn", values=["eu-1"]),
    ),
    _policy(
        "In, NotIn, Gt and Lt need values",
        "spec.select.requirements[0]",
        _required(operator="Exists", values=["eu-1"]),
        _required(operator="Exists"),
    ),
    _policy(
        "no preference has a weight",
        "spec.select.preferences",
        _preferred(("Price", 0), ("Spread", 0)),
        _preferred(("Price", 0), ("Spread", 1)),
    ),
    _policy("no preference has a weight", "spec.select.preferences", _preferred(), _preferred(("Capacity", 100))),
    _policy(
        "by the same view",
        "spec.select.preferences",
        _preferred(("Price", 70), ("Price", 30)),
        _preferred(("Price", 70), ("Capacity", 30)),
    ),
    _policy(
        "not a weight", "spec.select.preferences[0].weight", _preferred(("Price", 101)), _preferred(("Price", 100))
    ),
    _policy(
        "not a weight",
        "spec.select.preferences[1].weight",
        _preferred(("Price", 1), ("Spread", -1)),
        _preferred(("Price", 1), ("Spread", 0)),
    ),
    _policy(
        "Gt and Lt compare with one number",
        "spec.select.requirements[0]",
        _required(key="cpu", operator="Gt", values=["many"]),
        _required(key="cpu", operator="Gt", values=["500m"]),
    ),
    _policy(
        "Gt and Lt compare with one number",
        "spec.select.requirements[0]",
        _required(key="memory", operator="Lt", values=["8Gi", "9Gi"]),
        _required(key="memory", operator="Lt", values=["8Gi"]),
    ),
    _policy(
        "of an offering are numbers",
        "spec.select.requirements[0]",
        _required(key="price", operator="In", values=["0.10"]),
        _required(key="price", operator="Lt", values=["0.10"]),
    ),
    _policy(
        "this is no number",
        "spec.select.requirements[0]",
        _required(key="offering", operator="Gt", values=["4"]),
        _required(key="offering", operator="In", values=["small"]),
    ),
    _policy(
        "image can only be required to exist",
        "spec.select.requirements[0]",
        _required(key="image", operator="In", values=["debian-12"]),
        _required(key="image", operator="Exists"),
    ),
    _policy(
        "two expressions have one name",
        "spec.select.expressions",
        {"select": {"expressions": [_true("a"), _true("a")]}},
        {"select": {"expressions": [_true("a"), _true("b")]}},
    ),
    _policy(
        "not a label",
        "spec.select.expressions[0].name",
        {"select": {"expressions": [_true("A")]}},
        {"select": {"expressions": [_true("a")]}},
    ),
    _policy(
        "by: Expression needs an expression",
        "spec.select.preferences[0]",
        {"select": {"preferences": [{"by": "Expression"}]}},
        {"select": {"preferences": [{"by": "Expression", "expression": "service.servers"}]}},
    ),
    _policy(
        "by: Latency needs values",
        "spec.select.preferences[0]",
        {"select": {"preferences": [{"by": "Latency", "values": []}]}},
        {"select": {"preferences": [{"by": "Latency", "values": ["eu-1"]}]}},
    ),
    _policy(
        "only Latency and ZoneSpread look at a label",
        "spec.select.preferences[0]",
        {"select": {"preferences": [{"by": "Spread", "label": "rack"}]}},
        {"select": {"preferences": [{"by": "ZoneSpread", "label": "rack"}]}},
    ),
    _policy("not a weight", "spec.select.stickiness", {"select": {"stickiness": 101}}, {"select": {"stickiness": 100}}),
    _policy(
        "not a duration", "spec.select.maxDataAge", {"select": {"maxDataAge": "1d"}}, {"select": {"maxDataAge": "24h"}}
    ),
    _policy(
        "must be above 0; write a duration",
        "spec.select.maxDataAge",
        {"select": {"maxDataAge": "0s"}},
        {"select": {"maxDataAge": "1s"}},
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
