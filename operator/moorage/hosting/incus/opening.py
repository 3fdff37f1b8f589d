"""From a HostingService and its Secret to a backend."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cryptography import x509

from moorage.hosting.errors import AuthenticationError, Invalid
from moorage.hosting.factory import ServiceSpec, parse_settings
from moorage.hosting.http import Http, endpoint_url, tls_context
from moorage.hosting.incus.backend import IncusBackend
from moorage.hosting.incus.client import Client
from moorage.hosting.incus.settings import IncusSettings

TRUST: Final = "the key `server.crt` of the credentials, or the setting caBundle"
_PROJECT = re.compile(r"^[^/\s'\"*]{1,63}$")


def open_backend(spec: ServiceSpec, credentials: Mapping[str, bytes]) -> IncusBackend:
    """Open a backend; see `BackendFactory.open`. The credentials are `tls.crt` and `tls.key`, the client's certificate
    that Incus trusts, and `server.crt`, the server's own certificate, unless `settings.caBundle` vouches for it."""
    settings = parse_settings(IncusSettings, spec.settings)
    base = endpoint_url(spec.endpoint, "the Incus server", frozenset({"https"}))
    project = spec.project or "default"
    if not _PROJECT.match(project) or project in {".", ".."}:
        raise Invalid("must be the name of an Incus project", field="project")
    if spec.region:
        raise Invalid("a service of type incus has no regions: write one HostingService a cluster", field="region")
    certificate, key = credentials.get("tls.crt"), credentials.get("tls.key")
    if certificate is None or key is None:
        raise AuthenticationError("the credentials need `tls.crt` and `tls.key`, the client's certificate and its key")
    tls = _tls(settings, credentials.get("server.crt"), certificate, key)
    http = Http(base, headers={"Accept": "application/json"}, tls=tls, trust=TRUST)
    client = Client(http, project, settings.request_timeout)
    return IncusBackend(client, project, settings, expires=_expires(certificate))


def _tls(settings: IncusSettings, server: bytes | None, certificate: bytes, key: bytes) -> ssl.SSLContext:
    if server is None or settings.ca_bundle:
        return tls_context(settings.ca_bundle, certificate, key)
    try:
        pinned = x509.load_pem_x509_certificate(server)
    except ValueError:
        raise AuthenticationError("the key `server.crt` of the credentials is not a PEM certificate") from None
    if _signs_others(pinned):
        text = "the key `server.crt` of the credentials is that of an authority: write it into settings.caBundle"
        raise AuthenticationError(text)
    context = tls_context(server.decode("ascii", errors="replace"), certificate, key)
    # The certificate itself is the identity: Incus makes it for itself, with whatever names its machine had that day,
    # and without what a strict check wants to see.
    context.check_hostname = False
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _expires(certificate: bytes) -> datetime | None:
    """When the client's certificate expires; Incus refuses it then, and does not say why."""
    try:
        return x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    except ValueError:  # OpenSSL took it, so it is one in a form that only OpenSSL reads
        return None


def _signs_others(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False
