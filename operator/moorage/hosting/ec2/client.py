"""The SDK behind an asynchronous door: clients made when first needed, every call bounded, every failure typed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config

from moorage.hosting.ec2.answers import failure
from moorage.hosting.ec2.sdk import new_session, shared_session
from moorage.hosting.ec2.settings import Ec2Settings
from moorage.hosting.ec2.transport import Transport
from moorage.hosting.errors import AuthenticationError, Invalid
from moorage.hosting.http import tls_context
from moorage.hosting.threads import Threads

if TYPE_CHECKING:
    from types_boto3_ec2.client import EC2Client

T = TypeVar("T")
CALLS: Final = 256
"""Calls at a time: more than a service connection makes, so that none waits for a thread. They start as needed."""
MARGIN: Final = 0.25
"""Seconds that a call gets less than its caller waits: it is over before it is given up."""


class StsClient(Protocol):
    """What is asked of STS."""

    def get_caller_identity(self) -> Mapping[str, Any]:
        """Account, ARN and user id behind the credentials."""
        ...


_DOMAINS: Final = {
    ".amazonaws.com": ".amazonaws.com",
    ".api.aws": ".amazonaws.com",
    ".amazonaws.com.cn": ".amazonaws.com.cn",
    ".api.amazonwebservices.com.cn": ".amazonaws.com.cn",
    ".amazonaws.eu": ".amazonaws.eu",
}
"""How EC2's host names end, and STS's of the same partition (botocore's endpoints.json and partitions.json)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; None everywhere: those of this machine."""

    access_key: str | None = None
    secret_key: str | None = None
    token: str | None = None

    def __repr__(self) -> str:
        return "Credentials(…)"


def credentials_of(data: Mapping[str, bytes], settings: Ec2Settings) -> Credentials:
    """The Secret's keys `accessKeyID`, `secretAccessKey` and, for temporary ones, `sessionToken`.

    Raises AuthenticationError where they are missing or malformed, or where there is no Secret and the settings do not
    allow the credentials of this machine.
    """
    if not data:
        if settings.instance_role:
            return Credentials()
        raise AuthenticationError(
            "there are no credentials: name a Secret with accessKeyID and secretAccessKey, or allow those of this "
            "machine by the setting instanceRole"
        )
    access, secret = _word(data, "accessKeyID"), _word(data, "secretAccessKey")
    if access is None or secret is None:
        missing = "accessKeyID" if access is None else "secretAccessKey"
        raise AuthenticationError(f"the credentials hold no key `{missing}`")
    return Credentials(access, secret, _word(data, "sessionToken"))


def _word(data: Mapping[str, bytes], name: str) -> str | None:
    raw = data.get(name)
    if raw is None:
        return None
    text = raw.decode("ascii", errors="replace").strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise AuthenticationError(f"the key `{name}` of the credentials is not one word of ASCII")
    return text


_CREATING: Final = threading.Lock()
"""The SDK's sessions make one client at a time."""


class Clients:
    """The clients of one HostingService; see the module."""

    def __init__(self, endpoint: str, region: str, settings: Ec2Settings, credentials: Credentials) -> None:
        self.endpoint = endpoint
        self.region = region
        self._settings = settings
        self._credentials = credentials
        self._transport = Transport(tls_context(settings.ca_bundle), CALLS)
        self._threads = Threads("ec2", CALLS)
        self._making = threading.Lock()
        self._session: botocore.session.Session | None = None
        self._ec2: EC2Client | None = None
        self._sts: StsClient | None = None

    @property
    def sts_endpoint(self) -> str | None:
        """The address of STS; None where the service has none that is known."""
        if self._settings.sts_endpoint:
            return self._settings.sts_endpoint
        host = urlsplit(self.endpoint).hostname or ""
        for suffix, domain in _DOMAINS.items():
            if host.endswith(suffix):
                return f"https://sts.{self.region}{domain}"
        return None

    async def ec2(self, what: str, call: Callable[[EC2Client], T]) -> T:
        """One request to EC2; `what` names it. Raises HostingError."""
        return await self._run(what, lambda: call(self._ec2_client()), self._settings.request_timeout)

    async def create(self, what: str, call: Callable[[EC2Client], T]) -> T:
        """One request that makes something, and may take long. Raises HostingError."""
        return await self._run(what, lambda: call(self._ec2_client()), self._settings.create_timeout, slow=True)

    async def sts(self, what: str, call: Callable[[StsClient], T]) -> T:
        """One request to STS. Raises HostingError."""
        return await self._run(what, lambda: call(self._sts_client()), self._settings.request_timeout)

    async def _run(self, what: str, call: Callable[[], T], seconds: float, *, slow: bool = False) -> T:
        # From now, not from when a thread takes it: it must have no effect after its caller has given up.
        deadline = time.monotonic() + max(seconds - MARGIN, seconds / 2)

        def bounded() -> T:
            try:
                with self._transport.within(deadline):
                    return call()
            except Exception as error:  # noqa: BLE001 - the SDK raises whatever its parsers stumble over
                raise failure(what, error) from None

        return await self._threads.run(seconds, what, bounded, slow=slow)

    def close(self) -> None:
        """End. Repetition: harmless."""
        self._threads.close()
        self._transport.close()

    def _ec2_client(self) -> EC2Client:
        with self._making:
            if self._ec2 is None:
                self._ec2 = self._client("ec2", self.endpoint)
            return self._ec2

    def _sts_client(self) -> StsClient:
        with self._making:
            if self._sts is None:
                self._sts = self._client("sts", self.sts_endpoint)
            return self._sts

    def _client(self, service: str, endpoint: str | None) -> Any:
        """A client; it reads no configuration of the machine's user, but for what finds its role."""
        given = self._credentials
        with _CREATING:
            session = shared_session() if given.access_key else self._own_session()
            client: Any = session.create_client(
                service,
                region_name=self.region,
                endpoint_url=endpoint,
                aws_access_key_id=given.access_key,
                aws_secret_access_key=given.secret_key,
                aws_session_token=given.token,
                config=_CONFIG,
            )
        client.meta.events.register(f"before-send.{service}", self._transport)
        return client

    def _own_session(self) -> botocore.session.Session:
        """One that finds the credentials of this machine, anew for each opening."""
        if self._session is None:
            self._session = new_session()
            if self._session.get_credentials() is None:
                self._session = None
                raise AuthenticationError("this machine has no credentials for AWS: name a Secret with some")
        return self._session


# Nothing is sent twice: the caller knows whether that is safe. The SDK's time-outs are the transport's.
_CONFIG: Final = Config(
    retries={"total_max_attempts": 1, "mode": "standard"},
    max_pool_connections=CALLS,
    parameter_validation=True,
    ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # the stubs do not know it yet
    user_agent_extra="moorage",
)


def region_of(region: str, endpoint: str) -> str:
    """The region, or the one that the endpoint's name tells. Raises Invalid(field="region")."""
    elsewhere = _region_in(endpoint)
    if region and elsewhere and region != elsewhere:
        raise Invalid(f"the endpoint is that of region {elsewhere}", field="region")
    told = region or elsewhere
    if not told or not told.replace("-", "").isalnum() or not told.isascii():
        raise Invalid("a service of type ec2 needs its region, such as eu-central-1", field="region")
    return told


def _region_in(endpoint: str) -> str:
    parts = (urlsplit(endpoint).hostname or "").split(".")
    return parts[1] if len(parts) > 3 and parts[0] == "ec2" and "amazonaws" in parts else ""


__all__ = ["Clients", "Credentials", "credentials_of", "region_of"]
