"""What the answers of OpenStack's services mean."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.hosting.errors import (
    AuthenticationError,
    HostingError,
    Invalid,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
    Unknown,
)
from moorage.hosting.openstack.answers import Conflict, NotImplementedThere, refusal


def told(key: str, message: str = "no") -> dict[str, Any]:
    return {key: {"code": 1, "message": message}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, told("itemNotFound"), NotFound),
        (404, None, Unavailable),
        (404, {"itemNotFound": "no"}, Unavailable),
        (404, {**told("itemNotFound"), "more": 1}, Unavailable),
        (404, told("error"), Unavailable),
        (400, told("badRequest"), Invalid),
        (400, None, Unknown),
        (401, told("error"), AuthenticationError),
        (401, None, AuthenticationError),
        (403, told("forbidden", "Quota exceeded for instances: Requested 1, but already used 10 of 10"), QuotaError),
        (403, told("forbidden", "Maximum number of ports exceeded"), QuotaError),
        (403, told("forbidden", "Policy doesn't allow os_compute_api:servers:create"), AuthenticationError),
        (403, told("forbidden", "Maximum number of metadata items exceeds 128"), Invalid),
        (403, None, AuthenticationError),
        (409, told("conflictingRequest"), Conflict),
        (409, None, Unknown),
        (413, told("overLimit"), Throttled),
        (413, None, Unknown),
        (429, None, Throttled),
        (500, told("computeFault"), Unavailable),
        (501, told("notImplemented"), NotImplementedThere),
        (501, None, Unavailable),
        (503, None, Unavailable),
        (302, None, Unknown),
    ],
)
def test_a_refusal_is_its_status_and_its_key_together(status: int, body: Any, kind: type[HostingError]) -> None:
    assert type(refusal("call", status, body, None)) is kind


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("Invalid key_name provided.", "settings.keyName"),
        ("The requested availability zone is not available", "settings.zone"),
        ("Security group nope not found for project 1.", "settings.securityGroups"),
        ("Instance group 1 could not be found.", "settings.serverGroup"),
        ("Network 1 could not be found.", "settings.networks"),
        ("Port 1 could not be found.", "settings.networks"),
        ("Block Device Mapping is Invalid: failed to get volume type", "settings.bootVolume"),
        ("Flavor's disk is too small for requested image.", "image"),
        ("something else", None),
    ],
)
def test_a_bad_request_hints_at_its_field(message: str, field: str | None) -> None:
    error = refusal("create", 400, told("badRequest", message), None)
    assert isinstance(error, Invalid)
    assert error.field == field
    assert error.definite


def test_the_time_to_wait_is_handed_on() -> None:
    for status in (429, 503):
        error = refusal("call", status, None, 7.0)
        assert isinstance(error, Throttled | Unavailable)
        assert error.retry_after == 7.0


def test_a_conflict_is_a_definite_no() -> None:
    assert refusal("call", 409, told("conflictingRequest"), None).definite
