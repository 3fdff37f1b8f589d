"""A cloud that answers what a test tells it to, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from moorage.hosting.errors import HostingError
from moorage.hosting.openstack.answers import refusal
from moorage.hosting.openstack.backend import OpenStackBackend
from moorage.hosting.openstack.settings import OpenStackSettings

Obj = dict[str, Any]
Answer = Obj | HostingError | Callable[[Mapping[str, str]], Obj]
ID = "11111111-2222-4333-8444-555555555555"
IMAGE = "aaaaaaaa-2222-4333-8444-555555555555"


class FakeCloud:
    """Answers by method and path; several answers are given one after the other, and the last one from then on."""

    def __init__(self, **answers: Answer | list[Answer]) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, Mapping[str, str], Any]] = []
        self.slow: list[str] = []
        for name, answer in answers.items():
            self.on(name, answer)
        self.on("GET /flavors/detail", {"flavors": [{"id": "1", "name": "small", "vcpus": 1, "ram": 512}]})
        self.on("GET /v2/images", lambda query: {"images": [] if query["os_hidden"] == "true" else [image(query)]})
        self.on("POST /servers", {"server": {"id": ID}})

    def on(self, what: str, answer: Answer | list[Answer]) -> None:
        """Answer so from now on."""
        self.answers[what] = list(answer) if isinstance(answer, list) else [answer]

    async def call(
        self,
        service: str,
        method: str,
        path: str,
        what: str,
        deadline: float,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        slow: bool = False,
    ) -> Obj:
        self.slow += [what] if slow else []
        self.asked.append((f"{method} {path}", dict(query or {}), body))
        answers = self.answers[f"{method} {path}"]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, HostingError):
            raise answer
        return answer(query or {}) if callable(answer) else answer

    async def account(self, deadline: float) -> str:
        return "project/region/nova"

    def close(self) -> None:
        return

    def bodies(self, what: str) -> list[Any]:
        """What was sent with each call of that kind."""
        return [body for name, _, body in self.asked if name == what]


def backend(cloud: FakeCloud, **settings: Any) -> OpenStackBackend:
    """A backend on it."""
    found: Any = cloud
    return OpenStackBackend(found, OpenStackSettings.model_validate(settings))


def image(query: Mapping[str, str]) -> Obj:
    """The one image there is, whatever is asked for."""
    return {"id": IMAGE, "name": query.get("name", "debian"), "status": "active"}


def server(provider_id: str = ID, **changes: Any) -> Obj:
    """A server, as Nova tells it."""
    return {
        "id": provider_id,
        "name": "web",
        "status": "ACTIVE",
        "metadata": {"moorage-key": "m-1", "moorage-server": "uid"},
        "flavor": {"original_name": "small", "vcpus": 1},
        "created": "2026-01-02T03:04:05Z",
        "addresses": {},
        "image": {"id": IMAGE},
        "hostId": "host",
        "OS-EXT-STS:task_state": None,
        **changes,
    }


def refused(status: int, key: str, message: str = "no") -> HostingError:
    """A refusal of Nova's."""
    return refusal("call", status, {key: {"code": status, "message": message}}, None)
