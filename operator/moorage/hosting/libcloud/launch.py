"""What `create_node` is called with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from moorage.hosting.contract import CreateRequest
from moorage.hosting.errors import Invalid
from moorage.hosting.libcloud.profiles import Profile, Referred
from moorage.hosting.libcloud.records import TAG_KEY, TAG_REQUEST
from moorage.hosting.libcloud.settings import LibcloudServerSettings

MOST: Final = 255
"""Most characters of a tag's name or value."""


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises Invalid(field="tags.NAME")."""
    for name, value in tags.items():
        if not 1 <= len(name) <= 127 or len(value) > MOST or not f"{name}{value}".isprintable():
            raise Invalid(f"names of tags have at most 127 characters, values {MOST}", field=f"tags.{name}")


def arguments_of(request: CreateRequest, settings: LibcloudServerSettings, profile: Profile) -> dict[str, Any]:
    """All arguments but size and image. Raises Invalid naming the field."""
    _check(request, profile)
    own: dict[str, Any] = {"name": request.name if profile.tags is not None else request.key}
    own |= profile.fixed(request.key)
    if request.user_data and profile.user_data is not None:
        own[profile.user_data] = request.user_data
    if profile.tags is not None:
        tags = {**request.tags, TAG_KEY: request.key, TAG_REQUEST: request.digest()}
        # In order: a provider may take the same tags in another order for another request.
        own[profile.tags] = {name: tags[name] for name in sorted(tags)}
    for field, names in (("arguments", settings.arguments), ("references", settings.references)):
        taken = sorted(set(names) & {*own, "size", "image", profile.user_data, profile.tags})
        if taken:
            raise Invalid("Moorage gives this argument itself", field=f"settings.{field}.{taken[0]}")
    return {**settings.arguments, **{name: _referred(value) for name, value in settings.references.items()}, **own}


def check_allowed(settings: LibcloudServerSettings, allowed: Collection[str]) -> None:
    """What a server sets, against what its service lets servers set. Raises Invalid naming the field."""
    for field, names in (("arguments", settings.arguments), ("references", settings.references)):
        for name in sorted(set(names) - set(allowed)):
            text = f"the service lets no server set {name}: its settings.serverArguments do not name it"
            raise Invalid(text, field=f"settings.{field}.{name}")


def _referred(value: str | tuple[str, ...]) -> Referred | list[Referred]:
    if isinstance(value, str):
        return Referred(value, value)
    return [Referred(each, each) for each in value]


def _check(request: CreateRequest, profile: Profile) -> None:
    if not request.image:
        raise Invalid("a server needs an image, by name or id", field="image")
    if not request.offering:
        raise Invalid("a server needs a size, by name or id", field="offering")
    size = len(request.user_data.encode())
    if profile.max_user_data is not None and size > profile.max_user_data:
        raise Invalid(
            f"is {size} bytes, and this driver takes {profile.max_user_data}: make it shorter", field="userData"
        )
    check_tags(request.tags)
