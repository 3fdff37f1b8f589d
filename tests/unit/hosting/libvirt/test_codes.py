"""libvirt's errors by their numbers."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import pytest

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
from moorage.hosting.libvirt.codes import FROM_RPC, Code, refused_at_the_door, typed

FROM_QEMU, FROM_STORAGE = 10, 18


@dataclass
class Error:
    """As the binding raises them."""

    code: int | None
    domain: int = FROM_QEMU
    number: int = -1
    message: str | None = "said"

    def get_error_code(self) -> int | None:
        return self.code

    def get_error_domain(self) -> int | None:
        return self.domain

    def get_error_message(self) -> str | None:
        return self.message

    def get_int1(self) -> int | None:
        return self.number


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Error(Code.NO_DOMAIN), NotFound),
        (Error(Code.AUTH_FAILED, FROM_RPC), AuthenticationError),
        (Error(Code.ACCESS_DENIED), AuthenticationError),
        (Error(Code.OPERATION_DENIED), AuthenticationError),
        (Error(Code.SYSTEM_ERROR, FROM_RPC, errno.ECONNREFUSED), Unavailable),
        (Error(Code.INTERNAL_ERROR, FROM_RPC), Unavailable),
        (Error(Code.NO_DOMAIN, FROM_RPC), Unavailable),
        (Error(Code.OPERATION_INVALID, FROM_STORAGE), Unavailable),
        (Error(Code.NO_STORAGE_VOL, FROM_STORAGE), Unavailable),
        (Error(Code.OPERATION_TIMEOUT), TimedOut),
        (Error(Code.NO_NETWORK), Invalid),
        (Error(Code.CONFIG_UNSUPPORTED), Invalid),
        (Error(Code.SYSTEM_ERROR, FROM_STORAGE, errno.ENOSPC), CapacityError),
        (Error(Code.SYSTEM_ERROR, FROM_QEMU, errno.ENOMEM), CapacityError),
        (Error(Code.SYSTEM_ERROR, FROM_QEMU, errno.EIO), Unknown),
        (Error(Code.INTERNAL_ERROR, message="qemu: cannot set up guest memory: Cannot allocate memory"), CapacityError),
        (Error(Code.INTERNAL_ERROR), Unknown),
        (Error(Code.OPERATION_FAILED), Unknown),
        (Error(None, message=None), Unknown),
        (Error(4711), Unknown),
    ],
)
def test_every_number_has_its_class(error: Error, kind: type[HostingError]) -> None:
    assert type(typed("create", error)) is kind


def test_what_is_missing_names_its_field() -> None:
    problem = typed("create", Error(Code.NO_NETWORK))
    assert isinstance(problem, Invalid)
    assert problem.field == "settings.nic"


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (Error(Code.SYSTEM_ERROR, 0), True),
        (Error(Code.SYSTEM_ERROR, FROM_RPC, errno.EIO, "Unable to read TLS confirmation: Input/output error"), True),
        (Error(Code.SYSTEM_ERROR, FROM_RPC, errno.ECONNREFUSED, "Connection refused"), False),
        (Error(Code.AUTH_FAILED, FROM_RPC), True),
        (Error(98, 66, message="libssh transport error: failed to authenticate: Access denied"), True),
        (Error(98, 66, message="libssh transport error: the remote command has ended"), False),
    ],
)
def test_refused_credentials_are_told_from_a_service_that_is_away(error: Error, ours: bool) -> None:
    assert refused_at_the_door(error) is ours
