"""The contract's tests, for whoever writes a backend: see `docs/backends.md`.

A test module subclasses `BackendContract` and gives it a fixture `service`::

    class TestMyCloud(BackendContract):
        @pytest_asyncio.fixture
        async def service(self):
            async with MyCloudService() as service:
                yield service

It needs `pip install moorage[testing]`.
"""

from __future__ import annotations

import pytest

# So that a failed assertion of the suite says what it compared. It has to be told before the modules are imported.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{name}"
        for name in (
            *("attachments", "base", "batches", "changes", "discretion", "hanging", "identity"),
            *("interruption", "inventory", "lag", "lies", "life", "operations", "refusals"),
        )
    )
)

from moorage.testing.attachments import AttachmentsContract  # noqa: E402
from moorage.testing.batches import BatchesContract  # noqa: E402
from moorage.testing.changes import ChangesContract  # noqa: E402
from moorage.testing.discretion import DiscretionContract  # noqa: E402
from moorage.testing.hanging import HangingContract  # noqa: E402
from moorage.testing.identity import IdentityContract  # noqa: E402
from moorage.testing.interruption import InterruptionContract  # noqa: E402
from moorage.testing.inventory import InventoryContract  # noqa: E402
from moorage.testing.lag import LagContract  # noqa: E402
from moorage.testing.lies import LiesContract  # noqa: E402
from moorage.testing.life import LifeContract  # noqa: E402
from moorage.testing.proxy import Fault, FaultProxy  # noqa: E402
from moorage.testing.refusals import RefusalsContract  # noqa: E402
from moorage.testing.service import Faults, Made, ServiceUnderTest  # noqa: E402


class BackendContract(
    LifeContract,
    IdentityContract,
    InventoryContract,
    RefusalsContract,
    LagContract,
    ChangesContract,
    BatchesContract,
    AttachmentsContract,
    DiscretionContract,
    HangingContract,
    LiesContract,
    InterruptionContract,
):
    """Everything that the contract asks of a backend."""


__all__ = ["BackendContract", "Fault", "FaultProxy", "Faults", "Made", "ServiceUnderTest"]
