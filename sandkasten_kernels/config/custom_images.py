"""CustomImages: the type of the setting `images`, with every check of its value."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from traitlets import Dict, TraitError

from .keys import nearest
from .validation import Fault, in_words

__all__ = ["STANDARD", "CustomImages", "find_fault"]

STANDARD = ("base", "python")
"""The images that always exist, each after the one it is built from."""

_KEYS = ("from", "pip", "apt", "display_name")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DEB = re.compile(r"[a-z0-9][a-z0-9.+-]*[a-z0-9+]")


class CustomImages(Dict):
    """The setting `images`: a mapping of names to `{from, pip, apt, display_name}`, checked in every part."""

    def find_fault(self, value: Any) -> Fault | None:
        """Return the place of the first fault inside `value`, and a sentence on it; None where there is none."""
        return find_fault(value)

    def validate(self, obj: Any, value: Any) -> Any:
        value = super().validate(obj, value)
        if found := find_fault(value):
            raise TraitError(f"{'.'.join((self.name or 'images', *found[0]))}: {found[1]}")
        return value


def find_fault(setting: Any) -> Fault | None:
    """Return the place of the first fault in the setting `images`, and a sentence on it; None where there is none."""
    if not isinstance(setting, dict):
        return (), f"expected a mapping of names to images, got {in_words(setting)}"
    for name, image in setting.items():
        problem = _name_problem(name)
        found: Fault | None = ((), problem) if problem else _image_fault(image, {*STANDARD, *setting}, name)
        if found:
            return (str(name), *found[0]), found[1]
    for name in setting:
        # safe to follow: the loop above has found a known `from` in each image
        chain = [name]
        while (below := setting[chain[-1]]["from"]) in setting:
            if below in chain:
                return (name, "from"), f"is built from itself: {' from '.join((*chain, below))}"
            chain.append(below)
    return None


def _name_problem(name: Any) -> str:
    if name in STANDARD:
        return "a built-in image has this name; choose another"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "an image's name has lower-case letters, digits and . _ - only, and begins with a letter or a digit"
    return ""


def _image_fault(image: Any, names: Collection[str], name: str) -> Fault | None:
    if not isinstance(image, dict):
        return (), f"expected a mapping with from, pip and apt, got {in_words(image)}"
    for key in image:
        if key not in _KEYS:
            return (str(key),), f"unknown key{_hint(str(key), _KEYS)}"
    origin = image.get("from")
    known = sorted(set(names) - {name})
    if "from" not in image:
        return (), f"from is missing: the image to build from, one of {', '.join(known)}"
    if not isinstance(origin, str) or origin not in names:
        return ("from",), f"expected an image's name, got {in_words(origin)}{_hint(str(origin), known)}"
    shown = image.get("display_name", "")
    if not isinstance(shown, str) or not shown.isprintable() or len(shown) > 200:
        return ("display_name",), f"expected a string in one line, got {in_words(shown)}"
    checks: tuple[tuple[str, Callable[[str], str]], ...] = (("pip", _pip_problem), ("apt", _apt_problem))
    for key, check in checks:
        entries = image.get(key, [])
        if not isinstance(entries, list):
            return (key,), f"expected a list of packages, as in [{'polars' if key == 'pip' else 'ffmpeg'}]"
        for index, entry in enumerate(entries):
            problem = check(entry) if isinstance(entry, str) else f"expected a string, got {in_words(entry)}"
            if problem:
                return (key, str(index)), problem
    return None


def _pip_problem(text: str) -> str:
    """Return why `text` is not a requirement by name, as options, paths, URLs are; empty where it is one."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f"expected a package with its versions, as in polars or polars[numpy]>=1,<2, got {in_words(text)}"
    if requirement.url or requirement.marker or not text.isprintable() or "===" in text:
        return f"expected a name and versions only, no URL, no marker and no ===, got {in_words(text)}"
    return ""


def _apt_problem(text: str) -> str:
    if _DEB.fullmatch(text):
        return ""
    return f"expected the name of a Debian package, as in ffmpeg or libxml2-utils, got {in_words(text)}"


def _hint(name: str, known: Collection[str]) -> str:
    match = nearest(name, known)
    return f"; did you mean {match}?" if match else f"; known: {', '.join(known)}"
