"""The part of EC2's description that clients are made of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.loaders import create_loader

from moorage.hosting import ec2
from moorage.hosting.ec2.sdk import OPERATIONS, new_session, only


def test_it_has_what_the_package_asks_for_and_nothing_else() -> None:
    [folder] = ec2.__path__
    sources = "\n".join(path.read_text() for path in Path(folder).glob("*.py"))
    asked = set(re.findall(r"\bec2\.([a-z_]+)\(", sources))
    assert asked == {xform_name(operation) for operation in OPERATIONS}


def test_a_client_has_these_operations_whole() -> None:
    session = new_session()
    cut, whole = session.get_service_model("ec2"), create_loader().load_service_model("ec2", "service-2")
    assert set(cut.operation_names) == OPERATIONS
    for name in OPERATIONS:
        operation = cut.operation_model(name)
        assert operation.name == name
        for shape in filter(None, (operation.input_shape, operation.output_shape)):
            assert list(shape.members) == list(whole["shapes"][shape.name]["members"])
    assert {name: whole["shapes"][name] for name in cut.shape_names} == dict(
        session.get_component("data_loader").load_service_model("ec2", "service-2")["shapes"]
    )
    assert len(cut.shape_names) < len(whole["shapes"]) / 3


def test_other_descriptions_are_whole() -> None:
    assert "AssumeRole" in new_session().get_service_model("sts").operation_names


def test_an_operation_that_the_sdk_does_not_know_is_no_accident() -> None:
    with pytest.raises(KeyError):
        only(create_loader().load_service_model("ec2", "service-2"), frozenset({"MakeCoffee"}))
