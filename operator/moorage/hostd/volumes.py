"""Volumes: directories with a life of their own, each attached to at most one server."""

from __future__ import annotations

import json
import secrets
import shutil
import threading
from pathlib import Path

from pydantic import ValidationError

from moorage.api.hostd import CreateVolume, Volume
from moorage.hostd.config import ConfigError
from moorage.hostd.driver import Driver
from moorage.hostd.refusals import Refusal, invalid, key_conflict
from moorage.hostd.store import write_atomic

RECORD = "volume.json"


class Volumes:
    """All volumes of one hostd. Methods wait for a disk where they are `durable`, and may be called from any thread.

    An attached volume is in the server's directory as `root/volumes/<key>`, a link to what outlives the server.
    """

    def __init__(self, home: Path, driver: Driver, *, durable: bool) -> None:
        self._root = home / "volumes"
        self._driver = driver
        self._durable = durable
        self._lock = threading.Lock()
        self._volumes: dict[str, Volume] = {}

    def load(self) -> None:
        """Find those of an earlier life. Raises ConfigError for a damaged record."""
        if not self._durable or not self._root.is_dir():
            return
        for directory in sorted(self._root.iterdir()):
            try:
                volume = Volume.model_validate_json((directory / RECORD).read_bytes())
            except FileNotFoundError:
                shutil.rmtree(directory)  # a creation that got no further
                continue
            except ValidationError:
                raise ConfigError(f"{directory / RECORD} is damaged") from None
            self._volumes[volume.id] = volume

    def listing(self) -> list[Volume]:
        """All of them, by id."""
        return sorted(self._volumes.values(), key=lambda volume: volume.id)

    def create(self, request: CreateVolume) -> Volume:
        """The volume of the request. Raises Refusal where the key means another."""
        with self._lock:
            for volume in self._volumes.values():
                if volume.key == request.key:
                    if (volume.size_gib, volume.tags) != (request.size_gib, request.tags):
                        raise key_conflict("the key was used with another request")
                    return volume
            made = Volume(id=f"v-{secrets.token_hex(8)}", key=request.key, size_gib=request.size_gib, tags=request.tags)
            if self._durable:
                (self._root / made.id / "data").mkdir(mode=0o700, parents=True)
            self._keep(made)
            return made

    def attach(self, volume_id: str, server_id: str) -> Volume:
        """Raises Refusal where it hangs on another server."""
        with self._lock:
            volume = self._get(volume_id)
            if volume.server not in {None, server_id}:
                raise invalid(f"the volume is attached to {volume.server}", "volume")
            self._driver.link(server_id, str(volume.key), self._root / volume.id / "data")
            return self._keep(volume.model_copy(update={"server": server_id}))

    def detach(self, volume_id: str) -> Volume:
        """Raises Refusal where there is no such volume."""
        with self._lock:
            volume = self._get(volume_id)
            if volume.server is None:
                return volume
            self._driver.link(volume.server, str(volume.key), None)
            return self._keep(volume.model_copy(update={"server": None}))

    def delete(self, volume_id: str) -> None:
        """Raises Refusal while it is attached, and where there is no such volume."""
        with self._lock:
            volume = self._get(volume_id)
            if volume.server is not None:
                raise invalid(f"the volume is attached to {volume.server}", "volume")
            if self._durable:
                (self._root / volume.id / RECORD).unlink()
                shutil.rmtree(self._root / volume.id)
            del self._volumes[volume.id]

    def release(self, server_id: str) -> None:
        """The server is gone: what was attached to it is attached to nothing."""
        with self._lock:
            for volume in [v for v in self._volumes.values() if v.server == server_id]:
                self._keep(volume.model_copy(update={"server": None}))

    def _get(self, volume_id: str) -> Volume:
        volume = self._volumes.get(volume_id)
        if volume is None:
            raise Refusal(404, "NotFound", f"no volume {volume_id[:128]!r}")
        return volume

    def _keep(self, volume: Volume) -> Volume:
        if self._durable:
            write_atomic(self._root / volume.id / RECORD, json.dumps(volume.to_json()).encode())
        self._volumes[volume.id] = volume
        return volume
