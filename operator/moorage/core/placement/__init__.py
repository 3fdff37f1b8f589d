"""Placement: which hosting service takes a group, why, and with what image, offering and settings for each member."""

from moorage.core.placement.ceiling import group_cost
from moorage.core.placement.expression import invalid_expressions
from moorage.core.placement.member import (
    MemberTemplate,
    Spot,
    first_with_room,
    resolve_member,
    resolve_turns,
    tried_in_turn,
    with_room,
)
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
    "Spot",
    "awaited",
    "first_with_room",
    "group_cost",
    "invalid_expressions",
    "place",
    "resolve_member",
    "resolve_turns",
    "tried_in_turn",
    "what_would_change",
    "with_room",
]
