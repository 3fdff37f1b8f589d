"""A Nova virt driver whose servers are real process trees on this machine (`compute_driver = processes.ProcessDriver`).

It asks neither Glance for the image's content nor Neutron for a network: whatever the image, the guest is one and the
same. What is asked of it beyond life, power, size and console raises NotImplementedError, as Nova's own drivers do.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import nova.conf
import os_resource_classes
from guests import Guest
from nova import exception
from nova.compute import power_state
from nova.objects import fields
from nova.virt import driver, hardware

CONF = nova.conf.CONF
VCPUS, MEMORY_MB, DISK_GB = 64, 262_144, 2_048
"""What the host pretends to have: beds are to be full when a test says so, not before."""


class ProcessDriver(driver.ComputeDriver):
    """See the module. Stateless: what is in the folders is what there is, also after a restart."""

    capabilities = {  # noqa: RUF012 - as the base class has it
        **driver.ComputeDriver.capabilities,
        "supports_migrate_to_same_host": True,
        "supports_image_type_raw": True,
        "supports_image_type_qcow2": True,
    }

    def init_host(self, host: str) -> None:
        """Nothing to prepare: guests outlive Nova, and are found again."""

    def spawn(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """Make and boot a guest."""
        guest = _guest(instance)
        guest.make(_source(), base64.b64decode(instance.user_data or b""))
        if kwargs.get("power_on", True):
            guest.start(_source(), instance.hostname)

    def destroy(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """End and remove it."""
        _guest(instance).remove()

    def cleanup(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """As `destroy`."""
        _guest(instance).remove()

    def power_on(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """Boot it."""
        _found(instance).start(_source(), instance.hostname)

    def power_off(self, instance: Any, *args: Any, **kwargs: Any) -> None:
        """Pull the plug."""
        _found(instance).stop()

    def reboot(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """Off and on."""
        guest = _found(instance)
        guest.stop()
        guest.start(_source(), instance.hostname)

    def resume_state_on_host_boot(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """Boot it again after the host did."""
        _found(instance).start(_source(), instance.hostname)

    def migrate_disk_and_power_off(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> str:
        """The first half of a resize, which stays on this host."""
        _found(instance).stop()
        return "{}"

    def finish_migration(self, context: Any, migration: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """The second half: sizes are only Nova's book-keeping here."""
        if kwargs.get("power_on", True):
            _found(instance).start(_source(), instance.hostname)

    def finish_revert_migration(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """Back to the old size."""
        if kwargs.get("power_on", True):
            _found(instance).start(_source(), instance.hostname)

    def confirm_migration(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is left of the old size."""

    def get_console_output(self, context: Any, instance: Any) -> bytes:
        """What it wrote."""
        return bytes(_found(instance).console())

    def get_info(self, instance: Any, use_cache: bool = True) -> Any:
        """Whether it runs."""
        running = _found(instance).running
        return hardware.InstanceInfo(state=power_state.RUNNING if running else power_state.SHUTDOWN)

    def list_instances(self) -> list[str]:
        """All guests; the names are those of the folders, which are the ids."""
        return self.list_instance_uuids()

    def list_instance_uuids(self) -> list[str]:
        """All guests."""
        folder = Path(CONF.instances_path)
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def instance_exists(self, instance: Any) -> bool:
        """Whether it was made here and not removed."""
        return bool(_guest(instance).exists)

    def plug_vifs(self, instance: Any, network_info: Any) -> None:
        """The guest is on the machine's network already."""

    def unplug_vifs(self, instance: Any, network_info: Any) -> None:
        """As `plug_vifs`."""

    def get_available_nodes(self, refresh: bool = False) -> list[str]:
        """This machine, and no other."""
        return [CONF.host]

    def get_host_ip_addr(self) -> str:
        """Its address."""
        return str(CONF.my_ip)

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        """What `nova hypervisor-show` tells."""
        return {
            "vcpus": VCPUS,
            "memory_mb": MEMORY_MB,
            "local_gb": DISK_GB,
            "vcpus_used": 0,
            "memory_mb_used": 0,
            "local_gb_used": 0,
            "hypervisor_type": "processes",
            "hypervisor_version": 1,
            "hypervisor_hostname": nodename,
            "cpu_info": json.dumps({}),
            "disk_available_least": DISK_GB,
            "supported_instances": [(fields.Architecture.X86_64, fields.HVType.FAKE, fields.VMMode.HVM)],
            "numa_topology": None,
        }

    def update_provider_tree(self, provider_tree: Any, nodename: str, allocations: Any = None) -> None:
        """What Placement is told."""
        totals = {
            os_resource_classes.VCPU: VCPUS,
            os_resource_classes.MEMORY_MB: MEMORY_MB,
            os_resource_classes.DISK_GB: DISK_GB,
        }
        inventory = {
            name: {
                "total": total,
                "min_unit": 1,
                "max_unit": total,
                "step_size": 1,
                "allocation_ratio": 1.0,
                "reserved": 0,
            }
            for name, total in totals.items()
        }
        provider_tree.update_inventory(nodename, inventory)


def _guest(instance: Any) -> Guest:
    return Guest(Path(CONF.instances_path) / instance.uuid)


def _found(instance: Any) -> Guest:
    guest = _guest(instance)
    if not guest.exists:
        raise exception.InstanceNotFound(instance_id=instance.uuid)
    return guest


def _source() -> Path:
    return Path(CONF.state_path) / "guestroot"
