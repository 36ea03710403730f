"""``/api/sessions`` and ``/api/me`` as JupyterLab, VS Code and scripts use them."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.waiting import eventually

pytestmark = [pytest.mark.local, pytest.mark.core]


async def opened(api: Api, path: str, **fields: Any) -> dict[str, Any]:
    """Return the model of the session of a path."""
    body = {"path": path, "type": "notebook", "name": "", "kernel": {"name": "python3"}, **fields}
    response = await api.request("POST", "/api/sessions", body)
    assert response.code == 201, response.body
    model: dict[str, Any] = json.loads(response.body)
    assert response.headers["Location"] == f"/api/sessions/{model['id']}"
    return model


async def patched(api: Api, session_id: str, **fields: Any) -> dict[str, Any]:
    """Return the model of a session after a change."""
    response = await api.request("PATCH", f"/api/sessions/{session_id}", fields)
    assert response.code == 200, response.body
    return dict(json.loads(response.body))


async def code_of(api: Api, method: str, path: str, body: Any = None) -> int:
    return (await api.request(method, path, body)).code


async def test_a_session_has_every_field_and_the_kernel_of_the_other_list(api: Api) -> None:
    model = await opened(api, "work/a.ipynb", name="a.ipynb")
    kernel = model.pop("kernel")
    assert model.keys() == {"id", "path", "name", "type", "notebook"}
    assert (model["path"], model["name"], model["type"]) == ("work/a.ipynb", "a.ipynb", "notebook")
    assert model["notebook"] == {"path": "work/a.ipynb", "name": "a.ipynb"}
    assert [found["id"] for found in await api.kernels()] == [kernel["id"]]
    assert kernel == await api.get(f"/api/kernels/{kernel['id']}")
    assert await api.get("/api/sessions") == [{**model, "kernel": kernel}]
    assert await api.get(f"/api/sessions/{model['id']}") == {**model, "kernel": kernel}
    assert "notebook" not in await opened(api, "console-1", type="console")


async def test_a_path_that_has_a_session_gives_that_session(api: Api) -> None:
    first = await opened(api, "a.ipynb")
    assert (await opened(api, "a.ipynb", name="other", kernel={"name": "bash"}))["id"] == first["id"]
    assert len(await api.kernels()) == 1


async def test_many_who_open_one_path_at_once_share_one_kernel(api: Api) -> None:
    models = await asyncio.gather(*(opened(api, "shared.ipynb") for _ in range(8)))
    assert len({model["id"] for model in models}) == 1
    assert len(await api.kernels()) == 1


async def test_one_who_leaves_while_the_kernel_starts_takes_nothing_from_the_next(api: Api) -> None:
    claimed = await asyncio.gather(*(api.create() for _ in range(2)))
    _reader, leaving = await asyncio.open_connection(*api.url.removeprefix("http://").split(":"))
    body = json.dumps({"path": "left.ipynb", "type": "notebook"})
    head = f"POST /api/sessions?token={api.token} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    leaving.write((head + body).encode())
    await api.get("/healthz")
    staying = asyncio.create_task(opened(api, "left.ipynb"))
    await api.get("/healthz")
    leaving.transport.abort()
    model = await staying
    kernels = {kernel["id"] for kernel in await api.kernels()}
    assert kernels == {*claimed, model["kernel"]["id"]}


async def test_a_session_can_be_opened_on_a_kernel_that_runs(api: Api) -> None:
    kernel = await api.create()
    model = await opened(api, "attached.ipynb", kernel={"id": kernel})
    assert model["kernel"]["id"] == kernel
    assert len(await api.kernels()) == 1
    body = {"path": "b.ipynb", "type": "notebook", "kernel": {"id": str(uuid.uuid4())}}
    assert await code_of(api, "POST", "/api/sessions", body) == 404


async def test_a_session_without_a_kernel_in_its_request_gets_the_default_one(api: Api) -> None:
    response = await api.request("POST", "/api/sessions", {"notebook": {"path": "old.ipynb"}, "kernel": None})
    model = json.loads(response.body)
    assert (response.code, model["path"], model["type"], model["name"]) == (201, "old.ipynb", "notebook", "")
    assert model["kernel"]["name"] == "python3"


async def test_a_notebook_is_renamed_and_keeps_its_kernel(api: Api) -> None:
    model = await opened(api, "a.ipynb", name="a.ipynb")
    renamed = await patched(api, model["id"], path="b.ipynb", name="b.ipynb", type="file")
    assert (renamed["path"], renamed["name"], renamed["type"]) == ("b.ipynb", "b.ipynb", "file")
    assert renamed["kernel"]["id"] == model["kernel"]["id"]
    assert (await opened(api, "b.ipynb"))["id"] == model["id"]
    assert (await opened(api, "a.ipynb"))["id"] != model["id"]


async def test_another_kernel_takes_the_place_of_the_old_one_which_ends(api: Api) -> None:
    model = await opened(api, "a.ipynb")
    changed = await patched(api, model["id"], kernel={"name": "bash"})
    assert (changed["id"], changed["kernel"]["name"]) == (model["id"], "bash")
    assert [kernel["id"] for kernel in await api.kernels()] == [changed["kernel"]["id"]]
    other = await api.create()
    assert (await patched(api, model["id"], kernel={"id": other, "name": "python3"}))["kernel"]["id"] == other
    assert [kernel["id"] for kernel in await api.kernels()] == [other]
    assert (await patched(api, model["id"], kernel={"id": other}))["kernel"]["id"] == other
    assert len(await api.kernels()) == 1


async def test_changes_of_the_kernel_at_once_leave_one_kernel(api: Api) -> None:
    model = await opened(api, "a.ipynb")
    await asyncio.gather(*(patched(api, model["id"], kernel={"name": "python3"}) for _ in range(3)))
    kernel = (await api.get(f"/api/sessions/{model['id']}"))["kernel"]
    assert [found["id"] for found in await api.kernels()] == [kernel["id"]]
    assert kernel["id"] != model["kernel"]["id"]


async def test_a_change_that_cannot_be_made_changes_nothing(api: Api) -> None:
    model = await opened(api, "a.ipynb")
    for body, code in (
        ({"path": "b.ipynb", "kernel": {"name": "cobol"}}, 404),
        ({"path": "b.ipynb", "kernel": {"id": "unknown"}}, 400),
        ({"path": "b.ipynb", "kernel": {"id": 5}}, 400),
        ({"path": "b.ipynb", "kernel": "python3"}, 400),
        ({"path": 5}, 400),
        ({"path": "b.ipynb", "name": "x" * 5000}, 400),
    ):
        assert await code_of(api, "PATCH", f"/api/sessions/{model['id']}", body) == code, body
    assert await api.get("/api/sessions") == [model]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "path"),
        ({"path": "a.ipynb"}, "type"),
        ({"path": 5, "type": "notebook"}, "path"),
        ({"path": "a" * 5000, "type": "notebook"}, "4096"),
        ({"path": "a.ipynb", "type": ["notebook"]}, "type"),
        ({"path": "a.ipynb", "type": "notebook", "kernel": "python3"}, "object"),
        ({"path": "a.ipynb", "type": "notebook", "kernel": {"name": 5}}, "kernel.name"),
        ({"notebook": {"path": 5}}, "path"),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong_and_starts_nothing(api: Api, body: Any, words: str) -> None:
    response = await api.request("POST", "/api/sessions", body)
    assert response.code == 400
    assert words in json.loads(response.body)["message"]
    assert await api.kernels() == []


async def test_the_end_of_a_session_is_the_end_of_its_kernel_and_the_other_way_round(api: Api) -> None:
    first, second = await opened(api, "a.ipynb"), await opened(api, "b.ipynb")
    assert await code_of(api, "DELETE", f"/api/sessions/{first['id']}") == 204
    assert await code_of(api, "GET", f"/api/kernels/{first['kernel']['id']}") == 404
    assert await code_of(api, "DELETE", f"/api/kernels/{second['kernel']['id']}") == 204
    assert await api.get("/api/sessions") == []
    for method in ("GET", "PATCH", "DELETE"):
        for model in (first, second):
            assert await code_of(api, method, f"/api/sessions/{model['id']}", {} if method == "PATCH" else None) == 404
    assert (await opened(api, "b.ipynb"))["id"] != second["id"]


async def test_a_culled_kernel_takes_its_session_along(tmp_path: Any) -> None:
    with GatewayProcess(tmp_path, "kernel_ttl_seconds: 1\npool: {enabled: false}\n", engine="local") as running:
        async with Api(running.url, running.token) as api:
            model = await opened(api, "a.ipynb")
            await eventually(lambda: api.get("/api/sessions"), lambda models: models == [])
            assert await code_of(api, "GET", f"/api/sessions/{model['id']}") == 404


async def test_what_vs_code_does_with_a_remote_server_works(api: Api) -> None:
    status = await api.request("GET", "/tree", headers={})
    assert (status.code, status.headers.get("Location")) == (404, None)
    root = await api.request("GET", "/", headers={})
    assert "/login?" not in root.headers.get("Location", "")
    generated = f"{uuid.uuid4()}.ipynb"
    name = f"{generated.partition('.')[0]}-jvsc-{uuid.uuid4()}"
    model = await opened(api, generated, name=name, type="notebook")
    socket = await api.connect(model["kernel"]["id"], v1=False, query=f"?session_id={uuid.uuid4()}")
    assert (await socket.execute("print('from VS Code')")).stream() == "from VS Code\n"
    assert [found["id"] for found in await api.get("/api/sessions")] == [model["id"]]
    moved = await patched(api, model["id"], path="real.ipynb", name="real.ipynb", type="notebook")
    assert moved["notebook"] == {"path": "real.ipynb", "name": "real.ipynb"}
    assert await code_of(api, "POST", f"/api/kernels/{model['kernel']['id']}/interrupt") == 204
    assert await code_of(api, "DELETE", f"/api/sessions/{model['id']}") == 204
    assert await api.get("/api/sessions") == await api.kernels() == []


async def test_the_caller_is_told_who_it_is_and_what_it_may_do(api: Api) -> None:
    me = await api.get("/api/me")
    assert me["identity"].keys() == {"username", "name", "display_name", "initials", "avatar_url", "color"}
    assert me["identity"]["username"]
    assert me["permissions"] == {"updatable_fields": []}
    asked = quote(json.dumps({"kernels": ["read", "execute", "fly"], "server": []}))
    path = f"/api/me?permissions={asked}"
    assert (await api.get(path))["permissions"] == {
        "kernels": ["read", "execute"], "server": [], "updatable_fields": [],
    }  # fmt: skip
    cookie = (await api.request("GET", f"/?token={api.token}", headers={})).headers["Set-Cookie"].partition(";")[0]
    response = await api.request("GET", path, headers={"Cookie": cookie})
    assert json.loads(response.body)["permissions"]["kernels"] == ["read", "execute"]
    for wrong in ("[", "[1]", "5", '{"kernels": "read"}', '{"kernels": [1]}', "[" * 5000):
        assert await code_of(api, "GET", f"/api/me?permissions={quote(wrong)}") == 400
    assert (await api.request("GET", "/api/me", headers={})).code == 401
