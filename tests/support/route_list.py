"""Every route with its methods, read off the gateway's own table so that a new one cannot be forgotten."""

from __future__ import annotations

import re
from typing import NamedTuple

from sandkasten_kernels.handlers.base import Handler
from sandkasten_kernels.handlers.routes import ROUTES

FILES = r"((?:vendor/)?[a-z-]+\.(?:css|js|svg|woff2))"


class Route(NamedTuple):
    """A path pattern, its handler and the methods that it has besides OPTIONS."""

    pattern: str
    handler: type[Handler]
    methods: tuple[str, ...]

    def path(self, argument: str = "x") -> str:
        """Return a path of the route with ``argument`` wherever it takes one."""
        path = self.pattern.replace(FILES, "style.css").replace("/?", "").replace("([^/]+)", argument)
        assert re.fullmatch(self.pattern, path), f"say in {__name__} how a path of {self.pattern} looks"
        return path

    @property
    def takes_an_argument(self) -> bool:
        return "([^/]+)" in self.pattern


def defined(handler: type[Handler]) -> tuple[str, ...]:
    """Return the methods that a handler or a parent in the package defines."""
    ours = [cls for cls in handler.__mro__ if not cls.__module__.startswith("tornado.web") and cls is not object]
    names = {name for cls in ours for name in vars(cls)}
    return tuple(method for method in handler.SUPPORTED_METHODS if method.lower() in names and method != "OPTIONS")


ALL = [Route(pattern, handler, defined(handler)) for pattern, handler in ROUTES]
