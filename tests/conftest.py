"""Fixtures for all tests: the control plane, a namespace for each test, kubectl and kstatus."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator

import pytest
from tests.support import beds, cluster
from tests.support.bed_scheduling import BedScheduler, write_down
from tests.support.needs import missing

from moorage.controlplane import ControlPlane, ControlPlaneError, Progress, prepare, shared

_RUN_ONE = frozenset({"control_plane", "bare_stack", "demo"})
"""The fixtures that run a control plane."""
_MANAGER_MARK = "needs_controller_manager"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--context", help="run the api and e2e tests in this context of your kubeconfig")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{_MANAGER_MARK}: needs namespaces and owned objects to be deleted, which kube-controller-manager does",
    )
    config.addinivalue_line("markers", f"{beds.MARK}(name): needs the test bed of that name")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(beds.Beds(), "moorage-beds")
        config.pluginmanager.register(BedScheduler(), "moorage-bed-scheduler")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test has its beds for itself. Outside of pytest-timeout's own wrapper: waiting is not the test's time."""
    names = beds.wanted(item)
    if not names:
        return (yield)
    with contextlib.ExitStack() as held:
        with item.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            held.enter_context(beds.alone(names, item.nodeid, beds.say))
        return (yield)


@pytest.hookimpl(tryfirst=True)  # before xdist tells that the tests are collected
def pytest_collection_finish(session: pytest.Session) -> None:
    """Download or build now what the collected tests need: it may take minutes, which no test's time limit allows."""
    write_down(session.config, {item.nodeid: beds.wanted(item) for item in session.items})
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    # What fails here, the fixture meets again, and skips or fails each test that needs it.
    with capture.global_and_fixture_disabled(), contextlib.suppress(ControlPlaneError):
        beds.start(session.items)
        if wanted & _RUN_ONE:
            prepare(cluster.options(session.config.getoption("--context")), _progress(session.config))
        if "kstatus" in wanted:
            cluster.build_kstatus(_progress(session.config))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """A real API server with our CRDs in it: one for all xdist workers, ended with the last of them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    try:
        plane = shared(folder, cluster.options(pytestconfig.getoption("--context")), _progress(pytestconfig))
    except ControlPlaneError as error:
        missing(f"{error}")
    with plane:
        plane.apply(*cluster.crd_files())
        yield plane


@pytest.fixture
def kubectl(control_plane: ControlPlane) -> cluster.Kubectl:
    """kubectl as the administrator."""
    return cluster.Kubectl(control_plane)


@pytest.fixture
def namespace(kubectl: cluster.Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own. Its deletion is started at the end, and not waited for."""
    name = cluster.namespace_name(request.node.name)
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture(scope="session")
def kstatus(pytestconfig: pytest.Config) -> cluster.KStatus:
    """What kstatus makes of an object."""
    try:
        return cluster.build_kstatus(_progress(pytestconfig))
    except ControlPlaneError as error:
        missing(f"the kstatus program needs Go 1.26 or newer (https://go.dev/dl/): {error}")


@pytest.fixture(autouse=True)
def _needs_beds(request: pytest.FixtureRequest) -> None:
    for name in beds.wanted(request.node):
        beds.running(name)
        beds.renew(name)


@pytest.fixture(autouse=True)
def _needs_controller_manager(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker(_MANAGER_MARK):
        plane: ControlPlane = request.getfixturevalue("control_plane")
        if not plane.controller_manager:
            missing("there is no kube-controller-manager beside the control plane's binaries: add it, or install Go")


def _progress(config: pytest.Config) -> Progress:
    return Progress(quiet=config.getoption("verbose") < 0)
