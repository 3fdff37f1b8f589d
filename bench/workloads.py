"""The objects that the benchmarks use."""

from __future__ import annotations

from bench.harness import Installation
from tests.support.stack import Obj, always, config, group, service

SERVICE = "bench"
POLICY = "policy"
LIMITS = {"servers": 100_000, "requestsPerSecond": 10_000, "burst": 10_000}


def output(name: str = "address", after: str = "start") -> Obj:
    """An output that is there once the step has run."""
    return {"name": name, "command": "hostname", "after": [after]}


def needs(member: str, item: str = "upstream", name: str = "address", select: str = "First") -> Obj:
    """An item with another member's output."""
    return {"name": item, "valueFrom": {"output": {"member": member, "name": name, "select": select}}}


def provider(name: str, *, simulate: Obj | None = None) -> Obj:
    """A configuration that publishes one output once its only step has run."""
    return config(
        name,
        configuration=[{"name": "port", "value": "80"}],
        steps=[{"name": "start", "script": 'exec app "${port}"'}],
        outputs=[output()],
        **_simulated(simulate),
    )


def consumer(name: str, member: str, *, publishes: bool = True, simulate: Obj | None = None) -> Obj:
    """A configuration with one value that comes late: another member's output."""
    return config(
        name,
        configuration=[needs(member)],
        steps=[{"name": "start", "script": 'exec app "${upstream}"'}],
        outputs=[output()] if publishes else [],
        **_simulated(simulate),
    )


def _simulated(simulate: Obj | None) -> Obj:
    return {} if simulate is None else {"settings": [{"serviceType": "local", "values": {"simulate": simulate}}]}


async def prepare(installed: Installation, namespace: str, *configs: Obj) -> str:
    """A namespace with the policy and the configurations; the service, where it is not there yet."""
    await installed.namespace(namespace)
    if not await installed.exists_service(SERVICE):
        url = installed.stack.hosts["bench"].url
        await installed.create(None, service(SERVICE, url, limits=LIMITS))
        await installed.service_available(SERVICE)
    await installed.create(namespace, always(POLICY, SERVICE), *configs)
    return namespace


def tens(count: int, size: int = 10) -> list[Obj]:
    """Groups of `size` servers: one provider, all others wait for its output."""
    members = (("db", "db", 1), ("web", "web", size - 1))
    return [group(f"g{number:04}", POLICY, *members) for number in range(count)]


def names(groups: list[Obj]) -> list[str]:
    """Their names."""
    return [str(obj["metadata"]["name"]) for obj in groups]
