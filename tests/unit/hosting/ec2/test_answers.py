"""What EC2's error codes mean."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from moorage.hosting.ec2.answers import failure, named_ids
from moorage.hosting.ec2.records import is_gone
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    KeyConflict,
    NotFound,
    QuotaError,
    Throttled,
    TimedOut,
    Unavailable,
    Unknown,
)


def told(code: str, message: str = "no", status: int = 400, **headers: str) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return ClientError(response, "RunInstances")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("RequestLimitExceeded", 503, Throttled),
        ("Throttling", 400, Throttled),
        ("InsufficientInstanceCapacity", 500, CapacityError),
        ("InsufficientFreeAddressesInSubnet", 400, CapacityError),
        ("SpotMaxPriceTooLow", 400, CapacityError),
        ("VcpuLimitExceeded", 400, QuotaError),
        ("InstanceLimitExceeded", 400, QuotaError),
        ("MaxSpotInstanceCountExceeded", 400, QuotaError),
        ("AuthFailure", 401, AuthenticationError),
        ("UnauthorizedOperation", 403, AuthenticationError),
        ("ExpiredToken", 403, AuthenticationError),
        ("RequestExpired", 400, AuthenticationError),
        ("OptInRequired", 401, AuthenticationError),
        ("InvalidInstanceID.NotFound", 400, NotFound),
        ("InvalidInstanceID.Malformed", 400, NotFound),
        ("IdempotentParameterMismatch", 400, KeyConflict),
        ("IdempotentInstanceTerminated", 400, KeyConflict),
        ("InternalError", 500, Unavailable),
        ("Unavailable", 503, Unavailable),
        ("IncorrectInstanceState", 400, Unavailable),
        ("SomethingNew", 400, Unknown),
        ("SomethingNew", 500, Unavailable),
        ("404", 404, Unavailable),
        ("", 403, AuthenticationError),
    ],
)
def test_the_code_decides(code: str, status: int, kind: type[HostingError]) -> None:
    assert type(failure("RunInstances", told(code, status=status))) is kind


@pytest.mark.parametrize(
    ("code", "message", "field"),
    [
        ("InvalidAMIID.NotFound", "The image id '[ami-1]' does not exist", "image"),
        ("InvalidParameterValue", "Invalid value 'm9.huge' for InstanceType.", "offering"),
        ("Unsupported", "not in this zone", "offering"),
        ("InvalidSubnetID.NotFound", "no", "settings.subnet"),
        ("InvalidGroup.NotFound", "no", "settings.securityGroups"),
        ("InvalidKeyPair.NotFound", "no", "settings.keyName"),
        (
            "InvalidParameterValue",
            "Value (x) for parameter iamInstanceProfile.name is invalid",
            "settings.instanceProfile",
        ),
        ("InvalidParameterValue", "User data is limited to 16384 bytes", "userData"),
        ("InvalidBlockDeviceMapping", "no", "settings.blockDevices"),
        ("InvalidParameterCombination", "something else", None),
    ],
)
def test_what_is_invalid_names_its_field(code: str, message: str, field: str | None) -> None:
    error = failure("RunInstances", told(code, message))
    assert type(error) is Invalid
    assert error.field == field


@pytest.mark.parametrize("code", ["AuthFailure", "SignatureDoesNotMatch"])
def test_a_wrong_region_is_about_the_region_and_not_about_the_keys(code: str) -> None:
    error = failure("GetCallerIdentity", told(code, "Credential should be scoped to a valid region. ", 403))
    assert type(error) is Invalid
    assert error.field == "region"
    assert "spec.region" in error.message
    assert "access key" not in error.message


def test_a_type_that_one_zone_does_not_have_may_be_had_in_another() -> None:
    text = (
        "Your requested instance type (m7g.large) is not supported in your requested Availability Zone (us-east-1e). "
        "Please retry your request by not specifying an Availability Zone or choosing us-east-1a, us-east-1b."
    )
    assert type(failure("RunInstances", told("Unsupported", text))) is CapacityError
    text = "The requested configuration is currently not supported. Please check the documentation."
    assert type(failure("RunInstances", told("Unsupported", text))) is Invalid


def test_retry_after_is_the_services_own() -> None:
    error = failure("RunInstances", told("RequestLimitExceeded", status=503, **{"retry-after": "7"}))
    assert isinstance(error, Throttled)
    assert error.retry_after == 7
    error = failure("RunInstances", told("RequestLimitExceeded", status=503))
    assert isinstance(error, Throttled)
    assert error.retry_after is None


def test_an_encoded_authorization_message_stays_out() -> None:
    text = "You are not authorized. Encoded authorization failure message: abcdef"
    message = failure("RunInstances", told("UnauthorizedOperation", text, 403)).message
    assert "abcdef" not in message
    assert "IAM permissions" in message


def test_what_is_no_answer() -> None:
    assert type(failure("x", ResponseParserError("<html>secret"))) is Unavailable
    assert "secret" not in failure("x", ResponseParserError("<html>secret")).message
    assert type(failure("x", NoCredentialsError())) is AuthenticationError
    assert type(failure("x", KeyError("y"))) is Unavailable
    passed = failure("RunInstances", TimedOut("no answer in time"))
    assert type(passed) is TimedOut
    assert "RunInstances" in passed.message


def test_only_ids_that_were_asked_for_are_gone() -> None:
    error = told("InvalidInstanceID.NotFound", "The instance IDs 'i-0a, i-0b' do not exist")
    assert named_ids(error, ["i-0a", "i-0c"]) == ["i-0a"]
    assert named_ids(told("InvalidInstanceID.NotFound", "none of them"), ["i-0a"]) == []
    assert named_ids(told("AuthFailure", "i-0a"), ["i-0a"]) == []


def test_why_an_instance_terminated_by_itself_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def instance(state: str = "terminated", code: str = "", message: str = "by us") -> Any:
        reason = {"StateReason": {"Code": code, "Message": message}} if code else {}
        return {"InstanceId": "i-1", "State": {"Name": state}, **reason}

    assert is_gone(instance())
    assert is_gone(instance(code="Client.UserInitiatedShutdown"))
    assert not is_gone(instance("shutting-down"))
    assert not caplog.text
    assert is_gone(instance(code="Client.InternalError", message="Client error on\nlaunch"))
    assert "instance i-1 was terminated: Client error on launch" in caplog.text
