"""Forms come apart as they were put together, however their bytes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.errors import InvalidRequest
from sandkasten_kernels.handlers.v1.forms import MAX_PARTS, FormReader, Part

BOUNDARY = "x-y-z"
KIND = f"multipart/form-data; boundary={BOUNDARY}"
FIELDS = st.lists(st.tuples(st.sampled_from(["file", "path", "ä"]), st.binary(max_size=300)), min_size=1, max_size=5)


def form(fields: list[tuple[str, bytes]], filename: str = "f") -> bytes:
    data = b""
    for name, content in fields:
        data += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'.encode()
        data += b"Content-Type: text/plain\r\n\r\n" + content + b"\r\n"
    return data + f"--{BOUNDARY}--\r\n".encode()


def taken_apart(data: bytes, step: int) -> list[tuple[str, str | None, bytes]]:
    reader, found, ended = FormReader(KIND), list[tuple[str, str | None, bytes]](), 0
    for start in range(0, len(data), step):
        for event in reader.feed(data[start : start + step]):
            if isinstance(event, Part):
                found.append((event.name, event.filename, b""))
            elif event:
                found[-1] = (*found[-1][:2], found[-1][2] + event)
            else:
                ended += 1
    reader.finish()
    assert ended == len(found)
    return found


@given(fields=FIELDS, step=st.integers(1, 700))
def test_a_form_comes_apart_however_its_bytes_arrive(fields: list[tuple[str, bytes]], step: int) -> None:
    assert taken_apart(form(fields), step) == [(name, "f", content) for name, content in fields]


@given(content=st.lists(st.sampled_from([b"\r\n", b"--", b"x-y-z", b"\r", b"x"])), step=st.integers(1, 9))
def test_what_looks_like_a_boundary_is_content(content: list[bytes], step: int) -> None:
    data = b"".join(content)
    if b"\r\n--x-y-z" not in b"\r\n" + data:
        assert taken_apart(form([("file", data)]), step) == [("file", "f", data)]


@given(data=st.binary(max_size=500), step=st.integers(1, 99))
def test_noise_is_refused_and_raises_nothing_else(data: bytes, step: int) -> None:
    with pytest.raises(InvalidRequest):
        taken_apart(data, step)


@given(cut=st.integers(1, 60))
def test_a_form_that_ends_early_is_refused(cut: int) -> None:
    with pytest.raises(InvalidRequest, match=r"is incomplete|is malformed"):
        taken_apart(form([("file", b"")])[: -cut - 3], 7)


@pytest.mark.parametrize(
    "kind", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=x", f"{KIND}{'x' * 70}"]
)
def test_what_is_no_form_is_refused_at_once(kind: str) -> None:
    with pytest.raises(InvalidRequest, match="multipart/form-data"):
        FormReader(kind)


def test_parts_are_bounded() -> None:
    assert len(taken_apart(form([("file", b"")] * MAX_PARTS), 4096)) == MAX_PARTS
    with pytest.raises(InvalidRequest, match=f"more than {MAX_PARTS} parts"):
        taken_apart(form([("file", b"")] * (MAX_PARTS + 1)), 4096)
    with pytest.raises(InvalidRequest, match="header size"):
        taken_apart(form([("file", b"")], filename="x" * 10_000), 4096)


def test_a_part_without_a_name_is_refused() -> None:
    data = form([("file", b"")]).replace(b'name="file"; file', b"file")
    with pytest.raises(InvalidRequest, match="without a name"):
        taken_apart(data, 4096)


def test_bytes_of_a_filename_are_kept() -> None:
    data = form([("file", b"")], filename="a?b").replace(b"a?b", b"a\xffb")
    assert taken_apart(data, 5)[0][1] == "a\udcffb"
