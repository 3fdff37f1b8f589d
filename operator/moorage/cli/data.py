"""Files that the command needs and the repository keeps in one place: CRDs, rules, the quickstart."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def data(name: str) -> Path:
    """`crds`, `deploy/base` or `examples/quickstart`: from the installed wheel, else from the checkout it runs in.

    Raises FileNotFoundError for anything else.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parents[1]):
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(f"this installation of moorage lacks {name}")
