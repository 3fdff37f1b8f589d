"""Installing, starting and stopping moto and the proxy before it."""

from __future__ import annotations

import importlib.util
import json
import secrets
import socket
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from moorage.testbed import debian
from moorage.testbed.bed import Lacking, Running, Say
from moorage.testbed.daemons import Daemons
from moorage.testbed.ec2 import query
from moorage.testbed.guestroot import guest_root
from moorage.testbed.openstack.inside.guests import end_all

MOTO = "moto[ec2,server]==5.2.5"
HOST = "127.0.0.1"
REGION = "eu-central-1"
PATIENCE = 60.0
OFFERING = "t3.micro"
IMAGE, OWNER = "ami-12c6146b", "801119661308"
"""One of the images that moto knows, and whose it is."""


class Ec2Bed:
    """See `moorage.testbed.ec2`. Satisfies `moorage.testbed.bed.Bed`."""

    name = "ec2"
    summary = "EC2's API: moto behind a proxy with client tokens, lag, capacity, quota, throttling and guests"

    def lacks(self) -> list[str]:
        """Nothing: it is Python alone."""
        return []

    def install(self, cache: Path, say: Say) -> None:
        """moto, where it is not in this environment: into one of its own; and what guests need. Raises Lacking."""
        if not debian.lacks():
            debian.install(["bubblewrap"], say)
            guest_root(cache, say)
        if importlib.util.find_spec("moto") is not None or _python(cache).exists():
            return
        say(f"installing {MOTO} into {cache / 'venv'}")
        partial = cache / "venv~"
        venv.create(partial, with_pip=True, clear=True)
        done = subprocess.run(
            [str(partial / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", MOTO],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Lacking(f"{MOTO} cannot be installed: {done.stderr.strip()[-600:]}")
        partial.rename(cache / "venv")

    def up(self, cache: Path, state: Path, daemons: Daemons, say: Say) -> Running:
        """Start moto and the proxy, and wait until both answer."""
        python = sys.executable if importlib.util.find_spec("moto") is not None else str(_python(cache))
        simulator, port = _free_port(), _free_port()
        argv = [python, "-c", "import sys; from moto.server import main; main(sys.argv[1:])", "-H", HOST]
        environment = {
            "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
            "MOTO_ENABLE_AMI_VALIDATION": "true",
            "PYTHONWARNINGS": "ignore",
        }
        daemons.start("moto", [*argv, "-p", f"{simulator}"], env=environment, cwd=state)
        account, other = _account(), _account()
        config = {
            "host": HOST,
            "port": port,
            "simulator": f"http://{HOST}:{simulator}",
            "region": REGION,
            "guests": str(state / "guests"),
            "root": str(guest_root(cache, say)) if not debian.lacks() else None,
            "token": secrets.token_urlsafe(24),
            "keys": {_id("AKIA"): _key(account), _id("AKIA"): _key(other)},
        }
        file = state / "proxy.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(config))
        daemons.start("proxy", [sys.executable, "-m", "moorage.testbed.ec2", file], cwd=state)
        _wait(f"http://{HOST}:{simulator}/moto-api/", daemons, "moto")
        _wait(f"http://{HOST}:{port}/_bed/calls", daemons, "proxy")
        return _running(config, _subnets(simulator, account))

    def down(self, state: Path, daemons: Daemons, say: Say) -> None:
        """End the guests too, once nobody can start another."""
        daemons.stop("proxy")
        end_all(state / "guests")


BED = Ec2Bed()


def _running(config: dict[str, Any], subnets: dict[str, str]) -> Running:
    url = f"http://{HOST}:{config['port']}"
    (first, key), (second, other) = config["keys"].items()
    zones = dict(sorted(subnets.items())[:2])
    return Running(
        type="ec2",
        endpoint=url,
        guests=HOST,
        region=config["region"],
        credentials={"accessKeyID": first, "secretAccessKey": key["secret"]},
        settings={"stsEndpoint": url, "subnets": zones, "instanceTypes": [OFFERING, "t3.small"], "listingLag": "1s"},
        image=IMAGE,
        offering=OFFERING,
        extra={
            "token": config["token"],
            "account": key["account"],
            "imageOwner": OWNER,
            "other": {"accessKeyID": second, "secretAccessKey": other["secret"]},
        },
    )


def _python(cache: Path) -> Path:
    return cache / "venv" / "bin" / "python"


def _account() -> str:
    return f"{secrets.randbelow(9 * 10**11) + 10**11}"


def _id(kind: str) -> str:
    return kind + "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16))


def _key(account: str) -> dict[str, Any]:
    return {"secret": secrets.token_urlsafe(30), "account": account}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def _wait(url: str, daemons: Daemons, name: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urlopen(url, timeout=5):  # noqa: S310 - an address on the loopback
                return
        except HTTPError as error:
            error.close()
            return  # it answers, if only that it wants a token
        except OSError:
            pass
        if daemons.pid(name) is None or time.monotonic() > end:
            raise Lacking(f"{name} does not start:\n{daemons.tail(name)}")
        time.sleep(0.05)


def _subnets(simulator: int, account: str) -> dict[str, str]:
    """The default subnets that moto made, by availability zone."""
    scope = f"BED/20260101/{REGION}/ec2/aws4_request"
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        "x-moto-account-id": account,
    }
    body = b"Action=DescribeSubnets&Version=2016-11-15"
    asked = Request(f"http://{HOST}:{simulator}/", data=body, headers=headers, method="POST")
    with urlopen(asked, timeout=PATIENCE) as answer:  # noqa: S310
        tree = query.Reply(200, answer.read()).tree()
    return {
        query.text(item, "availabilityZone"): query.text(item, "subnetId") for item in tree.findall("subnetSet/item")
    }
