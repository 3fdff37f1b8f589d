"""The contract's tests, for whoever writes a backend: see `docs/backends.md`."""
