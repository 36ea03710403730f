"""A downloaded directory is unpacked below its target alone, by any Python that the package is for."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from sandkasten_kernels.client.archive import unpack


def archive_of(folder: Path, *members: tarfile.TarInfo, data: bytes = b"new") -> Path:
    """Return an archive of these members below ``top``; each file has the same data."""
    path = folder / "archive.tar"
    with tarfile.open(path, "w") as tar:
        for member in members:
            member.name = f"top/{member.name}"
            member.size = len(data) if member.isfile() else 0
            tar.addfile(member, io.BytesIO(data) if member.isfile() else None)
    return path


def directory(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def test_files_and_directories_are_put_below_the_target_and_links_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile.TarFile, "extract")  # its filters came with Python 3.11.4, Debian 12 has 3.11.2
    script, link = tarfile.TarInfo("inner/run.sh"), tarfile.TarInfo("link")
    script.mode, script.mtime, link.type, link.linkname = 0o4777, 86400, tarfile.SYMTYPE, "/etc/passwd"
    archive = archive_of(tmp_path, directory("empty"), script, link)
    unpack(archive, tmp_path / "copy")
    unpacked = tmp_path / "copy" / "inner" / "run.sh"
    assert unpacked.read_bytes() == b"new"
    assert (unpacked.stat().st_mode & 0o7777, unpacked.stat().st_mtime) == (0o755, 86400)
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["empty", "inner"]
    assert not archive.exists()


@pytest.mark.parametrize("name", ["../outside", "/outside", "way/outside", "way"])
def test_nothing_is_put_outside_of_the_target(tmp_path: Path, name: str) -> None:
    target, outside = tmp_path / "copy", tmp_path / "elsewhere" / "outside"
    target.mkdir()
    outside.parent.mkdir()
    outside.write_text("old")
    (target / "way").symlink_to(outside.parent if name == "way/outside" else outside)
    with pytest.raises(ValueError, match="leads out of"):
        unpack(archive_of(tmp_path, tarfile.TarInfo(name)), target)
    assert outside.read_text() == "old"
