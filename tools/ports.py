"""Says which ports of the quickstart in README.md are taken, and what to do about each, before anything is started."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping

_HOSTD = "choose another in the line of %s, and in its endpoint in examples/quickstart/services.yaml"
PORTS = {
    7101: _HOSTD % "anchor",
    7102: _HOSTD % "bollard",
    7103: _HOSTD % "capstan",
    7443: "add --config-port 0 to `moorage run`",
    8080: "add --health-port 0 to `moorage run`",
}


def taken(port: int) -> bool:
    """Whether nobody could listen there now."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


def main(ports: Mapping[int, str] = PORTS) -> int:
    """Tell of each port that is taken; the exit code is 0 where none is."""
    found = [port for port in ports if taken(port)]
    lines = [f"port {port} is taken: {ports[port]}" for port in found]
    sys.stdout.write("\n".join(lines or ["the ports of the quickstart are free"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
