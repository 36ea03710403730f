"""Our reader reads tar streams of the standard library, which reads those of our writer."""

from __future__ import annotations

import contextlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.errors import InvalidRequest
from sandkasten_kernels.workspaces.tar import Entry, TarReader, tar_end, tar_header, tar_padding

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=150)
TREES = st.dictionaries(NAMES.filter(lambda name: name not in (".", "..")), st.binary(max_size=2000), max_size=6)


def archive(tree: dict[str, bytes], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def taken_apart(data: bytes, step: int) -> dict[str, bytes]:
    reader, found, path = TarReader(), dict[str, bytes](), ""
    for start in range(0, len(data), step):
        for event in reader.feed(data[start : start + step]):
            if isinstance(event, Entry):
                path = event.path
                if not event.is_dir:
                    found[path] = b""
            else:
                found[path] += event
    reader.finish()
    return found


@given(tree=TREES, step=st.integers(1, 3000), form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_an_archive_comes_apart_however_its_bytes_arrive(tree: dict[str, bytes], step: int, form: int) -> None:
    assert taken_apart(archive(tree, form), step) == tree


@given(tree=TREES)
def test_what_is_made_is_read_by_others(tree: dict[str, bytes]) -> None:
    data = tar_header("d", size=0, mode=0o755, modified=1.5, is_dir=True)
    for name, content in tree.items():
        data += tar_header(f"d/{name}", size=len(content), mode=0o640, modified=1.5, is_dir=False)
        data += content + tar_padding(len(content))
    with tarfile.open(fileobj=io.BytesIO(data + tar_end())) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}  # type: ignore[union-attr]
        assert tar.getmember("d").isdir()
    assert files == {f"d/{name}": content for name, content in tree.items()}


@given(data=st.binary(max_size=3000), step=st.integers(1, 999))
def test_noise_is_refused_and_raises_nothing_else(data: bytes, step: int) -> None:
    with pytest.raises(InvalidRequest):
        taken_apart(b"\x01" + data, step)


@given(cut=st.integers(1, 3000))
def test_an_archive_that_ends_early_is_refused(cut: int) -> None:
    whole = archive({"f": bytes(1500)}, tarfile.GNU_FORMAT)[:3072]
    if cut < len(whole):
        with pytest.raises(InvalidRequest, match="is incomplete"):
            taken_apart(whole[:-cut] if cut % 512 else whole[: -cut - 1], 512)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"S"])
def test_what_is_no_file_is_refused_by_name(kind: bytes) -> None:
    info = tarfile.TarInfo("the-name")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(InvalidRequest, match="'the-name' in the archive is"):
        taken_apart(info.tobuf(tarfile.GNU_FORMAT) + tar_end(), 512)


def test_headers_for_the_whole_archive_are_passed_over() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "of git"}) as tar:
        tar.addfile(tarfile.TarInfo("f"))
    assert taken_apart(buffer.getvalue(), 100) == {"f": b""}


@pytest.mark.parametrize(
    "record",
    [
        b"9 size=5",
        b"99999999999 path=x\n",
        b"11 size=\xb2\n\n\n",
        b"x" * 40,
        b"22 GNU.sparse.major=1\n",
        b"5013 size=" + b"9" * 5002 + b"\n",
    ],
)
def test_an_extended_header_that_cannot_be_read_is_refused(record: bytes) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    data = info.tobuf(tarfile.USTAR_FORMAT) + record + tar_padding(len(record)) + tarfile.TarInfo("f").tobuf()
    with pytest.raises(InvalidRequest):
        taken_apart(data + tar_end(), 512)


@given(record=st.binary(min_size=1, max_size=600))
def test_no_extended_header_raises_anything_else(record: bytes) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    data = info.tobuf(tarfile.USTAR_FORMAT) + record + tar_padding(len(record)) + tarfile.TarInfo("f").tobuf()
    with contextlib.suppress(InvalidRequest):
        taken_apart(data + tar_end(), 512)
