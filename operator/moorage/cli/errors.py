"""How a command fails: one line that says what is wrong, one that says what to do, and an exit code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; documented in docs/operations.md."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_READY = 4
    NO_CLUSTER = 5
    FORBIDDEN = 6
    CHANGES = 7
    INTERRUPTED = 130
    TERMINATED = 143


class CliError(Exception):
    """A failure to show to a person. `hint` says what to do about it; empty where nothing sensible can be said."""

    def __init__(self, message: str, code: Exit = Exit.FAILED, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


def nearby(wanted: str, there: Iterable[str], *, most: int = 5) -> str:
    """`did you mean a?`, or the first names that are there; empty where there are none."""
    names = sorted(set(there))
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"there is {', '.join(names[:most])}{more}"


_DENIED = re.compile(r'User "([^"]*)" cannot (\w+) resource "([^"]*)" in API group "([^"]*)"')


def missing_rule(message: str) -> str:
    """The RBAC rule whose absence an API server's refusal reports, as YAML in one line; empty where it names none."""
    found = _DENIED.search(message)
    if not found:
        return ""
    user, verb, resource, group = found.groups()
    rule = f'{user} needs the rule {{apiGroups: ["{group}"], resources: [{resource}], verbs: [{verb}]}}'
    if resource == "hostingservices" and verb in {"get", "list", "watch"}:
        # No role of a namespace can have it: who misses it has to ask.
        return f"{rule}; a ClusterRoleBinding of the platform team's to moorage-services-view gives it"
    return rule
