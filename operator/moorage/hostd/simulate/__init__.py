"""Servers that are only simulated: timers for their boots, and light agents that speak the real protocol."""
