"""``python -m sandkasten_kernels``."""

from .cli import main

if __name__ == "__main__":
    main()
