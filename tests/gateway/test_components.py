"""The parts of a gateway get the settings that the operator made."""

from __future__ import annotations

import logging
from pathlib import Path

from sandkasten_kernels.config import SECTIONS
from sandkasten_kernels.config.settings import file_settings
from sandkasten_kernels.gateway import DataDir, engine_of


def test_the_engine_reads_its_own_settings_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sandkasten.yaml"
    file.write_text("workspace: {disk: image}\nlimits: {workspace_mb: 1234}\n")
    data = DataDir(tmp_path / "data")
    engine = engine_of(file_settings(file, SECTIONS), data, logging.getLogger("tests"))
    assert (engine._private.disk, engine._image_mb) == ("image", 1234)  # type: ignore[attr-defined]
