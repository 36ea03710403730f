"""What the page on the SDK and the examples show is true: all of it is run, in its order, against a gateway."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.gateway_process import GatewayProcess

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("api")]  # which ends what a page leaves
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "sdk.md"


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language, each with its lines where they stand on the page."""
    page = PAGE.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return ["\n" * page.count("\n", 0, match.start(1)) + match[1] for match in found]


@pytest.fixture
def here(gateway: GatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of the test's own, where the shared gateway is that of this user."""
    monkeypatch.setenv("SANDKASTEN_DATA_DIR", str(gateway.data_dir))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_all_python_of_the_page_runs_from_top_to_bottom(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    assert len(blocks("python")) > 8
    for block in blocks("python"):
        code = compile(block, str(PAGE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if inspect.iscoroutine(result := eval(code, names)):
            await result
    assert capsys.readouterr().out.startswith("1\n2\n3\nstreamed\n")
    assert (here / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_all_commands_of_the_page_run(here: Path) -> None:
    program = f'sandkasten-kernels() {{ "{sys.executable}" -m sandkasten_kernels "$@"; }}\n'
    ran = subprocess.run(
        ["bash", "-eu", "-o", "pipefail"], input=program + "\n".join(blocks("sh")),
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("42\nfigure-1.png\n")
    assert (here / "left.txt").read_text() == "here"


def test_no_block_of_the_page_is_passed_over() -> None:
    assert set(re.findall(r"^```(\w*)$", PAGE.read_text(), re.MULTILINE)) == {"python", "sh", ""}


def test_the_agent_of_the_examples_does_its_task(here: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "agent_loop.py"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "NameError: name 'lengths' is not defined" in ran.stdout
    assert re.search(r"Done\. This is the report:\n\n\| length \| time \|\n.*\n\| 1000 \| .* ms \|", ran.stdout)


def test_the_notebook_of_the_examples_is_executed_and_can_be_again(here: Path) -> None:
    notebook = nbformat.read(ROOT / "examples" / "sdk.ipynb", as_version=4)
    nbformat.validate(notebook)

    def shown() -> list[set[str]]:
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(output.output_type != "error" for cell in code for output in cell.outputs)
        return [{kind for output in cell.outputs for kind in output.get("data", {"text"})} for cell in code]

    kept = shown()
    assert any("text/html" in kinds for kinds in kept)
    assert os.environ["SANDKASTEN_DATA_DIR"] not in str(notebook)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert shown() == kept
