"""What EC2's bed adds to moto, without moto: signatures, faults, the ledger, and editing what moto answers."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict

from moorage.testbed.ec2 import query
from moorage.testbed.ec2.faults import Faults, FaultState
from moorage.testbed.ec2.ledger import Entry, Ledger
from moorage.testbed.ec2.query import Refused, Reply
from moorage.testbed.ec2.signing import AccessKey, Caller, verify

URL = "http://127.0.0.1:8080/"
BODY = urlencode({"Action": "DescribeInstances", "Version": "2016-11-15"}).encode()


def signed(secret: str = "secret", token: str | None = None, service: str = "ec2") -> dict[str, str]:
    """The headers of a request as the SDK signs it."""
    headers = {"Host": "127.0.0.1:8080", "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = AWSRequest("POST", URL, headers=headers, data=BODY)
    SigV4Auth(Credentials("AKIA1", secret, token), service, "eu-central-1").add_auth(request)
    return dict(request.headers.items())


def checked(headers: dict[str, str], body: bytes = BODY, *, ahead: float = 0.0, **key: Any) -> Caller:
    keys = {"AKIA1": AccessKey("secret", "123456789012", **key)}
    return verify("POST", "/", CIMultiDict(headers), body, keys, time.time() + ahead)


def test_what_the_sdk_signed_is_believed() -> None:
    assert checked(signed()) == Caller("123456789012", "ec2", "eu-central-1")
    assert checked(signed(token="t"), token="t").account == "123456789012"


@pytest.mark.parametrize(
    ("how", "changed", "more", "code"),
    [
        ({"secret": "another"}, {}, {}, "AuthFailure"),
        ({"secret": "another", "service": "sts"}, {}, {}, "SignatureDoesNotMatch"),
        ({}, {}, {"body": BODY + b"&x=y"}, "AuthFailure"),
        ({}, {"Host": "elsewhere"}, {}, "AuthFailure"),
        (None, {}, {}, "MissingAuthenticationToken"),
        ({}, {}, {"ahead": 1000.0}, "RequestExpired"),
        ({}, {}, {"ahead": -1000.0}, "RequestExpired"),
        ({}, {}, {"token": "t"}, "AuthFailure"),
        ({"token": "t"}, {}, {"token": "t", "expired": True}, "RequestExpired"),
        ({"token": "t", "service": "sts"}, {}, {"token": "t", "expired": True}, "ExpiredToken"),
    ],
)
def test_what_is_signed_wrongly_is_refused(
    how: dict[str, str] | None, changed: dict[str, str], more: dict[str, Any], code: str
) -> None:
    # Signed here and now: a signature is good for a quarter of an hour, and the tests may be collected long before.
    headers = {} if how is None else {**signed(**how), **changed}
    with pytest.raises(Refused) as caught:
        checked(headers, **more)
    assert caught.value.code == code


async def test_faults_are_counted_down() -> None:
    faults = FaultState()
    error = {"code": "InternalError", "status": 500, "operation": "RunInstances", "count": 2, "skip": 1}
    faults.set(Faults.from_json({"errors": [error, {"code": "Late", "after": True}]}))
    await faults.before("RunInstances")
    await faults.before("DescribeInstances")
    for _ in range(2):
        with pytest.raises(Refused) as caught:
            await faults.before("RunInstances")
        assert (caught.value.code, caught.value.status) == ("InternalError", 500)
    await faults.before("RunInstances")
    with pytest.raises(Refused) as caught:
        faults.after("DescribeInstances")
    assert caught.value.code == "Late"
    faults.after("DescribeInstances")


async def test_the_bucket_runs_empty() -> None:
    faults = FaultState()
    faults.set(Faults.from_json({"throttle": {"rate": 0.0, "burst": 2.0, "retry_after": 3.0}}))
    await faults.before("A")
    await faults.before("B")
    with pytest.raises(Refused) as caught:
        await faults.before("C")
    assert (caught.value.code, caught.value.status, caught.value.retry_after) == ("RequestLimitExceeded", 503, 3.0)


def test_a_fault_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError):
        Faults.from_json({"nonsense": 1})


def test_the_ledger_keeps_what_is_gone() -> None:
    ledger = Ledger()
    for number, spot in enumerate((False, True)):
        ledger.add(Entry(f"i-{number}", "a", f"token-{number}", spot, f"zone-{number}", b""))
    ledger.end("i-0")
    assert [entry.to_json()["ended"] for entry in ledger] == [True, False]
    assert (ledger.living("a"), ledger.living("a", spot=True), ledger.living("b")) == (1, 1, 0)
    assert (ledger.living("a", zone="zone-0"), ledger.living("a", zone="zone-1")) == (0, 1)
    assert (ledger.young(60), ledger.just_ended(60)) == ({"i-0", "i-1"}, {"i-0"})
    assert (ledger.young(0), ledger.just_ended(0)) == (set(), set())


def answer(*states: str) -> Reply:
    items = "".join(
        f"<item><reservationId>r-{n}</reservationId><instancesSet><item><instanceId>i-{n}</instanceId>"
        f"<instanceState><code>48</code><name>{state}</name></instanceState></item></instancesSet></item>"
        for n, state in enumerate(states)
    )
    root = 'DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15"'
    return Reply(200, f"<{root}><reservationSet>{items}</reservationSet></DescribeInstancesResponse>".encode())


def test_instances_are_hidden_with_their_reservations() -> None:
    tree = answer("running", "running").tree()
    query.keep_instances(tree, {"i-0"})
    shown = Reply(200, query.dump(tree)).tree()
    assert [query.text(one, "instanceId") for one in query.instances(shown)] == ["i-1"]
    assert len(shown.findall("reservationSet/item")) == 1


def test_a_terminated_instance_can_be_shown_as_running() -> None:
    tree = answer("terminated").tree()
    (instance,) = query.instances(tree)
    query.show_running(instance)
    assert query.state(instance) == "running"


def test_a_description_becomes_the_answer_of_run_instances() -> None:
    tree = Reply(200, query.as_run_answer(answer("running").tree())).tree()
    assert tree.tag == "RunInstancesResponse"
    assert query.text(tree, "reservationId") == "r-0"
    assert [query.text(one, "instanceId") for one in query.instances(tree)] == ["i-0"]


def test_filters_are_read_and_taken_out() -> None:
    form = {
        "Action": "DescribeInstances",
        "Filter.1.Name": "instance-state-name",
        "Filter.1.Value.1": "running",
        "Filter.2.Name": "tag:a",
        "Filter.2.Value.1": "b",
        "Filter.2.Value.2": "c",
    }
    assert query.filters(form) == {"instance-state-name": ["running"], "tag:a": ["b", "c"]}
    left = query.without_filter(form, "instance-state-name")
    assert query.filters(left) == {"tag:a": ["b", "c"]}
    assert left["Action"] == "DescribeInstances"
