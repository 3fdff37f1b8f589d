"""The quickstart's group as it stands while its web server waits for the database, and when it is ready."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserver import VirtualServer

NOW = datetime(2026, 11, 22, 12, 1, 0, tzinfo=UTC)
THEN = "2026-11-22T12:00:00Z"
LATER = "2026-11-22T12:00:50Z"


def condition(type_: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": THEN,
        "observedGeneration": 1,
    }


WAITING = "web-0 waits for database_address: output address of member db, not published yet"

GROUP: dict[str, Any] = {
    "apiVersion": "moorage.dev/v1alpha1",
    "kind": "ServerGroup",
    "metadata": {"name": "quickstart", "namespace": "default", "uid": "g-1", "generation": 1},
    "spec": {
        "members": [
            {"name": "db", "configRef": {"name": "database"}},
            {"name": "web", "configRef": {"name": "web"}},
        ],
        "policyRef": {"name": "quickstart"},
        "scale": {"member": "web", "replicas": 1},
    },
    "status": {
        "observedGeneration": 1,
        "policy": {"name": "quickstart", "verdict": "Met", "since": THEN, "message": "affordable is met"},
        "placement": {
            "number": 1,
            "service": "bollard",
            "serviceUID": "s-2",
            "score": 81.5,
            "message": "the best of 2: price 100, capacity 38",
            "time": THEN,
            "gateOpened": LATER,
            "candidates": [
                {
                    "service": "bollard",
                    "feasible": True,
                    "score": 81.5,
                    "scores": {"price": 100, "capacity": 38.25},
                    "reasons": ["0.02 an hour", "room for 20"],
                },
                {
                    "service": "capstan",
                    "feasible": True,
                    "score": 30,
                    "scores": {"price": 0, "capacity": 100},
                    "reasons": ["0.045 an hour"],
                },
                {"service": "anchor", "feasible": False, "reasons": ["InsufficientCapacity: 3 needed, room for 2"]},
            ],
            "rejected": {"InsufficientCapacity": 1},
            "wouldChange": ["capstan would win if its price fell below 0.02/h (now 0.045/h)"],
        },
        "members": [],
        "replicas": 2,
        "readyReplicas": 1,
        "pendingItems": 1,
        "pending": [{"server": "quickstart-web-0", "item": "database_address", "since": THEN}],
        "conditions": [
            condition("PolicyMet", "True", "Met"),
            condition("Placed", "True", "Placed", "on bollard"),
            condition("Ready", "False", "Waiting", WAITING),
        ],
    },
}

POLICY: dict[str, Any] = {
    "metadata": {"name": "quickstart", "namespace": "default", "generation": 1},
    "spec": {"when": {"all": [{"name": "affordable", "service": {"expression": "true"}}]}},
    "status": {
        "observedGeneration": 1,
        "readings": [
            {"name": "affordable", "value": "Met", "reason": "True", "message": "the expression is true", "since": THEN}
        ],
    },
}

DATABASE: dict[str, Any] = {
    "metadata": {"name": "quickstart-db-0", "namespace": "default", "uid": "v-1", "generation": 1},
    "spec": {"serviceRef": {"name": "bollard"}, "member": "db", "group": {"name": "quickstart", "uid": "g-1"}},
    "status": {
        "observedGeneration": 1,
        "providerID": "m-1",
        "addresses": [{"type": "Internal", "address": "127.2.0.1"}],
        "conditions": [condition("Ready", "True", "Ready", "ready")],
        "configuration": {
            "revision": 1,
            "items": [
                {"name": "listen", "state": "Acknowledged", "source": "field address", "since": THEN, "revision": 1},
                {
                    "name": "password",
                    "state": "Acknowledged",
                    "source": "key password of Secret s",
                    "since": THEN,
                    "revision": 1,
                    "sensitive": True,
                },
            ],
        },
        "agent": {
            "sequence": 3,
            "deliveredRevision": 1,
            "acknowledgedRevision": 1,
            "ready": True,
            "steps": [{"name": "start", "state": "Succeeded", "exitCode": 0, "attempts": 1}],
            "outputs": [{"name": "address", "value": "127.2.0.1:4711", "version": 1}],
        },
    },
}

WEB: dict[str, Any] = {
    "metadata": {"name": "quickstart-web-0", "namespace": "default", "uid": "v-2", "generation": 1},
    "spec": {"serviceRef": {"name": "bollard"}, "member": "web", "group": {"name": "quickstart", "uid": "g-1"}},
    "status": {
        "observedGeneration": 1,
        "providerID": "m-2",
        "conditions": [condition("Ready", "False", "Waiting", "waits for database_address")],
        "configuration": {
            "revision": 2,
            "items": [
                {"name": "me", "state": "Acknowledged", "source": "field name", "since": THEN, "revision": 1},
                {
                    "name": "database_address",
                    "state": "Pending",
                    "source": "output address of member db",
                    "since": THEN,
                    "reason": "NotPublished",
                    "message": "quickstart-db-0 has not published address",
                },
            ],
        },
        "agent": {
            "sequence": 2,
            "deliveredRevision": 2,
            "acknowledgedRevision": 1,
            "steps": [{"name": "start", "state": "Failed", "exitCode": 3, "attempts": 2, "message": "exited with 3"}],
            "outputs": [{"name": "url", "error": "PatternMismatch", "message": "does not match ^http"}],
        },
    },
}


def group(**status: Any) -> ServerGroup:
    """The group, with fields of its status replaced (None: removed)."""
    obj = deepcopy(GROUP)
    obj["status"] |= status
    return ServerGroup.from_dict(obj)


def policy() -> HostingPolicy:
    """The policy."""
    return HostingPolicy.from_dict(POLICY)


def servers() -> tuple[VirtualServer, VirtualServer]:
    """The database, and the web server that waits for it."""
    return VirtualServer.from_dict(DATABASE), VirtualServer.from_dict(WEB)
