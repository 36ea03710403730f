"""``python -m sandkasten_kernels``."""

from .app import main

if __name__ == "__main__":
    main()
