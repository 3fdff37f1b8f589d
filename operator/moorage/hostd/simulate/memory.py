"""What a simulated server keeps on its disk: the agent's key and state, over stops and reboots."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from moorage.api.channel import Document

FILE = "simulated.json"


@dataclass(slots=True)
class StepResult:
    """How a step ended for the inputs that `digest` stands for."""

    digest: str
    state: str
    attempts: int = 1
    exit_code: int | None = None
    message: str | None = None


@dataclass(slots=True)
class OutputState:
    """The last value of an output, and what went wrong since."""

    version: int = 0
    value: str | None = None
    error: str | None = None
    message: str | None = None


@dataclass(slots=True)
class Memory:
    """The state of one simulated agent. With a `directory` it is kept in a file there, else only in memory."""

    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    sequence: int = 0
    delivered: int = 0
    acknowledged: int = 0
    joined: bool = False
    bundle: str = ""
    steps: dict[str, StepResult] = field(default_factory=dict)
    outputs: dict[str, OutputState] = field(default_factory=dict, repr=False)
    document: Document | None = field(default=None, repr=False)
    directory: Path | None = None

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The memory kept in a directory; a new one, already on the disk, where there is none. Raises OSError."""
        try:
            kept: dict[str, Any] = json.loads((directory / FILE).read_bytes())
        except FileNotFoundError:
            memory = cls(directory=directory)
            memory.save()
            return memory
        document = kept.pop("document")
        steps = {name: StepResult(**result) for name, result in kept.pop("steps").items()}
        outputs = {name: OutputState(**state) for name, state in kept.pop("outputs").items()}
        return cls(
            **kept,
            steps=steps,
            outputs=outputs,
            document=Document.model_validate(document) if document else None,
            directory=directory,
        )

    def save(self, *, ready: bool = False) -> None:
        """Keep it, where there is a disk, and tell programs in the guest what is pending. Raises OSError."""
        if self.directory is None:
            return
        if self.document is not None:
            pending = [waiting.to_dict() for waiting in self.document.pending]
            status = {"revision": self.document.revision, "pending": pending, "ready": ready}
            (self.directory / "status.json").write_text(json.dumps(status))
        kept = asdict(self) | {"document": self.document.to_dict() if self.document else None}
        del kept["directory"]
        temporary = self.directory / f".{FILE}"
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(kept))
        temporary.replace(self.directory / FILE)

    def key_hash(self) -> str:
        """Hex SHA-256 of the key, as a join tells it."""
        return hashlib.sha256(self.key.encode()).hexdigest()

    def digest(self, *parts: Any) -> str:
        """A digest that tells nothing to who has not the key."""
        return hmac.new(self.key.encode(), json.dumps(parts, sort_keys=True).encode(), hashlib.sha256).hexdigest()
