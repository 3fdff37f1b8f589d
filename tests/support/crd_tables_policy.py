"""The cases of HostingPolicy, but for what its `when` nests and asks outside."""

from __future__ import annotations

from typing import Any

from tests.support.crd_cases import Case

JAN, FEB = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


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
