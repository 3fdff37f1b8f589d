"""Serves a WSGI application: `serve.py MODULE PORT THREADS`, the application being `MODULE.application`."""

from __future__ import annotations

import sys
from importlib import import_module

import waitress


def main() -> None:
    """Serve until the process is ended. The services read their options from sys.argv, so it is emptied first."""
    module, port, threads = sys.argv[1:4]
    sys.argv[1:] = []
    application = import_module(module).application
    waitress.serve(application, host="127.0.0.1", port=int(port), threads=int(threads), ident=None)


if __name__ == "__main__":
    main()
