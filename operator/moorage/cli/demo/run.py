"""Runs the demo from its start to its end, whatever the end is."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from moorage.cli.cluster import as_cli_error
from moorage.cli.demo.pages import Pages
from moorage.cli.demo.screen import Screen
from moorage.cli.demo.stage import NAMESPACE, Stage, build
from moorage.cli.demo.story import GROUP, Story, stay, tree
from moorage.cli.demo.timeline import Timeline
from moorage.cli.demo.world import World
from moorage.cli.errors import CliError, Exit
from moorage.cli.output import stdout
from moorage.controlplane import ControlPlaneError, Options, Progress
from moorage.kube.client import Client
from moorage.kube.errors import KubeError


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for. `context` empty: a control plane of the demo's own."""

    once: bool = False
    context: str = ""
    kubeconfig: Path | None = None


@dataclass(slots=True)
class Ending:
    """How it came to end. `staying`: everything was shown, and the demo only waited to be left."""

    terminated: bool = False
    staying: bool = False


@contextmanager
def _endings() -> Iterator[Ending]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does: in order, by KeyboardInterrupt."""
    ending = Ending()

    def end(_signal: int, _frame: object) -> None:
        ending.terminated = True
        os.kill(os.getpid(), signal.SIGINT)

    # A shell starts what it puts into the background with SIGINT ignored.
    before: dict[signal.Signals, Any] = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    before |= {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(settings: Settings) -> int:
    """Play the demo; the exit code. Raises CliError with what did not hold."""
    screen = Screen(stdout())
    timeline = Timeline(listener=screen.moment)
    screen.chapter("A cluster, three hosting services and the controller start on this machine")
    timeline.mark("demo", "begins")
    with _endings() as ending:
        try:
            options = Options(context=settings.context or None, kubeconfig=settings.kubeconfig, use_kept=False)
            with build(options, timeline, Progress()) as stage:
                asyncio.run(_play(stage, timeline, screen, settings, ending))
        except KeyboardInterrupt:
            if ending.terminated:
                return Exit.TERMINATED
            return Exit.OK if ending.staying else Exit.INTERRUPTED
        except ControlPlaneError as error:
            raise CliError(str(error)) from None
        except KubeError as error:
            raise as_cli_error(error) from None
    return Exit.OK


async def _play(stage: Stage, timeline: Timeline, screen: Screen, settings: Settings, ending: Ending) -> None:
    async with await Client.connect(str(stage.plane.kubeconfig)) as client:
        world = World(client, NAMESPACE, timeline)
        pages = Pages(world.urls, timeline, world.touch)
        watching = [asyncio.create_task(world.follow()), asyncio.create_task(pages.follow())]

        def alive() -> None:
            stage.alive()
            for task in watching:
                if task.done():
                    task.result()

        story = Story(stage, client, timeline, screen, world, pages, alive)
        try:
            with screen.live(lambda: tree(world, ascii_only=screen.console.options.ascii_only, cut=True)):
                await _told(story, settings)
                if not settings.once:
                    ending.staying = True
                    screen.show(*_hints(stage))
                    await stay(alive)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)


async def _told(story: Story, settings: Settings) -> None:
    try:
        await story.play()
        if settings.once:
            await story.end()
        story.timeline.mark("demo", "everything holds")
    except CliError:
        story.screen.settle()
        last = tree(story.world, ascii_only=story.screen.console.options.ascii_only)
        if last is not None:
            story.screen.show("", last)
        words = story.stage.controller.last_words()
        story.screen.show("", Text("The controller's last words:", style="bold"), Text(words))
        raise


def _hints(stage: Stage) -> list[Text]:
    kubectl = "kubectl" if shutil.which("kubectl") else str(stage.plane.kubectl)
    moorage = "moorage" if shutil.which("moorage") else f"{sys.executable} -m moorage.cli"
    namespace = f"-n {NAMESPACE}"
    commands = [
        f"export KUBECONFIG={stage.plane.kubeconfig}",
        f"{kubectl} {namespace} get sg,vs,hp,hs",
        f"{kubectl} {namespace} scale sg/{GROUP} --replicas=3",
        f"{moorage} tree {GROUP} {namespace} --watch",
        f"{moorage} explain {GROUP} {namespace}",
        f"{moorage} graph {GROUP} {namespace}",
        f"{moorage} render {GROUP}-web-0 {namespace}",
    ]
    lines = [Text(), Text("It goes on running. To look around, in another terminal:", style="bold")]
    lines += [Text(f"  {command}", no_wrap=True) for command in commands]
    lines += [Text(f"Logs are in {stage.directory}."), Text("Ctrl-C ends it, and leaves nothing behind.", style="bold")]
    return lines
