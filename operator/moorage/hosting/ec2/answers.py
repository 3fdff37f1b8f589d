"""What EC2's refusals mean, in the contract's errors: by the code, as the EC2 API reference lists them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    InvalidRegionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from moorage.hosting.ec2.transport import WHOSE
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    KeyConflict,
    NotFound,
    QuotaError,
    Retryable,
    Throttled,
    Unavailable,
    Unknown,
    stranger,
)
from moorage.hosting.http import retry_after

Make = Callable[[str], HostingError]
GONE: Final = frozenset({"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"})
"""EC2's own word that an instance does not exist. A malformed id is none of any instance."""

_THROTTLED = """RequestLimitExceeded Throttling ThrottlingException ThrottledException RequestThrottled
RequestThrottledException TooManyRequestsException EC2ThrottledException SlowDown PriorRequestNotComplete
ConcurrentTagAccess"""
_CAPACITY = """InsufficientInstanceCapacity InsufficientHostCapacity InsufficientCapacityOnHost InsufficientCapacity
InsufficientReservedInstanceCapacity InsufficientVolumeCapacity InsufficientAddressCapacity
InsufficientFreeAddressesInSubnet UnfulfillableCapacity SpotMaxPriceTooLow ReservationCapacityExceeded
CapacityReservationExceeded"""
_QUOTA = """InstanceLimitExceeded VcpuLimitExceeded MaxSpotInstanceCountExceeded SpotInstanceLimitExceeded
VolumeLimitExceeded AddressLimitExceeded NetworkInterfaceLimitExceeded AttachmentLimitExceeded
ResourceLimitExceeded ResourceCountLimitExceeded MaxIOPSLimitExceeded VolumeIOPSLimit TagLimitExceeded
InstanceTypeLimitExceeded FleetLimitExceeded"""
_AUTHENTICATION = """AuthFailure UnauthorizedOperation InvalidClientTokenId SignatureDoesNotMatch IncompleteSignature
MissingAuthenticationToken MissingAuthenticationTokenException ExpiredToken ExpiredTokenException RequestExpired
InvalidAccessKeyId UnrecognizedClientException AccessDenied AccessDeniedException NotAuthorized OptInRequired
PendingVerification Blocked AccountDisabled InvalidToken TokenRefreshRequired"""
_UNAVAILABLE = """InternalError InternalFailure ServerInternal ServiceUnavailable ServiceUnavailableException
Unavailable RequestTimeout RequestTimeoutException RequestInProgress InvalidPaginationToken BandwidthLimitExceeded"""
# Never listed as such, but answered where an object is still on its way from one state to another.
_NOT_YET = "IncorrectInstanceState IncorrectState IncorrectModificationState VolumeModificationInProgress"

_FIELDS: Final[Mapping[str, str]] = {
    "image": "InvalidAMIID.NotFound InvalidAMIID.Malformed InvalidAMIID.Unavailable InvalidAMIName.NotFound "
    "UnsupportedImage",
    "offering": "InvalidInstanceType InvalidInstanceType.NotFound Unsupported UnsupportedInstanceType "
    "InstanceTypeNotSupported UnsupportedInstanceTypeOnHost InvalidInstanceFamily",
    "userData": "InvalidUserData.Malformed UserDataTooLong",
    "settings.subnet": "InvalidSubnetID.NotFound InvalidSubnetID.Malformed InvalidSubnet",
    "settings.zone": "InvalidAvailabilityZone InvalidZone.NotFound",
    "settings.securityGroups": "InvalidGroup.NotFound InvalidGroupId.Malformed InvalidSecurityGroupID.NotFound "
    "InvalidSecurityGroupId.Malformed InvalidSecurityGroup.NotFound InvalidSecurity.RequestHasExpired "
    "SecurityGroupsPerInterfaceLimitExceeded SecurityGroupsPerInstanceLimitExceeded",
    "settings.keyName": "InvalidKeyPair.NotFound InvalidKeyPair.Format",
    "settings.instanceProfile": "InvalidIamInstanceProfileArn.Malformed InvalidIamInstanceProfile.NotFound "
    "NoSuchEntity",
    "settings.blockDevices": "InvalidBlockDeviceMapping InvalidSnapshot.NotFound InvalidSnapshotID.Malformed "
    "UnknownVolumeType VolumeTypeNotAvailableInZone InvalidVolume.IopsLimitExceeded EncryptedVolumesNotSupported "
    "KmsKeyNotAvailable BootForVolumeTypeUnsupported InvalidKmsKey.InvalidState",
    "settings.publicAddress": "InvalidNetworkInterface.InvalidAttribute",
    "settings.tags": "TagPolicyViolation InvalidTagKey.Malformed InvalidTagValue.Malformed",
    "volume": "InvalidVolume.NotFound InvalidVolumeID.Malformed InvalidParameterValue.VolumeInUse VolumeInUse "
    "InvalidVolume.ZoneMismatch",
    "address": "InvalidAddress.NotFound InvalidAddress.Malformed InvalidAddressID.NotFound "
    "InvalidAllocationID.NotFound InvalidAddress.Locked",
}
_PLAIN_INVALID = """InvalidParameter InvalidParameterValue InvalidParameterCombination InvalidParameterDependency
MissingParameter InvalidInput ValidationError VPCIdNotSpecified DefaultVpcDoesNotExist UnsupportedOperation
OperationNotPermitted ClientInvalidParameterValue UnknownParameter InvalidFilter FilterLimitExceeded
InvalidClientToken InvalidSpotPrice MissingInput"""
# Which parameter is wrong, EC2 tells in the text alone; it decides nothing but which field is pointed at.
_PARAMETERS: Final[Mapping[str, str]] = {
    "iaminstanceprofile": "settings.instanceProfile",
    "userdata": "userData",
    "user data": "userData",
    "instancetype": "offering",
    "imageid": "image",
    "availabilityzone": "settings.zone",
    "availability-zone": "settings.zone",
    "subnetid": "settings.subnet",
    "securitygroup": "settings.securityGroups",
    "groupid": "settings.securityGroups",
    "blockdevicemapping": "settings.blockDevices",
    "keyname": "settings.keyName",
    "tag": "settings.tags",
}

_REMEDY: Final[Mapping[str, str]] = {
    "AuthFailure": "check the access key in the credentials Secret",
    "InvalidClientTokenId": "check the access key in the credentials Secret",
    "SignatureDoesNotMatch": "check the secret access key in the credentials Secret",
    "UnauthorizedOperation": "give the credentials the IAM permissions that the backend's page lists",
    "AccessDenied": "give the credentials the IAM permissions that the backend's page lists",
    "ExpiredToken": "renew the session token in the credentials Secret",
    "RequestExpired": "set this machine's clock, or renew the session token in the credentials Secret",
    "VcpuLimitExceeded": "ask AWS for a higher quota of running instances",
    "InstanceLimitExceeded": "ask AWS for a higher quota of running instances",
    "IdempotentParameterMismatch": "this key was used with another request",
    "IdempotentInstanceTerminated": "the server of this key is gone; a key means one server for ever",
}


def _table() -> dict[str, Make]:
    table: dict[str, Make] = {code: _invalid(None) for code in _PLAIN_INVALID.split()}
    for field, codes in _FIELDS.items():
        table |= {code: _invalid(field) for code in codes.split()}
    classes = ((_CAPACITY, CapacityError), (_QUOTA, QuotaError), (_AUTHENTICATION, AuthenticationError))
    for codes, made in classes:
        table |= dict.fromkeys(codes.split(), made)
    table |= dict.fromkeys(f"{_UNAVAILABLE} {_NOT_YET}".split(), Unavailable)
    table |= dict.fromkeys(GONE, NotFound)
    table |= dict.fromkeys(("IdempotentParameterMismatch", "IdempotentInstanceTerminated"), KeyConflict)
    return table


def _invalid(field: str | None) -> Make:
    return lambda text: Invalid(text, field=field or _field_in(text))


def _field_in(text: str) -> str | None:
    lowered = text.lower()
    return next((field for word, field in _PARAMETERS.items() if word in lowered), None)


_WRONG_REGION: Final = "scoped to a valid region"
"""EC2 and STS say by the code for wrong keys that a signature is for another region than the endpoint's."""
_ZONES_CODE: Final = "Unsupported"
_OF_A_ZONE: Final = "availability zone"
"""By the same code EC2 refuses what a type of instance cannot do at all, and one that the zone does not have."""

TABLE: Final = _table()
THROTTLED: Final = frozenset(_THROTTLED.split())


def refusal(what: str, error: ClientError) -> HostingError:
    """The error that EC2's own answer stands for. `what` names the call."""
    found: Mapping[str, Any] = error.response.get("Error", {})
    meta: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
    code, status = str(found.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
    text = _text(what, code, str(found.get("Message", "")))
    after = retry_after(meta.get("HTTPHeaders") or {})
    if code in THROTTLED or status == 429:
        return Throttled(text, retry_after=after)
    made = TABLE.get(code)
    if made is AuthenticationError and _WRONG_REGION in str(found.get("Message", "")).lower():
        remedy = "write the region that the endpoint belongs to into spec.region"
        return Invalid(f"{what}: {code}: the service at the endpoint is in another region; {remedy}", field="region")
    if code == _ZONES_CODE and _OF_A_ZONE in str(found.get("Message", "")).lower():
        return CapacityError(text)
    if made is Unavailable or (made is None and status >= 500):
        return Unavailable(text, retry_after=after)
    if made is not None:
        return made(text)
    if status in {401, 403, 407}:
        return AuthenticationError(text)
    if status in {404, 408, 425} or not code or code.isdigit():
        # Not in EC2's words: a proxy's, or another service's.
        return Unavailable(text)
    return Unknown(text)


def _text(what: str, code: str, message: str) -> str:
    # An encoded authorization message is long, and of use to an administrator of the account alone.
    said = message.partition("Encoded authorization failure message")[0].strip().rstrip(".")
    told = ": ".join(part for part in (what, code, said) if part)
    remedy = _REMEDY.get(code)
    return f"{told}; {remedy}" if remedy else told


def failure(what: str, error: Exception) -> HostingError:
    """The error that anything the SDK raises stands for."""
    if isinstance(error, HostingError):
        return _named(what, error)
    if isinstance(error, ClientError):
        return refusal(what, error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return AuthenticationError(f"{what}: this machine has no credentials for the service; name a Secret with some")
    if isinstance(error, ResponseParserError):
        return Unavailable(f"{what}: {stranger(WHOSE)}")
    if isinstance(error, ParamValidationError):
        return Invalid(f"{what}: a value is not of the kind that EC2 takes")
    if isinstance(error, InvalidRegionError):
        return Invalid(f"{what}: the region is not a name of one", field="region")
    if isinstance(error, BotoCoreError):
        return Unavailable(f"{what}: {type(error).__name__}")
    # A shape that the parser did not expect shows as a KeyError or the like: an answer that makes no sense.
    return Unavailable(f"{what}: the answer makes no sense ({type(error).__name__})")


def _named(what: str, error: HostingError) -> HostingError:
    if isinstance(error, Retryable):
        return type(error)(f"{what}: {error.message}", retry_after=error.retry_after)
    return type(error)(f"{what}: {error.message}")


_ID = re.compile(r"\bi-[0-9a-z]+\b")


def named_ids(error: ClientError, asked: list[str]) -> list[str]:
    """Which of the ids that were asked for EC2's NotFound names; it names them in its text alone."""
    code = error.response.get("Error", {}).get("Code", "")
    if code not in GONE:
        return []
    said = set(_ID.findall(str(error.response.get("Error", {}).get("Message", ""))))
    return [one for one in asked if one in said]
