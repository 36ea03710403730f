"""Rules of the house that no linter knows: names that stand once, files of one noun, tasks with an owner."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "sandkasten_kernels"
STARTS_A_TASK = {"create_task", "ensure_future", "TaskGroup"}
MAX_LINES = 300


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Yield every module of the package with its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE), ast.parse(path.read_text())


def test_a_class_name_stands_once() -> None:
    # The SDK is left out: its names are a published interface, and some are those of the gateway on purpose.
    found = defaultdict(list)
    for path, tree in modules():
        if path.parts[0] != "client":
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(str(path))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_every_handler_is_called_one() -> None:
    for path, tree in modules():
        for node in tree.body:
            if path.parts[0] == "handlers" and isinstance(node, ast.ClassDef):
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                assert node.name.endswith("Handler") or not any(base.endswith("Handler") for base in bases), node.name


def test_background_tasks_alone_start_tasks() -> None:
    for path, tree in modules():
        if path.parts[0] in ("client", "guest") or path.name == "background.py":
            continue
        started = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in STARTS_A_TASK]
        assert not started, f"{path}:{started[0].lineno}: start it through BackgroundTasks"


def test_the_wheel_has_every_package() -> None:
    listed = (PACKAGE.parent / "setup.cfg").read_text()
    for folder in {path.parent for path, _ in modules()}:
        name = ".".join(("sandkasten_kernels", *folder.parts))
        assert f"\n    {name}\n" in listed, f"{name} is missing in setup.cfg"


def test_no_module_is_long() -> None:
    long = {
        str(path): lines
        for path, _ in modules()
        if (lines := len((PACKAGE / path).read_text().splitlines())) > MAX_LINES
    }
    assert long == {}
