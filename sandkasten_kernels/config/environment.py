"""Settings from the environment: ``SANDKASTEN_`` and the key, so ``SANDKASTEN_POOL_ENABLED`` for ``pool.enabled``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from traitlets import Dict, Enum, List, Unicode

from ..errors import ConfigError
from .document import plain_value, shown
from .keys import PREFIX, Key, KeyPath, Sections, nearest
from .settings import Settings

__all__ = ["CONFIG_VARIABLE", "environment_settings"]

CONFIG_VARIABLE = "SANDKASTEN_CONFIG"
"""Names the YAML file unless the command line does."""

NO_SETTINGS = frozenset({CONFIG_VARIABLE, "SANDKASTEN_URL"})
"""Variables that set no key: the name of the file, and the gateway that clients use."""

_SERVICE = re.compile(r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")


class Variable(NamedTuple):
    """An environment variable as the origin of a value."""

    name: str
    base: Path = Path()

    def place(self, path: KeyPath) -> str:
        return self.name

    def error(self, path: KeyPath, problem: str) -> ConfigError:
        return ConfigError(f"{self.name}: {'.'.join(map(shown, path))}: {problem}", path=path, problem=problem)


def environment_settings(environ: Mapping[str, str], sections: Sections) -> Settings:
    """Return the settings of environment variables; an empty variable sets nothing.

    A string is taken as it is, any other value is YAML. Raises `ConfigError` for an unknown variable, for two variables
    of one key, and for a wrong value.
    """
    settings = Settings(sections)
    known = {name: key for key in settings.keys for name in key.variables}
    # sorted: of several faults the same one is reported each time
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or not text or name in NO_SETTINGS or _of_a_service(name, text):
            continue
        if name not in known:
            raise ConfigError(f"{shown(name)}: no setting has this variable{_hint(name, known)}")
        key, variable = known[name], Variable(name)
        if settings.given(*key.path):
            raise ConfigError(f"{name}: {key.name} is set by {settings.place(*key.path)} too; keep one of them")
        settings.set(key, _value(key, text, variable), variable)
    return settings


def _value(key: Key, text: str, variable: Variable) -> Any:
    value: Any = text
    try:
        # os.environ has a lone surrogate for each byte that is not UTF-8; encoding finds it
        text.encode()
        if not isinstance(key.trait, Unicode) and not (
            isinstance(key.trait, Enum) and text in (key.trait.values or ())
        ):
            value = plain_value(text)
    except UnicodeEncodeError:
        raise variable.error(key.path, "not a string in UTF-8") from None
    except ValueError as error:
        raise variable.error(key.path, str(error)) from error
    if (found := key.fault(value)) is not None:
        examples = {List: "[a, b]", Dict: "{a: 1}"}
        example = next((words for kind, words in examples.items() if isinstance(key.trait, kind)), None)
        hint = f"; write it as YAML: {example}" if example and isinstance(value, str) else ""
        raise variable.error(found[0], found[1] + hint)
    return value


def _of_a_service(name: str, text: str) -> bool:
    """Return whether a container manager set the variable for a service with a name like sandkasten-web."""
    if name.endswith("_PORT") and _SERVICE_URL.match(text):
        return True
    return _SERVICE.fullmatch(name.removeprefix(PREFIX)) is not None


def _hint(name: str, known: Mapping[str, Key]) -> str:
    endings = [variable.removeprefix(PREFIX) for variable in (*known, *NO_SETTINGS)]
    match = nearest(name.removeprefix(PREFIX), endings)
    return f"; did you mean {PREFIX}{match}?" if match else "; `sandkasten-kernels config docs` lists them all"
