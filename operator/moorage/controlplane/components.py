"""The programs of a control plane: their flags, their port, and whether they are ready."""

from __future__ import annotations

import http.client
import random
import re
import socket
import ssl
from pathlib import Path

from moorage.controlplane.pki import PROXY_NAME

# etcd listens on sockets in the instance's folder, which only this user can enter: no port collides.
_ETCD_CLIENT = "unix://client:1"
_ETCD_PEER = "unix://peer:1"
_LOWEST_PORT = 20000
_CONTROLLERS = (
    "garbage-collector-controller",
    "clusterrole-aggregation-controller",
    "namespace-controller",
    "horizontal-pod-autoscaler-controller",
    "serviceaccount-controller",
)

ETCD = "etcd"
APISERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"


def etcd_argv(binary: Path) -> list[str]:
    """etcd for one instance; its working directory is the instance's folder. It trades durability for speed."""
    return [
        f"{binary}",
        "--data-dir=etcd",
        f"--listen-client-urls={_ETCD_CLIENT}",
        f"--advertise-client-urls={_ETCD_CLIENT}",
        f"--listen-peer-urls={_ETCD_PEER}",
        f"--initial-advertise-peer-urls={_ETCD_PEER}",
        f"--initial-cluster=default={_ETCD_PEER}",
        "--quota-backend-bytes=4294967296",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver_argv(binary: Path, port: int) -> list[str]:
    """kube-apiserver on 127.0.0.1:`port`, with RBAC on; its working directory is the instance's folder."""
    return [
        f"{binary}",
        f"--etcd-servers={_ETCD_CLIENT}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--cert-dir=certs",
        "--tls-cert-file=server.crt",
        "--tls-private-key-file=server.key",
        "--token-auth-file=tokens.csv",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=sa.pub",
        "--service-account-signing-key-file=sa.key",
        # Aggregated APIs: an autoscaler's metrics come from one.
        "--requestheader-client-ca-file=proxy-ca.crt",
        f"--requestheader-allowed-names={PROXY_NAME}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--proxy-client-cert-file=proxy.crt",
        "--proxy-client-key-file=proxy.key",
        "--allow-privileged",
        "--profiling=false",
    ]


def controller_manager_argv(binary: Path) -> list[str]:
    """kube-controller-manager with just the controllers that are wanted, listening nowhere."""
    return [
        f"{binary}",
        "--kubeconfig=admin.kubeconfig",
        f"--controllers={','.join(_CONTROLLERS)}",
        "--service-account-private-key-file=sa.key",
        "--use-service-account-credentials=false",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
        # The defaults are meant for clusters that share an API server; here namespaces shall go fast and
        # autoscalers look often.
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--horizontal-pod-autoscaler-sync-period=1s",
    ]


def free_port(chooser: random.Random, ephemeral: tuple[int, int] | None = None) -> int:
    """A port of 127.0.0.1 that is free now and that the system never hands out by itself.

    Ports of the ephemeral range collide with outgoing connections. Another process may still take the port before its
    use: who starts a server tries again with another one. Raises OSError where none of a hundred is free.
    """
    low, high = ephemeral if ephemeral is not None else _ephemeral_range()
    candidates = [port for port in range(_LOWEST_PORT, 32768) if not low <= port <= high] or list(range(10000, low))
    for port in chooser.sample(candidates, k=min(100, len(candidates))):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port on 127.0.0.1")


def _ephemeral_range(path: Path = Path("/proc/sys/net/ipv4/ip_local_port_range")) -> tuple[int, int]:
    try:
        low, high = path.read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 32768, 60999


def apiserver_ready(directory: Path, port: int) -> bool:
    """Whether the API server of the instance in `directory` answers that it is ready."""
    context = ssl.create_default_context(cafile=f"{directory / 'ca.crt'}")
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def port_was_taken(log: str) -> bool:
    """Whether a component's log says that its port belongs to somebody else."""
    return re.search(r"address already in use|failed to create listener", log) is not None
