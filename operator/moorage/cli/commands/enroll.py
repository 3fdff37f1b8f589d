"""`moorage enroll`: puts the agent on a server that was adopted, and so had no say in how it booted."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.errors import CliError, Exit
from moorage.cli.options import Context, Kubeconfig, Namespace

if TYPE_CHECKING:
    from moorage.cli.cluster import Cluster

_SETTINGS = re.compile(r"""^cat >"\$S/boot\.json" <<'E'\n(.*)$""", re.MULTILINE)
_END = "-----END CERTIFICATE-----\n"
_TAMPERED = "the Secret of the server does not hold what the controller put there"


@dataclass(frozen=True, slots=True)
class Trust:
    """Which root CA is the installation's: the one of this pin, or those in the Secret of that namespace."""

    namespace: str
    pin: str = ""


def enroll(
    server: Annotated[str, typer.Argument(help="The VirtualServer.", metavar="SERVER", show_default=False)],
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    pin: Annotated[
        str, typer.Option(help="SHA-256 of the root CA, where you may not read the CA's Secret.", show_default=False)
    ] = "",
    controller_namespace: Annotated[
        str, typer.Option(help="The namespace of the controller, which has that Secret.")
    ] = "moorage-system",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the token is shown.")] = False,
) -> None:
    """Print the script that puts the agent on an adopted server, to be run there as root.

    For example: moorage enroll SERVER --yes | ssh root@HOST sh
    """
    from moorage.cli.cluster import Target, use_cluster

    async def work(cluster: Cluster) -> str:
        return await _script(cluster, server, Trust(controller_namespace, pin))

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


async def _script(cluster: Cluster, name: str, trust: Trust) -> str:
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
    held = (secret or {}).get("data") or {}
    if not held.get("request"):
        raise CliError(
            f"{name} has no script yet: the controller has not come to it",
            Exit.NOT_READY,
            hint=f"see what it waits for: kubectl describe vs {name} -n {cluster.namespace}",
        )
    roots = {pin_of(trust.pin)} if trust.pin else await _roots(cluster, trust.namespace)
    return rendered(held, f"{server.metadata.namespace}/{uid}", roots)


def pin_of(text: str) -> str:
    """A SHA-256 in hex, also as `openssl x509 -fingerprint` prints it. Raises CliError."""
    pin = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", pin):
        raise CliError("--pin is no SHA-256 in hex: 64 digits, with or without colons", Exit.USAGE)
    return pin


async def _roots(cluster: Cluster, namespace: str) -> set[str]:
    """The pins of the roots that the installation's CA has."""
    from moorage.api.names import SECRET_CA
    from moorage.configd.authority import read_authority
    from moorage.configd.pki import CAError
    from moorage.kube.errors import Forbidden, NotFound
    from moorage.kube.kinds import SECRET

    try:
        bundle = read_authority(await cluster.client.get(SECRET, namespace, SECRET_CA)).bundle.decode()
    except (Forbidden, NotFound) as error:
        raise CliError(
            f"whom the server will trust cannot be checked: {error.message}",
            Exit.FORBIDDEN if isinstance(error, Forbidden) else Exit.NOT_FOUND,
            hint="say --pin (the platform team knows it), or --controller-namespace where that is another one",
        ) from None
    except CAError as error:
        raise CliError(str(error)) from None
    return {hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem + _END)).hexdigest() for pem in bundle.split(_END)[:-1]}


def rendered(held: Mapping[str, str], server: str, roots: Collection[str]) -> str:
    """The script of `server` (`<namespace>/<uid>`), made anew from the facts in the data of its Secret.

    Others may write that Secret, and root is to run the script: nothing of its text is taken over, and a root that is
    none of `roots` (pins) is refused, since the agent comes from whoever it vouches for. Raises CliError.
    """
    from moorage.configd.userdata import render_user_data

    try:
        found = _SETTINGS.search(json.loads(base64.b64decode(held["request"]))["userData"])
        facts = json.loads(found[1]) if found is not None else {}
        urls, pin = [str(url) for url in facts["urls"]], str(facts["pin"])
        token = base64.b64decode(held["token"]).decode()
        script = render_user_data(urls, pin, server, token)
    except (KeyError, TypeError, ValueError, RecursionError):
        raise CliError(_TAMPERED, hint="delete the VirtualServer and make it again; the server stays") from None
    if pin not in roots:
        raise CliError(
            "the script in the Secret of the server trusts a root CA that is not this installation's",
            hint="find out who may write Secrets there, then delete the VirtualServer and make it again",
        )
    return script
