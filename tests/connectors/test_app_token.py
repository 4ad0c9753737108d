"""Tokens for an app: asked for once, carried in the query, renewed where an answer says that they are outdated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from connectors.auth import AppToken, Secrets
from connectors.errors import BrokenAnswerError, ConnectorError, RefusedError


def _fault(body: Any) -> ConnectorError | None:
    return RefusedError("check the secret") if body.get("errcode") == 40125 else None


AUTH = AppToken(
    token_path="/token",
    secrets=("APPID", "SECRET"),
    grant=lambda secrets: {"appid": secrets["APPID"], "secret": secrets["SECRET"]},
    fault=_fault,
    is_outdated=lambda body: body.get("errcode") == 42001,
)


def _client(answer: Callable[[httpx.Request], Any]) -> httpx.Client:
    def handle(request: httpx.Request) -> httpx.Response:
        said = answer(request)
        return said if isinstance(said, httpx.Response) else httpx.Response(200, json=said)

    secrets = Secrets("acme", {"ORDERHUB_ACME_APPID": "a", "ORDERHUB_ACME_SECRET": "s"})
    flow = AUTH.open(secrets, "http://acme.example/")
    return httpx.Client(transport=httpx.MockTransport(handle), auth=flow, base_url="http://acme.example")


def test_a_token_is_asked_for_once_and_renewed_when_outdated() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> Any:
        seen.append(f"{request.url.path}?{request.url.query.decode()}")
        if request.url.path == "/token":
            assert request.read() == b'{"appid":"a","secret":"s"}'
            return {"access_token": f"t{sum('token?' in item for item in seen)}", "expires_in": 7200}
        is_second = len(seen) == 3 and request.url.params["access_token"] == "t1"
        return {"errcode": 42001} if is_second else {"n": int(request.url.params["n"])}

    with _client(answer) as client:
        assert [client.post("/list", params={"n": n}).json() for n in (1, 2, 3)] == [
            {"n": 1},
            {"n": 2},
            {"n": 3},
        ]
    one, two = "access_token=t1", "access_token=t2"
    assert seen == [
        "/token?", f"/list?n=1&{one}", f"/list?n=2&{one}", "/token?", f"/list?n=2&{two}", f"/list?n=3&{two}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answered", "error"),
    [
        ({"errcode": 40125}, RefusedError),
        ({"token": "t"}, BrokenAnswerError),
        (httpx.Response(502), BrokenAnswerError),
        (httpx.Response(200, content=b"<html>"), BrokenAnswerError),
    ],
)
def test_no_token_is_no_call(answered: Any, error: type[Exception]) -> None:
    with _client(lambda request: answered) as client, pytest.raises(error):
        client.post("/list")


def test_a_long_answer_is_left_unread() -> None:
    def answer(request: httpx.Request) -> Any:
        if request.url.path == "/token":
            return {"access_token": "t", "expires_in": 7200}
        return httpx.Response(200, headers={"content-length": "5000"}, content=iter([b"{}"]))

    with _client(answer) as client, client.stream("POST", "/list") as response:
        assert not response.is_closed
