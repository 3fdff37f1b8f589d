"""`moorage failover` says yes to what is asked, and to nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.api.servergroup import ServerGroup
from moorage.cli.errors import CliError, Exit
from moorage.cli.failover import asked


def group(reason: str = "", *, due: bool) -> ServerGroup:
    status: dict[str, Any] = {}
    if reason:
        told = {"type": "FailoverPending", "status": "True", "reason": reason, "message": "told"}
        status["conditions"] = [{**told, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    if due:
        status["failover"] = {"placement": 3, "reason": "ServiceUnreachable", "since": "2026-01-01T00:00:00Z"}
    spec = {"policyRef": {"name": "p"}, "members": [{"name": "m", "configRef": {"name": "c"}}]}
    meta = {"name": "g", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 1}
    return ServerGroup.from_dict({"metadata": meta, "spec": spec, "status": status})


def test_what_waits_for_a_person_is_found() -> None:
    assert asked(group("FailoverNotApproved", due=True)).placement == 3


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (group(due=False), "g has no occasion to fail over"),
        (group("EarlierServersRemain", due=False), "g has no occasion to fail over: told"),
        (group("OverlapForbidden", due=True), "nobody is asked: OverlapForbidden: told"),
    ],
)
def test_without_a_question_nothing_is_written_and_the_reason_is_told(found: ServerGroup, says: str) -> None:
    with pytest.raises(CliError) as caught:
        asked(found)
    assert (caught.value.message, caught.value.code) == (says, Exit.NOT_READY)
