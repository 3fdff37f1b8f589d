"""What goes on inside a simulated server: its configuration is applied in simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moorage.api.channel import Document, DocumentOutput, DocumentStep
from moorage.api.hostd import SimulateSettings
from moorage.hostd.simulate.memory import Memory, OutputState, StepResult


@dataclass(frozen=True, slots=True)
class Facts:
    """What a simulated server knows of itself without being told."""

    name: str
    address: str
    id: str


class Guest:
    """Applies configurations: files at once, steps one after the other, outputs as soon as their steps are done.

    `changed` is called whenever the state to be reported may have changed, `ran` with the name and the environment of
    each step that is run.
    """

    def __init__(
        self,
        facts: Facts,
        settings: SimulateSettings,
        memory: Memory,
        changed: Callable[[], None],
        ran: Callable[[str, dict[str, str]], None] | None = None,
    ) -> None:
        self._facts = facts
        self._settings = settings
        self._memory = memory
        self._changed = changed
        self._ran = ran
        self._written = 0
        self._task: asyncio.Task[None] | None = None
        for result in memory.steps.values():
            if result.state != "Succeeded":
                result.digest = ""  # interrupted or failed before the reboot: try again
        if memory.document is not None:
            self._start()

    @property
    def revision(self) -> int:
        """The revision in force; 0 before the first."""
        return self._memory.document.revision if self._memory.document else 0

    def deliver(self, document: Document) -> None:
        """Take a configuration."""
        memory = self._memory
        memory.document = document
        memory.delivered = document.revision
        memory.acknowledged = min(memory.acknowledged, document.revision)
        steps = {step.name for step in document.steps}
        outputs = {output.name for output in document.outputs}
        for name in [name for name in memory.steps if name not in steps]:
            del memory.steps[name]
        for name in [name for name in memory.outputs if name not in outputs]:
            memory.outputs[name] = OutputState(version=memory.outputs[name].version)
        memory.save()
        self._changed()
        self._start()

    def stop(self) -> None:
        """Stop applying."""
        if self._task is not None:
            self._task.cancel()

    def state(self) -> dict[str, Any]:
        """The state as it is reported, without its sequence."""
        memory, document = self._memory, self._memory.document
        return {
            "deliveredRevision": memory.delivered,
            "acknowledgedRevision": memory.acknowledged,
            "ready": self._ready(),
            "outputs": [
                row
                for output in (document.outputs if document else ())
                if "value" in (row := self._output_row(output)) or "error" in row
            ],
            "steps": [self._step_row(step) for step in (document.steps if document else ())],
        }

    # -- applying --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._apply())

    async def _apply(self) -> None:
        while (document := self._memory.document) is not None:
            if self._written != document.revision:
                if self._settings.apply_time:
                    await asyncio.sleep(self._settings.apply_time)
                self._written = document.revision
                continue
            self._read_outputs(document)
            step = next((step for step in document.steps if not self._settled(step)), None)
            if step is None:
                self._memory.acknowledged = document.revision
                self._memory.save(ready=self._ready())
                self._changed()
                return
            await self._run(step)

    async def _run(self, step: DocumentStep) -> None:
        digest = self._digest(step)
        if self._settings.step_time:
            self._memory.steps[step.name] = StepResult(digest, "Running")
            self._changed()
            await asyncio.sleep(self._settings.step_time)
        if self._ran is not None:
            self._ran(step.name, self._environment(step.env))
        if step.name in self._settings.fail_steps:
            result = StepResult(digest, "Failed", step.retries + 1, 1, "exit code 1")
        else:
            result = StepResult(digest, "Succeeded", 1, 0)
        self._memory.steps[step.name] = result
        self._memory.save()
        self._changed()

    def _read_outputs(self, document: Document) -> None:
        for output in document.outputs:
            if output.pending or not all(self._succeeded(document, name) for name in output.after):
                continue
            value, error, message = self._value(output, document)
            known = self._memory.outputs.setdefault(output.name, OutputState())
            if value is not None and known.value != value:
                known.value, known.version = value, known.version + 1
            known.error, known.message = error, message

    def _value(self, output: DocumentOutput, document: Document) -> tuple[str | None, str | None, str | None]:
        if output.field is not None:
            fact = getattr(document.server, output.field, None) if output.field in {"address", "id", "name"} else None
            if not fact:
                return None, "Unknown", "the field is not known in the guest"
            return str(fact), None, None
        value = self._settings.outputs.get(output.name, f"{output.name}@{document.server.name}")
        facts = {"SERVER_ADDRESS": self._facts.address, "SERVER_NAME": document.server.name}
        for name, text in {**document.items, **facts}.items():
            value = value.replace(f"${{{name}}}", text)
        if len(value.encode()) > output.max_bytes:
            return None, "TooLarge", f"more than {output.max_bytes} bytes"
        if "\0" in value:
            return None, "NotText", "a NUL byte"
        return value, None, None

    # -- what is so --------------------------------------------------------------------------------------------------

    def _environment(self, names: tuple[str, ...]) -> dict[str, str]:
        items = self._memory.document.items if self._memory.document else {}
        return {name: items[name] for name in names if name in items}

    def _digest(self, step: DocumentStep) -> str:
        return self._memory.digest(step.script, self._environment(step.env))

    def _current(self, step: DocumentStep) -> StepResult | None:
        result = self._memory.steps.get(step.name)
        if result is None or (step.on_change == "Ignore" and result.state == "Succeeded"):
            return result
        return result if result.digest == self._digest(step) else None

    def _settled(self, step: DocumentStep) -> bool:
        if step.pending:
            return True
        result = self._current(step)
        return result is not None and result.state in {"Succeeded", "Failed"}

    def _succeeded(self, document: Document, name: str) -> bool:
        for step in document.steps:
            if step.name == name:
                result = None if step.pending else self._current(step)
                return result is not None and result.state == "Succeeded"
        return False

    def _ready(self) -> bool:
        """Every probe succeeds as soon as all steps have, and nothing that it needs is pending."""
        document = self._memory.document
        if document is None or self._written != document.revision:
            return False
        if document.readiness is not None and document.readiness.pending:
            return False
        return all(self._succeeded(document, step.name) for step in document.steps)

    def _step_row(self, step: DocumentStep) -> dict[str, Any]:
        if step.pending:
            message = ("waits for " + ", ".join(step.pending))[:500]
            return {"name": step.name, "state": "Waiting", "attempts": 0, "message": message}
        result = self._current(step)
        if result is None:
            return {"name": step.name, "state": "Waiting", "attempts": 0}
        row: dict[str, Any] = {"name": step.name, "state": result.state, "attempts": result.attempts}
        if result.exit_code is not None:
            row["exitCode"] = result.exit_code
        if result.message is not None:
            row["message"] = result.message
        return row

    def _output_row(self, output: DocumentOutput) -> dict[str, Any]:
        known = self._memory.outputs.get(output.name)
        if known is None:
            return {"name": output.name}
        parts = {"value": known.value, "version": known.version, "error": known.error, "message": known.message}
        return {"name": output.name, **{name: part for name, part in parts.items() if part is not None}}
