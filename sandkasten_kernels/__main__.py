"""The program: ``python -m sandkasten_kernels``, and the console script ``sandkasten-kernels``."""

from .cli.commands import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
