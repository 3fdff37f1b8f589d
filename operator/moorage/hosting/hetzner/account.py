"""Whose project it is. The API tells neither the id nor the name of the project that a token belongs to.

https://github.com/hetznercloud/hcloud-go/issues/451 says that there is none to be had. So an object of the project's
own stands for it: a placement group, which costs nothing, holds no server, has an id that no other placement group of
the Hetzner Cloud ever gets, and whose name the project keeps unique, so that two who make it at once get the same one.
"""

from __future__ import annotations

from contextlib import suppress

import hcloud

from moorage.hosting.errors import Unavailable
from moorage.hosting.hetzner.answers import NotUnique


def account_of(sdk: hcloud.Client, marker: str) -> str:
    """Identity of the project: id and time of creation of its marker, which is made where there is none.

    Raises AuthenticationError where the token may only read and there is no marker yet.
    """
    found = _find(sdk, marker)
    if found is None:
        with suppress(NotUnique):  # somebody else has just made it
            sdk.placement_groups.create(name=marker, type="spread", labels={"moorage-marker": "account"})
        found = _find(sdk, marker)
    if found is None:
        raise Unavailable("the placement group that stands for the project does not show")
    return found


def _find(sdk: hcloud.Client, marker: str) -> str | None:
    groups, _ = sdk.placement_groups.get_list(name=marker)
    for group in groups:
        if group.name == marker and isinstance(group.id, int) and group.created is not None:
            return f"{group.id}-{group.created:%Y%m%dT%H%M%SZ}"
    return None
