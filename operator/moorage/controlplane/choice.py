"""Which control plane to take: a pure function of what was found on the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from moorage.controlplane.errors import ControlPlaneError, NothingWorks


class Source(StrEnum):
    """Where a control plane comes from, in the order in which they are looked at."""

    CONTEXT = "context"
    KEPT = "kept"
    ASSETS = "assets"
    CACHE = "cache"
    DOWNLOAD = "download"
    KIND = "kind"
    BUILD = "build"


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder of binaries and which of those a control plane wants are missing in it."""

    directory: Path
    missing: tuple[str, ...] = ()
    controller_manager: Path | None = None
    kubectl: Path | None = None

    @property
    def complete(self) -> bool:
        """Whether etcd and kube-apiserver are there. The controller manager and kubectl are wanted but not vital."""
        return not self.missing


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found. A `*_problem` says why that way is closed; empty together with no finding means not looked at."""

    platform: str
    context: str | None = None
    """The context that the user named, never one that merely is the current one."""
    kubeconfig: Path | None = None
    contexts: tuple[str, ...] = ()
    kept: Path | None = None
    """The folder of the control plane that this user keeps running (`up`)."""
    assets: Binaries | None = None
    assets_named: bool = False
    """Whether KUBEBUILDER_ASSETS is set, rather than envtest's default folder tried."""
    cached: tuple[Binaries, ...] = ()
    """Earlier builds and downloads in the cache, the preferred first."""
    download: str | None = None
    """The version of envtest's binaries that can be downloaded."""
    download_problem: str = ""
    kind: Path | None = None
    engine: str | None = None
    kind_problem: str = ""
    go: Path | None = None
    go_version: str | None = None
    go_problem: str = ""
    build_target: Path | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to a control plane, and why it is taken."""

    source: Source
    reason: str
    binaries: Binaries | None = None
    context: str | None = None
    path: Path | None = None
    """The kubeconfig (context), the running instance (kept), the program (kind, build)."""
    version: str | None = None

    def __str__(self) -> str:
        return f"control plane: {self.source.value} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Decision:
    """The ways that are open, best first, and for each closed one why it is."""

    candidates: tuple[Choice, ...] = ()
    closed: dict[Source, str] = field(default_factory=dict)

    @property
    def best(self) -> Choice:
        """The first open way. Raises NothingWorks with what is missing and what to install."""
        if not self.candidates:
            raise NothingWorks(nothing_works(self.closed))
        return self.candidates[0]


def choose(facts: Facts) -> Decision:
    """Decide. Raises ControlPlaneError where the user named a context that is not there: then nothing else is tried."""
    if facts.context is not None:
        return Decision((_named(facts, facts.context),))
    open_ways: list[Choice] = []
    closed: dict[Source, str] = {Source.CONTEXT: "no --context given; an exported KUBECONFIG alone is never enough"}
    for source, way in (
        (Source.KEPT, _kept(facts)),
        (Source.ASSETS, _assets(facts)),
        (Source.CACHE, _cache(facts)),
        (Source.DOWNLOAD, _download(facts)),
        (Source.KIND, _kind(facts)),
        (Source.BUILD, _build(facts)),
    ):
        if isinstance(way, Choice):
            open_ways.append(way)
        else:
            closed[source] = way
    return Decision(tuple(open_ways), closed)


def nothing_works(closed: dict[Source, str]) -> str:
    """The message where no way is open: why each is closed, and what to install."""
    lines = ["no Kubernetes control plane can be had on this machine:"]
    lines += [f"  {source.value:<9} {closed[source]}" for source in Source if source in closed]
    lines += [
        "Do one of these:",
        "  - install Go 1.26 or newer (https://go.dev/dl/), which builds a pinned control plane once and caches it;",
        "  - point KUBEBUILDER_ASSETS at a folder with etcd and kube-apiserver (`setup-envtest use` makes one);",
        "  - install kind and a running container engine;",
        "  - name a cluster of your own with --context NAME.",
    ]
    return "\n".join(lines)


def _named(facts: Facts, context: str) -> Choice:
    where = facts.kubeconfig
    if where is None or context not in facts.contexts:
        known = ", ".join(sorted(facts.contexts)) or "none"
        raise ControlPlaneError(
            f"there is no context {context!r} in {where or 'any kubeconfig'} (contexts there: {known})"
        )
    return Choice(Source.CONTEXT, f"you named the context {context!r} of {where}", context=context, path=where)


def _kept(facts: Facts) -> Choice | str:
    if facts.kept is None:
        return "none is kept running"
    return Choice(Source.KEPT, f"one is kept running in {facts.kept}", path=facts.kept)


def _assets(facts: Facts) -> Choice | str:
    found = facts.assets
    name = "KUBEBUILDER_ASSETS" if facts.assets_named else "envtest's default folder"
    if found is None:
        return "KUBEBUILDER_ASSETS is not set"
    if not found.complete:
        return f"{name} {found.directory} has no {' and no '.join(found.missing)}"
    return Choice(Source.ASSETS, f"{name} has the binaries: {found.directory}", binaries=found)


def _cache(facts: Facts) -> Choice | str:
    for found in facts.cached:
        if found.complete:
            return Choice(Source.CACHE, f"built or downloaded earlier: {found.directory}", binaries=found)
    return "nothing was built or downloaded earlier"


def _download(facts: Facts) -> Choice | str:
    if facts.download is None:
        return facts.download_problem or "not looked at"
    return Choice(Source.DOWNLOAD, f"envtest's binaries {facts.download} can be downloaded", version=facts.download)


def _kind(facts: Facts) -> Choice | str:
    if facts.kind is None or facts.engine is None:
        return facts.kind_problem or "not looked at"
    return Choice(Source.KIND, f"{facts.kind} is installed and {facts.engine} answers", path=facts.kind)


def _build(facts: Facts) -> Choice | str:
    if facts.go is None or facts.go_problem:
        return facts.go_problem or "not looked at"
    reason = f"{facts.go_version or 'Go'} can build the pinned version; once, into {facts.build_target}"
    return Choice(Source.BUILD, reason, path=facts.go)
