"""Where things are in a running bed, and the configuration files of its services."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moorage.controlplane.components import free_port
from moorage.testbed.bed import Running

REGION = "RegionOne"
HOST = "moorage"
"""The name of the only compute host."""
NODE = "6d6f6f72-6167-4065-8000-6e6f76610001"
"""Its id, which Nova would otherwise make anew: it has to be the one in the prepared databases."""
SERVICES = ("keystone", "placement", "glance", "neutron", "nova-api")
INSIDE = Path(__file__).parent / "inside"


@dataclass(frozen=True)
class Ports:
    """All on 127.0.0.1."""

    database: int
    epmd: int
    rabbit: int
    rabbit_distribution: int
    keystone: int
    placement: int
    glance: int
    neutron: int
    nova: int

    @classmethod
    def choose(cls) -> Ports:
        """Free ones."""
        chooser = random.Random()  # noqa: S311 - no secret
        found: set[int] = set()
        while len(found) < len(cls.__dataclass_fields__):
            found.add(free_port(chooser))
        return cls(*found)


@dataclass(frozen=True)
class Layout:
    """One bed: its folder, its programs, its ports, its password (of the administrator, and of the database)."""

    state: Path
    venv: Path
    password: str = field(repr=False)
    ports: Ports = field(default_factory=Ports.choose)

    @property
    def auth_url(self) -> str:
        """Keystone."""
        return f"http://127.0.0.1:{self.ports.keystone}/v3"

    @property
    def endpoints(self) -> dict[str, str]:
        """The catalogue: service types and URLs."""
        local = "http://127.0.0.1"
        return {
            "identity": self.auth_url,
            "placement": f"{local}:{self.ports.placement}",
            "image": f"{local}:{self.ports.glance}",
            "compute": f"{local}:{self.ports.nova}/v2.1",
        }

    @property
    def database_socket(self) -> Path:
        """Where MariaDB listens for its administrator."""
        return self.state / "db.sock"

    @property
    def rabbit_url(self) -> str:
        """The transport of Nova's calls."""
        return f"rabbit://guest:guest@127.0.0.1:{self.ports.rabbit}/"

    def database(self, name: str) -> str:
        """The URL of a database."""
        return f"mysql+pymysql://os:{self.password}@127.0.0.1:{self.ports.database}/{name}"

    def config(self, service: str) -> Path:
        """The configuration folder of a service."""
        return self.state / "conf" / service

    def environment(self, service: str) -> dict[str, str]:
        """Environment of a service's programs."""
        folder = str(self.config(service))
        return {
            "PATH": f"{self.venv / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(INSIDE),
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONUNBUFFERED": "1",
            "OS_KEYSTONE_CONFIG_DIR": folder,
            "OS_PLACEMENT_CONFIG_DIR": folder,
            "OS_GLANCE_CONFIG_DIR": folder,
            "OS_NOVA_CONFIG_DIR": folder,
            # Threads of numeric libraries that some dependency brings: none is needed.
            "OPENBLAS_NUM_THREADS": "1",
            "HOME": str(self.state),
            "NO_PROXY": "*",
            "no_proxy": "*",
        }

    def write(self) -> None:
        """Write all configuration files."""
        files = {
            "keystone/keystone.conf": self._keystone(),
            "placement/placement.conf": self._placement(),
            "glance/glance-api.conf": self._glance(),
            "nova/nova.conf": self._nova(),
            "rabbit/rabbitmq.conf": {"": {"loopback_users.guest": "true", "disk_free_limit.absolute": "10MB"}},
        }
        for name, sections in files.items():
            path = self.state / "conf" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_ini(sections))
        shutil.copy(self.venv / "etc/nova/api-paste.ini", self.config("nova"))
        (self.config("rabbit") / "plugins").write_text("[].")
        for name in ("nova", "images", "guests", "rabbit"):
            (self.state / name).mkdir(exist_ok=True)
        (self.state / "nova" / "compute_id").write_text(NODE)

    def as_data(self) -> dict[str, Any]:
        """It as JSON-able data, the password left out."""
        return {"state": str(self.state), "venv": str(self.venv), "ports": asdict(self.ports)}

    @classmethod
    def of(cls, running: Running) -> Layout:
        """That of a bed which runs."""
        data = running.extra["layout"]
        password = running.extra["facts"]["password"]
        return cls(Path(data["state"]), Path(data["venv"]), password, Ports(**data["ports"]))

    def _login(self, **more: str) -> dict[str, str]:
        return {
            "auth_url": self.auth_url,
            "auth_type": "password",
            "username": "admin",
            "password": self.password,
            "project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "region_name": REGION,
            **more,
        }

    def _checked(self, kind: str) -> dict[str, str]:
        # Tokens are not kept: a test that revokes one sees it at once. By its kind a service knows its access rules.
        return self._login(www_authenticate_uri=self.auth_url, service_type=kind, token_cache_time="-1")  # noqa: S106

    def _keystone(self) -> dict[str, dict[str, str]]:
        keys = self.state / "keystone"
        return {
            "DEFAULT": {"use_stderr": "true"},
            "database": {"connection": self.database("keystone")},
            "token": {"provider": "fernet"},
            # Every call of every service asks it whether a token is good. It is one process, so that what it keeps is
            # never behind; and passwords that are in a file beside it need no slow hashes.
            "cache": {"enabled": "true", "backend": "dogpile.cache.memory"},
            "identity": {"password_hash_rounds": "4"},
            "fernet_tokens": {"key_repository": str(keys / "fernet")},
            "credential": {"key_repository": str(keys / "credential")},
        }

    def _placement(self) -> dict[str, dict[str, str]]:
        return {
            "DEFAULT": {"use_stderr": "true"},
            "api": {"auth_strategy": "keystone"},
            "keystone_authtoken": self._checked("placement"),
            "placement_database": {"connection": self.database("placement")},
        }

    def _glance(self) -> dict[str, dict[str, str]]:
        paste = self.venv / "etc/glance/glance-api-paste.ini"
        return {
            "DEFAULT": {"use_stderr": "true", "enabled_backends": "files:file"},
            "database": {"connection": self.database("glance")},
            "glance_store": {"default_backend": "files"},
            "files": {"filesystem_store_datadir": str(self.state / "images")},
            "keystone_authtoken": self._checked("image"),
            "paste_deploy": {"flavor": "keystone", "config_file": str(paste)},
        }

    def _nova(self) -> dict[str, dict[str, str]]:
        nova = self.state / "nova"
        return {
            "DEFAULT": {
                "use_stderr": "true",
                "host": HOST,
                "my_ip": "127.0.0.1",
                "transport_url": self.rabbit_url,
                "state_path": str(nova),
                "instances_path": str(self.state / "guests"),
                "compute_driver": "processes.ProcessDriver",
                "allow_resize_to_same_host": "true",
                # A bed is up as soon as its compute host has reported, and down seconds after it no longer does.
                "report_interval": "3",
                "service_down_time": "20",
                "periodic_fuzzy_delay": "0",
                "sync_power_state_interval": "5",
                "heal_instance_info_cache_interval": "-1",
                "vif_plugging_is_fatal": "false",
                "vif_plugging_timeout": "0",
            },
            "api": {"auth_strategy": "keystone"},
            "api_database": {"connection": self.database("nova_api")},
            "database": {"connection": self.database("nova")},
            "wsgi": {"api_paste_config": str(self.config("nova") / "api-paste.ini")},
            "keystone_authtoken": self._checked("compute"),
            # A server counts from its creation, not only once a host was found for it.
            "quota": {"count_usage_from_placement": "true"},
            "placement": self._login(),
            "glance": {"endpoint_override": self.endpoints["image"]},
            "neutron": self._login(endpoint_override=f"http://127.0.0.1:{self.ports.neutron}"),
            "service_user": {"send_service_user_token": "false"},
            "oslo_concurrency": {"lock_path": str(nova / "lock")},
            "vnc": {"enabled": "false"},
        }


def _ini(sections: Mapping[str, Mapping[str, str]]) -> str:
    lines: list[str] = []
    for section, values in sections.items():
        lines += [f"[{section}]"] if section else []
        lines += [f"{name} = {value}" for name, value in values.items()]
    return os.linesep.join([*lines, ""])
