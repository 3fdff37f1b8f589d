"""The controllers' surroundings."""

from __future__ import annotations

import pytest
from tests.support.controller_bench import Bench, new_bench


@pytest.fixture
async def bench() -> Bench:
    """Empty."""
    return new_bench()
