"""The only code that talks to the API server: client, cache, lists and watches, lease, events, status."""
