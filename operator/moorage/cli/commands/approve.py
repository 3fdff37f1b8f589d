"""`moorage approve`: says that a group may have servers, in one's own name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from moorage.cli.errors import CliError, Exit
from moorage.cli.options import Context, Kubeconfig, Namespace

if TYPE_CHECKING:
    from moorage.cli.cluster import Cluster


def approve(
    group: Annotated[str, typer.Argument(help="The ServerGroup.", metavar="GROUP", show_default=False)],
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
    for_: Annotated[
        str, typer.Option("--for", help="How long it counts, such as 4h. Default: until revoked.", show_default=False)
    ] = "",
    until: Annotated[
        str, typer.Option(help="Until when it counts, such as 2026-12-24T18:00:00+01:00.", show_default=False)
    ] = "",
    reason: Annotated[str, typer.Option(help="Why, for others to read.", show_default=False)] = "",
    generation: Annotated[
        int, typer.Option(help="Only if the group is at this generation, the one you looked at.", show_default=False)
    ] = 0,
    ahead: Annotated[
        bool, typer.Option("--ahead", help="Also where nothing asks for an approval yet, for what is about to.")
    ] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the approval back.")] = False,
) -> None:
    """Approve a group as it is now, where its policy (condition approval) or its namespace asks for that.

    It ends with its time, when it is revoked, and with the next change of the group's spec. What runs stays.
    """
    from moorage.cli.approvals import approve_group, revoke_approval
    from moorage.cli.cluster import Target, use_cluster

    if revoke and (for_ or until or reason or generation or ahead):
        raise CliError("--revoke goes with nothing else", Exit.USAGE)
    now = datetime.now(UTC).replace(microsecond=0)
    end = _end(for_, until, now)

    async def work(cluster: Cluster) -> str:
        if revoke:
            return await revoke_approval(cluster, group)
        return await approve_group(cluster, group, now, end, reason, generation, ahead=ahead)

    typer.echo(use_cluster(Target(namespace, context, kubeconfig), work))


def _end(for_: str, until: str, now: datetime) -> datetime | None:
    """When the approval ends; None: not by itself. Raises CliError."""
    if for_ and until:
        raise CliError("--for and --until say the same thing: give one of them", Exit.USAGE)
    end = _after(for_, now) if for_ else _instant(until) if until else None
    if end is not None and end.replace(microsecond=0) <= now:
        raise CliError("the approval would have ended already", Exit.USAGE)
    return end


def _after(for_: str, now: datetime) -> datetime:
    from moorage.api.quantities import parse_duration

    try:
        return now + parse_duration(for_)
    except ValueError as error:
        raise CliError(f"--for {for_} {error}", Exit.USAGE) from None
    except OverflowError:
        raise CliError(f"--for {for_} leads beyond the last year that a date can have", Exit.USAGE) from None


def _instant(text: str) -> datetime:
    hint = "write a time with its zone, such as 2026-12-24T18:00:00+01:00 or 2026-12-24T17:00:00Z"
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        raise CliError(f"--until {text} is not a point in time", Exit.USAGE, hint=hint) from None
    if end.tzinfo is None:
        raise CliError(f"--until {text} names no zone", Exit.USAGE, hint=hint)
    return end
