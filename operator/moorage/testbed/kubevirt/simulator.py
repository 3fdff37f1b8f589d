"""What KubeVirt's own controllers do to VirtualMachines, as far as their API shows it; no guest runs.

`python -m moorage.testbed.kubevirt.simulator FOLDER`: a control plane of its own with the API's definitions, which ends
with this process; writes `address.json` into the folder once it answers. States as in `status.printableStatus` of the
API reference of kubevirt.io/v1: a machine starts unless it is Halted, gets a VirtualMachineInstance with an address,
fails where its image is `broken`, waits where the node pool (annotation of the namespace) is full, and does nothing
before the Secret with its user-data is there.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, watch  # type: ignore[attr-defined,unused-ignore]
from kubernetes.client.exceptions import ApiException
from kubernetes.config import new_client_from_config

from moorage.controlplane import ControlPlane, acquire

NAMESPACE = "machines"
GROUP = ("kubevirt.io", "v1", NAMESPACE)
HERE = Path(__file__).parent
POOL = "moorage.dev/simulated-nodes"
_NETWORK = ipaddress.ip_network("10.244.0.0/16")
_SIZES = {"u1.small": (1, "2Gi"), "u1.medium": (1, "4Gi"), "u1.large": (2, "8Gi")}
Obj = dict[str, Any]


def main(folder: Path) -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with acquire() as plane:
        _install(plane)
        address = _address(plane)
        partial = folder / "address.json~"
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(address))
        partial.rename(folder / "address.json")
        ledger = threading.Thread(target=keep_ledger, args=(_client(plane), folder / "ledger.jsonl"), daemon=True)
        ledger.start()
        Machines(_client(plane)).run()


def keep_ledger(api: Any, file: Path) -> None:
    """Write down every machine that ever appears: `{name, uid, key}`, a line each.

    It misses none, since each watch goes on where the one before ended.
    """
    objects: Any = client.CustomObjectsApi(api)
    version = "0"
    seen: set[str] = set()
    while True:
        stream: Any = watch.Watch().stream  # type: ignore[no-untyped-call]
        with file.open("a") as out:
            for change in stream(
                objects.list_namespaced_custom_object,
                *GROUP,
                "virtualmachines",
                resource_version=version,
                timeout_seconds=60,
            ):
                meta = change["object"]["metadata"]
                version = meta["resourceVersion"]
                if meta["uid"] in seen:
                    continue
                seen.add(meta["uid"])
                key = (meta.get("labels") or {}).get("moorage-key")
                out.write(json.dumps({"name": meta["name"], "uid": meta["uid"], "key": key}) + "\n")
                out.flush()


def _install(plane: ControlPlane) -> None:
    plane.apply(HERE / "definitions.yaml")
    plane.run_kubectl("create", "namespace", NAMESPACE)
    plane.run_kubectl("create", "serviceaccount", "moorage", f"--namespace={NAMESPACE}")
    plane.apply(HERE / "role.yaml")
    objects = [
        {
            "apiVersion": "instancetype.kubevirt.io/v1beta1",
            "kind": "VirtualMachineClusterInstancetype",
            "metadata": {"name": name},
            "spec": {"cpu": {"guest": cpu}, "memory": {"guest": memory}},
        }
        for name, (cpu, memory) in _SIZES.items()
    ]
    objects.append(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "moorage-token",
                "namespace": NAMESPACE,
                "annotations": {"kubernetes.io/service-account.name": "moorage"},
            },
            "type": "kubernetes.io/service-account-token",
        }
    )
    plane.run_kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))


def _client(plane: ControlPlane) -> Any:
    return new_client_from_config(str(plane.kubeconfig))  # type: ignore[no-untyped-call]


def _address(plane: ControlPlane) -> Obj:
    core: Any = client.CoreV1Api(_client(plane))
    for _ in range(300):
        data = core.read_namespaced_secret("moorage-token", NAMESPACE).data or {}
        if "token" in data:
            # The controller manager here was not told the roots, so the token's Secret lacks them.
            config = yaml.safe_load(plane.kubeconfig.read_text())
            ca = Path(config["clusters"][0]["cluster"]["certificate-authority"])
            roots = base64.b64encode(ca.read_bytes()).decode()
            secret = {"token": data["token"], "ca.crt": roots}
            return {
                "server": plane.server,
                "kubeconfig": str(plane.kubeconfig),
                "kubectl": str(plane.kubectl),
                "secret": secret,
            }
        time.sleep(0.1)
    raise SystemExit("the ServiceAccount got no token")


class Machines:
    """Follows all machines; what it knows is in the objects."""

    def __init__(self, api: Any) -> None:
        self._objects: Any = client.CustomObjectsApi(api)
        self._core: Any = client.CoreV1Api(api)

    def run(self) -> None:
        """For ever: a list, then changes, then a list again. What waits is looked at again twice a second."""
        while True:
            listing = self._objects.list_namespaced_custom_object(*GROUP, "virtualmachines")
            waiting = [machine for machine in listing["items"] if not self._settle(machine)]
            counted = self._count(len(listing["items"]))
            stream: Any = watch.Watch().stream  # type: ignore[no-untyped-call]
            changes = stream(
                self._objects.list_namespaced_custom_object,
                *GROUP,
                "virtualmachines",
                resource_version=listing["metadata"]["resourceVersion"],
                timeout_seconds=1 if waiting or counted else 5,
            )
            with contextlib.suppress(ApiException):
                for change in changes:
                    gone = change["type"] == "DELETED"
                    if counted if gone else not self._settle(change["object"]):
                        break

    def _count(self, used: int) -> bool:
        """Play the quota's controller, which the control plane here runs without; whether there is a quota."""
        quotas = self._core.list_namespaced_resource_quota(NAMESPACE).items
        for quota in quotas:
            hard = dict(quota.spec.hard)
            status = {"hard": hard, "used": {name: str(used) for name in hard}}
            if (quota.status.hard or {}, quota.status.used or {}) != (hard, status["used"]):
                with contextlib.suppress(ApiException):
                    self._core.patch_namespaced_resource_quota_status(
                        quota.metadata.name, NAMESPACE, {"status": status}
                    )
        return bool(quotas)

    def _settle(self, machine: Obj) -> bool:
        """Bring one machine where it is to be; false where it waits for something."""
        meta = machine["metadata"]
        if meta.get("deletionTimestamp"):
            return True
        if machine["spec"].get("runStrategy") == "Halted":
            self._end_instance(meta["name"])
            return self._tell(machine, "Stopped", ready=False)
        if not self._has_seed(machine):
            self._tell(machine, "Starting", ready=False, message="the Secret with its user-data is not there")
            return False
        if machine["spec"]["template"]["spec"]["volumes"][0].get("containerDisk", {}).get("image") == "broken":
            return self._tell(machine, "ErrImagePull", ready=False, message="no such image")
        if not self._fits(meta["name"]):
            self._tell(machine, "ErrorUnschedulable", ready=False, message="0/1 nodes are available")
            return False
        self._begin_instance(machine)
        return self._tell(machine, "Running", ready=True)

    def _has_seed(self, machine: Obj) -> bool:
        try:
            self._core.read_namespaced_secret(machine["metadata"]["name"], NAMESPACE)
        except ApiException as error:
            if error.status == 404:
                # A machine that somebody else made may have none.
                volumes = machine["spec"]["template"]["spec"].get("volumes") or ()
                return not any("cloudInitNoCloud" in volume for volume in volumes)
            raise
        return True

    def _fits(self, name: str) -> bool:
        pool = (self._core.read_namespace(NAMESPACE).metadata.annotations or {}).get(POOL)
        if pool is None:
            return True
        running = self._objects.list_namespaced_custom_object(*GROUP, "virtualmachineinstances")["items"]
        others = [i for i in running if i["metadata"]["name"] != name]
        return len(others) < int(pool)

    def _begin_instance(self, machine: Obj) -> None:
        meta = machine["metadata"]
        number = 2 + int(meta["uid"].replace("-", "")[:8], 16) % (_NETWORK.num_addresses - 4)
        owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": meta["name"], "uid": meta["uid"]}
        instance = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {
                "name": meta["name"],
                "labels": (machine["spec"]["template"].get("metadata") or {}).get("labels") or {},
                "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            },
            "status": {
                "phase": "Running",
                "nodeName": "node-1",
                "interfaces": [{"name": "default", "ipAddress": str(_NETWORK[number])}],
            },
        }
        try:
            self._objects.create_namespaced_custom_object(*GROUP, "virtualmachineinstances", instance)
        except ApiException as error:
            if error.status != 409:
                raise

    def _end_instance(self, name: str) -> None:
        try:
            self._objects.delete_namespaced_custom_object(*GROUP, "virtualmachineinstances", name)
        except ApiException as error:
            if error.status != 404:
                raise

    def _tell(self, machine: Obj, word: str, *, ready: bool, message: str = "") -> bool:
        """Write the status where it differs."""
        told: Obj = {"type": "Ready", "status": str(ready), "message": message}
        status = {"created": True, "ready": ready, "printableStatus": word, "conditions": [told]}
        if machine.get("status") != status:
            try:
                self._objects.patch_namespaced_custom_object_status(
                    *GROUP, "virtualmachines", machine["metadata"]["name"], {"status": status}
                )
            except ApiException as error:
                if error.status != 404:
                    raise
        return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
