"""Placement: which hosting service takes a group, why, and with what image, offering and settings for each member."""

from moorage.core.placement.member import MemberTemplate, first_with_room, resolve_member, resolve_turns
from moorage.core.placement.patience import awaited
from moorage.core.placement.place import Decision, MemberRequest, PlacementRequest, place
from moorage.core.placement.reasons import Reason, Rejection

__all__ = [
    "Decision",
    "MemberRequest",
    "MemberTemplate",
    "PlacementRequest",
    "Reason",
    "Rejection",
    "awaited",
    "first_with_room",
    "place",
    "resolve_member",
    "resolve_turns",
]
