"""Nova's conductor and scheduler as threads of one process: their own programs are two processes each.

The patch has to come before anything else of Nova is imported, as in Nova's own programs.
"""

from __future__ import annotations

from nova import monkey_patch

monkey_patch.patch(backend="threading")

import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from pathlib import Path  # noqa: E402

import nova.conf  # noqa: E402
from nova import config, objects, service  # noqa: E402
from nova.conductor import rpcapi as conductor  # noqa: E402
from nova.scheduler import rpcapi as scheduler  # noqa: E402
from oslo_log import log as logging  # noqa: E402


def main() -> None:
    """Run both until SIGTERM: `control.py READY-FILE OPTION...`; the file is made when they can be asked."""
    ready = Path(sys.argv.pop(1))
    config.parse_args(sys.argv)
    logging.setup(nova.conf.CONF, "nova")
    objects.register_all()
    objects.Service.enable_min_version_cache()
    services = [
        service.Service.create(binary="nova-conductor", topic=conductor.RPC_TOPIC),
        service.Service.create(binary="nova-scheduler", topic=scheduler.RPC_TOPIC),
    ]
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    for one in services:
        one.start()
    ready.touch()
    over.wait()
    for one in services:
        one.stop()


if __name__ == "__main__":
    main()
