"""A Jupyter kernel gateway whose kernels already run, each alone in a locked-down container."""

__version__ = "0.1.0"
