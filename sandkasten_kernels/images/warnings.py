"""Warnings for settings that name images which are not built: given on saving, not at the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ..config import Settings
from ..errors import EngineError
from .names import build_command, full_name

__all__ = ["ImageProblem", "image_warnings"]

ASK_SECONDS = 3.0

ImageProblem: TypeAlias = Callable[[str], Awaitable[str]]
"""Returns why no sandbox can be made from an image; empty if one can. Raises `EngineError`."""


async def image_warnings(settings: Settings, problem_of: ImageProblem, option: str) -> list[dict[str, str]]:
    """Return ``name message`` for each image of `images` and `pool.images` that cannot be used before it is built.

    ``name`` is the setting; the message has the command, in which ``option`` names the configuration. An engine that
    does not answer within `ASK_SECONDS` is a warning, never an error: the settings are saved in any case.
    """
    pool = settings.value("pool", "images") if settings.value("pool", "enabled") else {}
    wanted = {image: "pool.images" for image, count in pool.items() if count}
    wanted |= dict.fromkeys(settings.value("images"), "images")
    warnings = []
    try:
        async with asyncio.timeout(ASK_SECONDS):
            for image, name in wanted.items():
                if problem := await problem_of(image):
                    command = build_command(full_name(image), option)
                    message = f"{problem}: run '{command}' before the gateway is started again"
                    warnings.append({"name": name, "message": message})
    except (EngineError, TimeoutError):
        warnings.append({"name": "images", "message": "the engine does not answer, so nobody knows which are built"})
    return warnings
