"""A control plane of our own: it starts, serves with RBAC on, and leaves no process behind, however its user ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.support.cluster import namespace_name

from moorage.controlplane import Choice, ControlPlane, ControlPlaneError, Options, Progress, Unavailable, shared
from moorage.controlplane.choice import Binaries
from moorage.controlplane.instance import attach, is_running, launch, sweep

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


def until(what: str, reached: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain until {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def until_gone(pids: Mapping[str, int]) -> None:
    until(f"{pids} are gone", lambda: not any(alive(pid) for pid in pids.values()))


@pytest.fixture(scope="module")
def choice(control_plane: ControlPlane) -> Choice:
    """The binaries of the session's control plane, to start others with."""
    if control_plane.choice.binaries is None:
        pytest.skip("the tests run in a cluster that is not ours to start or stop")
    return control_plane.choice


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    return tmp_path / "instances"


@pytest.fixture
def start(choice: Choice, instances: Path, control_plane: ControlPlane) -> Iterator[Callable[[], ControlPlane]]:
    started: list[ControlPlane] = []

    def start_one() -> ControlPlane:
        assert choice.binaries is not None
        started.append(launch(instances, choice, choice.binaries, control_plane.kubectl))
        return started[-1]

    yield start_one
    for plane in started:
        plane.stop()


def test_it_starts_and_stops_without_a_trace(start: Callable[[], ControlPlane], instances: Path) -> None:
    plane = start()
    pids = dict(plane.pids)
    assert set(pids) >= {"supervisor", "etcd", "kube-apiserver"}
    plane.run_kubectl("get", "--raw=/readyz")
    plane.stop()
    until_gone(pids)
    assert [path.name for path in instances.iterdir()] == [".lock"]


def test_its_api_server_can_be_away_and_may_even_die(start: Callable[[], ControlPlane]) -> None:
    plane = start()
    plane.run_kubectl("create", "namespace", "kept")
    before = dict(plane.pids)
    with plane.apiserver_down():
        assert "refused" in plane.run_kubectl("get", "--raw=/readyz", check=False).stderr
    after = dict(plane.pids)
    assert after["kube-apiserver"] != before["kube-apiserver"]
    assert {**after, "kube-apiserver": 0} == {**before, "kube-apiserver": 0}
    os.kill(after["kube-apiserver"], signal.SIGKILL)
    until("it has a new API server", lambda: plane.pids.get("kube-apiserver") != after["kube-apiserver"])
    until("it answers", lambda: plane.run_kubectl("get", "--raw=/readyz", check=False).returncode == 0)
    plane.run_kubectl("get", "namespace", "kept")


def test_a_service_account_has_the_rights_it_was_given_and_no_more(control_plane: ControlPlane, namespace: str) -> None:
    run = control_plane.run_kubectl
    run("create", "serviceaccount", "reader", f"--namespace={namespace}")
    run("create", "role", "read", "--verb=get,list", "--resource=configmaps", f"--namespace={namespace}")
    run(
        "create",
        "rolebinding",
        "read",
        "--role=read",
        f"--serviceaccount={namespace}:reader",
        f"--namespace={namespace}",
    )
    reader = control_plane.kubeconfig_for("reader", namespace)
    run("get", "configmaps", kubeconfig=reader)
    with pytest.raises(ControlPlaneError, match="forbidden"):
        run("get", "secrets", kubeconfig=reader)


@pytest.mark.usefixtures("choice")
def test_no_token_is_in_the_process_list_or_shown(control_plane: ControlPlane) -> None:
    plane = control_plane
    assert plane.token is not None
    for pid in plane.pids.values():
        assert plane.token.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert plane.token.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    assert plane.token not in repr(plane)


USER = """
import sys
from pathlib import Path
from moorage.controlplane import Choice, Source
from moorage.controlplane.instance import launch
from moorage.controlplane.probe import binaries_in
folder, manager, kubectl = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
binaries = binaries_in(folder, (Path(manager),))
plane = launch(Path(sys.argv[4]), Choice(Source.ASSETS, "test", binaries), binaries, kubectl)
print(plane.directory, flush=True)
sys.stdin.read()
"""


def user_argv(choice: Choice, instances: Path, kubectl: Path) -> list[str]:
    assert choice.binaries is not None
    manager = choice.binaries.controller_manager or choice.binaries.directory / "none"
    return [
        sys.executable,
        "-c",
        USER,
        f"{choice.binaries.directory}",
        f"{manager.parent}",
        f"{kubectl}",
        f"{instances}",
    ]


def test_when_its_user_is_killed_nothing_is_left(choice: Choice, instances: Path, control_plane: ControlPlane) -> None:
    argv = user_argv(choice, instances, control_plane.kubectl)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        directory = Path(user.stdout.readline().strip())
        watcher = attach(directory, choice, control_plane.kubectl)
        assert watcher is not None
        pids = dict(watcher.pids)
        watcher.stop()
        assert all(alive(pid) for pid in pids.values())
        user.kill()
    until_gone(pids)
    until("the folder is gone", lambda: not directory.exists())


def test_when_the_supervisor_is_killed_the_kernel_ends_the_rest(
    start: Callable[[], ControlPlane], instances: Path
) -> None:
    plane = start()
    pids = dict(plane.pids)
    os.kill(pids["supervisor"], signal.SIGKILL)
    until_gone(pids)
    assert plane.directory is not None
    assert plane.directory.exists()
    plane.stop()
    sweep(instances)
    assert not plane.directory.exists()


def test_all_who_share_one_use_it_until_the_last_leaves(choice: Choice, tmp_path: Path) -> None:
    assert choice.binaries is not None
    environment = {
        **os.environ,
        "MOORAGE_CACHE": f"{tmp_path / 'cache'}",
        "KUBEBUILDER_ASSETS": f"{choice.binaries.directory}",
    }
    options = Options(environment=environment)
    first = shared(tmp_path, options, Progress(quiet=True))
    second = shared(tmp_path, options, Progress(quiet=True))
    assert first.directory == second.directory
    pids = dict(first.pids)
    first.stop()
    second.run_kubectl("get", "namespaces")
    assert all(alive(pid) for pid in pids.values())
    second.stop()
    until_gone(pids)
    third = shared(tmp_path, options, Progress(quiet=True))
    try:
        assert third.directory != first.directory
    finally:
        third.stop()


def test_a_binary_that_does_not_start_is_told_with_its_log(
    choice: Choice, instances: Path, tmp_path: Path, control_plane: ControlPlane
) -> None:
    assert choice.binaries is not None
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "etcd").symlink_to(choice.binaries.directory / "etcd")
    (broken / "kube-apiserver").write_text("#!/bin/sh\necho this one is broken >&2\nexit 3\n")
    (broken / "kube-apiserver").chmod(0o755)
    with pytest.raises(Unavailable, match="kube-apiserver ended with 3: this one is broken"):
        launch(instances, choice, Binaries(broken), control_plane.kubectl)
    assert [path.name for path in instances.iterdir()] == [".lock"]


def test_one_is_kept_between_runs_until_it_is_taken_down(
    choice: Choice, tmp_path: Path, control_plane: ControlPlane
) -> None:
    assert choice.binaries is not None
    environment = {
        **os.environ,
        "MOORAGE_CACHE": f"{tmp_path / 'cache'}",
        "KUBEBUILDER_ASSETS": f"{choice.binaries.directory}",
    }

    def command(name: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "moorage.controlplane", name]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=120)

    pids: dict[str, int] = {}
    try:
        up = command("up")
        assert up.returncode == 0, up.stderr
        kubeconfig = Path(up.stdout.strip().removeprefix("export KUBECONFIG="))
        control_plane.run_kubectl("create", "namespace", namespace_name("kept"), kubeconfig=kubeconfig)
        assert command("up").stdout == up.stdout
        assert "kept running: https://127.0.0.1:" in command("status").stdout
        kept = attach(kubeconfig.parent, choice, control_plane.kubectl)
        assert kept is not None
        pids |= kept.pids
        kept.stop()
        assert is_running(kubeconfig.parent)
    finally:
        down = command("down")
    assert down.returncode == 0
    assert "stopped" in down.stderr
    until_gone(pids)
    assert "no control plane is kept running" in command("down").stderr
