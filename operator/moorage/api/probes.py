"""Conditions whose answer comes from outside: the query of a metric, and a webhook."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from moorage.api.base import Model, text
from moorage.api.meta import SecretRef
from moorage.api.quantities import Interval, Number, parse_duration
from moorage.api.rules import Rule, rules

Comparison = Literal["GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual", "Equal", "NotEqual"]
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:[0-9]{1,5})?"
_PATH = r"(/[A-Za-z0-9._~/-]*)?"

CaBundle = Annotated[
    str,
    Field(
        max_length=32768,
        json_schema_extra=rules(
            # A pattern would cost as much as the text is long, once for each place where a condition may stand.
            Rule(
                "self.startsWith('-----BEGIN CERTIFICATE-----')",
                "is not a bundle of PEM certificates",
                "write the certificates themselves, beginning with -----BEGIN CERTIFICATE-----",
            )
        ),
    ),
]
_PACE = (
    Rule(
        "!has(self.interval)"
        " || (duration(self.interval) >= duration('5s') && duration(self.interval) <= duration('24h'))",
        "it cannot be asked that often or that rarely",
        "write an interval from 5s to 24h",
        ".interval",
    ),
    Rule(
        "!has(self.timeout)"
        " || (duration(self.timeout) >= duration('100ms') && duration(self.timeout) <= duration('30s'))",
        "it cannot be waited for that shortly or that long",
        "write a timeout from 100ms to 30s",
        ".timeout",
    ),
)


class MetricQuery(Model):
    """The answer of an instant query to a Prometheus, compared with a number."""

    RULES = (
        *_PACE,
        Rule(
            "!has(self.credentialsSecretRef) || self.url.startsWith('https://')",
            "credentials are only sent over https",
            "write an https URL, or leave credentialsSecretRef out",
            ".url",
        ),
    )

    url: Annotated[
        str,
        text(
            512,
            f"^https?://{_HOST}{_PATH}$",
            "is not the http or https URL of a Prometheus, without user, query and fragment",
            "write its address without /api/v1/query, such as https://prometheus.example.org:9090",
        ),
    ]
    """The Prometheus's address. The platform team has to allow its host."""
    query: Annotated[str, Field(min_length=1, max_length=4096)]
    """A PromQL query whose answer is one number: a scalar, or a vector of one series."""
    comparison: Comparison
    """How the answer must compare with `threshold`."""
    threshold: Number
    """The number that the answer is compared with."""
    interval: Interval = parse_duration("30s")
    """How often it is asked, 5s to 24h."""
    timeout: Interval = parse_duration("10s")
    """How long an answer may take, 100ms to 30s."""
    credentials_secret_ref: SecretRef | None = None
    """A Secret of the policy's namespace with the key `token`, or with `username` and `password`. Needs the label
    moorage.dev/allow-probes: "true"."""
    ca_bundle: CaBundle | None = None
    """PEM certificates of the authorities that its certificate may be signed by. Default: those that the controller's
    system trusts."""


class Webhook(Model):
    """An HTTPS endpoint that is asked by a signed POST and answers yes or no."""

    RULES = _PACE

    url: Annotated[
        str,
        text(
            512,
            f"^https://{_HOST}{_PATH}$",
            "is not an https URL without user, query and fragment",
            "write the endpoint's address, such as https://decide.example.org/may-run",
        ),
    ]
    """The endpoint. The platform team has to allow its host."""
    signing_secret_ref: SecretRef
    """A Secret of the policy's namespace whose key `key` (16 bytes or more) signs the questions. Needs the label
    moorage.dev/allow-probes: "true"."""
    interval: Interval = parse_duration("60s")
    """How often it is asked, 5s to 24h."""
    timeout: Interval = parse_duration("10s")
    """How long an answer may take, 100ms to 30s."""
    ca_bundle: CaBundle | None = None
    """PEM certificates of the authorities that its certificate may be signed by. Default: those that the controller's
    system trusts."""
