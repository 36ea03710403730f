"""pip's user base in a named workspace: what is installed there is found by every Python of this image.

A virtual environment has no user site of its own. Where the gateway has set ``PYTHONUSERBASE``, its directory of
packages stands before the image's, so that a newer version counts. Run at each start of a Python, by
``sandkasten_user.pth``.
"""

from __future__ import annotations

import os
import site
import sys


def packages() -> str:
    """Return where packages of this Python are in the user base; empty without one."""
    base = os.environ.get("PYTHONUSERBASE", "")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return f"{base}/lib/{version}/site-packages" if base else ""


def enter() -> None:
    """Let modules be found there."""
    place = packages()
    if place and os.path.isdir(place) and place not in sys.path:  # noqa: PTH112  at each start: no import of pathlib
        site.addsitedir(place)
        sys.path.remove(place)
        of_image = (number for number, path in enumerate(sys.path) if path.endswith("site-packages"))
        sys.path.insert(next(of_image, len(sys.path)), place)


enter()
