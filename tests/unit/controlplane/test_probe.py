"""What is found on a machine, with folders and programs made for the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.controlplane import ControlPlaneError, Options, Source, Unavailable, choose, download, find
from moorage.controlplane import probe as probing
from moorage.controlplane.gobuild import go_version
from moorage.controlplane.kubeconfig import document, write
from moorage.controlplane.probe import binaries_in, build_target, download_target, kubectl_of, probe

SERVERS = ("etcd", "kube-apiserver")
ALL = (*SERVERS, "kube-controller-manager", "kubectl")


def program(path: Path, script: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def programs(folder: Path, *names: str) -> Path:
    for name in names:
        program(folder / name)
    return folder


@pytest.fixture
def bin_path(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


@pytest.fixture
def options(tmp_path: Path, bin_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """A machine with nothing on it, and without a network."""

    def unreachable(_platform: str) -> download.Archive:
        raise Unavailable("the index cannot be reached")

    monkeypatch.setattr(download, "offered", unreachable)
    monkeypatch.setattr(probing, "ENVTEST_DEFAULT", tmp_path / "absent")
    environment = {"MOORAGE_CACHE": f"{tmp_path / 'cache'}", "PATH": f"{bin_path}", "HOME": f"{tmp_path}"}
    return Options(environment=environment)


def named(options: Options, **environment: str) -> Options:
    return Options(environment={**options.environment, **environment})


def test_on_an_empty_machine_every_way_is_closed_with_a_reason(options: Options) -> None:
    facts = probe(options)
    decision = choose(facts)
    assert decision.candidates == ()
    assert set(decision.closed) == set(Source)
    assert "not looked at" not in decision.closed.values()


def test_the_variable_of_envtest_is_looked_at(options: Options, tmp_path: Path) -> None:
    assets = programs(tmp_path / "assets", *SERVERS)
    choice = find(named(options, KUBEBUILDER_ASSETS=f"{assets}"))
    assert choice.source is Source.ASSETS
    assert choice.binaries is not None
    assert choice.binaries.controller_manager is None


def test_a_file_that_cannot_be_run_is_no_binary(options: Options, tmp_path: Path) -> None:
    assets = programs(tmp_path / "assets", *SERVERS)
    (assets / "etcd").chmod(0o644)
    facts = probe(named(options, KUBEBUILDER_ASSETS=f"{assets}"))
    assert facts.assets is not None
    assert facts.assets.missing == ("etcd",)


def test_an_earlier_build_is_found_and_lends_its_controller_manager(options: Options, tmp_path: Path) -> None:
    built = programs(build_target(options), *ALL)
    assets = programs(tmp_path / "assets", *SERVERS)
    assert find(options).binaries == binaries_in(built)
    choice = find(named(options, KUBEBUILDER_ASSETS=f"{assets}"))
    assert choice.binaries is not None
    assert choice.binaries.controller_manager == built / "kube-controller-manager"


def test_an_earlier_download_is_found(options: Options) -> None:
    folder = programs(download_target(options, "v1.37.0"), *ALL)
    choice = find(options)
    assert choice.source is Source.CACHE
    assert choice.binaries == binaries_in(folder)


def test_a_build_of_other_pins_is_not_taken(options: Options) -> None:
    other = build_target(options)
    programs(other.with_name(f"{other.name}x"), *ALL)
    assert probe(options).cached == ()


def test_where_something_local_does_nothing_else_is_looked_at(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_platform: str) -> download.Archive:
        raise AssertionError("the network was looked at")

    monkeypatch.setattr(download, "offered", never)
    programs(build_target(options), *ALL)
    assert probe(options).go is None
    with pytest.raises(AssertionError, match="network"):
        probe(options, everything=True)


def test_a_download_on_offer_is_taken(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "offered", lambda _platform: download.Archive("v1.37.1", "u", "h"))
    assert find(options).version == "v1.37.1"


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_kind_is_taken_with_an_engine_that_answers(options: Options, bin_path: Path, engine: str) -> None:
    program(bin_path / "kind")
    program(bin_path / engine, '[ "$1" = info ]')
    assert find(options).source is Source.KIND


def test_kind_is_not_taken_with_an_engine_that_does_not_answer(options: Options, bin_path: Path) -> None:
    program(bin_path / "kind")
    program(bin_path / "docker", "exit 1")
    assert "neither docker nor podman answers" in choose(probe(options)).closed[Source.KIND]


def test_go_that_is_new_enough_builds(options: Options, bin_path: Path) -> None:
    program(bin_path / "go", "echo go1.26.8")
    choice = find(options)
    assert choice.source is Source.BUILD
    assert "go1.26.8" in choice.reason
    assert f"{build_target(options)}" in choice.reason


@pytest.mark.parametrize(
    ("script", "problem"), [("echo go1.20.3", "is go1.20.3, 1.26 is needed"), ("exit 1", "of unknown version")]
)
def test_go_that_is_too_old_or_broken_is_named(options: Options, bin_path: Path, script: str, problem: str) -> None:
    program(bin_path / "go", script)
    assert problem in choose(probe(options)).closed[Source.BUILD]


@pytest.mark.parametrize(
    ("text", "version"), [("go version go1.26.8 linux/amd64", (1, 26)), ("go1.30rc1", (1, 30)), ("devel", None)]
)
def test_versions_of_go(text: str, version: tuple[int, int] | None) -> None:
    assert go_version(text) == version


def test_a_named_context_is_looked_up_in_the_users_kubeconfig(options: Options, tmp_path: Path) -> None:
    path = write(tmp_path / "mine", document("here", {"server": "https://x"}, {}))
    environment = {**options.environment, "KUBECONFIG": f"{path}"}
    assert find(Options(context="here", environment=environment)).path == path
    with pytest.raises(ControlPlaneError, match="no context 'there'"):
        find(Options(context="there", environment=environment))


def test_kubectl_is_the_one_beside_the_binaries_then_the_built_then_the_users(options: Options, bin_path: Path) -> None:
    with pytest.raises(ControlPlaneError, match="kubectl is not installed"):
        kubectl_of(None, options)
    own = program(bin_path / "kubectl")
    assert kubectl_of(None, options) == own
    built = programs(build_target(options), *ALL)
    assert kubectl_of(None, options) == built / "kubectl"
    beside = programs(bin_path / "beside", *ALL)
    assert kubectl_of(binaries_in(beside), options) == beside / "kubectl"
