"""What TLS that does not come about means, and what to do about it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from typing import Final

from moorage.hosting.errors import AuthenticationError, HostingError, Unavailable

TRUST: Final = "the setting caBundle"
"""Where most services' roots are written."""
# OpenSSL's numbers of what is wrong with a certificate (x509_vfy.h); the ssl module has no names for them.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME: Final = frozenset({62, 63, 64})
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"})

_TOLD: Final = re.compile(r"\[SSL: ([A-Z0-9_]+)\]")


def tls_failure(error: BaseException, trust: str = TRUST) -> HostingError | None:
    """The error that a failure of TLS stands for; None where TLS is not what failed. `trust` says where the roots of
    the service are written. Nothing of the other side gets into the message: its words are OpenSSL's or ours."""
    for each in _chain(error):
        # aiohttp's own errors are of these classes too, without what OpenSSL said.
        if isinstance(each, ssl.SSLCertVerificationError) and hasattr(each, "verify_code"):
            return Unavailable(_refused(each.verify_code, each.verify_message, trust))
    reason = next(filter(None, map(_reason, _chain(error))), "")
    if not reason:
        return None
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        # The service ends the handshake, or the connection before it reads: nothing was done.
        return AuthenticationError(_alerted(reason))
    if reason in _NO_TLS:
        return Unavailable("what answers does not speak TLS: check host and port of the endpoint, and its https://")
    return Unavailable(f"the TLS connection failed ({_words(reason)})")


def _reason(error: BaseException) -> str:
    """OpenSSL's word for what failed. aiohttp hands on what ends a connection as another OSError of the same text."""
    told = _TOLD.match(str(error.strerror)) if isinstance(error, OSError) else None
    return told[1] if told else ""


def _refused(code: int, message: str, trust: str) -> str:
    if code == _EXPIRED:
        return (
            f"the service's certificate, or that of its authority in {trust}, has expired: renew it there; if it has "
            "not, set the clock of this machine"
        )
    if code == _NOT_YET_VALID:
        return "the service's certificate is not valid yet: set the clock of this machine, or the one it was made by"
    if code in _UNKNOWN_AUTHORITY:
        return f"the service's certificate is not trusted: write that of the authority that signed it into {trust}"
    if code in _OTHER_NAME:
        return (
            "the service's certificate is for another name than the endpoint's: write a name that it has into the "
            "endpoint, or have it made for this one"
        )
    return f"the service's certificate is refused ({_words(str(message))}): have it made anew"


def _alerted(reason: str) -> str:
    if "EXPIRED" in reason:
        return "the service says that the client certificate has expired: renew it in the credentials"
    if "REQUIRED" in reason:
        return "the service asks for a client certificate: write one into the credentials"
    told = _words(reason.partition("ALERT")[2])
    return f"the service does not take the client certificate ({told}): write one that it trusts into the credentials"


def _words(reason: str) -> str:
    return reason.replace("_", " ").strip().lower()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those in it: SDKs and HTTP clients hand on what failed as an argument, a cause or a context."""
    seen: set[int] = set()
    left: list[BaseException] = [error]
    while left:
        each = left.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        # An error of ours told what was in it, and stands for another call where this one was made because of it.
        inner = (*each.args, each.__cause__, each.__context__)
        left += [one for one in inner if isinstance(one, BaseException) and not isinstance(one, HostingError)]
