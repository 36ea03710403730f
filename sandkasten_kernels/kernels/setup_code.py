"""Set-up code: silent requests that give environment and directory to a running kernel or shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

__all__ = ["READ_AT_START", "bash_setup", "set_up", "silent", "user_base"]

READ_AT_START = re.compile(r"PYTHON|LD_")
"""Variables that a process reads only when it starts."""

_ENTER_USER_BASE = """
(lambda o, s, base: (lambda place: (
    o.makedirs(place, exist_ok=True),
    __import__('site').addsitedir(place),
    s.path.remove(place),
    s.path.insert(next((i for i, p in enumerate(s.path) if p.endswith('site-packages')), len(s.path)), place),
    o.environ.update(PATH=o.environ.get('PATH', '') + ':' + base + '/bin'),
))(f'{base}/lib/python{s.version_info[0]}.{s.version_info[1]}/site-packages'))(o, __import__('sys'), %r)
"""
"""Makes a running Python find packages in ``PYTHONUSERBASE`` before those of the image, as at its start."""


def user_base(workspace: str) -> dict[str, str]:
    """Return the environment with which pip installs into a workspace."""
    return {"PYTHONUSERBASE": f"{workspace}/.local"}


def silent(code: str) -> dict[str, Any]:
    """Return an ``execute_request`` that no client sees and that does not count as an execution."""
    return {"code": code, "silent": True, "store_history": False, "allow_stdin": False, "stop_on_error": False}


def bash_setup(env: Mapping[str, str], cwd: str | None) -> dict[str, Any]:
    """Return the request that sets a bash's environment and directory; a bash started later has the environment too."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
    # A missing directory must not fail the set-up: the shell then stays where it is.
    enter = f"cd {shlex.quote(cwd)} 2>/dev/null || :" if cwd else ""
    if base := env.get("PYTHONUSERBASE"):
        exports += f'export PATH="$PATH":{shlex.quote(base)}/bin\n'
    return {**silent(exports + enter), "sandkasten": {"keep_env": dict(env)}}


def set_up(language: str, env: Mapping[str, str], cwd: str | None) -> dict[str, Any] | None:
    """Return the request that sets a kernel's environment and directory; None for languages without set-up code."""
    if language == "bash":
        return bash_setup(env, cwd)
    if language == "python":
        enter = f"o.path.isdir({cwd!r}) and o.chdir({cwd!r})" if cwd else "None"
        base = env.get("PYTHONUSERBASE")
        packages = _ENTER_USER_BASE.strip() % base if base else "None"
        # one expression, so that no name is left behind in the owner's namespace
        return silent(f"(lambda o: (o.environ.update({dict(env)!r}), {enter}, {packages}) and None)(__import__('os'))")
    return None
