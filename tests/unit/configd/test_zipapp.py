"""The zipapp: the same bytes each time, and nothing in it but the agent."""

from __future__ import annotations

import ast
import io
import sys
import zipfile

from moorage.configd.zipapp import PACKAGE, build_agent


def test_it_is_built_the_same_each_time() -> None:
    first = build_agent()
    build_agent.cache_clear()
    assert build_agent() == first


def test_it_has_the_agent_and_imports_the_standard_library_only() -> None:
    packed = zipfile.ZipFile(io.BytesIO(build_agent()))
    names = packed.namelist()
    assert "__main__.py" in names
    assert f"{PACKAGE}/main.py" in names
    assert names == sorted(names)
    for name in names:
        tree = ast.parse(packed.read(name), feature_version=(3, 8))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            else:
                continue
            for module in modules:
                root = module.partition(".")[0]
                assert root in sys.stdlib_module_names or root == PACKAGE, f"{name} imports {module}"
