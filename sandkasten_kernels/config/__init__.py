"""Every setting: declared as traits, read from file, environment and command line, edited, documented."""

from .address import is_loopback, parse_listen, reachable, url_host
from .configuration import Configuration
from .custom_images import STANDARD
from .docs import configuration_docs
from .document import shown
from .editor import SettingsEditor
from .keys import KeyPath, Keys, MakeError, Sections, nearest
from .settings import Settings, command_line_settings
from .traits import SECTIONS, Defaults, Limits, PoolSettings, RootSettings, WorkspaceSettings
from .validation import SECRETS, PositiveFloat, in_words

__all__ = [
    "SECRETS",
    "SECTIONS",
    "STANDARD",
    "Configuration",
    "Defaults",
    "KeyPath",
    "Keys",
    "Limits",
    "MakeError",
    "PoolSettings",
    "PositiveFloat",
    "RootSettings",
    "Sections",
    "Settings",
    "SettingsEditor",
    "WorkspaceSettings",
    "command_line_settings",
    "configuration_docs",
    "in_words",
    "is_loopback",
    "nearest",
    "parse_listen",
    "reachable",
    "shown",
    "url_host",
]
