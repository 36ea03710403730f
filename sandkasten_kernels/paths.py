"""The directories of data files: in a wheel, in a checkout and in an editable install."""

from __future__ import annotations

from pathlib import Path

__all__ = ["asset_dir"]

_PACKAGE = Path(__file__).resolve().parent


def asset_dir(name: str) -> Path:
    """Return the data directory `name`: `images`, `kernelspecs` or `static`.

    An installed package contains it; in a checkout it is beside the package. Raises `FileNotFoundError` for a broken
    installation, which has neither.
    """
    candidates = (_PACKAGE / "assets" / name, _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    places = " nor in ".join(str(candidate) for candidate in candidates)
    raise FileNotFoundError(f"the data files are neither in {places}: install sandkasten-kernels again")
