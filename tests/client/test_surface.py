"""What the SDK shows its callers: the same in both clients, typed, and nothing of the gateway's."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sandkasten_kernels
from sandkasten_kernels import client as sdk
from sandkasten_kernels.client import (
    SandboxClient,
    Session,
    SyncSandboxClient,
    SyncSession,
    SyncWorkspace,
    Workspace,
)
from tests.support.gateway_process import GatewayProcess

pytestmark = pytest.mark.docker

TESTS = Path(__file__).parents[1]


def test_both_clients_have_the_same_surface() -> None:
    for ours, blocking in ((SandboxClient, SyncSandboxClient), (Session, SyncSession), (Workspace, SyncWorkspace)):
        names = {name for name in dir(ours) if not name.startswith("_")}
        assert names == {name for name in dir(blocking) if not name.startswith("_")}
        for name in names:
            if callable(getattr(ours, name)) and name != "workspace":
                assert inspect.signature(getattr(ours, name)) == inspect.signature(getattr(blocking, name)), name
                assert getattr(blocking, name).__doc__ == getattr(ours, name).__doc__
                assert getattr(blocking, name).__doc__, name


def test_the_published_surface_carries_over() -> None:
    import sandkasten

    for name in sandkasten.__all__:
        ours = getattr(sandkasten_kernels, name)
        theirs = getattr(sandkasten, name)
        if dataclasses.is_dataclass(theirs):
            begin = [field.name for field in dataclasses.fields(theirs)]
            assert [field.name for field in dataclasses.fields(ours)][: len(begin)] == begin
    for theirs, ours in ((sandkasten.SandboxClient, SandboxClient), (sandkasten.Session, Session)):
        for name, method in inspect.getmembers(theirs, inspect.isfunction):
            if name.startswith("_") and name != "__init__":
                continue
            if theirs is sandkasten.Session and name == "__init__":
                continue
            having = inspect.signature(getattr(ours, name)).parameters
            for parameter in inspect.signature(method).parameters.values():
                assert parameter.name in having, (name, parameter)
                assert having[parameter.name].kind in (parameter.kind, parameter.POSITIONAL_OR_KEYWORD)
    assert not [name for name in sdk.__all__ if not hasattr(sandkasten_kernels, name)]


def test_the_sdk_imports_nothing_of_the_gateway() -> None:
    program = (
        "import sys; from sandkasten_kernels import SandboxClient\n"
        "print(*(n for n in sys.modules if n.startswith('sandkasten_kernels') or n in ('tornado', 'docker', 'zmq')))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    names = ran.stdout.split()
    assert "sandkasten_kernels.client.client" in names
    assert [name for name in names if not name.startswith("sandkasten_kernels.client")] == ["sandkasten_kernels"]


@pytest.mark.slow
def test_a_typed_caller_is_checked_strictly() -> None:
    callers = [TESTS / "support" / "typed_caller.py", TESTS.parent / "examples" / "agent_loop.py"]
    command = [sys.executable, "-m", "mypy", "--strict", *callers]
    checked = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=300, check=False)
    assert checked.returncode == 0, checked.stdout


async def test_the_typed_caller_runs(gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support import typed_caller

    monkeypatch.setenv("SANDKASTEN_DATA_DIR", str(gateway.data_dir))
    assert await typed_caller.from_an_event_loop() == "typed\n"
    assert typed_caller.blocking() == "typed\n"  # in the midst of a running loop, as in a notebook
