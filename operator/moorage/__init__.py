"""Moorage: groups of virtual servers, placed by a policy, configured in two steps."""
