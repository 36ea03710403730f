"""The gateway under a path of its own, behind a proxy, and called by pages of another site."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.websocket import websocket_connect

from sandkasten_kernels.errors import ConfigError
from sandkasten_kernels.handlers.origins import OriginPolicy
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.route_list import ALL

LAB = "https://lab.example.org"
BEHIND_A_PROXY = f"""
base_url: hub/kernels
trust_proxy: true
allow_origin: {LAB}
allow_credentials: true
pool: {{enabled: false}}
"""


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway as it is configured behind a proxy that it trusts."""
    with GatewayProcess(tmp_path_factory.mktemp("proxied"), BEHIND_A_PROXY) as running:
        yield running


@pytest.fixture
async def hub(proxied: GatewayProcess) -> AsyncIterator[Api]:
    """Its REST API."""
    async with Api(proxied.url, proxied.token) as client:
        yield client
        for kernel in await client.kernels():
            await client.request("DELETE", f"/api/kernels/{kernel['id']}")


async def opened(api: Api, kernel: str, **headers: str) -> int:
    """Return the status of a handshake with these headers."""
    url = f"{api.url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?token={api.token}"
    try:
        (await websocket_connect(HTTPRequest(url, headers=headers))).close()
    except HTTPClientError as refusal:
        return refusal.code
    return 101


@pytest.mark.docker
async def test_every_path_begins_with_the_base_url(proxied: GatewayProcess, hub: Api) -> None:
    assert proxied.url.endswith("/hub/kernels")
    response = await hub.request("POST", "/api/kernels")
    assert response.headers["Location"] == f"/hub/kernels/api/kernels/{json.loads(response.body)['id']}"
    socket = await hub.connect(json.loads(response.body)["id"])
    assert (await socket.execute("print(1)")).stream() == "1\n"
    for model in (await hub.get("/api/kernelspecs"))["kernelspecs"].values():
        for path in model["resources"].values():
            assert path.startswith("/hub/kernels/kernelspecs/")
            assert (await hub.request("GET", path.removeprefix("/hub/kernels"), headers={})).code == 200


@pytest.mark.docker
async def test_outside_of_the_base_url_there_is_nothing(hub: Api) -> None:
    host = Api(hub.url.removesuffix("/hub/kernels"), hub.token)
    for path in ("/", "/api/kernels", "/hub", "/hub/kernelsx/api", "/hub/kernels//api", "/healthz", "/login"):
        response = await host.request("GET", path)
        assert (response.code, json.loads(response.body)["error_code"]) == (404, "NOT_FOUND"), path
    assert (await host.request("GET", "/hub/kernels/tree")).code == 404


@pytest.mark.docker
async def test_the_pages_cookie_and_links_stay_under_the_base_url(hub: Api) -> None:
    host = Api(hub.url.removesuffix("/hub/kernels"), hub.token)
    bare = await host.request("GET", f"/hub/kernels?token={hub.token}", headers={})
    assert (bare.code, bare.headers["Location"]) == (302, f"/hub/kernels/?token={hub.token}")
    response = await host.request("GET", bare.headers["Location"], headers={"X-Forwarded-Proto": "https"})
    assert (response.code, response.headers["Location"]) == (302, "/hub/kernels/")
    cookie = response.headers["Set-Cookie"]
    assert "Path=/hub/kernels/" in cookie
    assert "Secure" in cookie
    page = await host.request("GET", "/hub/kernels/", headers={"Cookie": cookie.partition(";")[0]})
    assert page.code == 200
    assert b'="/' not in page.body
    assert (await host.request("GET", "/hub/kernels/static/status.js", headers={})).code == 200


@pytest.mark.docker
async def test_a_program_runs_at_a_gateway_under_a_base_url(proxied: GatewayProcess) -> None:
    command = [sys.executable, "-m", "sandkasten_kernels", "run", f"--url={proxied.url}/?token={proxied.token}", "-"]
    done = subprocess.run(command, input=b"print(6 * 7)", capture_output=True, timeout=60, check=True)
    assert done.stdout == b"42\n"


@pytest.mark.docker
async def test_a_preflight_needs_no_token_on_any_route_and_lists_its_methods(hub: Api) -> None:
    asks = {"Origin": LAB, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for route in ALL:
        path = route.path()
        response = await hub.request("OPTIONS", path, headers=asks)
        assert response.code == 204, path
        methods = set(response.headers["Allow"].split(", "))
        assert methods == {*route.methods, "OPTIONS"}, path
        assert response.headers["Access-Control-Allow-Origin"] == LAB
        assert response.headers["Access-Control-Allow-Credentials"] == "true"
        assert set(response.headers["Access-Control-Allow-Methods"].split(", ")) == methods
        allowed = response.headers["Access-Control-Allow-Headers"].lower()
        assert all(name in allowed for name in ("authorization", "content-type", "x-api-key", "x-xsrftoken"))
        missing = next(method for method in ("PUT", "PATCH") if method not in methods)
        wrong = await hub.request(missing, path, b"")
        assert (wrong.code, wrong.headers["Allow"]) == (405, response.headers["Allow"])


@pytest.mark.docker
async def test_only_the_allowed_origin_may_read_an_answer(hub: Api) -> None:
    for origin, allowed in ((LAB, LAB), ("https://evil.example", None), ("null", None), (LAB + ".evil.example", None)):
        for path, code in (("/api/kernels", 200), ("/api/kernels/unknown", 404), ("/nowhere", 404)):
            headers = {"Origin": origin, "Authorization": f"token {hub.token}"}
            response = await hub.request("GET", path, headers=headers)
            assert response.code == code
            assert response.headers.get("Access-Control-Allow-Origin") == allowed
            assert response.headers["Vary"] == "Origin"
        preflight = await hub.request("OPTIONS", "/api/kernels", headers={"Origin": origin})
        assert ("Access-Control-Allow-Methods" in preflight.headers) == (allowed is not None)
    refused = await hub.request("GET", "/api/kernels", headers={"Origin": LAB})
    assert (refused.code, refused.headers["Access-Control-Allow-Origin"]) == (401, LAB)


@pytest.mark.docker
async def test_a_websocket_is_opened_from_the_allowed_page_and_through_the_proxy(hub: Api) -> None:
    kernel = await hub.create()
    assert await opened(hub, kernel, Origin=LAB) == 101
    assert await opened(hub, kernel, Origin="https://evil.example") == 403
    outside = "https://hub.example.org"
    assert await opened(hub, kernel, Origin=outside) == 403
    forwarded = {"X-Forwarded-Host": "hub.example.org", "X-Forwarded-Proto": "https"}
    assert await opened(hub, kernel, Origin=outside, **forwarded) == 101
    assert await opened(hub, kernel, Origin="https://evil.example", **forwarded) == 403


@pytest.mark.docker
async def test_the_log_names_the_address_that_a_trusted_proxy_tells(hub: Api, proxied: GatewayProcess) -> None:
    await hub.request("GET", "/nowhere?who=far", headers={"X-Forwarded-For": "192.0.2.7"})
    await hub.request("GET", "/healthz")  # by its answer the line is written
    (line,) = [line for line in proxied.log.read_text().splitlines() if "who=far" in line]
    assert "192.0.2.7" in line


@pytest.mark.docker
async def test_an_untrusted_proxy_and_a_foreign_page_are_told_nothing(api: Api, gateway: GatewayProcess) -> None:
    kernel = await api.create()
    assert await opened(api, kernel, Origin="http://a.example", **{"X-Forwarded-Host": "a.example"}) == 403
    await api.request("GET", "/nowhere?who=forged", headers={"X-Forwarded-For": "192.0.2.7"})
    await api.request("GET", "/healthz")  # by its answer the line is written
    (line,) = [line for line in gateway.log.read_text().splitlines() if "who=forged" in line]
    assert "192.0.2.7" not in line
    response = await api.request("OPTIONS", "/api/kernels", headers={"Origin": "http://a.example"})
    assert not [name for name in response.headers if name.startswith("Access-Control")]
    cookie = (await api.request("GET", f"/?token={api.token}", headers={"X-Forwarded-Proto": "https"})).headers
    assert "Secure" not in cookie["Set-Cookie"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "a b"}, "base_url"),
        ({"base_url": "/a//b"}, "base_url"),
        ({"base_url": "/../x"}, "base_url"),
        ({"base_url": "/x?y"}, "base_url"),
        ({"base_url": "http://host/x"}, "base_url"),
        ({"allow_origin": "lab.example.org"}, "allow_origin"),
        ({"allow_origin": "https://lab.example.org/"}, "allow_origin"),
        ({"allow_origin": "*", "allow_credentials": True}, "every page of the web"),
        ({"allow_credentials": True}, "there is no origin"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        OriginPolicy(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("base_url", ["/", "", "x", "/x", "x/", "/x/y.z/~u/"])
def test_a_base_url_may_be_written_with_or_without_slashes(base_url: str) -> None:
    web = OriginPolicy(base_url=base_url)
    assert web.base_url == ("/" + base_url.strip("/") + "/").replace("//", "/")
    assert web.path("/api") == web.base_url + "api"


@pytest.mark.parametrize(
    ("allow", "origin", "host", "accepted"),
    [
        ("", "http://a.example", "a.example", True),
        ("", "https://a.example", "a.example:443", True),
        ("", "http://a.example:8080", "a.example:8080", True),
        ("", "HTTP://A.example", "a.EXAMPLE", True),
        ("", "http://a.example:8080", "a.example", False),
        ("", "http://a.example@evil.example", "a.example", False),
        ("", "null", "null", False),
        ("", "", "", False),
        ("*", "null", "a.example", True),
        ("https://lab.example", "https://lab.example:443", "a.example", True),
        ("https://lab.example", "http://lab.example", "a.example", False),
    ],
)
def test_which_pages_may_open_a_websocket(allow: str, origin: str, host: str, accepted: bool) -> None:
    assert OriginPolicy(allow_origin=allow).accepts(HTTPHeaders({"Origin": origin, "Host": host})) is accepted


def test_a_configuration_file_that_opens_the_door_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = tmp_path / "sandkasten.yaml"
    config.write_text("allow_origin: '*'\nallow_credentials: true\n")
    command = [sys.executable, "-m", "sandkasten_kernels", "serve", f"--config={config}", f"--data-dir={tmp_path}/data"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert b"allow_credentials" in done.stderr
    assert not (tmp_path / "data").exists()
