"""Where the data directories are: in a wheel, in a checkout and in an editable install."""

from __future__ import annotations

from pathlib import Path

__all__ = ["asset_dir"]

_PACKAGE = Path(__file__).resolve().parent


def asset_dir(name: str) -> Path:
    """Return the directory `name` (`images`, `kernelspecs` or `static`) of the project's data.

    An installed package carries it inside; in a checkout it stands beside the package.
    Raises `FileNotFoundError` when neither is there, which means a broken installation.
    """
    candidates = (_PACKAGE / "assets" / name, _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    places = " nor in ".join(str(candidate) for candidate in candidates)
    raise FileNotFoundError(f"the data are neither in {places}: install sandkasten-kernels again")
