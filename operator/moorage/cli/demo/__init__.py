"""`moorage demo`: the quickstart with real processes, watched and verified."""
