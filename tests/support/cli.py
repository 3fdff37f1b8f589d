"""Runs the `moorage` command as a person would, against a whole installation."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.support.stack import Stack


async def moorage(stack: Stack, *arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    """As the administrator, or with an account of its own where `kubeconfig` says so."""
    where = ["--kubeconfig", str(kubeconfig or stack.plane.kubeconfig)]
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "moorage.cli", *arguments, *where],
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
