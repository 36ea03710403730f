"""``python -m sandkasten_kernels``."""

from .cli.commands import main

if __name__ == "__main__":
    main()
