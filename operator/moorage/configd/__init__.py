"""The configuration channel's HTTPS service.

It keeps nothing that is not in the API server, so any replica can serve any agent.
"""
