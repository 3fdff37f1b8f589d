"""Objects of our kinds on the API server by plain requests, with the refusals as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from kubernetes import client, config

from moorage.api.kinds import KINDS
from moorage.api.names import GROUP, VERSION

TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


class Answer(NamedTuple):
    """What the API server said."""

    status: int
    body: Any

    def done(self) -> Any:
        """The body of an answer that is no refusal."""
        assert self.status < 300, self.body
        return self.body

    def refused(self) -> list[tuple[str, str]]:
        """The fields and messages of a refusal."""
        assert self.status == 422, self
        return [(cause.get("field", ""), cause["message"]) for cause in self.body["details"]["causes"]]


@dataclass(frozen=True)
class Server:
    """One API server, as the administrator, in the namespace `default`."""

    api: Any

    @classmethod
    @contextmanager
    def at(cls, kubeconfig: Path) -> Iterator[Server]:
        connect: Any = config.new_client_from_config
        api: client.ApiClient = connect(f"{kubeconfig}")
        with api:
            yield cls(api)

    def request(self, verb: str, path: str, body: Any = None, accept: str = "application/json") -> Answer:
        """One request."""
        configuration = self.api.configuration
        headers = {"Accept": accept, "Content-Type": "application/json"}
        headers |= {auth["key"]: auth["value"] for auth in configuration.auth_settings().values() if auth["value"]}
        response = self.api.rest_client.request(verb, f"{configuration.host}{path}", headers=headers, body=body)
        return Answer(response.status, json.loads(response.read()))

    def create(self, obj: Mapping[str, Any], dry_run: bool = False) -> Answer:
        """POST it; unknown fields are refused."""
        return self.request("POST", f"{path_of(obj['kind'])}?{_query(dry_run)}", obj)

    def replace(self, obj: Mapping[str, Any], dry_run: bool = False, part: str = "") -> Answer:
        """PUT it, or its subresource `part`."""
        path = f"{path_of(obj['kind'])}/{obj['metadata']['name']}{part and f'/{part}'}"
        return self.request("PUT", f"{path}?{_query(dry_run)}", obj)

    def delete(self, obj: Mapping[str, Any]) -> Answer:
        """DELETE it."""
        return self.request("DELETE", f"{path_of(obj['kind'])}/{obj['metadata']['name']}")


def path_of(kind: str) -> str:
    """The path of all objects of a kind."""
    info = next(i for i in KINDS if i.kind == kind)
    place = "namespaces/default/" if info.namespaced else ""
    return f"/apis/{GROUP}/{VERSION}/{place}{info.plural}"


def _query(dry_run: bool) -> str:
    return urlencode({"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})})
