"""Where the API server is and who we are, by the loaders of the `kubernetes` library.

Loading may read files and run an exec plugin, so it happens in a thread. Tokens are looked at again before they are
older than `REFRESH` seconds, and all is loaded anew when the server answers 401.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from moorage.kube.errors import ConfigError

REFRESH = 30.0
_IMPERSONATES = frozenset({"as", "as-uid", "as-groups", "as-user-extra"})
"""Fields of a kubeconfig's user that the `kubernetes` library passes over in silence."""
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(slots=True)
class Loaded:
    """One loading of the configuration. `authorization` is read anew on each call of it (it may block)."""

    host: str
    namespace: str
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    verify: bool
    server_name: str | None
    proxy: str | None
    authorization: Callable[[], str | None]


Loader = Callable[[], Loaded]


def loader(kubeconfig: str | None = None, context: str | None = None) -> Loader:
    """The way to load, decided once: an explicit kubeconfig or context, else in-cluster, else the default kubeconfig.

    Raises ConfigError (when called) where nothing usable is found.
    """
    if not kubeconfig and not context and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _load_in_cluster
    return lambda: _load_kubeconfig(kubeconfig, context)


def _load_in_cluster() -> Loaded:
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, incluster_config

    configuration = Configuration()
    source = incluster_config.InClusterConfigLoader(  # type: ignore[no-untyped-call]
        token_filename=str(_SERVICE_ACCOUNT / "token"), cert_filename=str(_SERVICE_ACCOUNT / "ca.crt")
    )
    try:
        source.load_and_set(configuration)  # type: ignore[no-untyped-call]
    except ConfigException as error:
        raise ConfigError(f"in-cluster configuration: {error}") from None
    namespace = _SERVICE_ACCOUNT / "namespace"
    return Loaded(
        host=configuration.host,
        namespace=namespace.read_text().strip() if namespace.is_file() else "",
        ca_file=configuration.ssl_ca_cert,
        cert_file=None,
        key_file=None,
        verify=True,
        server_name=None,
        proxy=None,
        authorization=lambda: configuration.get_api_key_with_prefix("BearerToken"),
    )


def _load_kubeconfig(kubeconfig: str | None, context: str | None) -> Loaded:
    from kubernetes.client import Configuration
    from kubernetes.config import ConfigException, kube_config

    configuration = Configuration()
    where = kubeconfig or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    try:
        merged = kube_config.KubeConfigMerger(where)  # type: ignore[no-untyped-call]
        if merged.config is None:
            raise ConfigError(f"no kubeconfig at {where}")
        source = kube_config.KubeConfigLoader(  # type: ignore[no-untyped-call]
            config_dict=merged.config, active_context=context
        )
        source.load_and_set(configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise ConfigError(f"kubeconfig {where}: {error}") from None
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        # The reason could quote the file, which holds credentials.
        raise ConfigError(f"kubeconfig {where}: this is not a kubeconfig") from None
    namespace = source.current_context.get("context", {}).get("namespace", "")
    user = source._user.value if source._user is not None else {}
    if "exec" in user and not getattr(source, "token", None) and not configuration.cert_file:
        raise ConfigError(f"kubeconfig {where}: the exec plugin {user['exec'].get('command')!r} gave no credentials")
    if acts := sorted(_IMPERSONATES & user.keys()):
        raise ConfigError(
            f"kubeconfig {where}: the user acts as another ({', '.join(acts)}), which is not supported: what were done "
            "would be done by the user itself; use credentials of the other's own"
        )
    host = configuration.host
    return Loaded(
        host=host,
        namespace=str(namespace or ""),
        ca_file=configuration.ssl_ca_cert,
        cert_file=configuration.cert_file,
        key_file=configuration.key_file,
        verify=bool(configuration.verify_ssl),
        server_name=configuration.tls_server_name,
        proxy=getattr(source, "proxy", None) or _environment_proxy(host),
        authorization=_authorization(configuration, user.get("tokenFile")),
    )


def _authorization(configuration: object, token_file: str | None) -> Callable[[], str | None]:
    def read() -> str | None:
        if token_file:
            return f"Bearer {Path(token_file).read_text().strip()}"
        token: str | None = configuration.get_api_key_with_prefix("BearerToken")  # type: ignore[attr-defined]
        basic: str | None = None if token else configuration.get_basic_auth_token()  # type: ignore[attr-defined]
        # The library makes a header of an absent user and password too: "Basic Og==".
        return token or (basic if getattr(configuration, "username", "") else None)

    return read


def _environment_proxy(host: str) -> str | None:
    parts = urlsplit(host)
    if not parts.hostname or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


class Credentials:
    """The present configuration, refreshed in a thread as it ages."""

    def __init__(self, load: Loader) -> None:
        self._load = load
        self._loaded: Loaded | None = None
        self._ssl: ssl.SSLContext | None = None
        self._header: str | None = None
        self._read_at = 0.0
        self._lock = asyncio.Lock()

    @property
    def loaded(self) -> Loaded:
        """The configuration in use. Raises ConfigError before the first `refresh`."""
        if self._loaded is None:
            raise ConfigError("the configuration is not loaded yet")
        return self._loaded

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The TLS settings; None for plain HTTP. The same object for ever: renewed certificates are loaded into it."""
        return self._ssl

    async def refresh(self, *, force: bool = False) -> None:
        """Load at first use and when forced (after a 401), else re-read the token if it is `REFRESH` seconds old.

        Raises ConfigError.
        """
        if not force and self._loaded is not None and time.monotonic() - self._read_at < REFRESH:
            return
        started = time.monotonic()
        async with self._lock:
            if self._read_at > started:
                return  # another task did it while we waited
            if force or self._loaded is None:
                self._loaded = await asyncio.to_thread(self._load)
                self._ssl = await asyncio.to_thread(_tls, self._loaded, self._ssl)
            try:
                self._header = await asyncio.to_thread(self._loaded.authorization)
            except OSError as error:
                raise ConfigError(f"cannot read the token: {error}") from None
            self._read_at = time.monotonic()

    def headers(self) -> dict[str, str]:
        """The authorization header, if there is one."""
        if not self._header:
            return {}
        scheme, _, rest = self._header.partition(" ")
        # Some loaders write "bearer" and keep the newline of the token file.
        return {"Authorization": f"{scheme.capitalize()} {rest.strip()}"}


def _tls(loaded: Loaded, old: ssl.SSLContext | None) -> ssl.SSLContext | None:
    if not loaded.host.startswith("https"):
        return None
    try:
        context = old or ssl.create_default_context(cafile=loaded.ca_file)
        if old is not None and loaded.ca_file:
            context.load_verify_locations(cafile=loaded.ca_file)
        if not loaded.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if loaded.cert_file:
            context.load_cert_chain(loaded.cert_file, loaded.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"TLS material for {loaded.host}: {error}") from None
    return context
