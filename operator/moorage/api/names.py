"""Names on the API server that more than one part of Moorage must agree on."""

from __future__ import annotations

GROUP = "moorage.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

LABEL_GROUP = f"{GROUP}/group"
LABEL_MEMBER = f"{GROUP}/member"
LABEL_SERVICE = f"{GROUP}/service"
LABEL_CONFIG = f"{GROUP}/config"
"""On ControllerRevisions: the VirtualServerConfig whose generation they keep."""
LABEL_SECRET = f"{GROUP}/secret"
"""On Secrets: which kind of Secret, one of the SECRET_KIND_ values."""

SECRET_KIND_SERVER = "server"  # noqa: S105 - a label's value
SECRET_KIND_SESSION = "session"  # noqa: S105 - a label's value
SECRET_KIND_OUTPUTS = "outputs"  # noqa: S105 - a label's value

LABEL_ALLOW_PROBES = f"{GROUP}/allow-probes"
"""On Secrets of users, with the value `true`: conditions of policies of the same namespace may use it."""

ANNOTATION_SERVER = f"{GROUP}/server"
"""On the Secrets of a server: the name of its VirtualServer."""
ANNOTATION_STATE = f"{GROUP}/state"
"""On the Secret `<uid>`: attempts, revision, input versions as compact JSON; nothing sensitive."""

ANNOTATION_REVOKED = f"{GROUP}/revoked"
"""On the Secret `<uid>`, from when its VirtualServer goes: its agent is served nothing any more, and its token and
configuration are taken out."""

ANNOTATION_FAILOVER = f"{GROUP}/failover"
"""On a ServerGroup, by a person or `moorage failover`: that it may leave its service, as `<placement>@<since>` of what
`status.failover` tells, or `<placement>@<since> by <name>`. Never written by the controller."""

ANNOTATION_ORPHANS = f"{GROUP}/orphans"
"""On a HostingService, by a person or `moorage orphans`: which orphans to release or delete, as JSON. Never written by
the controller."""
ANNOTATION_APPROVAL = f"{GROUP}/approval"
"""On a ServerGroup, by `moorage approve`: who approved which generation, and until when, as JSON. Never written by
the controller."""
ANNOTATION_FOUND = f"{GROUP}/found"
"""On what `moorage import` prints: in what relation to Moorage the server was found, for people."""

ANNOTATION_MAX_PRICE = f"{GROUP}/max-price-per-hour"
"""On a Namespace, by the platform team: the most that the servers of all its groups may cost in one hour."""
ANNOTATION_REQUIRE_APPROVAL = f"{GROUP}/require-approval"
"""On a Namespace, by the platform team: its groups need an approval, whatever their policies ask for."""
ANNOTATION_APPROVING_ACCOUNTS = f"{GROUP}/approving-accounts"
"""On a Namespace, by the platform team: user names of ServiceAccounts that may approve there. Only the admission policy
reads it."""

FINALIZER_SERVER = f"{GROUP}/server"
"""On a VirtualServer, until its server is confirmed gone or released."""
FINALIZER_GROUP = f"{GROUP}/group"
"""On a ServerGroup, until its servers are gone."""
FINALIZER_SERVICE = f"{GROUP}/service"
"""On a HostingService and its credentials Secret, while a server uses them."""

MANAGER_CONTROLLER = "moorage-controller"
MANAGER_CONFIGD = "moorage-configd"

DEFAULT_CONTROLLER_NAMESPACE = "moorage-system"
SECRET_CA = "moorage-ca"  # noqa: S105 - an object's name
SECRET_INSTALLATION = "moorage-installation"  # noqa: S105 - an object's name
LEASE_CONTROLLER = "moorage-controller"


def server_secret(uid: str) -> str:
    """The Secret of the create request, the join token and the rendered configuration of the VirtualServer `uid`."""
    return uid


def session_secret(uid: str) -> str:
    """The Secret whose creation burns the join token of the VirtualServer `uid`."""
    return f"{uid}-session"


def outputs_secret(uid: str) -> str:
    """The Secret of the sensitive and large outputs of the VirtualServer `uid`."""
    return f"{uid}-outputs"


def server_name(group: str, member: str, ordinal: int, placement: int | None = None) -> str:
    """`<group>-<member>-<ordinal>`, with `-<placement>` for a placement that may overlap an earlier one.

    Four digits tell two generations apart, and more would not fit where group and member have 53 characters.
    """
    name = f"{group}-{member}-{ordinal}"
    return name if placement is None else f"{name}-{placement % 10000}"
