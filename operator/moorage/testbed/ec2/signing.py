"""Who asks: AWS Signature Version 4, checked as AWS checks it."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moorage.testbed.ec2.query import Refused

ALLOWED_SKEW = 900.0
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([^/,]+)/([^/,]+)/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)


@dataclass(slots=True)
class AccessKey:
    """One access key: of which account, and for a temporary one its session token."""

    secret: str
    account: str
    token: str = ""
    expired: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AccessKey:
        """From the control API's form."""
        return cls(str(data["secret"]), str(data["account"]), str(data.get("token", "")), bool(data.get("expired")))


@dataclass(frozen=True, slots=True)
class Caller:
    """A request that was signed well: by whom, for which service and region."""

    account: str
    service: str
    region: str


def verify(
    method: str, path: str, headers: Mapping[str, str], body: bytes, keys: Mapping[str, AccessKey], now: float
) -> Caller:
    """Who signed the request. `now` is the service's clock. Raises Refused in the words of EC2 or STS."""
    found = _AUTHORIZATION.fullmatch(headers.get("Authorization", ""))
    if found is None:
        raise Refused("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    access, day, region, service, signed, signature = found.groups()
    key = keys.get(access)
    if key is None:
        raise _unknown(service)
    stamp = headers.get("X-Amz-Date", "")
    try:
        sent = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Refused("IncompleteSignature", "Date must be in ISO-8601 'basic format'") from None
    wanted = _signature(key.secret, method, path, headers, body, signed, (day, region, service), stamp)
    if not hmac.compare_digest(wanted, signature):
        raise _mismatch(service)
    if abs(now - sent) > ALLOWED_SKEW:
        raise _expired(service, "Signature expired" if service == "sts" else "Request has expired.")
    if key.token != headers.get("X-Amz-Security-Token", ""):
        raise _unknown(service)
    if key.expired:
        raise _expired(service, "The security token included in the request is expired")
    return Caller(key.account, service, region)


def _signature(
    secret: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    signed: str,
    scope: tuple[str, str, str],
    stamp: str,
) -> str:
    lines = "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed.split(";"))
    canonical = "\n".join((method, path or "/", "", lines, signed, hashlib.sha256(body).hexdigest()))
    whole = "/".join((*scope, "aws4_request"))
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, whole, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in (*scope, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def _unknown(service: str) -> Refused:
    if service == "sts":
        return Refused("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
    return Refused("AuthFailure", "AWS was not able to validate the provided access credentials", 401)


def _mismatch(service: str) -> Refused:
    if service == "sts":
        text = "The request signature we calculated does not match the signature you provided."
        return Refused("SignatureDoesNotMatch", text, 403)
    return Refused("AuthFailure", "AWS was not able to validate the provided access credentials", 401)


def _expired(service: str, text: str) -> Refused:
    return Refused("ExpiredToken", text, 403) if service == "sts" else Refused("RequestExpired", text)
