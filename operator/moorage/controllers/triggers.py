"""What a change in a cache has reconciled: keys come from what differs between old and new, not from event types."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from moorage.api.names import (
    ANNOTATION_APPROVAL,
    ANNOTATION_FAILOVER,
    ANNOTATION_MAX_PRICE,
    ANNOTATION_ORPHANS,
    ANNOTATION_REQUIRE_APPROVAL,
    ANNOTATION_SERVER,
    FINALIZER_SERVER,
    LABEL_CONFIG,
    LABEL_SECRET,
    SECRET_KIND_SESSION,
)
from moorage.api.quantities import parse_duration
from moorage.controllers.context import Context
from moorage.controllers.edges import Edges
from moorage.controllers.freshness import wanted
from moorage.controllers.tables import SERVICE_DEBOUNCE, USAGE_DEBOUNCE, Tables
from moorage.kube import kinds
from moorage.kube.store import Obj, key_of

_SEEN_OF_SERVICES = (
    "offerings",
    "images",
    "capacity",
    "abilities",
    "measured",
    "servers",
    "released",
    "orphanCount",
    "unreachableSince",
)
_SUMMARY = ("Instantiated", "Configured", "Ready", "Stalled")


class Triggers:
    """Subscribes to every table of the controller."""

    def __init__(self, context: Context, tables: Tables, edges: Edges) -> None:
        self._context = context
        self._tables = tables
        self._edges = edges
        tables.servers.subscribe(self._server)
        tables.groups.subscribe(self._group)
        tables.configs.subscribe(self._config)
        tables.policies.subscribe(self._policy)
        tables.services.subscribe(self._service)
        tables.revisions.subscribe(self._revision)
        tables.secrets.subscribe(self._secret)
        tables.config_maps.subscribe(self._config_map)
        tables.namespaces.subscribe(self._namespace)

    # VirtualServers

    def _server(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None  # noqa: S101 - a change has at least one side
        namespace, name = key_of(obj)
        group = (obj["spec"].get("group") or {}).get("name")
        appeared = old is None or new is None or _deleting(old) != _deleting(new)
        spoke = _agent(old) != _agent(new)
        if appeared or spoke or _steering(old) != _steering(new):
            self._context.enqueue(kinds.VIRTUAL_SERVER, namespace, name, hot=spoke and old is not None)
        published = _outputs(old) != _outputs(new)
        concerned = appeared or _spec(old) != _spec(new) or self._unannounced(old, new)
        if group and (concerned or (published and self._votes(namespace, group))):
            self._context.enqueue_group(namespace, group)
        if published or _lost(old) != _lost(new) or (appeared and old is not None):
            self._dependents(namespace, obj)
        if appeared:
            service = obj["spec"]["serviceRef"]["name"]
            self._context.enqueue(kinds.HOSTING_SERVICE, "", service, after=SERVICE_DEBOUNCE)
            self._usage(namespace, obj)
        if new is None:
            self._gone(namespace, name, obj, group)

    def _unannounced(self, old: Obj | None, new: Obj | None) -> bool:
        """Whether a server's conditions changed to what its reconciler has not told the group already."""
        if new is None or _summary(old) == _summary(new):
            return False
        memory = self._context.memories.get(new["metadata"]["uid"])
        if memory is None or memory.status is None:
            return True
        decided = {c.type: c.status for c in memory.status.conditions if c.type in _SUMMARY}
        return bool(decided != _summary(new))

    def _votes(self, namespace: str, name: str) -> bool:
        """Whether what its servers publish counts in the policy of this group."""
        group = self._tables.groups.get(namespace, name)
        policy = None if group is None else self._tables.policies.get(namespace, group["spec"]["policyRef"]["name"])
        return policy is not None and _has_key(policy["spec"].get("when"), "vote")

    def _dependents(self, namespace: str, obj: Obj) -> None:
        """Servers whose configuration may rest on what this one publishes."""
        group, member = (obj["spec"].get("group") or {}).get("name"), obj["spec"].get("member")
        if group and member:
            self._consumers(namespace, group, member, obj)

    def _consumers(self, namespace: str, group: str, member: str, obj: Obj | None = None) -> None:
        for consumer_group, consumer in self._edges.consumers(namespace, group, member):
            for server in self._tables.servers.by_index("group", (namespace, consumer_group)):
                if server["spec"].get("member") == consumer and server is not obj:
                    self._context.enqueue(kinds.VIRTUAL_SERVER, namespace, server["metadata"]["name"], urgent=True)

    def _usage(self, namespace: str, obj: Obj) -> None:
        revision = self._tables.revisions.get(namespace, obj["spec"].get("revision") or "")
        config = (obj["spec"].get("configRef") or {}).get("name")
        if revision is not None:
            config = (revision["metadata"].get("labels") or {}).get(LABEL_CONFIG)
        if config:
            self._context.enqueue(kinds.VIRTUAL_SERVER_CONFIG, namespace, config, after=USAGE_DEBOUNCE)

    def _gone(self, namespace: str, name: str, obj: Obj, group: str | None) -> None:
        """Servers that waited for this one to go first."""
        self._context.forget(obj["metadata"]["uid"], (namespace, name))
        member = obj["spec"].get("member")
        if not group or not member:
            return
        for provider_group, provider in self._edges.providers(namespace, group, member):
            for server in self._tables.servers.by_index("group", (namespace, provider_group)):
                if server["spec"].get("member") == provider and _deleting(server):
                    self._context.enqueue(kinds.VIRTUAL_SERVER, namespace, server["metadata"]["name"], hot=True)

    # The other kinds

    def _group(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None  # noqa: S101 - a change has at least one side
        namespace, name = key_of(obj)
        if _spec(old) != _spec(new):
            self._edges.changed(namespace)
            for config in {m["configRef"]["name"] for o in (old, new) if o for m in o["spec"]["members"]}:
                self._context.enqueue(kinds.VIRTUAL_SERVER_CONFIG, namespace, config, after=USAGE_DEBOUNCE)
        said = _approval(old) != _approval(new) or _leave(old) != _leave(new)
        if _spec(old) != _spec(new) or _deleting(old) != _deleting(new) or said:
            self._context.enqueue(kinds.SERVER_GROUP, namespace, name)
        if _gate(old) != _gate(new) or _spec(old) != _spec(new):
            for server in self._tables.servers.by_index("group", (namespace, name)):
                self._context.enqueue(kinds.VIRTUAL_SERVER, namespace, server["metadata"]["name"])
        if _spec(old) != _spec(new):
            # Other groups may use its outputs: how many replicas have to publish, or whether there is such a member.
            for member in sorted({m["name"] for o in (old, new) if o for m in o["spec"]["members"]}):
                self._consumers(namespace, name, member)

    def _config(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None  # noqa: S101 - a change has at least one side
        namespace, name = key_of(obj)
        changed = _spec(old) != _spec(new)
        if not changed and _current(old) == _current(new):
            return
        if changed:
            self._edges.changed(namespace)
            self._context.enqueue(kinds.VIRTUAL_SERVER_CONFIG, namespace, name)
            self._groups_of(namespace, name)
        for server in self._tables.servers.by_index("config", ("config", namespace, name)):
            self._context.enqueue(kinds.VIRTUAL_SERVER, namespace, server["metadata"]["name"])

    def _groups_of(self, namespace: str, config: str) -> None:
        for group in self._tables.groups.by_index("config", (namespace, config)):
            self._context.enqueue(kinds.SERVER_GROUP, namespace, group["metadata"]["name"])

    def _policy(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None  # noqa: S101 - a change has at least one side
        namespace, name = key_of(obj)
        if _spec(old) != _spec(new):
            self._context.enqueue(kinds.HOSTING_POLICY, namespace, name)
        if wanted(_spec(old)) != wanted(_spec(new)):
            for service in self._tables.services:
                self._context.enqueue(kinds.HOSTING_SERVICE, "", service["metadata"]["name"], after=SERVICE_DEBOUNCE)
        if _spec(old) != _spec(new) or _status(old) != _status(new):
            for group in self._tables.groups.by_index("policy", (namespace, name)):
                self._context.enqueue(kinds.SERVER_GROUP, namespace, group["metadata"]["name"])

    def _service(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None  # noqa: S101 - a change has at least one side
        _, name = key_of(obj)
        if _spec(old) != _spec(new) or _deleting(old) != _deleting(new) or _orders(old) != _orders(new):
            self._context.enqueue(kinds.HOSTING_SERVICE, "", name)
        changed = _spec(old) != _spec(new) or _visible(old) != _visible(new)
        aged = _data_at(old) != _data_at(new)
        if not changed and not aged:
            return
        now = self._context.clock.now()
        for policy in self._tables.policies.by_index("condition", "service"):
            if changed or _crosses(policy, old, new, now):
                self._context.enqueue(kinds.HOSTING_POLICY, *key_of(policy))
        for group in self._tables.groups:
            status = group.get("status") or {}
            if not status.get("placement") or status.get("failover"):
                namespace, group_name = key_of(group)
                if changed or _crosses(self._policy_of(group), old, new, now):
                    self._context.enqueue(kinds.SERVER_GROUP, namespace, group_name)
        if _spec(old) != _spec(new) or _offered(old) != _offered(new) or _unreachable(old) != _unreachable(new):
            for group in self._tables.groups.by_index("service", name):
                self._context.enqueue(kinds.SERVER_GROUP, *key_of(group))

    def _policy_of(self, group: Obj) -> Obj | None:
        return self._tables.policies.get(group["metadata"]["namespace"], group["spec"]["policyRef"]["name"])

    def _revision(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None  # noqa: S101 - a change has at least one side
        namespace, name = key_of(obj)
        config = (obj["metadata"].get("labels") or {}).get(LABEL_CONFIG)
        if config is None:
            return
        if old is None or new is None:
            self._context.enqueue(kinds.VIRTUAL_SERVER_CONFIG, namespace, config, after=USAGE_DEBOUNCE)
            self._groups_of(namespace, config)
            for server in self._tables.servers.by_index("config", ("revision", namespace, name)):
                self._context.enqueue(kinds.VIRTUAL_SERVER, namespace, server["metadata"]["name"])

    def _secret(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None  # noqa: S101 - a change has at least one side
        meta = obj["metadata"]
        if (meta.get("labels") or {}).get(LABEL_SECRET) == SECRET_KIND_SESSION:
            server = (meta.get("annotations") or {}).get(ANNOTATION_SERVER)
            if server and old is None:
                self._context.enqueue(kinds.VIRTUAL_SERVER, meta["namespace"], server, hot=True)
        if new is not None and _deleting(new):
            self._abandoned(new)
        self._referrers(kinds.SECRET, obj)
        if meta["namespace"] == self._context.namespace:
            for service in self._tables.services:
                if (service["spec"].get("credentialsSecretRef") or {}).get("name") == meta["name"]:
                    self._context.enqueue(kinds.HOSTING_SERVICE, "", service["metadata"]["name"])

    def _abandoned(self, secret: Obj) -> None:
        """The Secret of a server whose finalizer somebody took off by hand: nobody else would let it go."""
        meta = secret["metadata"]
        server = (meta.get("annotations") or {}).get(ANNOTATION_SERVER)
        held = FINALIZER_SERVER in (meta.get("finalizers") or ())
        if server and held and self._tables.servers.by_uid(meta["name"]) is None:
            self._context.abandoned[meta["namespace"], server] = meta["name"]
            self._context.enqueue(kinds.VIRTUAL_SERVER, meta["namespace"], server)

    def _config_map(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None  # noqa: S101 - a change has at least one side
        self._referrers(kinds.CONFIG_MAP, obj)
        if obj["metadata"]["namespace"] == self._context.namespace:
            for service in self._tables.services:
                if (service["spec"].get("catalogRef") or {}).get("name") == obj["metadata"]["name"]:
                    self._context.enqueue(kinds.HOSTING_SERVICE, "", service["metadata"]["name"])

    def _referrers(self, kind: kinds.Kind, obj: Obj) -> None:
        namespace, name = key_of(obj)
        for key in tuple(self._context.referrers.get((kind, namespace, name), ())):
            self._context.enqueue(kinds.VIRTUAL_SERVER, *key, hot=True)

    def _namespace(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None  # noqa: S101 - a change has at least one side
        if old is not None and new is not None and _bounds(old) == _bounds(new):
            return
        for group in self._tables.groups.by_index("namespace", obj["metadata"]["name"]):
            self._context.enqueue(kinds.SERVER_GROUP, *key_of(group))
        for policy in self._tables.policies.by_index("namespace", obj["metadata"]["name"]):
            # Its conditions see the services that are allowed in the namespace.
            self._context.enqueue(kinds.HOSTING_POLICY, *key_of(policy))


def _spec(obj: Obj | None) -> Any:
    return None if obj is None else obj.get("spec")


def _status(obj: Obj | None) -> Any:
    return None if obj is None else obj.get("status")


def _deleting(obj: Obj | None) -> bool:
    return obj is not None and bool(obj["metadata"].get("deletionTimestamp"))


def _orders(obj: Obj | None) -> Any:
    """What a person ordered about the orphans of a HostingService."""
    return None if obj is None else (obj["metadata"].get("annotations") or {}).get(ANNOTATION_ORPHANS)


def _approval(obj: Obj | None) -> Any:
    """What a person approved of a ServerGroup."""
    return None if obj is None else (obj["metadata"].get("annotations") or {}).get(ANNOTATION_APPROVAL)


def _has_key(part: Any, key: str) -> bool:
    """Whether a mapping somewhere within has this key."""
    if isinstance(part, dict):
        return key in part or any(_has_key(value, key) for value in part.values())
    return isinstance(part, list) and any(_has_key(value, key) for value in part)


def _bounds(namespace: Obj) -> Any:
    """What of a namespace says where its groups may be, what they may cost, and who has to approve them."""
    meta, annotations = namespace["metadata"], namespace["metadata"].get("annotations") or {}
    return meta.get("labels"), annotations.get(ANNOTATION_MAX_PRICE), annotations.get(ANNOTATION_REQUIRE_APPROVAL)


def _steering(obj: Obj | None) -> Any:
    """The parts of a VirtualServer that other writers steer it by."""
    return None if obj is None else (obj.get("spec"), obj["metadata"].get("finalizers"))


def _agent(obj: Obj | None) -> Any:
    return None if obj is None else (obj.get("status") or {}).get("agent")


def _outputs(obj: Obj | None) -> Any:
    return (_agent(obj) or {}).get("outputs")


def _lost(obj: Obj | None) -> bool:
    return bool((_status(obj) or {}).get("lost"))


def _current(obj: Obj | None) -> Any:
    return (_status(obj) or {}).get("currentRevision")


def _leave(obj: Obj | None) -> Any:
    """What a person said about a group's leaving its service."""
    return None if obj is None else (obj["metadata"].get("annotations") or {}).get(ANNOTATION_FAILOVER)


def _unreachable(obj: Obj | None) -> Any:
    return (_status(obj) or {}).get("unreachableSince")


def _offered(obj: Obj | None) -> Any:
    """What members are resolved against at a service."""
    status = _status(obj) or {}
    return status.get("offerings"), status.get("images")


def _visible(obj: Obj | None) -> Any:
    """What decisions see of a service's status (`core.services.service_view`), the age of its data apart."""
    if obj is None:
        return None
    status = obj.get("status") or {}
    told = {c["type"]: c for c in status.get("conditions") or () if c["type"] in {"Available", "Stalled"}}
    return (
        {key: status.get(key) for key in _SEEN_OF_SERVICES},
        (status.get("circuit") or {}).get("state"),
        # Why it is available is nobody's concern.
        [(c["type"], c["status"], c["reason"], c["message"]) for c in told.values() if not _is_fine(c)],
        "Available" in told,
    )


def _is_fine(condition: Obj) -> bool:
    return bool(condition["type"] == "Available" and condition["status"] == "True")


def _crosses(policy: Obj | None, old: Obj | None, new: Obj | None, now: datetime) -> bool:
    """Whether what is known of a service became young enough for a policy, or too old for it."""
    try:
        age = parse_duration(((_spec(policy) or {}).get("select") or {}).get("maxDataAge") or "")
    except ValueError:
        return False
    before, after = _data_at(old), _data_at(new)
    return (before is None or now - before > age) != (after is None or now - after > age)


def _data_at(service: Obj | None) -> datetime | None:
    """Of when the oldest of what is known of a service's offerings is; None where that is not known of all."""
    times = [source.get("at") for source in (_status(service) or {}).get("sources") or ()]
    return min(map(datetime.fromisoformat, times)) if times and all(times) else None


def _summary(obj: Obj | None) -> Any:
    if obj is None:
        return None
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return {c["type"]: c["status"] for c in conditions if c["type"] in _SUMMARY}


def _gate(obj: Obj | None) -> Any:
    placement = (_status(obj) or {}).get("placement") or {}
    return placement.get("number"), placement.get("gateOpened")
