"""`python -m moorage.configd`, `moorage configd`: serve the configuration channel alone, in any number of replicas."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence

from prometheus_client import start_http_server

from moorage.api.names import DEFAULT_CONTROLLER_NAMESPACE
from moorage.configd.pki import CAError, is_name
from moorage.configd.run import run, with_endpoint
from moorage.configd.server import DEFAULT_PORT, ConfigdConfig
from moorage.kube.errors import KubeError


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moorage configd", description="Serve the configuration channel.")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")  # noqa: S104
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port (default: %(default)s)")
    parser.add_argument(
        "--namespace",
        default=DEFAULT_CONTROLLER_NAMESPACE,
        help="namespace of the controller, where the root CA is (default: %(default)s)",
    )
    parser.add_argument("--endpoint", help="the default https:// address at which guests reach it")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        help="further host name or address of its certificate (repeatable); configEndpoints need not be given",
    )
    parser.add_argument("--kubeconfig", help="kubeconfig file (default: in-cluster, else the usual one)")
    parser.add_argument("--context", help="context of the kubeconfig")
    parser.add_argument("--metrics-port", type=int, default=0, help="port of Prometheus metrics; 0: none")
    parser.add_argument("--metrics-host", default="127.0.0.1", help="address of the metrics (default: %(default)s)")
    parser.add_argument("--verbose", action="store_true", help="log more")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. 0: stopped, 1: could not serve, 2: wrong options."""
    parser = _arguments()
    options = parser.parse_args(arguments)
    wrong = [name for name in options.name if not is_name(name)]
    if wrong:
        parser.error(f"--name: neither a host name nor an address: {wrong[0]}")
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = ConfigdConfig(host=options.host, port=options.port, namespace=options.namespace, names=tuple(options.name))
    try:
        if options.metrics_port:
            start_http_server(options.metrics_port, options.metrics_host)
        asyncio.run(run(with_endpoint(config, options.endpoint), options.kubeconfig, options.context))
    except (KubeError, CAError, OSError) as error:
        sys.stderr.write(f"moorage configd: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
