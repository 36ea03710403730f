"""The way to the Docker engine: where it is, and its failures in words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException

from ...errors import EngineError

__all__ = ["CALL_SECONDS", "connect", "words"]

CALL_SECONDS = 20.0
"""After so long without an answer the engine has gone away."""


def connect(timeout: float = CALL_SECONDS) -> docker.DockerClient:
    """Return a client of the engine that the ``docker`` command would use.

    In this order: ``DOCKER_HOST``, the current context, the default socket, the user's own rootless engine. Raises
    `EngineError`, with what to do, when none answers.
    """
    url, tls = _endpoint()
    try:
        client = docker.DockerClient(base_url=url, tls=tls, timeout=timeout)
        client.ping()
    except (DockerException, requests.RequestException) as error:
        raise EngineError(
            f"no Docker engine answers at {url} ({words(error)}): start one ('systemctl start docker'), "
            "join the docker group, or name another with DOCKER_HOST"
        ) from error
    return client


def _endpoint() -> tuple[str, Any]:
    if host := os.environ.get("DOCKER_HOST"):
        tls = None
        if os.environ.get("DOCKER_TLS_VERIFY"):
            path = Path(os.environ.get("DOCKER_CERT_PATH", Path.home() / ".docker"))
            pair = (str(path / "cert.pem"), str(path / "key.pem"))
            tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=str(path / "ca.pem"), verify=True)
        return host, tls
    context = docker.context.ContextAPI.get_current_context()
    if context is not None and context.name != "default" and context.DockerHost:
        return context.DockerHost, context.TLSConfig
    default = Path("/var/run/docker.sock")
    rootless = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")) / "docker.sock"
    usable = default if os.access(default, os.W_OK) or not rootless.exists() else rootless
    return f"unix://{usable}", None


def words(error: Exception) -> str:
    """Return what went wrong in one line."""
    lines = str(error.explanation if isinstance(error, APIError) else error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
