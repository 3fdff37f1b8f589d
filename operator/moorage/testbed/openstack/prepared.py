"""The databases of the bed as they are when everything is set up: made once, copied at every start.

To set up a cloud takes minutes (each service's tables are made by all migrations since its first release); to copy
60 MB takes none. Ports are not in what is copied: `adjust` writes them where a database knows them.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from moorage.testbed.bed import Lacking, Say
from moorage.testbed.daemons import Daemons
from moorage.testbed.openstack import services
from moorage.testbed.openstack.calls import Session
from moorage.testbed.openstack.settings import REGION, Layout

DATABASES = ("keystone", "glance", "placement", "nova", "nova_api", "nova_cell0")
IMAGE = "guest"
FLAVORS = {"small": (1, 512, 1), "medium": (2, 1024, 2), "large": (4, 4096, 4), "huge": (128, 1_000_000, 4)}
"""Name: processors, MiB, GiB. The last is larger than the host."""
ACCESS = {
    "compute": (
        ("GET", "/v2.1/limits"),
        ("GET", "/v2.1/flavors/detail"),
        ("GET", "/v2.1/servers/detail"),
        ("GET", "/v2.1/servers/*"),
        ("POST", "/v2.1/servers"),
        ("DELETE", "/v2.1/servers/*"),
        ("POST", "/v2.1/servers/*/action"),
        ("POST", "/v2.1/servers/*/metadata"),
    ),
    "image": (("GET", "/v2/images"), ("GET", "/v2/images/*")),
    "network": (("GET", "/v2.0/networks"),),
}
"""All that the user's application credential may do: what the backend's page says that it needs."""
QUOTA = {"instances": 12, "cores": 48, "ram": 65_536}


@dataclass(frozen=True)
class Facts:
    """What the databases hold. `user` is a plain member of `project`; `other` is another project of the same user."""

    password: str = field(repr=False)
    user: str
    user_password: str = field(repr=False)
    project: str
    project_id: str
    other: str
    other_id: str
    credential_id: str
    credential_secret: str = field(repr=False)


def prepare(folder: Path, venv: Path, guestroot: Path, say: Say) -> None:
    """Make `folder` (which is not there), with `db`, `keystone` and `facts.json` in it. Raises Lacking."""
    say("setting up OpenStack's databases (about a minute, once)")
    # Its path is short, since a socket is in it.
    state = Path(tempfile.mkdtemp(prefix="moorage-openstack-", dir="/var/tmp"))
    layout = Layout(state, venv, secrets.token_hex(16))
    daemons = Daemons(state / "daemons")
    try:
        layout.write()
        (layout.state / "nova" / "guestroot").symlink_to(guestroot)
        _databases(layout, daemons)
        _identity(layout)
        services.start_queue(layout, daemons)
        services.start_web(layout, daemons, "keystone")
        services.wait_for_port("keystone", layout.ports.keystone, daemons)
        # Before anything of Nova starts: it looks for Placement once, and gives up.
        _catalogue(layout, Session(layout.endpoints, "admin", layout.password, "admin"))
        services.start_web(layout, daemons, "placement", "glance", "neutron", "nova-api")
        services.wait_for_port("rabbitmq", layout.ports.rabbit, daemons)
        services.start_nova(layout, daemons)
        admin = services.wait_for_compute(layout, daemons)
        services.run(layout, "nova", "nova-manage", *_nova(layout), "cell_v2", "discover_hosts")
        facts = _content(layout, admin)
    except BaseException:
        daemons.end()
        _keep_logs(state, folder.parent, say)
        shutil.rmtree(state, ignore_errors=True)
        raise
    daemons.end()
    partial = folder.with_name(folder.name + "~")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    for name in ("db", "keystone"):
        shutil.move(state / name, partial / name)
    (partial / "facts.json").write_text(json.dumps(asdict(facts)))
    shutil.rmtree(state)
    partial.rename(folder)


def read(folder: Path) -> Facts:
    """What is prepared there."""
    return Facts(**json.loads((folder / "facts.json").read_text()))


def adjust(layout: Layout) -> None:
    """Write this bed's ports where the copied databases have those of another one."""
    urls = " ".join(f"WHEN '{kind}' THEN '{url}'" for kind, url in layout.endpoints.items())
    services.sql(
        layout.database_socket,
        f"UPDATE keystone.endpoint e JOIN keystone.service s ON e.service_id = s.id "  # noqa: S608 - words of our own
        f"SET e.url = CASE s.type {urls} ELSE e.url END;\n"
        f"UPDATE nova_api.cell_mappings SET database_connection = '{layout.database('nova_cell0')}' "
        f"WHERE name = 'cell0';\n"
        f"UPDATE nova_api.cell_mappings SET database_connection = '{layout.database('nova')}', "
        f"transport_url = '{layout.rabbit_url}' WHERE name = 'cell1';\n",
    )


def _nova(layout: Layout) -> list[str]:
    return ["--config-dir", str(layout.config("nova"))]


def _databases(layout: Layout, daemons: Daemons) -> None:
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={layout.state / 'db'}", "--user=root"]
    done = subprocess.run(
        [*install, "--auth-root-authentication-method=normal", "--skip-test-db"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Lacking(f"mariadb-install-db failed: {(done.stderr or done.stdout).strip()[-600:]}")
    services.start_database(layout, daemons)
    made = "".join(f"CREATE DATABASE {name} CHARACTER SET utf8mb3;\n" for name in DATABASES)
    user = f"CREATE USER os@'127.0.0.1' IDENTIFIED BY '{layout.password}'; GRANT ALL ON *.* TO os@'127.0.0.1';\n"
    services.sql(layout.database_socket, made + user + "ALTER USER root@localhost IDENTIFIED VIA unix_socket;\n")
    nova, folder = _nova(layout), ["--config-dir", str(layout.config("keystone"))]
    services.run_all(
        layout,
        [
            ("keystone", ["keystone-manage", *folder, "db_sync"]),
            ("glance", ["glance-manage", "--config-dir", layout.config("glance"), "db_sync"]),
            ("placement", ["placement-manage", "--config-dir", layout.config("placement"), "db", "sync"]),
            ("nova", ["nova-manage", *nova, "api_db", "sync"]),
        ],
    )
    cell0 = ["cell_v2", "map_cell0", "--database_connection", layout.database("nova_cell0")]
    services.run(layout, "nova", "nova-manage", *nova, *cell0)
    services.run(layout, "nova", "nova-manage", *nova, "cell_v2", "create_cell", "--name", "cell1")
    services.run(layout, "nova", "nova-manage", *nova, "db", "sync")


def _identity(layout: Layout) -> None:
    folder = ["--config-dir", str(layout.config("keystone"))]
    for name in ("fernet", "credential"):
        (layout.state / "keystone" / name).mkdir(mode=0o700, parents=True)
        user = ["--keystone-user", "root", "--keystone-group", "root"]
        services.run(layout, "keystone", "keystone-manage", *folder, f"{name}_setup", *user)
    urls = [f"--bootstrap-{kind}-url={layout.auth_url}" for kind in ("public", "internal", "admin")]
    login = ["--bootstrap-password", layout.password, "--bootstrap-region-id", REGION]
    services.run(layout, "keystone", "keystone-manage", *folder, "bootstrap", *login, *urls)


def _catalogue(layout: Layout, admin: Session) -> None:
    for kind, url in layout.endpoints.items():
        if kind == "identity":
            continue
        service = admin("POST", "identity", "/services", {"service": {"type": kind, "name": kind}})["service"]["id"]
        for interface in ("public", "internal", "admin"):
            made = {"service_id": service, "interface": interface, "url": url, "region_id": REGION}
            admin("POST", "identity", "/endpoints", {"endpoint": made})


def _content(layout: Layout, admin: Session) -> Facts:
    """Projects, a user with an application credential, quotas, flavors, an image."""
    password = secrets.token_hex(16)
    names = {"project": "moorage", "other": "other"}
    projects = {
        key: admin("POST", "identity", "/projects", {"project": {"name": name, "domain_id": "default"}})["project"][
            "id"
        ]
        for key, name in names.items()
    }
    made = {"name": "moorage", "password": password, "default_project_id": projects["project"], "domain_id": "default"}
    user = admin("POST", "identity", "/users", {"user": made})["user"]["id"]
    (member,) = admin("GET", "identity", "/roles?name=member")["roles"]
    for project in projects.values():
        admin("PUT", "identity", f"/projects/{project}/users/{user}/roles/{member['id']}")
        admin("PUT", "compute", f"/os-quota-sets/{project}", {"quota_set": QUOTA})
    for name, (cpus, memory, disk) in FLAVORS.items():
        flavor = {"name": name, "vcpus": cpus, "ram": memory, "disk": disk}
        admin("POST", "compute", "/flavors", {"flavor": flavor})
    _image(admin)
    session = Session(layout.endpoints, "moorage", password, names["project"])
    rules = [
        {"service": service, "method": method, "path": path}
        for service, all_ in ACCESS.items()
        for method, path in all_
    ]
    credential = session(
        "POST",
        "identity",
        f"/users/{user}/application_credentials",
        {"application_credential": {"name": "moorage", "roles": [{"name": "member"}], "access_rules": rules}},
    )["application_credential"]
    return Facts(
        password=layout.password,
        user="moorage",
        user_password=password,
        project=names["project"],
        project_id=projects["project"],
        other=names["other"],
        other_id=projects["other"],
        credential_id=credential["id"],
        credential_secret=credential["secret"],
    )


def _image(admin: Session) -> None:
    """An image that every project may boot. Nobody reads what is in it."""
    made = {"name": IMAGE, "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    image = admin("POST", "image", "/v2/images", made)
    admin("PUT", "image", f"/v2/images/{image['id']}/file", b"moorage")


def _keep_logs(state: Path, folder: Path, say: Say) -> None:
    kept = folder / "failed-logs"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(state / "daemons", kept)
    say(f"the logs of the failed installation are in {kept}")
