"""What the answers of providers mean, by drivers that tell little of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from libcloud.common.types import InvalidCredsError
from tests.unit.hosting.libcloud.providers import Plain, ec2, exchange, openstack, told, xml

from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    KeyConflict,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
)
from moorage.hosting.libcloud.answers import failure
from moorage.hosting.libcloud.profiles import Profile


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("InsufficientInstanceCapacity", 500, CapacityError),
        ("VcpuLimitExceeded", 400, QuotaError),
        ("RequestLimitExceeded", 503, Throttled),
        ("AuthFailure", 401, AuthenticationError),
        ("InvalidInstanceID.NotFound", 400, NotFound),
        ("IdempotentParameterMismatch", 400, KeyConflict),
        ("InvalidAMIID.NotFound", 400, Invalid),
        ("InternalError", 500, Unavailable),
    ],
)
def test_ec2s_refusals_are_told_by_their_codes(code: str, status: int, error: type[HostingError]) -> None:
    found = failure("get", ValueError("text"), exchange(told(status, xml(code))), ec2(), one=True)
    assert type(found) is error
    if isinstance(found, Throttled):
        assert found.retry_after == 7


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, {"itemNotFound": {"code": 404, "message": "Instance x could not be found."}}, NotFound),
        (404, {"error": "gone"}, Unavailable),
        (403, {"forbidden": {"code": 403, "message": "Quota exceeded for instances"}}, QuotaError),
        (403, {"forbidden": {"code": 403, "message": "Policy does not allow"}}, AuthenticationError),
        (413, {"overLimit": {"code": 413, "message": "slow down"}}, Throttled),
        (409, {"conflictingRequest": {"code": 409, "message": "busy"}}, Unavailable),
        (400, {"badRequest": {"code": 400, "message": "Invalid imageRef"}}, Invalid),
        (500, {"computeFault": {"code": 500, "message": "boom"}}, Unavailable),
    ],
)
def test_novas_refusals_are_told_by_their_names(status: int, body: Any, error: type[HostingError]) -> None:
    reply = told(status, json.dumps(body).encode(), "GET", "http://x/servers/y")
    assert type(failure("get", ValueError("text"), exchange(reply), openstack(), one=True)) is error


def test_what_a_creation_names_and_nova_does_not_find_is_invalid() -> None:
    body = json.dumps({"itemNotFound": {"code": 404, "message": "Flavor x could not be found."}}).encode()
    found = failure("create", ValueError(""), exchange(told(404, body, url="http://x/servers")), openstack(), one=False)
    assert isinstance(found, Invalid)
    assert found.field == "offering"


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, Invalid), (401, AuthenticationError), (404, Unavailable), (429, Throttled), (502, Unavailable)],
)
def test_of_other_drivers_the_status_alone_is_known(status: int, error: type[HostingError]) -> None:
    found = failure("get", ValueError("secret text"), exchange(told(status, b"<html>")), Profile(Plain), one=True)
    assert type(found) is error
    assert "secret" not in found.message


def test_what_fails_after_the_server_was_made_is_no_refusal() -> None:
    made = told(202, b"{}", url="http://x/servers")
    late = told(403, json.dumps({"forbidden": {"message": "Policy"}}).encode(), "GET", "http://x/servers/y")
    found = failure("create", ValueError(""), exchange(made, late), openstack(), one=False)
    assert not found.definite
    run = told(200, b"<x/>", sent=b"Action=RunInstances&ImageId=ami-1")
    found = failure("create", InvalidCredsError("x"), exchange(run, told(401, xml("AuthFailure"))), ec2(), one=False)
    assert not found.definite


def test_not_found_is_believed_of_one_server_alone() -> None:
    answer = exchange(told(400, xml("InvalidInstanceID.NotFound")))
    assert type(failure("inventory", ValueError(""), answer, ec2(), one=False)) is Unavailable


def test_a_session_that_ended_is_told_from_wrong_credentials() -> None:
    refused = told(401, b"{}", "GET", "http://x/servers/y")
    token = told(401, b"{}", "POST", "http://x/v3/auth/tokens")
    assert openstack().expired(exchange(refused))
    assert not openstack().expired(exchange(token))
    assert not openstack().expired(exchange(told(201, b"{}", "POST", "http://x/v3/auth/tokens"), refused))
    assert not ec2().expired(exchange(refused))
