"""Finding out what this machine offers. The network and the container engine are looked at last.

All looking is here; deciding is `choice.choose`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from moorage.controlplane import download, pins
from moorage.controlplane.cache import cache_root, digest, go_platform
from moorage.controlplane.choice import Binaries, Facts, choose
from moorage.controlplane.errors import ControlPlaneError, Unavailable
from moorage.controlplane.gobuild import go_version
from moorage.controlplane.instance import is_running
from moorage.controlplane.kubeconfig import context_names, default_path

ENVTEST_DEFAULT = Path("/usr/local/kubebuilder/bin")


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asks for. `environment` is what the variables are read from."""

    context: str | None = None
    kubeconfig: Path | None = None
    use_kept: bool = True
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def cache(self) -> Path:
        """The control plane's own folder in the cache."""
        return cache_root(self.environment) / "controlplane"


def build_target(options: Options) -> Path:
    """Where the pinned build is published: keyed by version, platform and the digest of the modules' files."""
    key = digest(module.key().encode() for module in pins.MODULES)
    return options.cache / pins.KUBERNETES / f"{go_platform()}-{key}"


def download_target(options: Options, version: str) -> Path:
    """Where envtest's binaries of `version` are published."""
    return options.cache / version / f"{go_platform()}-envtest"


def kept_pointer(options: Options) -> Path:
    """The link that names the folder of the control plane kept running by `up`."""
    return options.cache / "kept"


def probe(options: Options, *, everything: bool = False) -> Facts:
    """Look, cheapest first. With `everything` also where an earlier way is already open."""
    facts = _local(options)
    if facts.context is not None:
        return facts
    for look in (_look_download, _look_kind, _look_go):
        if not everything and choose(facts).candidates:
            return facts
        facts = look(options, facts)
    return facts


def binaries_in(directory: Path, fallbacks: tuple[Path, ...] = ()) -> Binaries:
    """What `directory` has; the controller manager and kubectl may come from `fallbacks`."""
    missing = tuple(name for name in pins.SERVERS if not _executable(directory / name))
    places = (directory, *fallbacks)
    return Binaries(directory, missing, _first(places, pins.CONTROLLER_MANAGER), _first(places, pins.KUBECTL))


def _local(options: Options) -> Facts:
    facts = Facts(platform=go_platform())
    if options.context is not None:
        path = options.kubeconfig or default_path(options.environment)
        return replace(facts, context=options.context, kubeconfig=path, contexts=context_names(path))
    built = build_target(options)
    cached = [binaries_in(built)] if built.is_dir() else []
    downloads = sorted(options.cache.glob(f"v*/{go_platform()}-envtest"), reverse=True)
    cached += [binaries_in(folder, (built,)) for folder in downloads]
    named = options.environment.get("KUBEBUILDER_ASSETS")
    assets = Path(named).expanduser() if named else ENVTEST_DEFAULT
    kept = kept_pointer(options)
    return replace(
        facts,
        kept=kept.resolve() if options.use_kept and is_running(kept) else None,
        assets=binaries_in(assets, (built,)) if named or assets.is_dir() else None,
        assets_named=bool(named),
        cached=tuple(cached),
        build_target=built,
    )


def _look_download(_options: Options, facts: Facts) -> Facts:
    try:
        return replace(facts, download=download.offered(facts.platform).version)
    except Unavailable as error:
        return replace(facts, download_problem=f"{error}")


def _look_kind(options: Options, facts: Facts) -> Facts:
    kind = _which("kind", options)
    if kind is None:
        return replace(facts, kind_problem="kind is not installed")
    for engine in ("docker", "podman"):
        program = _which(engine, options)
        if program is not None and _answers([f"{program}", "info"]):
            return replace(facts, kind=kind, engine=engine)
    return replace(facts, kind_problem="kind is installed, but neither docker nor podman answers")


def _look_go(options: Options, facts: Facts) -> Facts:
    go = _which("go", options)
    if go is None:
        return replace(facts, go_problem=f"Go is not installed ({pins.GO[0]}.{pins.GO[1]} or newer builds it)")
    try:
        run = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return replace(facts, go_problem=f"{go} could not be run: {error}")
    version = go_version(run.stdout)
    if version is None or version < pins.GO:
        needs = f"{pins.GO[0]}.{pins.GO[1]}"
        return replace(facts, go_problem=f"{go} is {run.stdout.strip() or 'of unknown version'}, {needs} is needed")
    return replace(facts, go=go, go_version=run.stdout.strip())


def _which(name: str, options: Options) -> Path | None:
    found = shutil.which(name, path=options.environment.get("PATH", os.defpath))
    return Path(found) if found else None


def _answers(argv: list[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, check=False, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _first(places: tuple[Path, ...], name: str) -> Path | None:
    return next((place / name for place in places if _executable(place / name)), None)


def kubectl_of(binaries: Binaries | None, options: Options) -> Path:
    """The kubectl to use: the one beside the control plane's binaries, a cached build's, or the user's own.

    Raises ControlPlaneError where there is none.
    """
    if binaries is not None and binaries.kubectl is not None:
        return binaries.kubectl
    built = _first((build_target(options),), pins.KUBECTL)
    found = built or _which(pins.KUBECTL, options)
    if found is None:
        raise ControlPlaneError("kubectl is not installed: install it (https://kubernetes.io/docs/tasks/tools/)")
    return found
