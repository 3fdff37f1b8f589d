"""Each rule of the CRDs on the real API server: what it accepts, what it refuses, and that it says what to write."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from tests.support.crd_cases import Case, built, message_of, messages
from tests.support.crd_server import Answer, Server
from tests.support.crd_tables import HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER
from tests.support.crd_tables_config import VIRTUAL_SERVER_CONFIG
from tests.support.crd_tables_policy import HOSTING_POLICY
from tests.support.crd_tables_resource import RESOURCES
from tests.support.crd_tables_when import WHEN

from moorage.api.kinds import KINDS, KindInfo
from moorage.controlplane import ControlPlane

CASES = (
    *HOSTING_SERVICE,
    *VIRTUAL_SERVER_CONFIG,
    *HOSTING_POLICY,
    *WHEN,
    *RESOURCES,
    *SERVER_GROUP,
    *VIRTUAL_SERVER,
)
ALWAYS = [case for case in CASES if case.before is None]
CHANGES = [case for case in CASES if case.before is not None]


@pytest.fixture(scope="module")
def server(control_plane: ControlPlane) -> Iterator[Server]:
    with Server.at(control_plane.kubeconfig) as server:
        yield server


@pytest.mark.parametrize("case", ALWAYS, ids=str)
def test_accepts_the_one_object_and_refuses_the_other(server: Server, case: Case) -> None:
    server.create(built(case.kind, case.accepted), dry_run=True).done()
    assert_refused_in_its_words(case, server.create(built(case.kind, case.rejected), dry_run=True))


@pytest.mark.parametrize("case", CHANGES, ids=str)
def test_accepts_the_one_change_and_refuses_the_other(server: Server, case: Case) -> None:
    assert case.before is not None
    stored = server.create(built(case.kind, case.before, f"rule-{uuid.uuid4().hex[:12]}")).done()
    try:
        accepted = {**stored, "spec": built(case.kind, case.accepted)["spec"]}
        rejected = {**stored, "spec": built(case.kind, case.rejected)["spec"]}
        server.replace(accepted, dry_run=True).done()
        assert_refused_in_its_words(case, server.replace(rejected, dry_run=True))
    finally:
        server.delete(stored)


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.kind)
def test_each_rule_has_a_case_and_a_remedy(info: KindInfo) -> None:
    tried = {message_of(case) for case in CASES if case.kind == info.kind}
    assert messages(info.kind) - tried == set()
    assert [message for message in messages(info.kind) if "; write " not in message] == []


def assert_refused_in_its_words(case: Case, answer: Answer) -> None:
    """The refusal points at the field and says, in the rule's words, what to write."""
    expected = message_of(case)
    causes = answer.refused()
    assert any(field == (case.at or "<nil>") and message.endswith(expected) for field, message in causes), causes
