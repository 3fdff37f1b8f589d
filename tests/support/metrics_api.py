"""An API of external metrics for autoscalers: a server of the test's own that the API server aggregates.

The API server finds an aggregated API by a Service, and there is no network of Services here: a Service of type
ExternalName leads it to a name instead, with the port that the APIService gives, and a name may be `localhost`.
(Endpoints are not allowed to be loopback addresses.) The certificate is for the Service's name all the same, and the
server believes who comes with a certificate of the authority that the API server publishes for just this.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web
from tests.support.stack import Api, Obj

from moorage.kube.errors import NotFound
from moorage.kube.kinds import CONFIG_MAP, Kind
from moorage.testing.certificates import loopback_tls

GROUP_VERSION = "external.metrics.k8s.io/v1beta1"
API_SERVICE = Kind("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)
SERVICE = Kind("", "v1", "services", "Service")
NAME = "metrics"


@dataclass
class Metrics:
    """The metrics' values by name, and how often each was asked for."""

    values: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)

    async def resources(self, _: web.Request) -> web.Response:
        """What there is: the API server looks at it to see whether this server is well."""
        found = [
            {"name": n, "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]} for n in self.values
        ]
        return web.json_response(
            {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": found}
        )

    async def value(self, request: web.Request) -> web.Response:
        """One metric, as a list of one series."""
        name = request.match_info["metric"]
        self.asked[name] = self.asked.get(name, 0) + 1
        if name not in self.values:
            return web.json_response(
                {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}, status=404
            )
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        item = {"metricName": name, "metricLabels": {}, "timestamp": now, "value": str(self.values[name])}
        body = {"kind": "ExternalMetricValueList", "apiVersion": GROUP_VERSION, "metadata": {}, "items": [item]}
        return web.json_response(body)


@contextlib.asynccontextmanager
async def metrics_api(api: Api, **values: int) -> AsyncIterator[Metrics]:
    """Serve these metrics, and wait until the API server finds them."""
    metrics = Metrics(dict(values))
    tls, authority = loopback_tls(f"{NAME}.{api.namespace}.svc")
    published = await api.client.get(CONFIG_MAP, "kube-system", "extension-apiserver-authentication")
    tls.load_verify_locations(cadata=published["data"]["requestheader-client-ca-file"])
    tls.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_get(f"/apis/{GROUP_VERSION}", metrics.resources)
    app.router.add_get(f"/apis/{GROUP_VERSION}/namespaces/{{namespace}}/{{metric}}", metrics.value)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=tls)
    await site.start()
    name = ".".join(reversed(GROUP_VERSION.split("/")))
    try:
        service = {"metadata": {"name": NAME, "namespace": api.namespace}}
        await api.client.create(SERVICE, {**service, "spec": {"type": "ExternalName", "externalName": "localhost"}})
        await api.client.create(API_SERVICE, _api_service(api.namespace, name, runner.addresses[0][1], authority))
        await api.condition(API_SERVICE, name, "Available")
        yield metrics
    finally:
        # One that leads nowhere would keep every namespace from being deleted.
        with contextlib.suppress(NotFound):
            await api.client.delete(API_SERVICE, None, name)
        await runner.cleanup()


def _api_service(namespace: str, name: str, port: int, authority: str) -> Obj:
    version, group = name.split(".", 1)
    spec = {
        "group": group,
        "version": version,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "service": {"name": NAME, "namespace": namespace, "port": port},
        "caBundle": base64.b64encode(authority.encode()).decode(),
    }
    return {"metadata": {"name": name}, "spec": spec}
