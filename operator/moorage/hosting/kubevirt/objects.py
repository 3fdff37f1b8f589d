"""The objects of one server: a VirtualMachine and the Secret with its user-data.

Fields as in the API reference of KubeVirt v1 (`kubevirt.io/v1` VirtualMachine, `cdi.kubevirt.io/v1beta1` DataVolume).
"""

from __future__ import annotations

import base64
from typing import Any

from moorage.hosting.contract import CreateRequest
from moorage.hosting.errors import Invalid
from moorage.hosting.kubevirt.settings import KubevirtServerSettings, Size

Obj = dict[str, Any]
GROUP = "kubevirt.io"
LABEL_KEY = "moorage-key"
ANNOTATION_REQUEST = "moorage.dev/request"
ANNOTATION_NAME = "moorage.dev/name"
OWN_LABELS = frozenset({LABEL_KEY})
ROOT, SEED = "root", "seed"


def virtual_machine(request: CreateRequest, settings: KubevirtServerSettings, size: Size | None) -> Obj:
    """The VirtualMachine of a request, named by its key. `size` is None where the offering is the cluster's own
    instance type. Raises Invalid naming the field."""
    domain: Obj = {"devices": _devices(settings)}
    spec: Obj = {"runStrategy": "Always"}
    if size is None:
        spec["instancetype"] = {"kind": "VirtualMachineClusterInstancetype", "name": request.offering}
    else:
        # As many sockets as cores would hide some from guests that count sockets for licences.
        domain["cpu"] = {"cores": size.cpu, "sockets": 1, "threads": 1}
        domain["memory"] = {"guest": str(int(size.memory))}
    if settings.preference is not None:
        spec["preference"] = {"kind": "VirtualMachineClusterPreference", "name": settings.preference}
    root, templates = _root(request, settings)
    if templates:
        spec["dataVolumeTemplates"] = templates
    template: Obj = {
        "domain": domain,
        "hostname": request.name,
        "networks": [_network(settings)],
        "volumes": [root, {"name": SEED, "cloudInitNoCloud": {"secretRef": {"name": request.key}}}],
    }
    if settings.node_selector:
        template["nodeSelector"] = dict(settings.node_selector)
    if size is not None:
        template["architecture"] = size.arch
    # Labels of the template reach pod and instance; with the key alone, nothing there says whose server it is.
    spec["template"] = {"metadata": {"labels": {LABEL_KEY: request.key}}, "spec": template}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "VirtualMachine",
        "metadata": {
            "name": request.key,
            "labels": {**request.tags, LABEL_KEY: request.key},
            "annotations": {ANNOTATION_REQUEST: request.digest(), ANNOTATION_NAME: request.name},
        },
        "spec": spec,
    }


def seed(request: CreateRequest, machine: Obj) -> Obj:
    """The Secret with the user-data, which goes when the machine goes."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": request.key,
            "labels": {LABEL_KEY: request.key},
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/v1",
                    "kind": "VirtualMachine",
                    "name": machine["metadata"]["name"],
                    "uid": machine["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "type": "Opaque",
        "data": {"userdata": base64.b64encode(request.user_data.encode()).decode()},
    }


def _devices(settings: KubevirtServerSettings) -> Obj:
    binding = "masquerade" if settings.network is None else "bridge"
    return {
        "disks": [{"name": name, "disk": {"bus": "virtio"}} for name in (ROOT, SEED)],
        "interfaces": [{"name": "default", binding: {}}],
        "rng": {},
        # The console's log is what `console` reads (KubeVirt 1.1 and newer).
        "logSerialConsole": True,
    }


def _network(settings: KubevirtServerSettings) -> Obj:
    if settings.network is None:
        return {"name": "default", "pod": {}}
    return {"name": "default", "multus": {"networkName": settings.network}}


def _root(request: CreateRequest, settings: KubevirtServerSettings) -> tuple[Obj, list[Obj]]:
    if settings.image_source == "ContainerDisk":
        return {"name": ROOT, "containerDisk": {"image": request.image}}, []
    namespace, _, name = request.image.rpartition("/")
    if not name or "/" in namespace:
        raise Invalid("must be NAME or NAMESPACE/NAME", field="image")
    source = {"name": name, **({"namespace": namespace} if namespace else {})}
    storage: Obj = {}
    if settings.disk_size is not None:
        storage["resources"] = {"requests": {"storage": str(int(settings.disk_size))}}
    if settings.storage_class is not None:
        storage["storageClassName"] = settings.storage_class
    spec: Obj = {"storage": storage}
    if settings.image_source == "DataSource":
        spec["sourceRef"] = {"kind": "DataSource", **source}
    else:
        spec["source"] = {"pvc": source}
    # Of the machine's own name, and owned by it: it goes with the machine.
    template = {"metadata": {"name": request.key, "labels": {LABEL_KEY: request.key}}, "spec": spec}
    return {"name": ROOT, "dataVolume": {"name": request.key}}, [template]
