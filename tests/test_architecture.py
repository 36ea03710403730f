"""The page on the architecture is true: it names every module, and imports go downwards in its table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "sandkasten_kernels"
PAGE = (PACKAGE.parent / "docs" / "architecture.md").read_text().partition("## A sandbox comes up")[0]
IN_WORDS = ("client", "handlers")
"""Packages whose line says what they are for, and not each module."""


def lines() -> dict[str, int]:
    """Return the line of the table in which each module or package stands."""
    cells = [row.split("|")[1] for row in PAGE.splitlines() if row.startswith("| `")]
    return {name: number for number, cell in enumerate(cells) for name in re.findall(r"`(\w+)/?`", cell)}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield each module, and what stands for it in the table."""
    for file in sorted(PACKAGE.rglob("*.py")):
        inside = file.relative_to(PACKAGE)
        if inside.stem not in ("__init__", "__main__"):
            yield inside.with_suffix("").parts[0], file


def imports(file: Path) -> Iterator[str]:
    """Yield what a module imports of the package, as it stands in the table."""
    tree = ast.parse(file.read_text())
    for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    passed_over = {id(node) for block in for_types for node in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in passed_over:
            base = file.parents[node.level - 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            inside = [(base / name.replace(".", "/")).relative_to(PACKAGE).parts for name in names]
            yield from (parts[0] for parts in inside if parts and parts[0] != "__version__")


def test_the_page_on_the_architecture_names_every_module_and_no_other() -> None:
    named = set(re.findall(r"`(\w+)/?`", PAGE))
    missing = {str(file) for top, file in modules() if top not in IN_WORDS and file.stem not in named}
    assert not missing
    assert set(lines()) == {top for top, _ in modules()}


def test_imports_go_downwards() -> None:
    line = lines()
    upwards = {(top, other) for top, file in modules() for other in imports(file) if line[other] < line[top]}
    assert not upwards


def test_client_and_guest_import_nothing_of_the_gateway() -> None:
    assert {(top, other) for top, file in modules() if top in ("client", "guest") for other in imports(file)} == {
        ("client", "client"),
        ("guest", "guest"),
    }
