"""Hypothesis without deadlines: no test may fail because the machine was busy. In CI the examples never vary."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "moorage", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("moorage")
