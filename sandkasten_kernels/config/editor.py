"""SettingsEditor: the settings for a page, and what a page saves, checked as a start would check it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import yaml

from ..errors import ConfigError, InvalidSettings, SettingsReadOnly
from ..gateway.checks import check_settings
from ..gateway.live_settings import APPLIES
from ..images.warnings import ImageProblem, image_warnings
from .document import Document, plain_value
from .file import MAX_BYTES, SettingsFile
from .form import fault_of, section_models, value_of
from .keys import KeyPath, Sections
from .masking import Masked
from .settings import Settings, document_settings
from .validation import SECRETS
from .yaml_edit import UNSET, edited

__all__ = ["SettingsEditor"]


class _State(NamedTuple):
    """The file as it is, and what the gateway would run with; ``errors`` where it would not start."""

    text: str
    version: str
    settings: Settings | None
    errors: list[dict[str, Any]]
    malformed: str


async def _no_problem(image: str) -> str:
    return ""


class SettingsEditor:
    """Shows the settings and saves them. One save at a time; a save that is refused has changed nothing.

    Parameters
    ----------
    over: what environment and command line say, which has more weight than the file.
    started: what the gateway was started with.
    apply: gives the running gateway what can change at once.
    image_problem: is asked of the images that the settings name.
    """

    def __init__(
        self,
        file: SettingsFile,
        sections: Sections,
        over: Settings,
        started: Settings,
        apply: Callable[[Settings], None],
        log: logging.Logger,
        image_problem: ImageProblem = _no_problem,
    ) -> None:
        self._file = file
        self._sections = sections
        self._over = over
        self._apply = apply
        self._log = log
        self._image_problem = image_problem
        self._running = started
        self._turn = asyncio.Lock()

    async def model(self) -> dict[str, Any]:
        """Return the settings as ``GET /v1/settings`` answers them. Raises `SettingsReadOnly`."""
        async with self._turn:
            return await self._shown()

    async def save(
        self,
        version: str,
        changes: Mapping[str, Any],
        sources: Mapping[str, str],
        text: str | None,
        *,
        dry_run: bool,
    ) -> dict[str, Any]:
        """Save other values, or a text that was made from the one that is shown; return what became of it.

        Parameters
        ----------
        version: of the file as the caller saw it.
        changes: values by the name of their keys; None for what is to be the default again.
        sources: the same, as YAML.
        dry_run: check all, save nothing; what is wrong is in the answer's ``errors``.

        Raises `InvalidSettings` but in a dry run, `SettingsChanged`, `SettingsReadOnly`.
        """
        async with self._turn:
            before = await asyncio.to_thread(self._state)
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
            if saved:
                await asyncio.to_thread(self._save, real, before)
                self._apply(after)
                self._running = self._now_running(after)
                self._log.info("settings saved in %s: %s", self._file.path, ", ".join(changed) or "none changed")
            answer: dict[str, Any] = {
                "saved": saved,
                "errors": [],
                "warnings": await self._warnings(after),
                "applied": [name for name in changed if name in APPLIES],
                "after_restart": [name for name in changed if name not in APPLIES],
            }
            return answer if dry_run else {**answer, "settings": await self._shown()}

    def _save(self, text: str, before: _State) -> None:
        """Save a text. The file becomes its owner's alone when a secret comes into it, or is open to all in it."""
        old, new = (set(Masked.of(each).values.values()) for each in (before.text, text))
        self._file.save(text, before.version, private=bool(new - old or (new and self._file.open_to_all)))

    async def _shown(self) -> dict[str, Any]:
        model, settings = await asyncio.to_thread(self._model)
        return {**model, "warnings": await self._warnings(settings)}

    async def _warnings(self, settings: Settings) -> list[dict[str, str]]:
        return await image_warnings(settings, self._image_problem, self._file.option)

    def _model(self) -> tuple[dict[str, Any], Settings]:
        state = self._state()
        settings = state.settings or self._running
        read_only = self._file.why_read_only()
        if state.malformed:
            read_only = read_only or f"mend it on the machine first: {state.malformed}"
        model = {
            "file": str(self._file.path),
            "exists": self._file.path.exists(),
            "version": state.version,
            "read_only": read_only,
            "errors": state.errors,
            "text": None if state.malformed else self._masked(state.text).text,
            "sections": section_models(settings, self._running),
        }
        return model, settings

    def _masked(self, text: str) -> Masked:
        running = [self._running.value(*key.path) for key in self._over.keys if key.path[-1] in SECRETS]
        return Masked.of(text, running)

    def _state(self) -> _State:
        text, version = self._file.read()
        try:
            document = Document.parse(self._file.path, text)
        except ConfigError as error:
            return _State(text, version, None, [fault_of(error, self._over.keys)], str(error))
        try:
            return _State(text, version, self._settings(document), [], "")
        except InvalidSettings as error:
            return _State(text, version, None, error.details["errors"], "")

    def _settings(self, document: Document) -> Settings:
        """Return what a start with this file would run with. Raises `InvalidSettings` with every fault there is."""
        faults = []
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
            check_settings(settings)
        except ConfigError as error:
            raise InvalidSettings([fault_of(error, self._over.keys)]) from error
        return settings

    def _checked(
        self, before: _State, changes: Mapping[str, Any], sources: Mapping[str, str], text: str | None
    ) -> tuple[str, Settings]:
        """Return the text that is to be saved, and its settings. Raises `InvalidSettings`."""
        if before.malformed:
            raise SettingsReadOnly(f"the file must be mended on the machine first: {before.malformed}")
        try:
            _check_size(text or "")
            real = (
                self._with_changes(before, changes, sources)
                if text is None
                else self._masked(before.text).restored(text)
            )
            _check_size(real)
            return real, self._settings(Document.parse(self._file.path, real))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem, line = str(error.problem or error.context), mark.line + 1 if mark else 0
            raise InvalidSettings([{"name": "", "line": line, "message": problem}]) from error
        except (yaml.YAMLError, UnicodeEncodeError) as error:
            raise InvalidSettings([{"name": "", "line": 0, "message": "not a text in UTF-8"}]) from error
        except RecursionError:
            raise InvalidSettings([{"name": "", "line": 0, "message": "nested too deeply"}]) from None
        except ConfigError as error:
            raise InvalidSettings([fault_of(error, self._over.keys)]) from error

    def _with_changes(self, before: _State, changes: Mapping[str, Any], sources: Mapping[str, str]) -> str:
        faults, wanted = [], {}
        known = {key.name: key for key in self._over.keys}
        for name, value in {**changes, **sources}.items():
            key = known.get(name)
            if key is None:
                words = self._over.keys.hint(tuple(name.split(".")))
                faults.append({"name": "", "line": 0, "message": f"{name[:80]}: unknown key{words}"})
                continue
            problem = f"set by {self._over.place(*key.path)}, which has more weight: change it there"
            if not self._over.given(*key.path):
                try:
                    value = plain_value(value) if name in sources else value
                    found = None if value is None else key.fault(value)
                    problem = ": ".join(filter(None, (".".join(found[0][len(key.path) :]), found[1]))) if found else ""
                except ValueError as error:
                    problem = str(error)
            if problem:
                faults.append({"name": name, "line": 0, "message": problem})
            wanted[key.path] = UNSET if value is None else value
        if faults:
            raise InvalidSettings(faults)
        return edited(before.text, wanted)

    def _changed(self, before: Settings | None, after: Settings) -> list[str]:
        old = before or self._running
        return [key.name for key in after.keys if value_of(old, key.path) != value_of(after, key.path)]

    def _now_running(self, saved: Settings) -> Settings:
        """Return what the gateway runs with: what was saved as far as it changes at once, else as before."""
        running = Settings(self._sections)
        for key in running.keys:
            source = saved if key.name in APPLIES else self._running
            if source.given(*key.path):
                running.set(key, source.value(*key.path), source.origins[key.path])
        return running


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
