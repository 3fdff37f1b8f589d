"""What nobody but the service may read: credentials, and what a server is born with."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Final

import pytest

from moorage.hosting.contract import Backend, ServerRecord
from moorage.testing.base import Contract, finish, in_state, is_gone, outcome
from moorage.testing.operations import BY_NAME, Scene
from moorage.testing.promises import keeps
from moorage.testing.service import ServiceUnderTest

MARKER: Final = "hush-hush-7c41"
_PLAIN: Final = 12
"""Characters of the longest text among credentials that is no secret: a user's name, a region."""
SECRET_DATA: Final = f"#!/bin/sh\necho booted; : {MARKER}\n"
_LOOKS: Final = ("account", "inventory", "get", "find")


def overhear(caplog: pytest.LogCaptureFixture) -> None:
    """Record all that the backend logs, and what the libraries that it uses do at their usual level."""
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="moorage")


def kept_secret(credentials: Iterable[Mapping[str, bytes]], texts: Iterable[str]) -> None:
    """See that none of the texts tells a line of the credentials, or user-data with the marker, encoded or not."""
    values = [(name, value.decode(errors="replace")) for each in credentials for name, value in each.items()]
    # Every key in PEM begins and ends with the same line.
    lines = [(n, line.strip()) for n, value in values for line in value.splitlines() if not line.startswith("-----")]
    secrets = [("user-data", MARKER), ("user-data", b64encode(SECRET_DATA.encode()).decode())]
    secrets += [(name, line) for name, line in lines if len(line) > _PLAIN]
    # Told by its name alone: these may be credentials of a real account.
    told = sorted({name for text in texts for name, secret in secrets if secret in text})
    if told:
        raise AssertionError(f"a secret is logged or raised: {', '.join(told)}")


class DiscretionContract(Contract):
    """No secret in logs and errors, where nobody disturbs the calls."""

    @keeps("MUST NOT log or raise credentials, user-data or tokens")
    async def test_no_secret_is_told_from_creation_to_deletion(
        self, service: ServiceUnderTest, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        overhear(caplog)
        request = service.request(user_data=SECRET_DATA)
        made = await finish(service, backend, request)
        await in_state(service, backend, made.provider_id)
        stage = Scene(service, made.provider_id, made.provider_id, request, request.key)
        told = [repr(await outcome(BY_NAME[name].act(backend, stage))) for name in _LOOKS]
        await backend.delete(made.provider_id)
        await is_gone(service, backend, made.provider_id)
        told.append(repr(await outcome(backend.get(made.provider_id))))
        kept_secret([service.credentials], [repr(made), *told, caplog.text])

    @keeps("MUST NOT log or raise credentials, user-data or tokens")
    async def test_no_secret_is_told_by_a_refusal(
        self, service: ServiceUnderTest, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        overhear(caplog)
        requests = [service.request(**{"user_data": SECRET_DATA, **c}) for c, _ in service.invalid_requests()]
        if service.faults.can("boot_fails"):
            await service.faults.boot_fails()
            requests.append(service.request(user_data=SECRET_DATA))
        told = [await outcome(backend.create(request)) for request in requests]
        told += [await outcome(_account(service, wrong)) for wrong in service.wrong_credentials]
        assert [answer for answer in told if not isinstance(answer, ServerRecord)], "nothing was refused"
        kept_secret([service.credentials, *service.wrong_credentials], [*map(repr, told), caplog.text])


async def _account(service: ServiceUnderTest, credentials: Mapping[str, bytes]) -> str:
    return await service.open(credentials=credentials).account()
