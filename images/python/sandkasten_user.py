"""Adds the packages of a named workspace to ``sys.path``, for every Python of this image.

A virtual environment has no user site. The gateway sets ``PYTHONUSERBASE`` to a directory of the workspace; its
packages come before the image's, so that a newer version has priority. ``sandkasten_user.pth`` runs this at each start
of Python.
"""

from __future__ import annotations

import os
import site
import sys


def packages() -> str:
    """Return the user base's directory of packages for this Python; empty without a user base."""
    base = os.environ.get("PYTHONUSERBASE", "")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return f"{base}/lib/{version}/site-packages" if base else ""


def enter() -> None:
    """Put that directory in front of the image's packages in ``sys.path``, if it exists."""
    place = packages()
    if place and os.path.isdir(place) and place not in sys.path:  # noqa: PTH112  pathlib would slow down each start
        site.addsitedir(place)
        sys.path.remove(place)
        of_image = (number for number, path in enumerate(sys.path) if path.endswith("site-packages"))
        sys.path.insert(next(of_image, len(sys.path)), place)


enter()
