"""Starting the services of a bed, in the order in which they need one another, and waiting until they answer."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from moorage.testbed.bed import Lacking
from moorage.testbed.daemons import Daemons
from moorage.testbed.openstack.calls import Refused, Session
from moorage.testbed.openstack.settings import INSIDE, Layout

PATIENCE = 180.0
"""Seconds within which a service answers, on a slow and busy machine."""
THREADS = {"keystone": 4, "placement": 4, "glance": 2, "nova-api": 12}
_RABBIT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def start_database(layout: Layout, daemons: Daemons) -> None:
    """Start MariaDB on the data that is there, and wait until it answers. It keeps nothing safe from power cuts."""
    options = {
        "datadir": layout.state / "db",
        "socket": layout.database_socket,
        "pid-file": layout.state / "db.pid",
        "port": layout.ports.database,
        "bind-address": "127.0.0.1",
        "max-connections": 400,
        "innodb-buffer-pool-size": "64M",
        "innodb-flush-log-at-trx-commit": 0,
        "innodb-doublewrite": 0,
        "innodb-log-file-size": "16M",
        "performance-schema": "off",
        "user": "root",
    }
    daemons.start("mariadb", ["mariadbd", "--no-defaults", *(f"--{name}={value}" for name, value in options.items())])
    until("MariaDB", daemons, lambda: sql(layout.database_socket, "SELECT 1") != "")


def sql(socket: Path, statements: str) -> str:
    """What the database answers its administrator: a line for each row, columns apart by tabs. Raises OSError."""
    client = ["mariadb", "--no-defaults", f"--socket={socket}", "--user=root", "--skip-column-names"]
    done = subprocess.run([*client, "--batch"], input=statements, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"mariadb: {done.stderr.strip()[-500:]}")
    return done.stdout


def start_queue(layout: Layout, daemons: Daemons) -> None:
    """Start RabbitMQ; it takes seconds until it answers."""
    ports, home = layout.ports, layout.state / "rabbit"
    epmd = {"ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": str(ports.epmd)}
    daemons.start("epmd", ["epmd"], env=epmd)
    env = {
        **epmd,
        "HOME": str(home),
        "RABBITMQ_NODENAME": "moorage@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(ports.rabbit),
        "RABBITMQ_DIST_PORT": str(ports.rabbit_distribution),
        "RABBITMQ_MNESIA_BASE": str(home / "db"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": str(layout.config("rabbit") / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(layout.config("rabbit") / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        # Otherwise its threads spin for a while whenever they have nothing to do.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
    }
    daemons.start("rabbitmq", [_RABBIT], env=env, umask=0o027)


def start_web(layout: Layout, daemons: Daemons, *services: str) -> None:
    """Start services that are WSGI applications, and the stand-in for Neutron."""
    applications = {
        "keystone": ("keystone.wsgi.api", layout.ports.keystone),
        "placement": ("placement.wsgi.api", layout.ports.placement),
        "glance": ("glance.wsgi.api", layout.ports.glance),
        "nova-api": ("nova.wsgi.osapi_compute", layout.ports.nova),
    }
    python = layout.venv / "bin/python"
    for service in services:
        argv: list[str | Path]
        if service == "neutron":
            argv = [python, INSIDE / "neutron.py", str(layout.ports.neutron)]
        else:
            module, port = applications[service]
            argv = [python, INSIDE / "serve.py", module, str(port), str(THREADS[service])]
        folder = service.partition("-")[0]
        daemons.start(service, argv, env=layout.environment(folder), cwd=layout.state)


def start_nova(layout: Layout, daemons: Daemons, *services: str) -> None:
    """Start what of Nova is behind its API: all of it, or these. RabbitMQ has to answer."""
    env = layout.environment("nova")
    options = [str(layout.state / "nova" / "ready"), "--config-dir", str(layout.config("nova"))]
    programs = {"nova-control": "control.py", "nova-compute": "compute.py"}
    for name in services or programs:
        argv: list[str | Path] = [layout.venv / "bin/python", INSIDE / programs[name], *options]
        daemons.start(name, argv, env=env, cwd=layout.state)


def wait_for_port(name: str, port: int, daemons: Daemons) -> None:
    """Wait until someone listens on a port."""

    def probe() -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True

    until(name, daemons, probe)


def wait_until_closed(name: str, port: int) -> None:
    """Wait until nobody listens on a port any more. Raises Lacking."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            return
        time.sleep(0.02)
    raise Lacking(f"{name} was ended, and still listens")


def wait_for_compute(layout: Layout, daemons: Daemons) -> Session:
    """Wait until all of Nova reports to be up; gives the administrator's session."""
    ports = layout.ports
    for name, port in {"keystone": ports.keystone, "glance": ports.glance, "placement": ports.placement}.items():
        wait_for_port(name, port, daemons)
    wait_for_port("neutron", ports.neutron, daemons)
    wait_for_port("nova-api", ports.nova, daemons)
    admin = Session(layout.endpoints, "admin", layout.password, "admin")
    wanted = {"nova-conductor", "nova-scheduler", "nova-compute"}

    def probe() -> bool:
        found = admin("GET", "compute", "/os-services")["services"]
        return {service["binary"] for service in found if service["state"] == "up"} >= wanted

    until("Nova's services", daemons, probe)
    return admin


def until(what: str, daemons: Daemons, probe: Callable[[], bool]) -> None:
    """Ask until the probe succeeds. Raises Lacking with the end of a log where a program ended, or time is over."""
    end, last = time.monotonic() + PATIENCE, ""
    while True:
        try:
            if probe():
                return
        except (OSError, Refused, ValueError) as error:
            last = str(error)
        for name in daemons.names():
            if daemons.pid(name) is None:
                raise Lacking(f"{name} ended:\n{daemons.tail(name)}")
        if time.monotonic() > end:
            raise Lacking(f"{what} did not answer within {PATIENCE:g} s: {last}")
        time.sleep(0.1)


def run(layout: Layout, service: str, *argv: str | Path) -> None:
    """Run a command of a service to its end. Raises Lacking with the end of what it said."""
    run_all(layout, [(service, argv)])


def run_all(layout: Layout, commands: Sequence[tuple[str, Sequence[str | Path]]]) -> None:
    """Run commands of services beside one another. Raises Lacking with the end of what the first that failed said."""
    started = []
    for service, argv in commands:
        words = [str(layout.venv / "bin" / argv[0]), *(str(word) for word in argv[1:])]
        env = {**os.environ, **layout.environment(service)}
        process = subprocess.Popen(
            words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append((words, process))
    said = [(words, process.communicate()[0], process.returncode) for words, process in started]
    for words, text, code in said:
        if code != 0:
            raise Lacking(f"{' '.join(words[:4])} failed: {text.strip()[-800:]}")
