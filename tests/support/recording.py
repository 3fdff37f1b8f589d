"""The `moorage` command, with every call it makes to the API server written to a file: one JSON object a line.

`python -m tests.support.recording FILE (run|configd) OPTIONS`. What is recorded is what an authorizer is asked: verb,
group, resource with its subresource, namespace, name. Kopf's own watches are not seen; the outcome 403 is.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.cli.main import main
from moorage.kube.calls import READS, Call
from moorage.kube.client import Client
from moorage.kube.errors import ApiError
from moorage.kube.kinds import DISCOVERY

VERBS = {"apply": "patch"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to an authorizer."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str


class Recorder:
    """A client observer that appends to a file."""

    def __init__(self, file: Path) -> None:
        self._out = file.open("a")

    def before(self, call: Call) -> None:
        """As the authorizer would be asked. What is read as somebody else asks that one's rights."""
        if call.kind == DISCOVERY:
            return
        if call.account is not None:
            namespace, name = call.account
            self._say(verb="impersonate", group="", resource="serviceaccounts", namespace=namespace, name=name)
            return
        resource = "/".join(part for part in (call.kind.plural, call.subresource) if part)
        self._say(
            verb=VERBS.get(call.verb, call.verb),
            group=call.kind.group,
            resource=resource,
            namespace=call.namespace or "",
            name=call.name,
        )

    def after(self, call: Call, outcome: int | BaseException, seconds: float) -> None:
        """Only refusals are of interest."""
        status = outcome.status if isinstance(outcome, ApiError) else outcome
        if status == 403:
            self._say(refused=str(call), why=str(outcome))

    def _say(self, **what: Any) -> None:
        self._out.write(json.dumps(what) + "\n")
        self._out.flush()


def recorded(file: Path) -> tuple[set[Asked], list[str]]:
    """What was asked, and what was refused. A line that is being written is left out."""
    lines = [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return (
        {Asked(**line) for line in lines if "refused" not in line},
        [f"{line['refused']}: {line['why']}" for line in lines if "refused" in line],
    )


def recorded_writes(file: Path) -> list[str]:
    """Everything that was sent to change something, in order, as `verb resource namespace/name`."""
    lines = [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [
        f"{line['verb']} {line['resource']} {line['namespace']}/{line['name']}"
        for line in lines
        if "refused" not in line and line["verb"] not in READS
    ]


def _observe(file: Path) -> None:
    recorder, connect = Recorder(file), Client.connect

    async def observed(*args: Any, **kwargs: Any) -> Client:
        client = await connect(*args, **kwargs)
        client.observers.append(recorder)
        return client

    Client.connect = observed  # type: ignore[method-assign]


if __name__ == "__main__":
    _observe(Path(sys.argv[1]))
    sys.argv = ["moorage", *sys.argv[2:]]
    main()
