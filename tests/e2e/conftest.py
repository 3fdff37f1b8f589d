"""A whole installation, one for each test process: its tests share it, each in a namespace of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support import cluster, real
from tests.support.installation import ALL_IN_ONE, CONTROLLER, Installation, new_installation
from tests.support.needs import missing
from tests.support.scene import Scene, scene_of
from tests.support.stack import SYSTEM, Api, Stack, new_stack

from moorage.controlplane import ControlPlaneError, acquire
from moorage.hosting.contract import RELEASED, TAG_INSTALLATION, TAG_SERVER
from moorage.kube.client import Client
from moorage.kube.kinds import NAMESPACE


@pytest.fixture(scope="session")
def bare_stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """A control plane of its own with the CRDs, and nothing running on it yet."""
    if pytestconfig.getoption("--context"):
        pytest.skip("these tests watch whole clusters: they run on a control plane of their own only")
    try:
        plane = acquire(cluster.options(None))
    except ControlPlaneError as error:
        missing(str(error))
    with plane, new_stack(plane, tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="session")
def stack(bare_stack: Stack) -> Stack:
    """Three hosting services, and a controller under the account and the rules that deploy/ ships."""
    kubectl = bare_stack.plane.run_kubectl
    kubectl("apply", "--server-side", "--kustomize", str(ALL_IN_ONE), timeout=120)
    # What the controller itself does for a protected group is seen only where admission lets its deletion pass.
    kubectl("delete", "validatingadmissionpolicybinding", "moorage-deletion-protection")
    for name in ("anchor", "bollard", "capstan"):
        bare_stack.hostd(name)
    bare_stack.run_controller(kubeconfig=bare_stack.plane.kubeconfig_for(CONTROLLER, SYSTEM))
    return bare_stack


@pytest.fixture(autouse=True)
def _no_strangers(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test made by hand, or had released, takes the room of others on the services that all share."""
    shared: Stack | None = request.getfixturevalue("stack") if "stack" in request.fixturenames else None
    yield
    for host in shared.hosts.values() if shared is not None else ():
        for server in host.servers() if host.process is not None else ():
            tags = server["tags"]
            if tags.get(TAG_SERVER, RELEASED) == RELEASED or tags.get(TAG_INSTALLATION) == "other":
                host.call("DELETE", f"/v1/servers/{server['id']}")


@pytest.fixture
async def api(bare_stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """The API server, in a namespace of the test's own."""
    name = cluster.namespace_name(request.node.name) + secrets.token_hex(2)
    async with await Client.connect(str(bare_stack.plane.kubeconfig)) as client:
        await client.create(NAMESPACE, {"metadata": {"name": name}})
        yield Api(client, name)
        await client.delete(NAMESPACE, None, name)


@pytest.fixture(scope="session")
def real_stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """A controller whose configuration channel the guests of test beds can reach, on a control plane of its own."""
    if pytestconfig.getoption("--context"):
        pytest.skip("guests have to reach the controller: on a control plane of its own only")
    with real.real_stack(tmp_path_factory.mktemp("real")) as found:
        yield found


@pytest.fixture
async def real_api(real_stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """The API server of `real_stack`, in a namespace of the test's own."""
    name = cluster.namespace_name(request.node.name) + secrets.token_hex(2)
    async with await Client.connect(str(real_stack.plane.kubeconfig)) as client:
        await client.create(NAMESPACE, {"metadata": {"name": name}})
        yield Api(client, name)
        await client.delete(NAMESPACE, None, name)


@pytest.fixture
async def scene(stack: Stack, api: Api) -> AsyncIterator[Scene]:
    """A hosting service of the test's own name, and looks into everything that happens on it."""
    async with scene_of(stack, api, "anchor") as found:
        yield found


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Installation]:
    """What deploy/ ships, on a control plane of its own; each test starts and stops its programs itself."""
    if pytestconfig.getoption("--context"):
        pytest.skip("installs into moorage-system: on a control plane of its own only")
    with new_installation(tmp_path_factory.mktemp("shipped")) as found:
        yield found


@pytest.fixture
async def shipped_api(installation: Installation, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """The API server of `installation`, as the administrator, in a namespace of the test's own."""
    name = cluster.namespace_name(request.node.name) + secrets.token_hex(2)
    async with await Client.connect(str(installation.plane.kubeconfig)) as client:
        await client.create(NAMESPACE, {"metadata": {"name": name}})
        yield Api(client, name)
        await client.delete(NAMESPACE, None, name)
