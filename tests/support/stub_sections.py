"""A small configuration with a section of each kind, and how its one line of refusal is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from traitlets import Dict, Enum, HasTraits, Int, List, TraitError, Unicode, validate
from traitlets.config import Application, Configurable

from sandkasten_kernels.config.address import parse_listen
from sandkasten_kernels.config.traits import Defaults, Limits
from sandkasten_kernels.errors import ConfigError


class Pool(Configurable):
    """A section with a mapping."""

    images = Dict(key_trait=Unicode(), value_trait=Int(min=0), default_value={"python": 2}).tag(config=True)


class SandkastenApp(Application):
    """The root of the file."""

    listen = Unicode("127.0.0.1:8080").tag(config=True)
    api_key = Unicode("").tag(config=True)
    allowed_images = List(Unicode()).tag(config=True)
    session_ttl_seconds = Int(1800, min=0).tag(config=True)
    on_stop = Enum(["end"], "end").tag(config=True)
    not_a_setting = Unicode()

    @validate("api_key")
    def _check_api_key(self, proposal: dict[str, str]) -> str:
        if " " in proposal["value"]:
            raise TraitError(f"no spaces in {proposal['value']}")
        return proposal["value"]

    @validate("listen")
    def _check_listen(self, proposal: dict[str, str]) -> str:
        parse_listen(proposal["value"])
        return proposal["value"]


SECTIONS: dict[str, type[HasTraits]] = {
    "": SandkastenApp,
    "pool": Pool,
    "defaults": Defaults,
    "limits": Limits,
}


@contextmanager
def one_line() -> Iterator[None]:
    """Let a `ConfigError` pass whose message is one line."""
    try:
        yield
    except ConfigError as error:
        if len(str(error).splitlines()) != 1:
            raise
