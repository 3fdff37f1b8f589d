"""The condition `resource`: an expression over any Kubernetes object, or over a list of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from moorage.api.base import Label, Model, text
from moorage.api.meta import LabelSelector
from moorage.api.rules import Rule

SECRET_KIND = "Secret"  # noqa: S105 - a kind
SECRETS = "secrets"


class ResourceExpression(Model):
    """A fact about one Kubernetes object, or about several of one kind."""

    RULES = (
        Rule(
            f"self.kind != '{SECRET_KIND}'",
            "a condition never reads Secrets",
            "write what it needs into another object, such as a ConfigMap",
            ".kind",
        ),
        Rule(
            "!has(self.name) || !has(self.selector) ||"
            " ((!has(self.selector.matchLabels) || size(self.selector.matchLabels) == 0)"
            " && (!has(self.selector.matchExpressions) || size(self.selector.matchExpressions) == 0))",
            "name and selector exclude each other",
            "write name for one object, or selector for several",
            ".selector",
        ),
    )

    api_version: Annotated[
        str,
        text(
            317,
            r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[a-z0-9]+$",
            "is not an API version",
            "write v1 for the core group, or group and version such as apps/v1",
        ),
    ]
    """The API version of the kind, such as v1 or apps/v1."""
    kind: Annotated[
        str,
        text(
            63,
            r"^[A-Za-z][A-Za-z0-9]*$",
            "is not a kind",
            "write it as it stands in a manifest, such as ConfigMap",
        ),
    ]
    """The kind, such as ConfigMap. Never Secret."""
    name: (
        Annotated[
            str,
            text(
                253,
                r"^[^/%,=\\\s]+$",
                "is not a name to look for",
                "write the name of one object such as queue, without spaces and any of / % , = and \\",
            ),
        ]
        | None
    ) = None
    """The one object that `object` is in the expression. Default: `objects` are all, or those that are selected."""
    namespace: Label | None = None
    """Where to look. Default: the policy's namespace. A cluster-scoped kind has none."""
    selector: LabelSelector = LabelSelector()
    """Only objects with these labels are among `objects`. Default: all."""
    expression: Annotated[str, Field(min_length=1, max_length=4096)]
    """A CEL expression over `object` (with `name`) or `objects`, such as objects.size() >= 3."""
