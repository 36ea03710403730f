"""Settings: from the YAML file, the command line and the environment to a traitlets `Config`, strictly.

Every fault is a `ConfigError` of one line that says where it is, what is wrong and what would be right, found
before anything has started. The value of a secret (`api_key`) is in no message.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from traitlets import Bool, Enum, HasTraits, Int
from traitlets.config import Config, Configurable
from traitlets.config.loader import DeferredConfig, LazyConfigValue

from .errors import ConfigError
from .traitcheck import PositiveFloat, fault, in_words
from .yamlfile import Document, shown

__all__ = [
    "Defaults",
    "Limits",
    "Sections",
    "check_config",
    "environment_config",
    "is_loopback",
    "load_config",
    "parse_listen",
]

Sections: TypeAlias = Mapping[str, type[HasTraits]]
"""The file's sections by name and the class that each one sets; "" is the root of the file."""

ENVIRONMENT = {"SANDKASTEN_API_KEY": "api_key", "SANDKASTEN_LISTEN": "listen"}

_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_NUMERIC = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)\Z")
"""The end of what some resolvers take for an IPv4 address, as 127.1 and 0x7f000001."""


class Defaults(Configurable):
    """What a sandbox gets when its kernelspec and its caller ask for nothing else."""

    cpu_limit = PositiveFloat(1.0, help="CPU time of a sandbox, in cores: 0.5 is half of one.").tag(config=True)
    mem_limit_mb = Int(
        512,
        min=128,
        help="Memory of a sandbox with all that its tmpfs hold, in MiB; there is no swap on top.",
    ).tag(config=True)
    pids_limit = Int(256, min=32, help="Processes and threads in a sandbox, its own guest among them (a number).").tag(
        config=True
    )
    network_mode = Enum(
        ["none", "bridge"],
        default_value="none",
        help="What a sandbox can reach: none, nothing at all; bridge, the internet, but neither the host, private "
        "networks nor other sandboxes.",
    ).tag(config=True)
    readonly_rootfs = Bool(
        True, help="Whether the image is read-only inside; /workspace, /tmp and the home directory never are."
    ).tag(config=True)


class Limits(Configurable):
    """Limits of the whole gateway."""

    max_sandboxes = Int(64, min=1, help="Sandboxes at once: in use, warm and starting (a number).").tag(config=True)
    host_reserve_mb = Int(
        1024, min=64, help="Memory in MiB that all sandboxes together leave to the host, whatever each of them may use."
    ).tag(config=True)


def load_config(path: Path, sections: Sections) -> Config:
    """Return the settings of the YAML file `path`, each under its class.

    An empty file or section sets nothing. Raises `ConfigError` for a file that cannot be read or is not a
    plain YAML mapping, for an unknown key and for a wrong value.
    """
    document = Document.read(path)
    config = Config()
    for keys, value in _settings(document, sections):
        owner = sections[".".join(keys[:-1])]
        trait = owner.class_traits(config=True)[keys[-1]]
        found = fault(owner, trait, value)
        if found is not None:
            inside, problem = found
            raise document.error((*keys, *inside), problem)
        config[owner.__name__][keys[-1]] = value
    return config


def check_config(config: Config, sections: Sections) -> None:
    """Raise `ConfigError` for an unknown class or trait and a wrong value in what a command line set.

    A setting of a parent class counts for the class, as traitlets has it (`--Application.log_level=DEBUG`).
    """
    for section, values in config.items():
        owner = _classes(sections).get(section)
        if owner is None:
            option = f"{section}.{next(iter(values), '')}" if isinstance(values, dict) else section
            raise ConfigError(f"--{shown(option)}: unknown option{_option_hint(option, sections)}")
        traits = owner.class_traits(config=True)
        for name, value in values.items():
            option = f"{section}.{name}"
            if isinstance(value, LazyConfigValue):  # reading an unset attribute of a Config leaves one behind
                continue
            if name not in traits:
                raise ConfigError(f"--{shown(option)}: unknown option{_option_hint(option, sections)}")
            try:
                plain = value.get_value(traits[name]) if isinstance(value, DeferredConfig) else value
            except ValueError:
                raise ConfigError(f"--{option}: given more than once") from None
            found = fault(owner, traits[name], plain)
            if found is not None:
                inside, problem = found
                raise ConfigError(f"--{'.'.join((option, *map(shown, inside)))}: {problem}")


def environment_config(environ: Mapping[str, str]) -> Config:
    """Return what SANDKASTEN_API_KEY and SANDKASTEN_LISTEN set; an empty variable sets nothing."""
    config = Config()
    for variable, name in ENVIRONMENT.items():
        if environ.get(variable):
            config["SandkastenApp"][name] = environ[variable]
    return config


def parse_listen(listen: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`; port 0 means any free one.

    The host is "" (all interfaces) for `:PORT`. An IPv6 address stands in brackets: `[::1]:8080`.
    Raises `ConfigError`.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise ConfigError(f"listen: expected HOST:PORT as in 127.0.0.1:8080, got {in_words(listen)}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        valid = _is_address(host, ipaddress.IPv6Address)
    elif ":" in host:
        raise ConfigError(f"listen: expected an IPv6 address in brackets, [::1]:8080, got {in_words(listen)}")
    elif _NUMERIC.search(host):
        valid = _is_address(host, ipaddress.IPv4Address)
    else:
        valid = not host or _HOST_NAME.fullmatch(host) is not None
    if not valid:
        raise ConfigError(f"listen: {in_words(host)} is neither a host name nor an address")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`; False for "" and for every name but localhost."""
    if host.casefold() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_address(host: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> bool:
    try:
        kind(host)
    except ValueError:
        return False
    return True


def _settings(document: Document, sections: Sections) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and value of every setting in the file; raise `ConfigError` for an unknown key."""
    root = _file_traits(sections[""])
    for key, value in document.data.items():
        if key in root:
            yield (key,), value
        elif not key or key not in sections:
            raise document.error((key,), f"unknown key{_key_hint((key,), sections)}")
        elif isinstance(value, dict):
            traits = _file_traits(sections[key])
            for name, inner in value.items():
                if name not in traits:
                    raise document.error((key, name), f"unknown key{_key_hint((key, name), sections)}")
                yield (key, name), inner
        elif value is not None:
            names = ", ".join(sorted(_file_traits(sections[key])))
            raise document.error((key,), f"expected a mapping with some of {names}, got {in_words(value)}")


def _file_traits(owner: type[HasTraits]) -> dict[str, Any]:
    """Return the traits that are keys of the file: ours, and of traitlets' own the one of use there."""
    return {
        name: trait
        for name, trait in owner.class_traits(config=True).items()
        if not trait.metadata.get("command_line_only")
        and (name == "log_level" or not trait.this_class.__module__.startswith("traitlets."))
    }


def _classes(sections: Sections) -> dict[str, type[HasTraits]]:
    """Return the sections' classes and those of their parents that have settings, by name."""
    parents = (parent for cls in sections.values() for parent in cls.__mro__ if issubclass(parent, HasTraits))
    return {parent.__name__: parent for parent in parents if parent.class_traits(config=True)}


def _nearest(name: str, known: Iterable[str]) -> str | None:
    folded = {other.casefold().replace("-", "_"): other for other in known}
    matches = difflib.get_close_matches(name.casefold().replace("-", "_"), folded, n=1, cutoff=0.7)
    return folded[matches[0]] if matches else None


def _key_hint(keys: tuple[str, ...], sections: Sections) -> str:
    """Return the end of a sentence: the nearest right key, of the same section first, else what is known."""
    section = ".".join(keys[:-1])
    outer, _, inner = keys[-1].partition(".")
    if inner and outer and outer in sections:
        return f"; write {inner} under {outer}:"
    beside = list(_file_traits(sections[section]))
    if not section:
        beside += filter(None, sections)
    match = _nearest(keys[-1], beside)
    if match is not None:
        return f"; did you mean {'.'.join((*keys[:-1], match))}?"
    elsewhere = {
        name: ".".join(filter(None, (other, name)))
        for other, cls in sections.items()
        if other != section
        for name in _file_traits(cls)
    }
    match = _nearest(keys[-1], elsewhere)
    if match is not None:
        return f"; did you mean {elsewhere[match]}?"
    return f"; known: {', '.join(sorted(beside))}"


def _option_hint(option: str, sections: Sections) -> str:
    classes = sections.values()
    options = [f"{cls.__name__}.{name}" for cls in classes for name in cls.class_traits(config=True)]
    name = option.rpartition(".")[2]
    by_name = {known.partition(".")[2]: known for known in reversed(options)}
    match = _nearest(option, options) or by_name.get(_nearest(name, by_name) or "")
    return f"; did you mean --{match}?" if match is not None else ""
