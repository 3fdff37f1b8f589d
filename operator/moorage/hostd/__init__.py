"""hostd, the embedded hosting service: servers are real process trees, or simulated ones, behind an HTTP API."""
