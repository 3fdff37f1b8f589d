"""Abilities that settings decide, as `moorage backends` tells them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rich.console import Console

from moorage.cli.views.backends import describe, table
from moorage.hosting.abilities import abilities_of
from moorage.hosting.ec2.backend import Ec2BackendWithImages
from moorage.hosting.libcloud.backend import variant
from moorage.hosting.registry import backend, registry


def test_the_abilities_that_settings_decide_are_those_of_the_variants() -> None:
    able: Any = SimpleNamespace(retags=True, powers=True, lists_images=True)
    for name, most in (("ec2", Ec2BackendWithImages), ("libcloud", variant(able))):
        factory = backend(name)
        assert abilities_of(most) == factory.abilities | factory.conditional.keys()


def test_abilities_that_a_setting_decides_are_told_with_it() -> None:
    by_driver = describe("libcloud", registry())
    assert by_driver["abilities"] == []
    assert {"ability": "Power", "setting": "driver"} in by_driver["conditionalAbilities"]
    console = Console(width=200)
    with console.capture() as shown:
        console.print(table([by_driver, describe("ec2", registry())]))
    assert "Images, Power, Retag (by driver)" in shown.get()
    assert "Volumes; Images (by imageOwners)" in shown.get()
