"""What the pages on the API show is true: every line is run, in its order, against a gateway."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("api")]  # which ends what a page leaves
DOCS = Path(__file__).parents[2] / "docs"


def shown(page: str) -> str:
    """Return the shell lines of a page."""
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE))


def run(script: str, gateway: GatewayProcess, folder: Path) -> str:
    env = {**os.environ, "URL": gateway.url, "KEY": gateway.token, "TMPDIR": str(folder)}
    ran = subprocess.run(["bash", "-eu", "-o", "pipefail"], input=script, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_every_line_of_the_api_page_works(gateway: GatewayProcess, tmp_path: Path) -> None:
    said = run(shown("api.md"), gateway, tmp_path)
    for words in (
        '"output": "/tmp\\n"',
        '"output": "3\\n"',
        '"output": "42\\n"',
        "image/png",
        "event: done",
        '"ok": true',
        '"aGVsbG8="',
    ):
        assert words in said, said


def test_the_streaming_page_works(gateway: GatewayProcess, tmp_path: Path) -> None:
    make = shown("api.md").split('api "$URL/v1/sessions?', 1)[0]
    said = run(make + shown("streaming.md"), gateway, tmp_path)
    chunks = re.findall(r'"chunk": "(.*?)"', said)
    assert len(chunks) > 1
    assert "".join(chunks) == r"1\n2\n3\n"


def test_every_route_of_v1_is_on_the_page() -> None:
    page = (DOCS / "api.md").read_text()
    routes = re.findall(r'r"(/v1/[^"]*)"', (DOCS.parent / "sandkasten_kernels/handlers/routes.py").read_text())
    assert routes
    for route in routes:
        assert route.replace("([^/]+)", "{id}") in page, route


def test_every_line_of_the_page_on_workspaces_works(gateway: GatewayProcess, tmp_path: Path) -> None:
    said = run(shown("workspaces.md"), gateway, tmp_path)
    assert '"output": "kept\\n"' in said
    assert '"id": "my-project"' in said


def test_every_test_that_the_page_on_reliability_names_is_there() -> None:
    named = re.findall(r"`tests/([\w/]+\.py)(?:::(test_\w+))?`", (DOCS / "reliability.md").read_text())
    assert len(named) > 10
    for file, name in named:
        text = (DOCS.parent / "tests" / file).read_text()
        assert f"def {name}(" in text or not name, name
