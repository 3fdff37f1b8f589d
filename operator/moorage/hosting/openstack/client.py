"""The cloud: its catalogue, its tokens, and calls of its services, in threads.

Of openstacksdk this uses the session layer, keystoneauth: authentication, tokens, the catalogue, microversions. The
layer of resources above it is left out: it follows pages by itself, drops the headers of refusals, and warns about
itself at every call.

keystoneauth asks for a new token and repeats a call that was answered 401, once: a refusal of the old token, so that
nothing was done. It repeats nothing else here.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import requests
from keystoneauth1 import exceptions
from keystoneauth1.adapter import Adapter
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from moorage.hosting.errors import NONSENSE, AuthenticationError, HostingError, Invalid, Unavailable, stranger
from moorage.hosting.http import retry_after
from moorage.hosting.openstack.answers import KEYSTONE, is_keystones, refusal
from moorage.hosting.openstack.settings import OpenStackSettings
from moorage.hosting.openstack.transport import Transport
from moorage.hosting.threads import Threads

T = TypeVar("T")
MICROVERSION: Final = "2.79"
"""Of the release Train (2019): tags at creation, kinds of volumes, flavors by name in servers. It is asked for as it
is, so that every cloud answers in the same form."""
THREADS: Final = 32
LOCKED_OUT: Final = (
    "Keystone lets nobody in with these credentials, and does not say why: they may be wrong or have expired, and the "
    "user or the project may be disabled or gone"
)
_SUCCESS: Final = frozenset({200, 201, 202, 204})
_PASSWORD: Final = frozenset({"username", "password"})
_APPLICATION: Final = frozenset({"applicationCredentialId", "applicationCredentialSecret"})


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks. Either an application credential, or a user's password for a project."""

    application_id: str = ""
    secret: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)

    def plugin(self, url: str, project: str | None, settings: OpenStackSettings) -> v3.Auth:
        """The same for keystoneauth."""
        if self.application_id:
            return v3.ApplicationCredential(
                auth_url=url,
                application_credential_id=self.application_id,
                application_credential_secret=self.secret,
                include_catalog=True,
            )
        return v3.Password(
            auth_url=url,
            username=self.username,
            password=self.password,
            user_domain_name=settings.user_domain,
            project_name=project,
            project_domain_name=settings.project_domain,
        )


def login_of(credentials: Mapping[str, bytes], project: str | None) -> Login:
    """The Secret's data. Raises AuthenticationError where a key is missing or malformed, and Invalid(field="project")
    where a password has no project or an application credential has one."""
    keys = frozenset(credentials)
    if keys >= _APPLICATION:
        if project:
            raise Invalid("an application credential is of one project: leave out `project`", field="project")
        identity, secret = (
            _text(credentials, name) for name in ("applicationCredentialId", "applicationCredentialSecret")
        )
        return Login(application_id=identity, secret=secret)
    if keys >= _PASSWORD:
        if not project:
            raise Invalid("a user with a password needs the name of a project", field="project")
        return Login(username=_text(credentials, "username"), password=_text(credentials, "password"))
    raise AuthenticationError(
        "the credentials hold neither the keys `applicationCredentialId` and `applicationCredentialSecret` nor "
        "`username` and `password`"
    )


def _text(credentials: Mapping[str, bytes], name: str) -> str:
    try:
        text = credentials[name].decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise AuthenticationError(f"the key `{name}` of the credentials is empty or no text")
    return text


class Cloud:
    """One project of a cloud, in one region."""

    def __init__(
        self, url: str, region: str, login: Login, project: str | None, settings: OpenStackSettings, tls: ssl.SSLContext
    ) -> None:
        self._region = region
        self._settings = settings
        self._threads = Threads("openstack", THREADS)
        self._transport = Transport(tls, THREADS, plain=settings.allow_plain_http)
        plain = requests.Session()
        plain.trust_env = False
        plain.mount("http://", self._transport)
        plain.mount("https://", self._transport)
        self._auth = login.plugin(url, project, settings)
        self._session = Session(auth=self._auth, session=plain, redirect=False, connect_retries=0)
        self._adapters: dict[str, Adapter] = {}

    async def call(
        self,
        service: str,
        method: str,
        path: str,
        what: str,
        deadline: float,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        slow: bool = False,
    ) -> dict[str, Any]:
        """One call: the object it was answered with, empty where it has no body. `what` names it in messages; `slow`:
        as creations are. Raises typed errors; TimedOut once `deadline` (monotonic) has passed."""
        return await self._run(what, deadline, self._call, service, method, path, what, query, body, slow=slow)

    async def account(self, deadline: float) -> str:
        """Project, region, and the id of Nova in the catalogue, which two clouds never have in common."""
        return await self._run("account", deadline, self._account)

    def close(self) -> None:
        """Begin no more calls. Repetition: harmless."""
        self._threads.close()
        self._transport.close()

    async def _run(self, what: str, deadline: float, call: Callable[..., T], *arguments: Any, slow: bool = False) -> T:
        left = deadline - time.monotonic()

        def bounded() -> T:
            with self._transport.until(deadline):
                return self._typed(what, call, *arguments)

        return await self._threads.run(max(left, 0.001), what, bounded, slow=slow)

    def _typed(self, what: str, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return call(*arguments)
        except HostingError:
            raise
        except exceptions.HttpError as error:
            # The answer to the request for a token.
            answer = error.response
            if error.http_status in {401, 404} and is_keystones(_json(answer)):
                raise AuthenticationError(f"{what}: {LOCKED_OUT}") from None
            raise refusal(what, error.http_status, _json(answer), _retry_after(answer)) from None
        except Exception as error:  # noqa: BLE001 - nonsense in place of a token or a catalogue ends anywhere in there
            raise Unavailable(stranger(KEYSTONE, f"{what}: {NONSENSE} ({type(error).__name__})")) from None

    def _call(
        self, service: str, method: str, path: str, what: str, query: Mapping[str, str] | None, body: object
    ) -> dict[str, Any]:
        options: dict[str, Any] = {"microversion": MICROVERSION} if service == "compute" else {}
        if body is not None:
            options["json"] = body
        try:
            answer = self._adapter(service).request(
                path,
                method,
                params=dict(query or {}),
                raise_exc=False,
                log=False,
                headers={"Accept": "application/json"},
                **options,
            )
        except exceptions.EndpointNotFound:
            raise self._not_in_catalogue(service) from None
        if answer.status_code not in _SUCCESS:
            raise refusal(what, answer.status_code, _json(answer), _retry_after(answer))
        if not answer.content:
            return {}
        found = _json(answer)
        if not isinstance(found, dict):
            raise Unavailable(f"{what}: {stranger(KEYSTONE)}")
        return found

    def _adapter(self, service: str) -> Adapter:
        adapter = self._adapters.get(service)
        if adapter is None:
            adapter = self._adapters[service] = Adapter(
                self._session,
                service_type=service,
                interface=self._settings.interface,
                region_name=self._region or None,
                connect_retries=0,
                status_code_retries=0,
            )
        return adapter

    def _account(self) -> str:
        access = self._auth.get_access(self._session)
        found = access.service_catalog.get_endpoints_data(
            service_type="compute", interface=self._settings.interface, region_name=self._region or None
        )
        told = [data for group in found.values() for data in group]
        if not told:
            raise self._not_in_catalogue("compute")
        regions = {data.region_name for data in told}
        if len(regions) > 1:
            raise Invalid(f"name one of the regions {', '.join(sorted(map(str, regions)))}", field="region")
        (region,) = regions
        if not access.project_id or not told[0].service_id:
            raise Unavailable("account: Keystone's answer names no project or no service")
        return f"{access.project_id}/{region}/{told[0].service_id}"

    def _not_in_catalogue(self, service: str) -> HostingError:
        if service == "network":
            return Invalid("the catalogue has no network service", field="settings.networks")
        access = self._auth.get_access(self._session)
        found = access.service_catalog.get_endpoints_data(service_type=service)
        regions = sorted({str(data.region_name) for group in found.values() for data in group})
        if self._region and self._region not in regions:
            there = f"; there are: {', '.join(regions)}" if regions else ""
            return Invalid(f"the catalogue has no {service} service in region {self._region}{there}", field="region")
        return Invalid(
            f"the catalogue has no {service} service with a {self._settings.interface} address",
            field="settings.interface",
        )


def _json(answer: requests.Response | None) -> object:
    try:
        return json.loads(answer.content) if answer is not None else None
    except (ValueError, RecursionError):
        return None


def _retry_after(answer: requests.Response | None) -> float | None:
    return retry_after(answer.headers) if answer is not None else None
