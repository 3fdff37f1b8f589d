"""`moorage run`, `moorage configd`, `moorage hostd`: the programs that serve."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moorage.cli.errors import CliError, Exit
from moorage.cli.options import Context, Kubeconfig

if TYPE_CHECKING:
    from moorage.controllers.operator import Started

PASS_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Settings of a command that hands on its arguments, --help included, as they are."""


class LogFormat(StrEnum):
    """How logs are written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """From which level on logs are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


OwnNamespace = Annotated[
    str, typer.Option("--namespace", "-n", help="The namespace of the CA, the lease, credentials.")
]
ConfigHost = Annotated[str, typer.Option(help="The address on which the configuration channel listens.")]
ConfigPort = Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 takes a free one.")]
ConfigEndpoint = Annotated[
    str,
    typer.Option(
        help="The https URL at which servers reach it, unless their HostingService says otherwise.", show_default=False
    ),
]
ServedFormat = Annotated[LogFormat, typer.Option(help="How logs are written, to standard error.")]
ServedLevel = Annotated[LogLevel, typer.Option(help="From which level on.")]


def run(
    namespace: OwnNamespace = "moorage-system",
    config_host: ConfigHost = "0.0.0.0",  # noqa: S104 - guests come from outside
    config_port: ConfigPort = 7443,
    config_endpoint: ConfigEndpoint = "",
    external_configd: Annotated[
        bool, typer.Option("--external-configd", help="The configuration channel is served by `moorage configd`.")
    ] = False,
    health_host: Annotated[str, typer.Option(help="The address of /healthz, /readyz and /metrics.")] = "127.0.0.1",
    health_port: Annotated[int, typer.Option(min=0, max=65535, help="Their port; 0 takes a free one.")] = 8080,
    identity: Annotated[
        str, typer.Option(help="The holder's name in the lease. Default: host, process id and a random word.")
    ] = "",
    lease_duration: Annotated[
        float, typer.Option(min=3, max=300, help="Seconds until another process may take the lease over.")
    ] = 15.0,
    allow_target: Annotated[
        list[str] | None,
        typer.Option(
            help="Where conditions of policies may ask: scheme, host (or *.domain) and port, such as "
            "https://prometheus.example.org:9090; or a range of addresses, such as 127.0.0.0/8, that such a host may "
            "lead to although it is of this machine or its link. Repeatable; the environment separates by spaces.",
            envvar="MOORAGE_ALLOW_TARGETS",
            show_default="nowhere",
        ),
    ] = None,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    log_format: ServedFormat = LogFormat.TEXT,
    log_level: ServedLevel = LogLevel.INFO,
) -> None:
    """Run the controller. Prints one line of JSON, with the ports, once it reconciles."""
    from moorage.configd.server import ConfigdConfig
    from moorage.controllers.operator import LeaseLost, OperatorConfig
    from moorage.controllers.operator import run as operate
    from moorage.core.targets import AllowList, TargetError

    try:
        allowed = AllowList.of(allow_target or ())
    except TargetError as error:
        raise CliError(f"--allow-target: {error}", Exit.USAGE) from None
    _check_free("--health-port", health_host, health_port)
    if not external_configd:
        _check_free("--config-port", config_host, config_port)
        _check_apart("--config-port", config_port, "--health-port", health_port)
    config = OperatorConfig(
        kubeconfig=kubeconfig or None,
        context=context or None,
        namespace=namespace,
        config_endpoint=config_endpoint or None,
        configd=None if external_configd else ConfigdConfig(config_host, config_port, namespace),
        health_host=health_host,
        health_port=health_port,
        identity=identity or None,
        allowed_targets=allowed,
        lease_seconds=(lease_duration, lease_duration / 3, lease_duration / 7.5),
    )

    async def work() -> None:
        try:
            await operate(config, _stop_on_signals(), _announce)
        except LeaseLost as error:
            raise CliError(str(error)) from None

    _serve(work, log_format, log_level)


def configd(
    namespace: OwnNamespace = "moorage-system",
    config_host: ConfigHost = "0.0.0.0",  # noqa: S104 - guests come from outside
    config_port: ConfigPort = 7443,
    config_endpoint: ConfigEndpoint = "",
    metrics_host: Annotated[str, typer.Option(help="The address of /metrics.")] = "127.0.0.1",
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 serves no metrics.")] = 0,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    log_format: ServedFormat = LogFormat.TEXT,
    log_level: ServedLevel = LogLevel.INFO,
) -> None:
    """Run the configuration channel alone, in as many replicas as the servers' agents need."""
    from prometheus_client import start_http_server

    from moorage.configd.run import run as serve
    from moorage.configd.run import with_endpoint
    from moorage.configd.server import ConfigdConfig

    _check_free("--config-port", config_host, config_port)
    _check_free("--metrics-port", metrics_host, metrics_port)
    _check_apart("--config-port", config_port, "--metrics-port", metrics_port)
    config = with_endpoint(ConfigdConfig(config_host, config_port, namespace), config_endpoint or None)

    async def work() -> None:
        if metrics_port:
            start_http_server(metrics_port, metrics_host)
        await serve(config, kubeconfig or None, context or None)

    _serve(work, log_format, log_level)


def hostd(arguments: typer.Context) -> None:
    """Run the embedded hosting service: servers as process trees of this machine."""
    from moorage.hostd.__main__ import main

    raise typer.Exit(main(arguments.args))


def _check_free(option: str, host: str, port: int) -> None:
    """Say that a port is taken before anything is read or written. Raises CliError.

    Whatever else makes an address useless is told by serving there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CliError(f"port {port} of {host} is taken", hint=f"choose another with {option}") from None


def _check_apart(option: str, port: int, other: str, other_port: int) -> None:
    """Raises CliError where both are to listen on one port."""
    if port and port == other_port:
        raise CliError(f"{option} and {other} are both {port}", Exit.USAGE, hint="give each a port of its own")


def _serve(work: Callable[[], Coroutine[Any, Any, None]], log_format: LogFormat, log_level: LogLevel) -> None:
    """Log, work until it ends, and say in one line why it could not."""
    from moorage.cli.cluster import as_cli_error
    from moorage.configd.pki import CAError
    from moorage.kube.errors import KubeError
    from moorage.runtime import logs

    logs.configure(log_format.value, log_level.value)
    try:
        asyncio.run(work())
    except KubeError as error:
        raise as_cli_error(error) from None
    except CAError as error:
        raise CliError(str(error)) from None
    except OSError as error:
        raise CliError(f"cannot serve: {error}", Exit.FAILED) from None


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _announce(started: Started) -> None:
    from moorage.configd.run import settle

    settle()
    ports = {"health": started.health_port, "config": started.configd.address[1] if started.configd else None}
    sys.stdout.write(json.dumps({"ready": True, "ports": ports}) + "\n")
    sys.stdout.flush()
