"""Why a request that urllib3 carries has no answer, in the contract's errors: for SDKs whose requests go through it."""

from __future__ import annotations

from urllib3 import exceptions as failures

from moorage.hosting.errors import HostingError, TimedOut, Unavailable
from moorage.hosting.tls import tls_failure


def no_answer(error: failures.HTTPError | OSError) -> HostingError:
    """The error that a failure of urllib3 stands for."""
    if isinstance(error, failures.NewConnectionError):
        return Unavailable("cannot connect; check the endpoint and the network")
    if isinstance(error, failures.ConnectTimeoutError):
        return Unavailable("cannot connect: no answer; check the endpoint and the network")
    if isinstance(error, failures.TimeoutError):
        return TimedOut("no answer in time")
    # Only the class is told: the text may hold the address with what it was asked for.
    ended = Unavailable(f"the connection ended without an answer ({type(error).__name__})")
    return tls_failure(error) or ended
