"""From a decision to a running control plane."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from moorage.controlplane import download, kind, kubeconfig, pins
from moorage.controlplane.cache import go_platform, locked, publish
from moorage.controlplane.choice import Choice, Source, choose, nothing_works
from moorage.controlplane.errors import ControlPlaneError, NothingWorks, Unavailable
from moorage.controlplane.gobuild import build
from moorage.controlplane.instance import ControlPlane, attach, is_running, launch
from moorage.controlplane.probe import (
    Options,
    binaries_in,
    build_target,
    download_target,
    kept_pointer,
    kubectl_of,
    probe,
)
from moorage.controlplane.progress import Progress

_T = TypeVar("_T")


def find(options: Options | None = None) -> Choice:
    """The control plane that `acquire` would take first. Raises ControlPlaneError where there is none."""
    return choose(probe(options or Options())).best


def acquire(options: Options | None = None, progress: Progress | None = None, *, keep: bool = False) -> ControlPlane:
    """Find a control plane and make it run; says which one it takes and why.

    A way that turns out to be closed (a download that fails, an image that cannot be pulled) leads to the next one.
    With `keep` it goes on after this process, until `python -m moorage.controlplane down`.
    Raises ControlPlaneError where nothing works.
    """
    asked, says = options or Options(), progress or Progress()
    return _first_that_works(asked, says, lambda choice: _start(choice, asked, says, keep=keep))


def prepare(options: Options | None = None, progress: Progress | None = None) -> Choice:
    """Do what takes long, downloading or building, so that `acquire` starts at once. Raises what it raises."""
    asked, says = options or Options(), progress or Progress()
    return _first_that_works(asked, says, lambda choice: _prepared(choice, asked, says))


def _first_that_works(options: Options, progress: Progress, attempt: Callable[[Choice], _T]) -> _T:
    failed: dict[Source, str] = {}
    everything = False
    decision = choose(probe(options))
    while True:
        choice = next((choice for choice in decision.candidates if choice.source not in failed), None)
        if choice is None and not everything:
            # Only now is it worth looking at what was left out because an earlier way seemed open.
            everything = True
            decision = choose(probe(options, everything=True))
            continue
        if choice is None:
            raise NothingWorks(nothing_works(decision.closed | failed))
        progress.line(f"{choice}")
        try:
            return attempt(choice)
        except Unavailable as error:
            failed[choice.source] = f"{error}"
            progress.line(f"{choice.source.value} did not work: {error}")


def shared(directory: Path, options: Options | None = None, progress: Progress | None = None) -> ControlPlane:
    """The one control plane of all who name the same `directory`: started by the first, ended with the last."""
    options = options or Options()
    pointer = directory / "control-plane"
    with locked(directory / "control-plane.lock"):
        running = (
            attach(pointer.resolve(), _attached(pointer), kubectl_of(None, options)) if pointer.is_symlink() else None
        )
        if running is not None:
            return running
        plane = acquire(options, progress)
        if plane.directory is not None:
            _point(pointer, plane.directory)
        return plane


def kept(options: Options | None = None) -> Path | None:
    """The folder of the control plane that this user keeps running, if any."""
    pointer = kept_pointer(options or Options())
    return pointer.resolve() if is_running(pointer) else None


def build_pinned(options: Options, progress: Progress, go: Path | str = "go") -> Path:
    """The folder with the pinned build, built first if absent."""

    def make(fresh: Path) -> None:
        for module in pins.MODULES:
            build(module, fresh, progress, f"{go}")

    waiting = "waiting for another process that builds the control plane"
    return publish(build_target(options), make, lambda: progress.line(waiting))


def _attached(pointer: Path) -> Choice:
    return Choice(Source.KEPT, f"shared with the other processes of this run, in {pointer.resolve()}")


def _point(pointer: Path, target: Path) -> None:
    fresh = pointer.with_name(f".{pointer.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.rename(pointer)


def _start(choice: Choice, options: Options, progress: Progress, *, keep: bool) -> ControlPlane:
    if choice.source is Source.CONTEXT or choice.source is Source.KIND:
        return _foreign(choice, options, progress)
    if choice.source is Source.KEPT and choice.path is not None:
        plane = attach(choice.path, choice, kubectl_of(None, options))
        if plane is None:
            raise Unavailable(f"the control plane in {choice.path} has just ended")
        return plane
    choice = _prepared(choice, options, progress)
    if choice.binaries is None:
        raise Unavailable(f"there are no binaries for {choice.source.value}")
    if choice.binaries.controller_manager is None:
        progress.line("there is no kube-controller-manager: namespaces and owned objects will not be deleted")
    instances = options.cache / "instances"
    plane = launch(instances, choice, choice.binaries, kubectl_of(choice.binaries, options), keep=keep)
    if keep and plane.directory is not None:
        _point(kept_pointer(options), plane.directory)
    return plane


def _prepared(choice: Choice, options: Options, progress: Progress) -> Choice:
    """The choice with its binaries on disk: downloaded or built where they are not there yet."""
    if choice.source is Source.BUILD:
        folder = build_pinned(options, progress, choice.path or "go")
    elif choice.source is Source.DOWNLOAD and choice.version is not None:
        platform = go_platform()
        archive = download.offered(platform)
        folder = publish(
            download_target(options, archive.version), lambda fresh: download.fetch(archive, platform, fresh, progress)
        )
    else:
        return choice
    return Choice(choice.source, choice.reason, binaries_in(folder, (build_target(options),)), version=choice.version)


def _foreign(choice: Choice, options: Options, progress: Progress) -> ControlPlane:
    """A cluster that is not run by this package: the one the user named, or kind's."""
    kubectl = kubectl_of(None, options)
    scratch = tempfile.TemporaryDirectory(prefix="moorage-kubeconfig-")
    path = Path(scratch.name) / "kubeconfig"
    if choice.source is Source.KIND:
        kind.ensure(choice.path or Path("kind"), path, progress)
        content = kubeconfig.load(path)
    elif choice.path is not None and choice.context is not None:
        content = kubeconfig.only(choice.path, choice.context)
        kubeconfig.write(path, content)
    else:
        raise ControlPlaneError("a context was chosen, but neither its name nor its file is known")
    server = f"{content['clusters'][0]['cluster'].get('server', '')}"
    plane = ControlPlane(choice, path, server, kubectl, controller_manager=True, _scratch=scratch)
    answer = plane.run_kubectl("get", "--raw=/readyz", "--request-timeout=10s", check=False, timeout=30)
    if answer.returncode != 0:
        problem = f"{server} does not answer: {answer.stderr.strip()}"
        raise ControlPlaneError(problem) if choice.source is Source.CONTEXT else Unavailable(problem)
    return plane
