"""Placement: which hosting service takes a group, why, and with what image, offering and settings for each member."""

from moorage.core.placement.member import MemberTemplate, resolve_member, with_room
from moorage.core.placement.patience import awaited
from moorage.core.placement.place import Decision, MemberRequest, PlacementRequest, place
from moorage.core.placement.reasons import Reason, Rejection
from moorage.core.placement.sensitivity import what_would_change

__all__ = [
    "Decision",
    "MemberRequest",
    "MemberTemplate",
    "PlacementRequest",
    "Reason",
    "Rejection",
    "awaited",
    "place",
    "resolve_member",
    "what_would_change",
    "with_room",
]
