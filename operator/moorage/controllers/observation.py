"""Observe: the facts about one VirtualServer, from caches and from what this process has learnt."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from moorage.api.conditions import INSTANTIATED, is_true
from moorage.api.hostingservice import HostingService
from moorage.api.meta import LabelSelector
from moorage.api.names import ANNOTATION_REVOKED, FINALIZER_SERVER, session_secret
from moorage.api.virtualserver import VirtualServer
from moorage.controllers.context import Context, ServerMemory
from moorage.controllers.edges import Edges
from moorage.controllers.released import count
from moorage.controllers.state import SecretState
from moorage.controllers.tables import Tables
from moorage.core.evidence import sight
from moorage.core.facts import (
    Attempt,
    Identity,
    Lookup,
    LookupResult,
    SecretFacts,
    Seen,
    SeenState,
    ServerFacts,
    ServiceFacts,
)
from moorage.core.server_status import expected_offering, failure_of, taken_over
from moorage.hosting.contract import identity_key
from moorage.kube.store import Obj
from moorage.runtime.service import ServiceConnection

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Observed:
    """One VirtualServer with everything that is looked at to reconcile it."""

    obj: Obj
    server: VirtualServer
    facts: ServerFacts
    memory: ServerMemory
    secret: Obj | None
    state: SecretState | None
    connection: ServiceConnection | None
    seen: Seen | None
    now: datetime

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.server.metadata.namespace, self.server.metadata.name


def observe(context: Context, tables: Tables, edges: Edges, obj: Obj, now: datetime) -> Observed:
    """The facts of ``obj``, a VirtualServer. Raises InvalidObject."""
    server = tables.servers.parse(obj)
    meta = server.metadata
    memory = context.memory(meta.uid)
    _bring_up_to_date(memory, server, now)
    secret = tables.secrets.get(meta.namespace, meta.uid)
    state = None if secret is None else _state(secret, memory)
    connection = connection_of(context, tables, server)
    service = connection.facts() if connection is not None else _unconnected(tables, server)
    steady = context.clock.monotonic()
    status, provider_id = server.status, taken_over(server)
    observes = server.spec.observes
    facts = ServerFacts(
        name=meta.name,
        uid=meta.uid,
        identity=_identity(context, meta.uid),
        created=meta.creation_timestamp or now,
        deleting_since=meta.deletion_timestamp,
        has_finalizer=FINALIZER_SERVER in meta.finalizers,
        retain=server.spec.retains,
        adopt_id=server.spec.adopt.provider_id if server.spec.adopt is not None else None,
        provider_id=provider_id,
        recorded_at=status.recorded_at,
        lost=bool(status.lost),
        failed=failure_of(server),
        secret=_secret_facts(secret, state),
        joined=joined(tables, server),
        addressed=bool(status.addresses) or bool(memory.created is not None and memory.created.addresses),
        service=service,
        steady=steady,
        attempts_since=memory.knows_attempt(_newest(secret, state), steady),
        recorded_since=memory.knows_observed(steady) if observes else memory.knows_record(provider_id, steady),
        lookup=memory.lookup,
        failure=memory.failure,
        noticed_at=memory.noticed_at,
        deleted_at=memory.deleted_at,
        asked_since=memory.asked_since,
        remaining_dependents=_remaining(tables, edges, server),
        refused=refusal(tables, server, _released(context, tables, server)) if provider_id is None else None,
        made=memory.created.provider_id if memory.created is not None else None,
        namespace=meta.namespace,
        observes=observes,
        observed_before=status.state is not None,
        ran=is_true(status.conditions, INSTANTIATED),
        offering=_offering(server, memory),
        repairs=server.spec.drift_policy == "Repair" and not observes,
        held=_held(tables, server),
        by_name=server.spec.service_ref.uid is None,
        successor=service is None and tables.services.get(None, server.spec.service_ref.name) is not None,
        tries=memory.repairs,
    )
    return Observed(obj, server, facts, memory, secret, state, connection, _seen(facts, service, memory), now)


def _bring_up_to_date(memory: ServerMemory, server: VirtualServer, now: datetime) -> None:
    """Forget what lies ahead, and at the first sight of a deletion what calls before it met."""
    memory.forget_future(now)
    if server.metadata.deletion_timestamp is not None and memory.noticed_at is None:
        memory.noticed_at = now
        memory.failure, memory.tries, memory.deleted_at, memory.asked_since = None, 0, None, None


def _identity(context: Context, uid: str) -> Identity:
    """What its service knows the server by."""
    return Identity(identity_key(context.installation.id, uid), f"{context.installation.id}/{uid}")


def _offering(server: VirtualServer, memory: ServerMemory) -> str | None:
    """Of what it is to be made: as recorded, or as decided and not written yet."""
    offering = expected_offering(server)
    return memory.status.offering if offering is None and memory.status is not None else offering


def _held(tables: Tables, server: VirtualServer) -> str:
    """Why no drift of the server is undone now: its group is to be left as it is."""
    return "its group is suspended" if server.spec.drift_policy == "Repair" and _is_suspended(tables, server) else ""


def _is_suspended(tables: Tables, server: VirtualServer) -> bool:
    """Whether the server's group is to be left as it is."""
    group = server.spec.group
    found = tables.groups.get(server.metadata.namespace, group.name) if group is not None else None
    return found is not None and bool(found["spec"].get("suspend"))


def _state(secret: Obj, memory: ServerMemory) -> SecretState | None:
    """What the Secret records; None where it cannot be read, which must not count as nothing."""
    version = secret["metadata"]["resourceVersion"]
    if memory.state is not None and memory.state[0] == version:
        return memory.state[1]
    try:
        state = SecretState.of(secret)
    except ValueError as error:
        log.warning("the state of Secret %s cannot be read: %s", secret["metadata"]["name"], error)
        return None
    memory.state = version, state
    return state


def _newest(secret: Obj | None, state: SecretState | None) -> Attempt | Literal["damaged"] | None:
    """The newest attempt that is recorded."""
    if state is None:
        return None if secret is None else "damaged"
    return state.attempts[-1] if state.attempts else None


def _secret_facts(secret: Obj | None, state: SecretState | None) -> SecretFacts | None:
    if secret is None:
        return None
    revoked = ANNOTATION_REVOKED in (secret["metadata"].get("annotations") or {})
    facts = SecretFacts(damaged=True) if state is None else state.facts()
    return replace(facts, serves=not revoked and not facts.closed)


def joined(tables: Tables, server: VirtualServer) -> bool:
    """Whether the server's agent has joined: it has a session, or has already spoken."""
    uid = server.metadata.uid
    return (
        server.status.agent is not None
        or tables.secrets.get(server.metadata.namespace, session_secret(uid)) is not None
    )


def connection_of(context: Context, tables: Tables, server: VirtualServer) -> ServiceConnection | None:
    """The connection to the service that the server is on, by uid: a successor of the same name is another service.

    The name has to fit as well. It is by the name that a service's permissions are looked up, and whoever may write a
    VirtualServer may write any uid into it.
    """
    ref = server.spec.service_ref
    uid = ref.uid
    if uid is None:
        service = tables.services.get(None, ref.name)
        uid = service["metadata"]["uid"] if service is not None else None
    connection = context.connections.get(uid) if uid is not None else None
    return connection if connection is not None and connection.name == ref.name else None


def _released(context: Context, tables: Tables, server: VirtualServer) -> int:
    """How many servers were released and run on where this one is to be; one that it takes over is none of them."""
    obj, adopt = tables.services.get(None, server.spec.service_ref.name), server.spec.adopt
    return 0 if obj is None else count(context, tables, obj, but=adopt.provider_id if adopt is not None else "")


def refusal(tables: Tables, server: VirtualServer, released: int = 0) -> tuple[str, str] | None:
    """Why the server is not to be made now: its group is suspended; or the HostingService takes no such server, for its
    namespace is not allowed there, or `limits.servers` is reached.

    Servers that were ``released`` (or are orphans) and run on count first: or who may release could have any number.
    The others count in the order in which their objects were made, so that all come to the same end without asking.
    """
    if _is_suspended(tables, server):
        return "Suspended", "its group is suspended: nothing is made until spec.suspend of the group is false"
    name, meta = server.spec.service_ref.name, server.metadata
    service = tables.services.parsed(None, name)
    if service is None:
        return None
    if not _is_allowed(tables, service, meta.namespace):
        return "NotAllowedInNamespace", f"HostingService {name} does not allow the namespace {meta.namespace}"
    limit = service.spec.limits.servers
    if server.spec.observes or limit is None:
        return None
    if tables.servers.count("service", name) + released <= limit:
        return None
    # Those that are only observed are not Moorage's.
    others = [o for o in tables.servers.by_index("service", name) if not is_observed(o)]
    # Objects of namespaces that are not allowed there never become servers, so they take no one's place.
    allowed = {ns: _is_allowed(tables, service, ns) for ns in {other["metadata"]["namespace"] for other in others}}
    mine = (server_created(server), meta.uid)
    rank = sum(allowed[other["metadata"]["namespace"]] and _age(other) < mine for other in others)
    if rank + released < limit:
        return None
    among = f", and {released} servers that were released, or are orphans, run on there" if released else ""
    what = f"limits.servers of HostingService {name} is {limit}{among}"
    return "LimitReached", f"{what}: raise it, or delete other servers"


def _is_allowed(tables: Tables, service: HostingService, name: str) -> bool:
    namespace, selector = tables.namespaces.get(None, name), service.spec.allowed_namespaces
    if namespace is None:
        # Just made, and not seen yet: without its labels NotIn and DoesNotExist would let anyone in.
        return selector == LabelSelector()
    return selector.matches(namespace["metadata"].get("labels") or {})


def is_observed(obj: Obj) -> bool:
    """Whether a VirtualServer only observes its server."""
    return bool(obj["spec"].get("managementPolicy") == "Observe")


def server_created(server: VirtualServer) -> str:
    """Its creation time as the API server writes it, which sorts as text."""
    created = server.metadata.creation_timestamp
    return created.strftime("%Y-%m-%dT%H:%M:%SZ") if created is not None else "9999"


def _age(obj: Obj) -> tuple[str, str]:
    return obj["metadata"].get("creationTimestamp") or "", obj["metadata"]["uid"]


def _unconnected(tables: Tables, server: VirtualServer) -> ServiceFacts | None:
    """The facts of a service that exists and has no connection yet, as right after a start; None where it is gone."""
    ref = server.spec.service_ref
    service = tables.services.get(None, ref.name)
    if service is None or ref.uid not in {None, service["metadata"]["uid"]}:
        return None
    problem = f"hosting service {ref.name} was not reached yet"
    return ServiceFacts(ref.name, service["metadata"]["uid"], connected=False, problem=problem)


def _seen(facts: ServerFacts, service: ServiceFacts | None, memory: ServerMemory) -> Seen | None:
    """The newest sight of the server: a direct answer, the latest inventory, or the answer to its creation."""
    if facts.observes:
        return sight(facts)
    if facts.provider_id is None:
        return memory.created
    lookup: Lookup | None = memory.lookup
    latest = service.latest if service is not None else None
    listed = latest.by_id.get(facts.provider_id) if latest is not None else None
    if lookup is not None and lookup.result is LookupResult.FOUND and (latest is None or lookup.at > latest.started):
        return lookup.seen
    if listed is not None and listed.owner == facts.identity.owner:
        return listed
    return memory.created


def _remaining(tables: Tables, edges: Edges, server: VirtualServer) -> tuple[str, ...]:
    """Servers that depend on this one and are being deleted too, as status recorded it and as it is now."""
    if server.metadata.deletion_timestamp is None or server.spec.group is None or server.spec.member is None:
        return ()
    namespace, own = server.metadata.namespace, server.spec.group.name
    places = {tuple(d.split("/", 1)) if "/" in d else (own, d) for d in server.status.dependents}
    places |= set(edges.dependents(namespace, own, server.spec.member))
    names: list[str] = []
    for group, member in sorted(places):
        all_leave = _leaves(tables, namespace, group)
        names += [
            other["metadata"]["name"]
            for other in tables.servers.by_index("group", (namespace, group))
            if other["spec"].get("member") == member and (all_leave or other["metadata"].get("deletionTimestamp"))
        ]
    return tuple(names)


def _leaves(tables: Tables, namespace: str, name: str) -> bool:
    """Whether all servers of a group are on their way out, also those whose own deletion has not come through yet."""
    around, group = tables.namespaces.get(None, namespace), tables.groups.get(namespace, name)
    if around is not None and around["metadata"].get("deletionTimestamp"):
        return True
    if group is None:
        return False
    return bool(group["metadata"].get("deletionTimestamp")) and not group["spec"].get("deletionProtection")


def awaited(seen: Seen | None, is_joined: bool) -> bool:
    """Whether the server still has to come up, and nothing but an inventory may tell."""
    return not is_joined and (seen is None or seen.state is not SeenState.RUNNING)
