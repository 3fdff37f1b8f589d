"""Servers as real process trees, each under a supervisor of its own that outlives hostd."""
