"""`moorage enroll`: puts the agent on a server that was adopted, and so had no say in how it booted."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moorage.cli.errors import CliError, Exit
from moorage.cli.options import Context, Kubeconfig, Namespace

if TYPE_CHECKING:
    from moorage.cli.cluster import Cluster


def enroll(
    server: Annotated[str, typer.Argument(help="The VirtualServer.", metavar="SERVER", show_default=False)],
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the token is shown.")] = False,
) -> None:
    """Print the script that puts the agent on an adopted server, to be run there as root.

    For example: moorage enroll SERVER --yes | ssh root@HOST sh
    """
    from moorage.cli.cluster import Target, use_cluster

    async def work(cluster: Cluster) -> str:
        return await _script(cluster, server)

    script = use_cluster(Target(namespace, context, kubeconfig), work)
    if not yes:
        _ask()
    sys.stdout.write(script if script.endswith("\n") else script + "\n")


def _ask() -> None:
    """Ask on standard error: standard output may lead into another program. Raises CliError unless it is a yes."""
    warning = "the script holds a join token: whoever runs it first becomes this server"
    if not sys.stdin.isatty():
        raise CliError(warning, hint="say --yes to have it printed")
    sys.stderr.write(f"{warning[0].upper()}{warning[1:]}. Print it? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CliError("nothing was printed")


async def _script(cluster: Cluster, name: str) -> str:
    from moorage.api.names import server_secret, session_secret
    from moorage.kube.kinds import SECRET

    server = await cluster.server(name)
    if server.spec.adopt is None:
        raise CliError(f"{name} was created with its agent; only adopted servers (spec.adopt) are enrolled")
    uid = server.metadata.uid
    if await cluster.maybe(SECRET, session_secret(uid)) is not None:
        raise CliError(
            f"{name} has an agent already; a join token works once",
            hint="for a server that was installed anew, delete the VirtualServer and make it again; the server stays",
        )
    secret = await cluster.maybe(SECRET, server_secret(uid))
    script = user_data((secret or {}).get("data", {}).get("request"))
    if not script:
        raise CliError(
            f"{name} has no script yet: the controller has not come to it",
            Exit.NOT_READY,
            hint=f"see what it waits for: kubectl describe vs {name} -n {cluster.namespace}",
        )
    return script


def user_data(request: str | None) -> str:
    """The user-data of a create request as a Secret holds it (base64 of JSON); empty where there is none."""
    if not request:
        return ""
    try:
        held: Any = json.loads(base64.b64decode(request))
    except ValueError:
        raise CliError("the Secret of the server does not hold a create request that this version can read") from None
    found = held.get("userData", "") if isinstance(held, dict) else ""
    return found if isinstance(found, str) else ""
