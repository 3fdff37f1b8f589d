"""Starting and stopping the agent."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Callable, List

from . import install
from .client import Channel, Roots
from .log import log
from .outputs import OutputThread
from .poll import PollThread
from .probes import ProbeThread
from .process import Runner
from .report import ReportThread
from .settings import Settings, SettingsError, read_settings
from .steps import StepThread
from .store import Store
from .work import Work

USAGE = "usage: agent.pyz [run|boot]\n"
RESTART_SECONDS = 5.0


def main(arguments: List[str]) -> int:
    """`boot`: as the last act of user-data, stay as fits the guest; `run` (the default): in the foreground."""
    if arguments not in ([], ["run"], ["boot"]):
        sys.stderr.write(USAGE)
        return 2
    os.umask(0o077)
    try:
        settings = read_settings()
        if arguments == ["boot"] and install.settle(settings.state):
            return 0
        if os.getpid() == 1:
            return install.as_init(lambda: _kept_up(settings))
        return _kept_up(settings)
    except SettingsError as error:
        log(str(error))
        return 2
    except OSError as error:
        log("cannot start: %s: %s" % (error.filename, error.strerror))
        return 1


def _kept_up(settings: Settings) -> int:
    """Run; begin again after a failure, since not every guest has a supervisor that would."""
    code = run(settings)
    if code and sys.argv[0].endswith(".pyz"):
        time.sleep(RESTART_SECONDS)
        os.execv(sys.executable, [sys.executable, sys.argv[0], "run"])  # noqa: S606
    return code


def run(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT. Raises OSError where the state directory cannot be used."""
    os.umask(0o022)  # for what steps make; the agent's own files have their modes set
    store = Store(settings.state)
    key = store.key()
    work = Work(store, settings.root)
    runner = Runner(settings.state, settings.root)
    roots = Roots(settings)
    channels = [Channel(settings, roots, key) for _ in range(2)]
    bodies = {
        "poll": PollThread(work, channels[0], settings).run,
        "report": ReportThread(work, channels[1]).run,
        "steps": StepThread(work, runner).run,
        "outputs": OutputThread(work, runner).run,
        "probe": ProbeThread(work, runner).run,
    }
    wake = threading.Event()
    failed: List[str] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: wake.set())
    threads = [threading.Thread(target=_guard(name, body, failed, wake), name=name) for name, body in bodies.items()]
    for thread in threads:
        thread.daemon = True
        thread.start()
    wake.wait()
    log("stops")
    work.stop()
    for channel in channels:
        channel.close()
    runner.stop()
    for thread in threads:
        thread.join(5)
    store.save()
    return 1 if failed else 0


def _guard(name: str, body: Callable[[], None], failed: List[str], wake: threading.Event) -> Callable[[], None]:
    """A thread that ends by an error ends the agent, whose supervisor starts it again: half an agent helps nobody."""

    def guarded() -> None:
        try:
            body()
        except BaseException as error:
            log("%s failed: %s" % (name, type(error).__name__))
            failed.append(name)
            wake.set()
            raise

    return guarded
