"""What a VirtualMachine and its instance say about a server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from moorage.hosting.contract import Address, AddressType, ServerRecord, ServerState
from moorage.hosting.errors import Unavailable, clean
from moorage.hosting.kubevirt.objects import ANNOTATION_NAME, LABEL_KEY, OWN_LABELS, ROOT

Obj = Mapping[str, Any]

# `status.printableStatus`, as KubeVirt's API defines it. What is not here (Paused, Migrating, ...) says nothing about
# whether the server can be used, or is new: Unknown, with the word itself in the message.
STATES: Final[Mapping[str, ServerState]] = {
    "": ServerState.PENDING,
    "Stopped": ServerState.STOPPED,
    "Provisioning": ServerState.PENDING,
    "Starting": ServerState.PENDING,
    "WaitingForVolumeBinding": ServerState.PENDING,
    "WaitingForReceiver": ServerState.PENDING,
    "Running": ServerState.RUNNING,
    "Migrating": ServerState.RUNNING,
    "Stopping": ServerState.PENDING,
    "Terminating": ServerState.TERMINATING,
    "CrashLoopBackOff": ServerState.FAILED,
    "ErrorUnschedulable": ServerState.PENDING,
    "ErrImagePull": ServerState.FAILED,
    "ImagePullBackOff": ServerState.FAILED,
    "ErrorPvcNotFound": ServerState.FAILED,
    "DataVolumeError": ServerState.FAILED,
}


def provider_id(machine: Obj) -> str:
    """Name and uid: a machine made anew under the same name is another server."""
    meta = machine["metadata"]
    return f"{meta['name']}/{meta['uid']}"


def record(machine: Obj, instance: Obj | None) -> ServerRecord:
    """One server. `instance` is its VirtualMachineInstance, None where there is none.

    Raises Unavailable where they are not what the API promises.
    """
    try:
        return _record(machine, instance)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Unavailable("the cluster's description of a virtual machine makes no sense") from None


def _record(machine: Obj, instance: Obj | None) -> ServerRecord:
    meta, status = machine["metadata"], machine.get("status") or {}
    labels = meta.get("labels") or {}
    word = str(status.get("printableStatus") or "")
    state = STATES.get(word, ServerState.UNKNOWN)
    if meta.get("deletionTimestamp"):
        state = ServerState.TERMINATING
    elif machine["spec"].get("runStrategy") == "Halted" and word == "":
        state = ServerState.STOPPED
    created = datetime.fromisoformat(meta["creationTimestamp"])
    return ServerRecord(
        provider_id=provider_id(machine),
        key=labels.get(LABEL_KEY),
        tags={name: value for name, value in labels.items() if name not in OWN_LABELS},
        state=state,
        addresses=_addresses(instance) if state is ServerState.RUNNING else (),
        created=created,
        message=_message(status, word, state),
        name=(meta.get("annotations") or {}).get(ANNOTATION_NAME) or meta["name"],
        image=_image(machine["spec"]),
        offering=((machine["spec"].get("instancetype") or {}).get("name")),
        zone=_zone(instance),
    )


def _addresses(instance: Obj | None) -> tuple[Address, ...]:
    interfaces = ((instance or {}).get("status") or {}).get("interfaces") or ()
    found = dict.fromkeys(
        ip for i in interfaces for ip in (i.get("ipAddresses") or ([i["ipAddress"]] if i.get("ipAddress") else ()))
    )
    return tuple(Address(AddressType.INTERNAL, str(ip)) for ip in found if not str(ip).startswith("fe80:"))


def _zone(instance: Obj | None) -> str | None:
    node = ((instance or {}).get("status") or {}).get("nodeName")
    return str(node) if node else None


def _image(spec: Obj) -> str | None:
    for volume in ((spec.get("template") or {}).get("spec") or {}).get("volumes") or ():
        if volume.get("name") == ROOT and volume.get("containerDisk"):
            return str(volume["containerDisk"]["image"])
    for template in spec.get("dataVolumeTemplates") or ():
        wanted = template["spec"]
        source = wanted.get("sourceRef") or (wanted.get("source") or {}).get("pvc")
        if source:
            return "/".join(part for part in (source.get("namespace"), source["name"]) if part)
    return None


def _message(status: Obj, word: str, state: ServerState) -> str:
    if state is ServerState.RUNNING:
        return ""
    failure = status.get("startFailure") or {}
    told = [c for c in status.get("conditions") or () if c.get("status") == "False" and c.get("message")]
    words = [word, *(str(c["message"]) for c in told[:2])]
    if failure.get("consecutiveFailCount"):
        words.append(f"{failure['consecutiveFailCount']} starts failed in a row")
    return clean(": ".join(text for text in words if text), 300)
