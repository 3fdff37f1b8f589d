"""The cases of what a HostingPolicy's `when` nests, and of its conditions that ask something outside."""

from __future__ import annotations

from typing import Any

from tests.support.crd_cases import Case


def _policy(says: str, at: str, rejected: Any, accepted: Any) -> Case:
    return Case("HostingPolicy", says, at, rejected, accepted)


def _when(*conditions: Any) -> dict[str, Any]:
    return {"when": {"all": list(conditions)}}


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "service": {"expression": "services.exists(s, s.available)"}}


def _metric(**fields: Any) -> dict[str, Any]:
    return _when({"name": "a", "metric": {**_METRIC, **fields}})


def _webhook(**fields: Any) -> dict[str, Any]:
    hook = {"url": "https://h.example.org/ask", "signingSecretRef": {"name": "key"}}
    return _when({"name": "a", "webhook": {**hook, **fields}})


_METRIC = {"url": "http://prometheus:9090", "query": "up", "comparison": "GreaterThan", "threshold": 0}
_PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
_FIRST = "spec.when.all[0]"
WHEN = (
    _policy(
        "each entry of all and any needs exactly one of",
        _FIRST,
        _when({"all": [_named("a")], "not": _named("b")}),
        _when({"all": [_named("a"), {"not": _named("b")}]}),
    ),
    _policy(
        "each entry of all and any has a name where",
        _FIRST,
        _when({"any": [_named("a")], "holdFor": "5m"}),
        _when({"any": [{**_named("a"), "holdFor": "5m"}]}),
    ),
    _policy(
        "each entry of all and any has a name where",
        _FIRST,
        _when({"service": {"expression": "true"}}),
        _when({"not": _named("a")}),
    ),
    _policy("a nested all or any is empty", _FIRST, _when({"any": []}), _when({"any": [_named("a")]})),
    _policy(
        "each part of a nested all or any needs exactly one of",
        f"{_FIRST}.any[1]",
        _when({"any": [_named("a"), {"name": "b"}]}),
        _when({"any": [_named("a"), _named("b")]}),
    ),
    _policy(
        "each part of a nested all or any has a name where",
        f"{_FIRST}.any[0]",
        _when({"any": [{"name": "a", "not": _named("b")}]}),
        _when({"any": [{"not": _named("b")}]}),
    ),
    _policy(
        "a condition needs exactly one of",
        f"{_FIRST}.not",
        _when({"not": {"name": "a"}}),
        _when({"not": _named("a")}),
    ),
    _policy(
        "two conditions have one name",
        f"{_FIRST}.all",
        _when({"all": [_named("a"), _named("a")]}),
        _when({"all": [_named("a"), _named("b")]}),
    ),
    _policy(
        "is not the http or https URL of a Prometheus",
        f"{_FIRST}.metric.url",
        _metric(url="https://me:secret@prometheus/"),
        _metric(url="https://[fd00::1]:9090/tenant"),
    ),
    _policy("is not a number", f"{_FIRST}.metric.threshold", _metric(threshold="many"), _metric(threshold="-1.5e3")),
    _policy("asked that often", f"{_FIRST}.metric.interval", _metric(interval="1s"), _metric(interval="24h")),
    _policy("asked that often", f"{_FIRST}.webhook.interval", _webhook(interval="25h"), _webhook(interval="5s")),
    _policy("waited for that", f"{_FIRST}.metric.timeout", _metric(timeout="31s"), _metric(timeout="100ms")),
    _policy("waited for that", f"{_FIRST}.webhook.timeout", _webhook(timeout="10ms"), _webhook(timeout="30s")),
    _policy(
        "credentials are only sent over https",
        f"{_FIRST}.metric.url",
        _metric(credentialsSecretRef={"name": "token"}),
        _metric(credentialsSecretRef={"name": "token"}, url="https://prometheus"),
    ),
    _policy("PEM certificates", f"{_FIRST}.metric.caBundle", _metric(caBundle="/etc/ca.crt"), _metric(caBundle=_PEM)),
    _policy(
        "is not an https URL without user",
        f"{_FIRST}.webhook.url",
        _webhook(url="http://h.example.org/ask"),
        _webhook(url="https://h.example.org:8443/ask"),
    ),
)
