"""Signed requests: what is signed is what is sent, anew at every attempt, and no secret leaves with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import httpx
import orjson

from connectors.auth import Outgoing, Secrets, Signed, pair_text

SECRETS = Secrets("acme", {"ORDERHUB_ACME_KEY": "k", "ORDERHUB_ACME_SECRET": "s3cret"})


def _sign(request: Outgoing, secrets: Mapping[str, str], now: datetime) -> Outgoing:
    fields = {**request.params, "key": secrets["KEY"], "at": now.isoformat()}
    fields["sign"] = hashlib.sha256(
        (secrets["SECRET"] + request.path + pair_text(fields)).encode()
    ).hexdigest()
    if request.body is not None:
        return Outgoing(
            "POST", request.path, params={"sign": fields["sign"]}, body={**request.body, "é": "é"}
        )
    return Outgoing("POST", request.path, form=fields)


def _send(request: httpx.Request) -> httpx.Request:
    flow = Signed(secrets=("KEY", "SECRET"), sign=_sign).open(SECRETS, "http://acme.example/rest/")
    return next(flow.sync_auth_flow(request))


def test_a_form_carries_what_was_signed_and_the_path_below_the_base() -> None:
    sent = _send(httpx.Request("GET", "http://acme.example/rest/orders", params={"名": "a b&c"}))
    fields = dict(httpx.QueryParams(sent.content.decode()))
    unsigned = {name: value for name, value in fields.items() if name != "sign"}
    assert fields["sign"] == hashlib.sha256(("s3cret/orders" + pair_text(unsigned)).encode()).hexdigest()
    assert (sent.method, sent.url.query, fields["名"]) == ("POST", b"", "a b&c")
    assert datetime.now(UTC) - datetime.fromisoformat(fields["at"]) < timedelta(minutes=1)
    assert b"s3cret" not in sent.content
    assert int(sent.headers["content-length"]) == len(sent.content)


def test_a_json_body_keeps_the_order_it_was_signed_in() -> None:
    sent = _send(httpx.Request("POST", "http://acme.example/rest", json={"b": 1, "a": [True, None]}))
    assert sent.content == orjson.dumps({"b": 1, "a": [True, None], "é": "é"})
    assert sent.headers["content-type"].startswith("application/json")
    assert sent.url.params.keys() == {"sign"}


def test_pairs_are_sorted_by_name() -> None:
    assert pair_text({"foo": "1", "bar": "2", "foo_bar": "3", "foobar": "4"}) == "bar2foo1foo_bar3foobar4"
