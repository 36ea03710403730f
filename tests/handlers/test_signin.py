"""Signing in with a browser's cookie, what it allows, and what no foreign page can do with it."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.websocket import websocket_connect

from sandkasten_kernels.handlers import auth
from sandkasten_kernels.handlers.auth import Authenticator
from tests.support.kernel_client import Api
from tests.support.waiting import eventually

local = pytest.mark.local


async def signed_in(api: Api) -> dict[str, str]:
    """Return the headers of a page that is signed in: its cookie, and what it sends with a change."""
    response = await api.request("GET", f"/?token={api.token}", headers={})
    assert (response.code, response.headers["Location"]) == (302, "/")
    headers = {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}
    page = await api.request("GET", "/", headers=headers)
    match = re.search(rb'name="xsrf" content="([0-9a-f]{64})"', page.body)
    assert match
    return {**headers, "X-XSRFToken": match[1].decode()}


async def post_form(api: Api, body: str, **headers: str) -> HTTPResponse:
    form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html", "Origin": api.url, **headers}
    return await api.request("POST", "/signin", body.encode(), headers=form)


@local
async def test_the_printed_url_signs_a_browser_in_with_a_cookie_that_is_not_the_token(api: Api) -> None:
    response = await api.request("GET", f"/?token={api.token}", headers={})
    cookie = response.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert api.token not in cookie
    deep = await api.request("GET", f"/sessions/x?token={api.token}", headers={})
    assert (deep.code, deep.headers["Location"]) == (302, "/sessions/x")
    assert (await api.request("GET", "/?token=wrong", headers={})).code == 401


@local
async def test_the_form_signs_in_and_leads_to_the_page_that_was_wanted(api: Api) -> None:
    form = await api.request("GET", "/sessions/abc-1", headers={"Accept": "text/html"})
    assert form.code == 401
    assert b'action="../signin"' in form.body
    assert b'name="page" value="sessions/abc-1"' in form.body
    done = await post_form(api, f"token={api.token}&page=sessions/abc-1")
    assert (done.code, done.headers["Location"]) == (303, "/sessions/abc-1")
    cookie = done.headers["Set-Cookie"].partition(";")[0]
    assert (await api.request("GET", "/api/status", headers={"Cookie": cookie})).code == 200
    for page in ("//evil.example", "https://evil.example", "/\\evil.example", "sessions/../x", "%0d%0aX:1"):
        assert (await post_form(api, f"token={api.token}&page={page}")).headers["Location"] == "/"


@local
async def test_a_wrong_token_gets_the_form_again_and_no_cookie(api: Api) -> None:
    for body in ("token=wrong", "token=", "", "token=%22%3E%3Cscript%3E&page=%22%3E%3Cscript%3E"):
        response = await post_form(api, body)
        assert response.code == 401
        assert "Set-Cookie" not in response.headers
        assert b"not the token of this gateway" in response.body
        assert b"<form" in response.body
        assert b"<script>" not in response.body
    assert (await post_form(api, f"token={api.token}", Origin="https://evil.example")).code == 403


@local
async def test_a_cookie_reads_and_a_change_needs_the_words_of_the_page_too(api: Api) -> None:
    page = await signed_in(api)
    cookie = {"Cookie": page["Cookie"]}
    before = await api.kernels()
    assert (await api.request("GET", "/api/kernels", headers=cookie)).code == 200
    foreign: list[dict[str, str]] = [
        cookie,
        {**cookie, "X-XSRFToken": "x"},
        {**cookie, "X-XSRFToken": page["X-XSRFToken"][:-1] + "g"},
        {**page, "Origin": "http://evil.example"},
        {**page, "Origin": "null"},
        {**page, "Sec-Fetch-Site": "same-site"},
    ]
    for headers in foreign:
        for method, path in (("POST", "/api/kernels"), ("DELETE", "/v1/sessions/x"), ("POST", "/signout")):
            assert (await api.request(method, path, headers=headers)).code == 403, headers
    assert len(await api.kernels()) == len(before)
    for headers in (page, {**page, "Origin": api.url, "Sec-Fetch-Site": "same-origin"}):
        assert (await api.request("POST", "/api/kernels", headers=headers)).code == 201
    other = await signed_in(api)
    mixed = {"Cookie": page["Cookie"], "X-XSRFToken": other["X-XSRFToken"]}
    assert (await api.request("POST", "/api/kernels", headers=mixed)).code == 403


@local
async def test_a_token_needs_none_of_it(api: Api) -> None:
    for headers in ({"Authorization": f"token {api.token}"}, {"X-API-Key": api.token}):
        page = {"Cookie": "a=b", "Origin": "http://elsewhere.example"}
        assert (await api.request("POST", "/api/kernels", headers={**headers, **page})).code == 201


@local
async def test_a_websocket_by_cookie_is_opened_from_our_own_page_only(api: Api) -> None:
    cookie = {"Cookie": (await signed_in(api))["Cookie"]}
    url = f"{api.url.replace('http', 'ws', 1)}/api/kernels/{await api.create()}/channels"
    for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        with pytest.raises(HTTPClientError) as refusal:
            await websocket_connect(HTTPRequest(url, headers={**cookie, **origin}))
        assert refusal.value.code == 403
    (await websocket_connect(HTTPRequest(url, headers={**cookie, "Origin": api.url}))).close()


@local
async def test_who_signs_out_has_a_cookie_that_is_worth_nothing(api: Api) -> None:
    page, other = await signed_in(api), await signed_in(api)
    response = await api.request("POST", "/signout", headers=page)
    assert response.code == 200
    assert "expires=" in response.headers["Set-Cookie"]
    assert (await api.request("GET", "/api/kernels", headers=page)).code == 401
    assert (await api.request("GET", "/api/kernels", headers=other)).code == 200
    assert (await api.request("POST", "/signout", headers={})).code == 401


@local
async def test_what_is_open_ends_when_its_user_signs_out(api: Api) -> None:
    headers, other = await signed_in(api), await signed_in(api)
    kernel = await api.create()
    address = f"{api.url.replace('http', 'ws')}/api/kernels/{kernel}/channels"
    connect = [HTTPRequest(address, headers={**each, "Origin": api.url}) for each in (headers, other)]
    socket, others = [await websocket_connect(request) for request in connect]
    events = HTTPRequest(f"{api.url}/v1/events", headers={**headers, "Accept": "text/event-stream"}, request_timeout=60)
    begun = asyncio.Event()
    events.streaming_callback = lambda _: begun.set()
    stream = asyncio.ensure_future(AsyncHTTPClient().fetch(events))
    await begun.wait()
    assert (await api.request("POST", "/signout", headers=headers)).code == 200
    await eventually(socket.read_message, lambda frame: frame is None, interval=0)
    assert socket.close_code == 1008
    await api.create()  # of which the stream does not tell any more
    assert (await stream).code == 200
    await others.write_message("{")
    await eventually(others.read_message, lambda frame: "dropped a message" in str(frame), interval=0)
    others.close()


@local
async def test_every_page_has_a_strict_policy_and_no_answer_runs_anything(api: Api) -> None:
    page = await signed_in(api)
    for path in ("/", "/settings", "/sessions/x", "/static/status.js", "/signin"):
        headers = (await api.request("GET", path, headers=page)).headers
        policy = headers.get("Content-Security-Policy", "")
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'"), path
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in (await api.request("GET", "/api/status", headers=page)).headers["Content-Security-Policy"]


@local
async def test_every_page_needs_a_key(api: Api) -> None:
    for path in ("/", "/settings", "/sessions/x"):
        for accept in ("text/html", "*/*"):
            assert (await api.request("GET", path, headers={"Accept": accept})).code == 401


def request(authenticator: Authenticator, cookie: str) -> HTTPServerRequest:
    headers = HTTPHeaders({"Host": "x", "Cookie": f"{authenticator.cookie_name}={cookie}"})
    return HTTPServerRequest(headers=headers, start_line=RequestStartLine("GET", "/", "HTTP/1.1"))


def test_a_cookie_outlives_the_process_but_not_the_token() -> None:
    cookie = Authenticator("secret").new_cookie()
    again, changed = Authenticator("secret"), Authenticator("another")
    assert again.caller(request(again, cookie)) == "cookie"
    assert changed.caller(request(changed, cookie)) == ""
    assert again.cookie_name != changed.cookie_name


def test_a_cookie_ends_and_cannot_be_prolonged(monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator = Authenticator("secret")
    cookie = authenticator.new_cookie()
    match = re.fullmatch(r"(.*\|10:)([0-9]{10})(\|.*)", cookie)
    assert match
    before, signed_at, rest = match.groups()
    later = f"{before}{int(signed_at) + 1}{rest}"
    zero = f"{before.replace('|10:', '|11:')}0{signed_at}{rest}"
    for forged in (later, zero, "", "x", "..", "||", "2|", cookie[:-1], cookie.upper(), "9" * 5000, f"2|{'9' * 5000}:"):
        assert authenticator.caller(request(authenticator, forged)) == ""
    old = f"{int(time.time()) + 60}.{'0' * 32}.{'0' * 64}"  # of release 0.1.0: its user signs in again
    assert authenticator.caller(request(authenticator, old)) == ""
    now = time.time()
    monkeypatch.setattr(auth.time, "time", lambda: now + auth.SIGNED_IN_SECONDS + 1)
    assert authenticator.caller(request(authenticator, cookie)) == ""
