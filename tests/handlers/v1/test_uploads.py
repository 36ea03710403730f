"""Forms and archives that are uploaded, and trees that are downloaded, over ``/v1``."""

from __future__ import annotations

import os
import re
import tarfile
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.handlers.v1.downloads import disposition
from tests.support.box import KIND, MB, Box, form, member, members, packed

pytestmark = pytest.mark.local


async def test_several_files_are_uploaded_and_the_directory_may_come_last(box: Box) -> None:
    big = os.urandom(3 * MB)
    answer = await box.upload(
        ("file", "one", b"1"),
        ("files", "größe 2.txt", big),
        ("other", None, b"?"),
        ("files", "empty", b""),
        ("path", None, b"in/to"),
    )
    paths = ["/workspace/in/to/one", "/workspace/in/to/größe 2.txt", "/workspace/in/to/empty"]
    assert answer == {"ok": True, "paths": paths}
    assert [await box.read(path) for path in paths] == [b"1", big, b""]
    assert (await box.upload(("path", None, b"/workspace"), ("file", "top", b"t")))["paths"] == ["/workspace/top"]
    assert await box.names() == ["in", "top"]


@pytest.mark.parametrize(
    ("filename", "name"),
    [("a/../b", "b"), (r"C:\\x\\y.txt", "y.txt"), ("/etc/passwd", "passwd"), ("../../x", "x"), ("..x", "..x")],
)
async def test_only_the_last_part_of_a_filename_counts(box: Box, filename: str, name: str) -> None:
    assert (await box.upload(("file", filename, b"x")))["paths"] == [f"/workspace/{name}"]
    assert await box.run("find . -type f") == f"./{name}\n"


@pytest.mark.parametrize(
    "parts",
    [
        [("file", "a", b"1"), ("file", "..", b"2")],
        [("file", "a", b"1"), ("file", None, b"2")],
        [("file", "a", b"1"), ("file", "b/", b"2")],
        [("other", "a", b"1")],
        [("path", None, b"x")],
        [("file", "a", b"1"), ("path", None, b"../x")],
        [("file", "a", b"1" * 700_000), ("file", "b" * 300, b"")],
    ],
)
async def test_an_upload_that_is_wrong_leaves_nothing(box: Box, parts: list[Any]) -> None:
    if "b" * 300 in str(parts):
        parts.reverse()
    assert (await box.upload(*parts, status=400))["error_code"] == "INVALID_REQUEST"
    assert await box.names() == []


async def test_a_form_that_is_none_is_refused(box: Box) -> None:
    assert "multipart/form-data" in (await box.json("POST", "/upload", {"a": 1}, 400))["message"]
    for body in (b"", b"noise", form(("file", "f", b"x"))[:-12]):
        answer = await box.json("POST", "/upload", body, 400, kind=KIND)
        assert "form" in answer["message"]
    assert await box.names() == []


async def test_a_tree_goes_down_and_up_again(box: Box) -> None:
    long = "/".join(["directory-" + "x" * 90] * 4)
    await box.run(
        f"mkdir -p t/empty t/ümläut {long!r}; mkdir -p t/{long}; echo run >t/tool; chmod 755 t/tool; : >t/none;"
        rf" echo 'a b' >'t/ümläut/q\"uo te'; head -c 1500000 /dev/urandom >t/{long}/big; touch $'t/n\xff';"
        " chmod 600 t/none"
    )
    response = await box.ask("GET", "/download?path=t")
    assert response.headers["Content-Type"] == "application/x-tar"
    assert disposition("t.tar") == response.headers["Content-Disposition"]
    answer = await box.json("POST", "/unpack?path=up", response.body)
    assert answer == {"ok": True, "path": "/workspace/up", "files": 5}
    listed = (
        "cd {}; find . -printf '%P %y %m %s\\n' -type f -exec md5sum {{}} \\; | sed 's/ d 755 .*/ d/' | LC_ALL=C sort"
    )
    assert await box.run(f"({listed.format('t')})") == await box.run(f"({listed.format('up/t')})")


async def test_a_directory_of_thousands_of_files_is_packed_whole(box: Box) -> None:
    await box.run("mkdir many; cd many; seq -f '%06.0f-with-a-longer-name' 4000 | xargs touch; cd ..")
    archive = (await box.ask("GET", "/download?path=many")).body
    assert len(members(archive)) == 4001
    answer = await box.json("GET", "?path=many")
    assert answer["truncated"] is True
    assert 1000 < len(answer["entries"]) < 4000


@pytest.mark.parametrize(
    "bad",
    [
        member("l", tarfile.SYMTYPE, "/etc/passwd"),
        member("l", tarfile.LNKTYPE, "good"),
        member("p", tarfile.FIFOTYPE),
        member("d", tarfile.CHRTYPE),
        member("../x"),
        member("a/../../x"),
        member("/etc/x"),
        member("good/x"),
    ],
    ids=lambda info: f"{info.name}-{info.type.decode()}",
)
async def test_an_archive_has_files_and_directories_below_its_place(box: Box, bad: tarfile.TarInfo) -> None:
    answer = await box.json("POST", "/unpack?path=d", packed((member("good"), b"g"), (bad, b"")), 400)
    assert repr(bad.name).strip("'") in answer["message"]
    assert await box.run("find . -type f; test ! -e /etc/x") == "./d/good\n"


async def test_what_is_no_archive_is_refused(box: Box) -> None:
    whole = packed((member("f"), b"x" * 5000))
    for body in (b"", b"x" * 600, b"\x1f\x8b" + bytes(600), whole[:3000]):
        assert "archive" in (await box.json("POST", "/unpack", body, 400))["message"]
    assert await box.names() == []


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


@given(name=NAMES)
def test_a_disposition_is_one_safe_line_that_has_the_name(name: str) -> None:
    header = disposition(name)
    found = re.fullmatch(r"""attachment; filename="([ !#-$&-.0-\[\]-~]*)"; filename\*=UTF-8''([\w.~%-]*)""", header)
    assert found
    assert header.isascii()
    assert unquote(found[2]) == name
