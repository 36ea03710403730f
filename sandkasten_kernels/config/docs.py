"""The reference of the configuration, ``docs/configuration.md``, made from the traits."""

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

Everything has a default. What you set can stand in three places, each with more weight than the one before it:

1. one YAML file, named by `--config=sandkasten.yaml` or by the variable `SANDKASTEN_CONFIG`; where none is named,
   `settings.yaml` in `data_dir`, which may be absent and which the page `/settings` makes;
2. the environment: `SANDKASTEN_` and the key in upper case, dots as underscores. A text stands as it is, all else is
   YAML: `SANDKASTEN_POOL_IMAGES='{python: 4}'`, `SANDKASTEN_ALLOWED_IMAGES='[python, base]'`. For keys of `defaults`
   the section may be left out: `SANDKASTEN_CPU_LIMIT`. An empty variable sets nothing. A variable that no key has is
   an error, except `SANDKASTEN_URL`, which clients use, and what container managers set for a service of that name
   (`SANDKASTEN_SERVICE_HOST`, `SANDKASTEN_PORT=tcp://...`);
3. the command line: `--Pool.max_starting=4`. A list is given item by item, a mapping name by name, each by repeating
   the option: `--Pool.images=python=4 --Pool.images=base=1`.

A value replaces the one of lesser weight as a whole: mappings and lists are not merged.

    sandkasten-kernels config check --config=sandkasten.yaml    # one line, or what is wrong and exit code 2
    sandkasten-kernels config show --config=sandkasten.yaml     # each value and its source; --json for programs

Both take the options of `serve`, see the same environment, and start nothing: neither the engine nor the port is
touched, and of `data_dir` only `settings.yaml` is read. `serve` makes the same checks first. Each key must exist and
have a value of its type; then all must go together: images have a kernelspec and are allowed, the pool fits into
`limits.max_sandboxes`, the directories exist, and a sandbox's `cpu_limit` and `mem_limit_mb` are not above what the
machine has, since the engine would refuse each sandbox (CPUs) or the limit would be none (memory). A message names the
key, where it was set and the nearest right name; no message and no `config show` contains a secret.

The page `/settings` and `PUT /v1/settings` edit the file and check it in the same way (docs/operations.md). What a
setting saved there applies to is said with each below; a file that is edited by hand is read at the next start.

## An example

```yaml
listen: 127.0.0.1:9000
session_ttl_seconds: 600
env_names: [OPENAI_BASE_URL]
defaults:
  cpu_limit: 0.5
  mem_limit_mb: 1024
pool:
  images: {python: 4, base: 1}
limits:
  max_sandboxes: 16
```
"""


def configuration_docs(keys: Keys, aliases: Mapping[str, str]) -> str:
    """Return the page: each key with its meaning, type, default, variable and option.

    Parameters
    ----------
    aliases: short options, by what they stand for: ``{"SandkastenApp.listen": "listen"}``.
    """
    parts = [INTRODUCTION]
    for section, owner in keys.sections.items():
        title = f"`{section}`: {(owner.__doc__ or '').strip().splitlines()[0]}" if section else "Keys of the root"
        parts.append(f"\n## {title}\n")
        parts += [_entry(key, aliases) for key in keys if key.owner is owner]
    return "".join(parts)


def _entry(key: Key, aliases: Mapping[str, str]) -> str:
    default = key.trait.metadata.get("default_words") or f"`{_as_yaml(key.default())}`"
    options = [f"--{aliases[alias]}" for alias in [key.option.removeprefix("--")] if alias in aliases]
    elsewhere = ", ".join(f"`{name}`" for name in (*key.variables, *options, key.option))
    applies = f"saved on the page it applies {key.applies or 'after a restart'}"
    meaning = textwrap.fill(key.trait.help, 120, break_long_words=False, break_on_hyphens=False)
    points = (f"{kind_in_words(key.trait)}; default: {default}", elsewhere, applies)
    return f"\n### `{key.name}`\n\n{meaning}\n\n" + "".join(f"- {point}\n" for point in points)


def kind_in_words(trait: TraitType[Any, Any]) -> str:
    """Return what a setting takes: ``a list of items, each text``."""
    if isinstance(trait, List):
        return f"a list of items, each {expected(trait._trait)}"  # noqa: SLF001  traitlets has no public name for it
    if isinstance(trait, Dict) and isinstance(trait._value_trait, TraitType):  # noqa: SLF001
        return f"a mapping of names to values, each {expected(trait._value_trait)}"  # noqa: SLF001
    return expected(trait)


def _as_yaml(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
