"""The page ``docs/configuration.md``, made from the traits."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import yaml
from traitlets import Dict, List, TraitType

from .keys import Key, Keys
from .validation import expected

__all__ = ["configuration_docs", "kind_in_words"]

INTRODUCTION = """\
# Configuration

<!-- Made by `sandkasten-kernels config docs`; change the traits instead, and make it again. -->

Every setting has a default. You can set it in three places; each overrides the ones before it:

1. One YAML file. `--config=sandkasten.yaml` or the variable `SANDKASTEN_CONFIG` names it. Without a name it is
   `settings.yaml` in `data_dir`, which may be absent and which the page `/settings` creates.
2. The environment: `SANDKASTEN_` and the key in upper case, with underscores for dots. A string is taken as it is; any
   other value is YAML: `SANDKASTEN_POOL_IMAGES='{python: 4}'`, `SANDKASTEN_ALLOWED_IMAGES='[python, base]'`. For keys
   of `defaults` you may leave out the section: `SANDKASTEN_CPU_LIMIT`. An empty variable sets nothing. An unknown
   variable is an error, except `SANDKASTEN_URL`, which clients read, and the variables that container managers set for
   a service of that name (`SANDKASTEN_SERVICE_HOST`, `SANDKASTEN_PORT=tcp://...`).
3. The command line: `--Pool.max_starting=4`. Repeat the option for each item of a list and for each name of a mapping:
   `--Pool.images=python=4 --Pool.images=base=1`. Every user of the machine can read a command line: set `api_key` in
   the file or the environment.

A value replaces the whole value that it overrides: mappings and lists are not merged.

    sandkasten-kernels config check --config=sandkasten.yaml    # one line; or the error, and exit code 2
    sandkasten-kernels config show --config=sandkasten.yaml     # each value and its source; --json for programs

Both commands take the options of `serve`, read the same environment and start nothing: they touch neither the engine
nor the port, and read only `settings.yaml` in `data_dir`. `serve` makes the same checks first. Each key must exist and
have a value of its type. Then all settings must go together: images have a kernelspec and are allowed, the pool fits
into `limits.max_sandboxes`, the directories exist, and a sandbox's `cpu_limit` and `mem_limit_mb` are not above those
of the machine (the engine would refuse more CPUs, and more memory would be no limit). An error names the key, the
place where it was set, and the nearest known name. No error and no `config show` contains a secret.

The page `/settings` and `PUT /v1/settings` edit the file and check it in the same way (docs/operations.md). The
reference says for each setting when a saved change takes effect. A change made in an editor takes effect at the next
start.
"""

TEN = {
    "listen": "The default serves this machine alone. Any other address needs an `api_key`.",
    "api_key": "Every client sends it. Without one the gateway generates a token and prints it.",
    "data_dir": "Sessions and persistent workspaces are here: choose a disk with room, and back it up.",
    "pool.images": "A warm kernel is claimed in milliseconds, a cold one in seconds; each warm one uses memory.",
    "limits.max_sandboxes": "Protects the host: at this number a request for a new session gets a 503.",
    "defaults.mem_limit_mb": "The kernel of a sandbox is killed above it; 512 MiB is little for data frames.",
    "defaults.cpu_limit": "One busy sandbox cannot take more than this from the others.",
    "defaults.network_mode": "Sandboxes have no network; `bridge` lets them reach the internet.",
    "session_ttl_seconds": "Ends forgotten sessions. `kernel_ttl_seconds` ends kernels of notebooks, after 12 hours.",
    "on_stop": "`keep` lets kernels survive an upgrade of the gateway.",
}
"""The settings to look at first, and why each matters."""

EXAMPLE = """
```yaml
listen: 0.0.0.0:8080
api_key: replace-me-with-a-long-random-string  # or SANDKASTEN_API_KEY
data_dir: /var/lib/sandkasten
session_ttl_seconds: 600
on_stop: keep
defaults:
  cpu_limit: 0.5
  mem_limit_mb: 1024
  network_mode: none
pool:
  images: {python: 4, base: 1}
limits:
  max_sandboxes: 16
```
"""


def configuration_docs(keys: Keys, aliases: Mapping[str, str]) -> str:
    """Return the page: the ten settings that matter, then each key with its meaning, type, default and names.

    Parameters
    ----------
    aliases: short options by the option that they stand for: ``{"SandkastenApp.listen": "listen"}``.
    """
    parts = [INTRODUCTION, _the_ten(keys)]
    for section, owner in keys.sections.items():
        title = f"`{section}`: {(owner.__doc__ or '').strip().splitlines()[0]}" if section else "Keys of the root"
        parts.append(f"\n## {title}\n")
        parts += [_entry(key, aliases) for key in keys if key.owner is owner]
    return "".join(parts)


def _the_ten(keys: Keys) -> str:
    rows = ["| setting | default | why it matters |", "|---|---|---|"]
    for name, why in TEN.items():
        anchor = name.replace(".", "")  # as GitHub makes it from the heading
        rows.append(f"| [`{name}`](#{anchor}) | {_default(keys[tuple(name.split('.'))])} | {why} |")
    return "\n## The ten settings that matter\n\n" + "\n".join(rows) + "\n\nA file that sets them:\n" + EXAMPLE


def _entry(key: Key, aliases: Mapping[str, str]) -> str:
    options = [f"--{aliases[alias]}" for alias in [key.option.removeprefix("--")] if alias in aliases]
    elsewhere = ", ".join(f"`{name}`" for name in (*key.variables, *options, key.option))
    applies = f"a saved change takes effect {key.applies or 'after a restart'}"
    meaning = textwrap.fill(key.trait.help, 120, break_long_words=False, break_on_hyphens=False)
    points = (f"{kind_in_words(key.trait)}; default: {_default(key)}", elsewhere, applies)
    return f"\n### `{key.name}`\n\n{meaning}\n\n" + "".join(f"- {point}\n" for point in points)


def _default(key: Key) -> str:
    words: str | None = key.trait.metadata.get("default_words")
    return words or f"`{_as_yaml(key.default())}`"


def kind_in_words(trait: TraitType[Any, Any]) -> str:
    """Return the type of a setting in words: ``a list of items, each a string``."""
    if isinstance(trait, List):
        return f"a list of items, each {expected(trait._trait)}"  # noqa: SLF001  traitlets has no public name for it
    if isinstance(trait, Dict) and isinstance(trait._value_trait, TraitType):  # noqa: SLF001
        return f"a mapping of names to values, each {expected(trait._value_trait)}"  # noqa: SLF001
    return expected(trait)


def _as_yaml(value: object) -> str:
    # PyYAML folds at 80 columns by default, and ends a bare scalar with a line of three dots
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
