"""The one cache: what watches report and what our own writes were answered go through `ingest` alike.

Objects are plain dicts and are never changed once stored: callers must not change them either.
"""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from moorage.kube.errors import InvalidObject
from moorage.kube.kinds import NAMESPACE, Kind

log = logging.getLogger(__name__)

T = TypeVar("T")
Obj = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); the namespace is "" for cluster-scoped kinds."""
IndexFunction = Callable[[Obj], Iterable[Hashable]]
Subscriber = Callable[[Obj | None, Obj | None], None]

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_FOREVER = sys.maxsize
_INTERNED = 64  # characters; longer strings are seldom shared


class Ingested(StrEnum):
    """What became of an object given to `ingest`."""

    ADDED = "Added"
    UPDATED = "Updated"
    REMOVED = "Removed"
    ECHO = "Echo"
    """The resourceVersion that we hold already."""
    STALE = "Stale"
    """Older than what we hold, or an object that is gone."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a comparison with a list found: objects dropped, and keys whose object in the list is newer or unknown."""

    gone: tuple[Key, ...]
    newer: tuple[Key, ...]


class Table(Generic[T]):
    """All objects of one kind. `parse` makes the typed form of an object (at most `parsed_limit` are kept)."""

    def __init__(
        self,
        kind: Kind,
        parse: Callable[[Obj], T],
        *,
        indexes: Mapping[str, IndexFunction] | None = None,
        trim: Callable[[Obj], Obj] | None = None,
        parsed_limit: int = 1024,
        tombstones: int = 16384,
    ) -> None:
        self.kind = kind
        self._parse = parse
        self._trim = trim
        self._index_functions = dict(indexes or {})
        self._by_uid: dict[str, Obj] = {}
        self._uids: dict[Key, str] = {}
        self._indexed: dict[str, dict[Hashable, dict[str, None]]] = {name: {} for name in self._index_functions}
        self._tombstones: OrderedDict[str, int] = OrderedDict()
        self._tombstone_limit = tombstones
        self._parsed: OrderedDict[str, tuple[str, T]] = OrderedDict()
        self._parsed_limit = parsed_limit
        self._subscribers: list[Subscriber] = []

    # Reading

    def __len__(self) -> int:
        return len(self._by_uid)

    def __iter__(self) -> Iterator[Obj]:
        """The objects, in no promised order; a snapshot, so that the table may change meanwhile."""
        return iter(list(self._by_uid.values()))

    def get(self, namespace: str | None, name: str) -> Obj | None:
        """The object of that name, or None."""
        uid = self._uids.get((namespace or "", name))
        return None if uid is None else self._by_uid[uid]

    def by_uid(self, uid: str) -> Obj | None:
        """The object of that uid, or None."""
        return self._by_uid.get(uid)

    def by_index(self, index: str, value: Hashable) -> list[Obj]:
        """The objects for which the index function gave `value`, sorted by namespace and name."""
        found = [self._by_uid[uid] for uid in self._indexed[index].get(value, ())]
        return sorted(found, key=key_of)

    def count(self, index: str, value: Hashable) -> int:
        """How many objects `by_index` would give, without sorting them."""
        return len(self._indexed[index].get(value, ()))

    def index_values(self, index: str) -> Collection[Hashable]:
        """The values that at least one object has in this index."""
        return self._indexed[index].keys()

    def keep_parsed(self, objects: int) -> None:
        """Have room for the typed forms of so many objects that are looked at together: less would be none at all."""
        self._parsed_limit = max(self._parsed_limit, objects)

    def parsed(self, namespace: str | None, name: str) -> T | None:
        """The typed form of the object of that name, or None. Raises InvalidObject."""
        obj = self.get(namespace, name)
        return None if obj is None else self.parse(obj)

    def parse(self, obj: Obj) -> T:
        """The typed form of an object of this kind, cached for the uid's present resourceVersion.

        Raises InvalidObject, whose message names the fields and not their values.
        """
        meta = obj["metadata"]
        uid, version = meta["uid"], meta["resourceVersion"]
        cached = self._parsed.get(uid)
        if cached is not None and cached[0] == version:
            self._parsed.move_to_end(uid)
            return cached[1]
        try:
            parsed = self._parse(obj)
        except ValidationError as error:
            raise InvalidObject(f"{self.kind.kind} {'/'.join(key_of(obj))}: {_described(error)}") from None
        if uid in self._by_uid:
            self._parsed[uid] = (version, parsed)
            self._parsed.move_to_end(uid)
            if len(self._parsed) > self._parsed_limit:
                self._parsed.popitem(last=False)
        return parsed

    # Changing

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber(old, new)` after each change; old or new is None for an addition or a removal."""
        self._subscribers.append(subscriber)

    def ingest(self, obj: Obj, *, deleted: bool = False) -> Ingested:
        """Take an object from a watch (`deleted` for a DELETED event), a list or the answer to a write of our own.

        The newest resourceVersion of each uid wins, in whatever order they come.
        """
        meta = obj["metadata"]
        uid, version = meta["uid"], int(meta["resourceVersion"])
        if version <= self._tombstones.get(uid, -1):
            return Ingested.STALE
        held = self._by_uid.get(uid)
        if deleted:
            self._bury(uid, version)
            return self._drop(held)
        if held is not None:
            known = int(held["metadata"]["resourceVersion"])
            if version == known and not _finished(self.kind, meta):
                return Ingested.ECHO
            if version < known:
                return Ingested.STALE
        if _finished(self.kind, meta):
            # The answer to the removal of the last finalizer: the API server has deleted the object by then.
            self._bury(uid, _FOREVER)
            return self._drop(held)
        return self._put(held, obj, version)

    def removed(self, uid: str) -> bool:
        """The object of this uid is known to be gone (a GET or DELETE said so). True if it was held."""
        self._bury(uid, _FOREVER)
        return self._drop(self._by_uid.get(uid)) is Ingested.REMOVED

    def sweep(self, listing: Iterable[Obj], resource_version: str, *, among: Collection[str] | None = None) -> Sweep:
        """Compare with a complete list (metadata is enough) as of `resource_version`, and drop what is gone.

        An object that is newer than the list is kept: it was created after. `among` limits dropping to these uids,
        for a list that covers a part of the table.
        """
        taken = int(resource_version)
        listed: set[str] = set()
        newer: list[Key] = []
        for obj in listing:
            meta = obj["metadata"]
            uid, version = meta["uid"], int(meta["resourceVersion"])
            listed.add(uid)
            held = self._by_uid.get(uid)
            known = self._tombstones.get(uid, -1) if held is None else int(held["metadata"]["resourceVersion"])
            if version > known:
                newer.append(key_of(obj))
        gone: list[Key] = []
        for uid in list(self._by_uid if among is None else among):
            held = self._by_uid.get(uid)
            if held is None or uid in listed or int(held["metadata"]["resourceVersion"]) > taken:
                continue
            gone.append(key_of(held))
            self._bury(uid, taken)
            self._drop(held)
        return Sweep(tuple(gone), tuple(newer))

    # How

    def _put(self, held: Obj | None, obj: Obj, version: int) -> Ingested:
        key = key_of(obj)
        other = self._by_uid.get(self._uids.get(key, "")) if held is None else None
        if other is not None:
            # Two uids of one name never live together, so the one with the lower version is gone.
            if int(other["metadata"]["resourceVersion"]) > version:
                self._bury(obj["metadata"]["uid"], version)
                return Ingested.STALE
            self._bury(other["metadata"]["uid"], version)
            self._drop(other)
        new = slim(obj if self._trim is None else self._trim(obj), held)
        uid = new["metadata"]["uid"]
        self._by_uid[uid] = new
        self._uids[key_of(new)] = uid
        self._reindex(uid, held, new)
        self._tell(held, new)
        return Ingested.ADDED if held is None else Ingested.UPDATED

    def _drop(self, held: Obj | None) -> Ingested:
        if held is None:
            return Ingested.STALE
        uid, key = held["metadata"]["uid"], key_of(held)
        del self._by_uid[uid]
        if self._uids.get(key) == uid:
            del self._uids[key]
        self._parsed.pop(uid, None)
        self._reindex(uid, held, None)
        self._tell(held, None)
        return Ingested.REMOVED

    def _bury(self, uid: str, version: int) -> None:
        self._tombstones[uid] = max(version, self._tombstones.pop(uid, -1))
        while len(self._tombstones) > self._tombstone_limit:
            self._tombstones.popitem(last=False)

    def _reindex(self, uid: str, old: Obj | None, new: Obj | None) -> None:
        for name, function in self._index_functions.items():
            index = self._indexed[name]
            before = set(function(old)) if old is not None else set()
            after = set(function(new)) if new is not None else set()
            for value in before - after:
                index[value].pop(uid, None)
                if not index[value]:
                    del index[value]
            for value in after - before:
                index.setdefault(value, {})[uid] = None

    def _tell(self, old: Obj | None, new: Obj | None) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(old, new)
            except Exception:
                # One broken subscriber must not keep the others from seeing the change.
                log.exception("a subscriber of %s failed", self.kind.plural)


class Store:
    """The tables of all kinds that this process caches."""

    def __init__(self) -> None:
        self._tables: dict[Kind, Table[Any]] = {}

    def register(
        self,
        kind: Kind,
        parse: Callable[[Obj], T],
        *,
        indexes: Mapping[str, IndexFunction] | None = None,
        trim: Callable[[Obj], Obj] | None = None,
        parsed_limit: int = 1024,
    ) -> Table[T]:
        """Make the table of a kind: once, before its first object. Raises ValueError if it exists.

        `parse` makes the typed form; `trim` drops parts that nobody reads before an object is kept; each index
        function gives the values by which `by_index` finds an object.
        """
        if kind in self._tables:
            raise ValueError(f"{kind.kind} is registered already")
        table = Table(kind, parse, indexes=indexes, trim=trim, parsed_limit=parsed_limit)
        self._tables[kind] = table
        return table

    def table(self, kind: Kind) -> Table[Any]:
        """The table of a kind. Raises KeyError if it was never registered."""
        return self._tables[kind]

    def __contains__(self, kind: Kind) -> bool:
        return kind in self._tables

    def kinds(self) -> Sequence[Kind]:
        """The registered kinds."""
        return tuple(self._tables)

    def ingest(self, kind: Kind, obj: Obj, *, deleted: bool = False) -> Ingested:
        """`Table.ingest` for a registered kind."""
        return self._tables[kind].ingest(obj, deleted=deleted)


def key_of(obj: Mapping[str, Any]) -> Key:
    """(namespace, name) of an object."""
    meta = obj["metadata"]
    return (meta.get("namespace") or "", meta["name"])


def as_is(obj: Obj) -> Obj:
    """The `parse` function of kinds that need no typed form."""
    return obj


def metadata_of(obj: Obj) -> Obj:
    """A `trim` function: metadata only, as for Secrets, whose data no cache may hold."""
    return {"metadata": obj["metadata"]}


def slim(obj: Obj, held: Obj | None = None) -> Obj:
    """A copy without managedFields and the last-applied annotation, whose strings are shared with other objects.

    Parts that equal those of `held`, an earlier version, are taken from there: most changes touch one of them.
    """
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    annotations = meta.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        meta["annotations"] = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
    slimmed: Obj = _shared({**obj, "metadata": meta}, held, 2)
    return slimmed


def _shared(value: Any, held: Any = None, depth: int = 0) -> Any:
    """`value` with shared strings, and with the parts of `held` that it equals, looked for `depth` levels down."""
    if isinstance(value, str):
        return sys.intern(value) if len(value) <= _INTERNED else value
    if isinstance(value, dict):
        if depth and isinstance(held, dict):
            return {sys.intern(key): _part(inner, held.get(key), depth - 1) for key, inner in value.items()}
        return {sys.intern(key): _shared(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shared(inner) for inner in value]
    return value


def _part(value: Any, held: Any, depth: int) -> Any:
    return held if held == value and type(held) is type(value) else _shared(value, held, depth)


def _finished(kind: Kind, meta: Mapping[str, Any]) -> bool:
    """True for an object that the API server deletes in the very request that left it so."""
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return kind != NAMESPACE  # namespaces have finalizers of their own in spec


def _described(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in p['loc']) or 'object'}: {p['msg']}" for p in problems[:10])
