"""SettingsEditor: shows the settings to a page and saves its changes, checked as a start would check them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import yaml

from ..errors import ConfigError, InvalidSettings, SettingsReadOnly
from .configuration import Configuration
from .document import Document, plain_value
from .file import MAX_BYTES, SettingsFile
from .form import fault_of, section_models, value_of
from .keys import Key, KeyPath, Sections
from .masking import Masked
from .settings import Settings, document_settings
from .validation import SECRETS
from .yaml_edit import UNSET, edited, lost_comments

__all__ = ["SettingsEditor"]


class _State(NamedTuple):
    """The file at one moment, and the settings that a start would run with.

    Attributes
    ----------
    settings: None where the file has ``errors``.
    malformed: why the file is no YAML mapping; empty where it is one.
    """

    text: str
    version: str
    settings: Settings | None
    errors: list[dict[str, Any]]
    malformed: str


class SettingsEditor:
    """Shows the settings and saves them, one save at a time; a refused save changes nothing.

    Parameters
    ----------
    configuration: the settings that the gateway started with, and their file.
    check: raises `ConfigError` for settings that no gateway could start with.
    warnings_of: returns ``name message`` of each problem that does not prevent a save.
    apply: gives the running gateway the settings that can change at once.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        check: Callable[[Settings], object],
        warnings_of: Callable[[Settings], Awaitable[list[dict[str, str]]]],
        apply: Callable[[Settings], None],
        log: logging.Logger,
    ) -> None:
        self._file = configuration.file
        self._over = configuration.over
        self._running = configuration.settings
        self._sections = configuration.settings.keys.sections
        self._check = check
        self._warnings_of = warnings_of
        self._apply = apply
        self._log = log
        self._turn = asyncio.Lock()

    async def model(self) -> dict[str, Any]:
        """Return the settings as ``GET /v1/settings`` answers them. Raises `SettingsReadOnly`."""
        async with self._turn:
            state = await asyncio.to_thread(self._state)
            warnings = await self._warnings_of(state.settings or self._running)
            return await asyncio.to_thread(self._model, state, warnings)

    async def save(
        self,
        version: str,
        changes: Mapping[str, Any],
        sources: Mapping[str, str],
        text: str | None,
        *,
        dry_run: bool,
    ) -> dict[str, Any]:
        """Save other values, or another text of the file, and return the outcome.

        The new settings are checked once, and `warnings_of` is called once.

        Parameters
        ----------
        version: version of the file that the caller has seen.
        changes: values by the name of their keys; None resets a key to its default.
        sources: the same with each value as YAML text.
        text: the whole file, edited from the text that `model` shows; None where ``changes`` and ``sources`` count.
        dry_run: check everything and save nothing; errors are in the answer's ``errors`` and not raised.

        Raises `InvalidSettings`, `SettingsChanged`, `SettingsReadOnly`.
        """
        async with self._turn:
            before = await asyncio.to_thread(self._state, check=False)
            self._file.check(before.version, version)
            try:
                real, after = await asyncio.to_thread(self._checked, before, changes, sources, text)
            except InvalidSettings as error:
                if not dry_run:
                    raise
                refused = {"saved": False, "errors": error.details["errors"], "warnings": []}
                return {**refused, "applied": [], "after_restart": []}
            changed = self._changed(before.settings, after)
            saved = not dry_run and real != before.text
            state = before._replace(settings=after, errors=[])
            if saved:
                # first the file, then the running gateway: a failed write changes neither
                state = state._replace(text=real, version=await asyncio.to_thread(self._save, real, before))
                self._apply(after)
                self._running = self._now_running(after)
                names = ", ".join(key.name for key in changed) or "none changed"
                self._log.info("settings saved in %s: %s", self._file.path, names)
            warnings = await self._warnings_of(after)
            # who edits the text removes comments on purpose
            lost = lost_comments(before.text, real) if text is None else 0
            answer: dict[str, Any] = {
                "saved": saved,
                "errors": [],
                "warnings": [*warnings, *_of_lost_comments(lost, self._file)],
                "applied": [key.name for key in changed if key.applies],
                "after_restart": [key.name for key in changed if not key.applies],
            }
            return answer if dry_run else {**answer, "settings": await asyncio.to_thread(self._model, state, warnings)}

    def _save(self, text: str, before: _State) -> str:
        """Save a text and return its version.

        The file becomes readable by its owner alone when a new secret comes into it, or when it has a secret and
        everybody may read it.
        """
        old, new = (set(Masked.of(each).values.values()) for each in (before.text, text))
        private = bool(new - old or (new and self._file.open_to_all))
        return self._file.save(text, before.version, private=private)

    def _model(self, state: _State, warnings: list[dict[str, str]]) -> dict[str, Any]:
        read_only = self._file.why_read_only()
        if state.malformed:
            read_only = read_only or f"repair it on the machine first: {state.malformed}"
        return {
            "file": str(self._file.path),
            "exists": self._file.path.exists(),
            "version": state.version,
            "read_only": read_only,
            "errors": state.errors,
            "text": None if state.malformed else self._masked(state.text).text,
            "sections": section_models(state.settings or self._running, self._running),
            "warnings": warnings,
        }

    def _masked(self, text: str) -> Masked:
        running = [self._running.value(*key.path) for key in self._over.keys if key.path[-1] in SECRETS]
        return Masked.of(text, running)

    def _state(self, *, check: bool = True) -> _State:
        """Read the file. Without ``check`` its values need not go together: they are to be replaced anyway."""
        text, version = self._file.read()
        try:
            document = Document.parse(self._file.path, text)
        except ConfigError as error:
            return _State(text, version, None, [fault_of(error, self._over.keys)], str(error))
        try:
            return _State(text, version, self._settings(document, check=check), [], "")
        except InvalidSettings as error:
            return _State(text, version, None, error.details["errors"], "")

    def _settings(self, document: Document, *, check: bool = True) -> Settings:
        """Return the settings that a start with this file would have. Raises `InvalidSettings` with every fault."""
        faults = []
        # each key by itself: the page shows every fault, not only the first
        for path in _leaves(document.data, self._sections):
            part = Document(document.file, _only(document.data, path), document.lines)
            try:
                document_settings(part, self._sections)
            except ConfigError as error:
                faults.append(fault_of(error, self._over.keys))
        if faults:
            raise InvalidSettings(faults)
        settings = document_settings(document, self._sections)
        try:
            self._file.check_own(settings)
            settings.merge(self._over)
            if check:
                self._check(settings)
        except ConfigError as error:
            raise InvalidSettings([fault_of(error, self._over.keys)]) from error
        return settings

    def _checked(
        self, before: _State, changes: Mapping[str, Any], sources: Mapping[str, str], text: str | None
    ) -> tuple[str, Settings]:
        """Return the text to save and its settings. Raises `InvalidSettings`."""
        if before.malformed:
            raise SettingsReadOnly(f"repair the file on the machine first: {before.malformed}")
        try:
            _check_size(text or "")
            if text is None:
                real = self._with_changes(before, changes, sources)
            else:
                real = self._masked(before.text).restored(text)
            _check_size(real)
            return real, self._settings(Document.parse(self._file.path, real))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem, line = str(error.problem or error.context), mark.line + 1 if mark else 0
            raise InvalidSettings([{"name": "", "line": line, "message": problem}]) from error
        except (yaml.YAMLError, UnicodeEncodeError) as error:
            raise InvalidSettings([{"name": "", "line": 0, "message": "not a string in UTF-8"}]) from error
        except RecursionError:
            raise InvalidSettings([{"name": "", "line": 0, "message": "nested too deeply"}]) from None
        except ConfigError as error:
            raise InvalidSettings([fault_of(error, self._over.keys)]) from error

    def _with_changes(self, before: _State, changes: Mapping[str, Any], sources: Mapping[str, str]) -> str:
        faults, values = [], {}
        known = {key.name: key for key in self._over.keys}
        for name, value in {**changes, **sources}.items():
            key = known.get(name)
            if key is None:
                hint = self._over.keys.hint(tuple(name.split(".")))
                faults.append({"name": "", "line": 0, "message": f"{name[:80]}: unknown key{hint}"})
                continue
            # the file would take the value, but it would have no effect
            problem = f"set by {self._over.place(*key.path)}, which overrides the file: change it there"
            if not self._over.given(*key.path):
                try:
                    value = plain_value(value) if name in sources else value
                    found = None if value is None else key.fault(value)
                    problem = ": ".join(filter(None, (".".join(found[0][len(key.path) :]), found[1]))) if found else ""
                except ValueError as error:
                    problem = str(error)
            if problem:
                faults.append({"name": name, "line": 0, "message": problem})
            values[key.path] = UNSET if value is None else value
        if faults:
            raise InvalidSettings(faults)
        return edited(before.text, values)

    def _changed(self, before: Settings | None, after: Settings) -> list[Key]:
        old = before or self._running
        return [key for key in after.keys if value_of(old, key.path) != value_of(after, key.path)]

    def _now_running(self, saved: Settings) -> Settings:
        """Return the values that the gateway runs with: the saved ones that apply at once, else the old ones."""
        running = Settings(self._sections)
        for key in running.keys:
            source = saved if key.applies else self._running
            if source.given(*key.path):
                running.set(key, source.value(*key.path), source.origins[key.path])
        return running


def _of_lost_comments(count: int, file: SettingsFile) -> list[dict[str, str]]:
    # says how many and not which: a comment may contain a secret
    subject = "1 comment of the file is" if count == 1 else f"{count} comments of the file are"
    message = f"{subject} not in the new one; the old file is kept as {file.backup}"
    return [{"name": "", "message": message}] if count else []


def _check_size(text: str) -> None:
    if len(text.encode()) > MAX_BYTES:
        raise ConfigError(f"the file would be larger than {MAX_BYTES // 1024} KiB")


def _leaves(data: Mapping[str, Any], sections: Sections) -> list[KeyPath]:
    """Return the paths of all that a file sets, a section's keys each by itself."""
    paths: list[KeyPath] = []
    for name, value in data.items():
        inner = [(name, key) for key in value] if name and name in sections and isinstance(value, dict) else [(name,)]
        paths += inner
    return paths


def _only(data: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
    return {path[0]: data[path[0]] if len(path) == 1 else {path[1]: data[path[0]][path[1]]}}
