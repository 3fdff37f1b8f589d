"""libvirt's errors and ours: decided by its numbers, which are part of its stable interface.

The numbers stand here and not by their names in the binding, so that what decides needs no libvirt to be tried.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Protocol

from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    NotFound,
    TimedOut,
    Unavailable,
    Unknown,
)


class Code(IntEnum):
    """`virErrorNumber`, as far as it decides anything here."""

    INTERNAL_ERROR = 1
    NO_MEMORY = 2
    NO_SUPPORT = 3
    UNKNOWN_HOST = 4
    NO_CONNECT = 5
    INVALID_CONN = 6
    INVALID_ARG = 8
    OPERATION_FAILED = 9
    OS_TYPE = 16
    XML_ERROR = 27
    DOM_EXIST = 28
    OPERATION_DENIED = 29
    XML_DETAIL = 35
    SYSTEM_ERROR = 38
    RPC = 39
    GNUTLS_ERROR = 40
    NO_DOMAIN = 42
    NO_NETWORK = 43
    AUTH_FAILED = 45
    NO_STORAGE_POOL = 49
    NO_STORAGE_VOL = 50
    OPERATION_INVALID = 55
    CONFIG_UNSUPPORTED = 67
    OPERATION_TIMEOUT = 68
    ARGUMENT_UNSUPPORTED = 74
    OPERATION_ABORTED = 78
    AUTH_CANCELLED = 79
    NO_DOMAIN_METADATA = 80
    OPERATION_UNSUPPORTED = 84
    RESOURCE_BUSY = 87
    ACCESS_DENIED = 88
    STORAGE_VOL_EXIST = 90
    CPU_INCOMPATIBLE = 91
    XML_INVALID_SCHEMA = 92
    AUTH_UNAVAILABLE = 94


FROM_RPC = 7
"""`virErrorDomain` of the connection itself; what the daemon says has the domain of its driver."""
FROM_REMOTE = 13

_AUTHENTICATION = frozenset(
    {Code.AUTH_FAILED, Code.AUTH_CANCELLED, Code.AUTH_UNAVAILABLE, Code.ACCESS_DENIED, Code.OPERATION_DENIED}
)
_UNAVAILABLE = frozenset(
    {
        *(Code.NO_MEMORY, Code.UNKNOWN_HOST, Code.NO_CONNECT, Code.INVALID_CONN, Code.RPC, Code.GNUTLS_ERROR),
        # Somebody else is at it just now: a volume is being written, a pool read anew, a domain being started.
        *(Code.RESOURCE_BUSY, Code.OPERATION_ABORTED, Code.OPERATION_INVALID, Code.NO_STORAGE_VOL),
    }
)
_INVALID = frozenset(
    {
        *(Code.NO_SUPPORT, Code.INVALID_ARG, Code.OS_TYPE, Code.XML_ERROR, Code.XML_DETAIL, Code.CONFIG_UNSUPPORTED),
        *(Code.ARGUMENT_UNSUPPORTED, Code.OPERATION_UNSUPPORTED, Code.CPU_INCOMPATIBLE, Code.XML_INVALID_SCHEMA),
    }
)
_FIELDS = {Code.NO_NETWORK: "settings.nic", Code.NO_STORAGE_POOL: "settings.pool"}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM})


class LibvirtError(Protocol):
    """`libvirt.libvirtError`, as far as it is read."""

    def get_error_code(self) -> int | None: ...
    def get_error_domain(self) -> int | None: ...
    def get_error_message(self) -> str | None: ...
    def get_int1(self) -> int | None: ...


def has_code(error: LibvirtError, *codes: Code) -> bool:
    """Whether it is one of these, said by the daemon."""
    return error.get_error_code() in codes


def refused_at_the_door(error: LibvirtError) -> bool:
    """Whether an error of opening a connection is about our credentials.

    libvirt looks at a certificate before it connects, and tells what is wrong as a system error of no driver. For the
    rest there are words alone: a daemon that does not accept a certificate closes the connection where it should have
    confirmed it, and libssh tells every failure by one number.
    """
    code, text = error.get_error_code(), error.get_error_message() or ""
    if code in _AUTHENTICATION or "authenticat" in text:
        return True
    return code == Code.SYSTEM_ERROR and (error.get_error_domain() == 0 or "TLS confirmation" in text)


def typed(what: str, error: LibvirtError) -> HostingError:
    """The error that libvirt's stands for. `what` names what was asked for."""
    code = error.get_error_code()
    text = f"{what}: {error.get_error_message() or 'libvirt gives no reason'}"
    if code in _AUTHENTICATION:
        return AuthenticationError(text)
    if error.get_error_domain() in {FROM_RPC, FROM_REMOTE} or code in _UNAVAILABLE:
        return Unavailable(text)
    if code == Code.NO_DOMAIN:
        return NotFound(text)
    if code == Code.OPERATION_TIMEOUT:
        return TimedOut(text)
    if code in _INVALID or code in _FIELDS:
        return Invalid(text, field=_FIELDS.get(Code(code)))
    if code == Code.SYSTEM_ERROR and error.get_int1() in _FULL:
        return CapacityError(text)
    # QEMU that cannot have its memory says so in words alone, as an internal error.
    if code == Code.INTERNAL_ERROR and "Cannot allocate memory" in text:
        return CapacityError(text)
    return Unknown(text)
