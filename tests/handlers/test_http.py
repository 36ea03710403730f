"""Who may call, and what a wrong call is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api, execute_content

pytestmark = pytest.mark.local


def credentials(token: str) -> list[tuple[dict[str, str], str]]:
    """Return every way in which clients send a token."""
    headers = [{"Authorization": f"{scheme} {token}"} for scheme in ("token", "Token", "bearer", "Bearer", "BEARER")]
    return [(header, "") for header in [*headers, {"X-API-Key": token}]] + [({}, f"?token={token}")]


async def test_every_form_of_the_token_opens_the_door(api: Api) -> None:
    for headers, query in credentials(api.token):
        assert (await api.request("GET", f"/api/kernels{query}", headers=headers)).code == 200


async def test_no_form_of_a_wrong_token_does(api: Api) -> None:
    wrong = [
        *credentials("wrong"),
        *credentials(""),
        *credentials("ä"),
        ({}, ""),
        ({"Authorization": "Basic eDp5"}, ""),
    ]
    for headers, query in wrong:
        response = await api.request("GET", f"/api/kernels{query}", headers=headers)
        assert response.code == 401
        assert json.loads(response.body)["error_code"] == "UNAUTHORIZED"


async def test_every_route_needs_a_key_but_health_static_files_and_logos(api: Api) -> None:
    guarded = [
        "/",
        "/api",
        "/api/status",
        "/api/kernelspecs",
        "/api/kernelspecs/python3",
        "/api/kernels",
        "/api/kernels/x",
    ]
    for path in guarded:
        assert (await api.request("GET", path, headers={})).code == 401, path
    for path in ("restart", "interrupt"):
        assert (await api.request("POST", f"/api/kernels/x/{path}", headers={})).code == 401
    for path in ("/healthz", "/static/style.css"):
        assert (await api.request("GET", path, headers={})).code == 200
    assert (await api.request("OPTIONS", "/api/kernels", headers={})).code == 204


async def test_a_websocket_needs_a_key_and_a_kernel(api: Api) -> None:
    url = api.url.replace("http", "ws", 1)
    kernel = await api.create()
    for path, code in [
        (f"{kernel}/channels", 401),
        (f"{kernel}/channels?token=x", 401),
        (f"x/channels?token={api.token}", 404),
    ]:
        with pytest.raises(HTTPClientError) as refusal:
            await websocket_connect(f"{url}/api/kernels/{path}")
        assert refusal.value.code == code
    socket = await websocket_connect(f"{url}/api/kernels/{kernel}/channels?token={api.token}")
    socket.close()


async def test_a_websocket_from_a_foreign_page_is_refused(api: Api) -> None:
    kernel = await api.create()
    url = f"{api.url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?token={api.token}"
    with pytest.raises(HTTPClientError) as refusal:
        await websocket_connect(HTTPRequest(url, headers={"Origin": "http://evil.example"}))
    assert refusal.value.code == 403
    (await websocket_connect(HTTPRequest(url, headers={"Origin": api.url}))).close()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "JSON"),
        (b"[1]", "object"),
        (b'{"name": 5}', "name"),
        (b'{"env": [1]}', "env"),
        (b'{"env": {"KERNEL_X": 5}}', "KERNEL_X"),
        (b'{"env": {"KERNEL_X": "a\\u0000b"}}', "KERNEL_X"),
        (b'{"env": {"KERNEL_X=Y": "a"}}', "KERNEL_X=Y"),
        (b'{"env": {"KERNEL_X": "\\ud800"}}', "KERNEL_X"),
        (b'{"env": {"KERNEL_WORKSPACE": "../thesis"}}', "KERNEL_WORKSPACE"),
        (b"\xff\xfe", "JSON"),
    ],
)
async def test_a_wrong_create_is_told_what_is_wrong_and_costs_nothing(api: Api, body: bytes, words: str) -> None:
    response = await api.request("POST", "/api/kernels", body)
    assert response.code == 400
    assert words in json.loads(response.body)["message"]
    assert await api.kernels() == []


async def test_an_environment_that_is_too_large_is_refused(api: Api) -> None:
    response = await api.request("POST", "/api/kernels", {"env": {"KERNEL_X": "x" * 70_000}})
    assert response.code == 400
    assert "64 KiB" in json.loads(response.body)["message"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/tree", 404),
        ("GET", "/api/kernels/unknown", 404),
        ("DELETE", "/api/kernels/unknown", 404),
        ("POST", "/api/kernels/unknown/restart", 404),
        ("GET", "/api/kernelspecs/cobol", 404),
        ("GET", "/kernelspecs/python3/kernel.json.bak", 404),
        ("GET", "/kernelspecs/python3/..%2f..%2fsetup.cfg", 404),
        ("GET", "/static/../setup.cfg", 404),
        ("PUT", "/api/kernels", 405),
        ("GET", "/api/kernels/unknown/channels", 400),
    ],
)
async def test_every_error_is_json_with_reason_message_and_an_id(api: Api, method: str, path: str, code: int) -> None:
    response = await api.request(method, path)
    body = json.loads(response.body)
    assert response.code == code
    assert body["reason"]
    assert body["message"] == body["error"]
    assert response.headers["X-Request-Id"]
    assert "Traceback" not in response.body.decode()


async def test_kernelspecs_have_what_clients_require_and_advertise_only_what_is_served(api: Api) -> None:
    models = await api.get("/api/kernelspecs")
    assert models["default"] == "python3"
    for name, model in models["kernelspecs"].items():
        assert model["name"] == name
        assert {"argv", "display_name", "language"} <= model["spec"].keys()
        assert isinstance(model["spec"]["argv"], list)
        for path in model["resources"].values():
            response = await api.request("GET", path, headers={})
            assert response.code == 200
            assert response.headers["Content-Type"].startswith("image/")
    assert await api.get("/api/kernelspecs/python3") == models["kernelspecs"]["python3"]


async def test_status_tells_of_kernels_connections_and_the_pool(api: Api) -> None:
    socket = await api.connect(await api.create())
    await socket.execute("1")
    await api.until_claimed(1)
    status = await api.get("/api/status")
    assert (status["kernels"], status["connections"]) == (1, 1)
    pool = next(pool for pool in status["pool"] if pool["kernelspec"] == "python3")
    assert pool.keys() == {"image", "kernelspec", "target", "warm", "starting", "claimed", "hits", "misses"}
    assert (pool["image"], pool["kernelspec"], pool["target"], pool["claimed"]) == ("python", "python3", 2, 1)
    assert isinstance((await api.get("/api"))["version"], str)


async def test_no_token_reaches_the_log(api: Api, gateway: GatewayProcess) -> None:
    for query, status in ((f"x=1&token={api.token}", 404), (f"TOKEN={api.token}&y", 401)):
        assert (await api.request("GET", f"/api/kernels/none?{query}", headers={})).code == status
    assert (await api.request("GET", f"/api/kernels/none?x&%74o%6Ben={api.token}", headers={})).code == 404
    await api.get("/api")  # a request is logged after its answer
    for masked in ("?x=1&token=[secret] ", "?TOKEN=[secret]&y ", "?x&%74o%6Ben=[secret] "):
        assert masked in gateway.log.read_text()
    before, _, after = gateway.log.read_text().partition("or run code on it:")
    assert before.count(api.token) == 1
    assert after.count(api.token) == 1


@pytest.mark.parametrize("v1", [True, False])
async def test_frames_that_cannot_be_read_are_told_and_harm_nobody(api: Api, v1: bool) -> None:
    socket = await api.connect(await api.create(), v1)
    frames: list[Any] = ["", "{", "[]", "nonsense", b"", b"\xff" * 100, b"\x06" + bytes(63), "{}" * 1000]
    for frame in frames:
        await socket.socket.write_message(frame, binary=isinstance(frame, bytes))
        if frame != "{}" * 1000:
            assert "dropped a message" in (await socket.until("stream", name="stderr")).content["text"]
    for header in ({"date": 1.5}, {"version": "5.0", "date": None}, {"session": "another"}, {"username": None}):
        msg_id = await socket.send("execute_request", execute_content("1"), **header)
        assert (await socket.result(msg_id)).reply["status"] == "ok"
