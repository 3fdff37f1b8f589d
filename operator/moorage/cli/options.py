"""The options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    """How a report is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class DocumentFormat(StrEnum):
    """How a document is printed, which is no table."""

    JSON = "json"
    YAML = "yaml"


Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="The namespace. Default: the context's.", show_default=False)
]
Context = Annotated[
    str, typer.Option(help="The context of the kubeconfig. Default: its current one.", show_default=False)
]
Kubeconfig = Annotated[
    str,
    typer.Option(
        help="The kubeconfig file. Default: as kubectl, KUBECONFIG or ~/.kube/config.",
        show_default=False,
    ),
]
Output = Annotated[Format, typer.Option("--output", "-o", help="How it is printed.")]
ControllerNamespace = Annotated[str, typer.Option(help="The namespace of the controller, which has the credentials.")]
