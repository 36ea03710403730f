"""The settings that change while the gateway serves are those that say so."""

from __future__ import annotations

from sandkasten_kernels.config.keys import Keys
from sandkasten_kernels.config.traits import SECTIONS
from sandkasten_kernels.gateway import live_settings


def test_every_setting_that_is_changed_at_once_says_to_what_it_applies() -> None:
    names = {
        *live_settings._POLICY.values(),
        *(f"defaults.{name}" for name in (*live_settings._SANDBOX, "max_exec_timeout_ms")),
        *(f"pool.{name}" for name in live_settings._POOL),
        *(key.name for key in Keys(SECTIONS) if key.path[0] == "limits" and key.path[1] != "host_reserve_mb"),
        "log_level",
        "on_stop",
    }
    assert {key.name for key in Keys(SECTIONS) if key.applies} == names
