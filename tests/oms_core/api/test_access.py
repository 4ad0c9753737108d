"""Who is let in: roles on every route, tokens of a real OIDC issuer, limits, and a name for each request."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from oms_core.api import keys, scopes
from oms_core.api.app import create_app
from oms_core.api.description import roles
from oms_core.api.limits import Buckets, Limit
from oms_core.api.oidc import IssuerRefusedError, Trust
from oms_core.audit import log
from oms_core.store.postgres import Database
from oms_core.store.tables import API_ROLES

Serving = Callable[[FastAPI], httpx.Client]
LOOK_UPS = "k" * 32
# Whoever watches a process or receives signed notifications has no key of ours.
OPEN = {"/health", "/hooks/{source}", "/hooks/{source}/{path:path}"}


class OidcIssuer:
    """A small OpenID Connect issuer on loopback: its configuration, its keys, and tokens it signs."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.asked = 0
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                known = {
                    "/.well-known/openid-configuration": {
                        "issuer": issuer.address,
                        "jwks_uri": f"{issuer.address}/jwks",
                    },
                    "/jwks": {"keys": [issuer._public(number) for number in issuer.keys]},
                }
                body = json.dumps(known[self.path]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def rotate(self, number: str, *, is_curve: bool = False) -> None:
        """From now on there is this key only."""
        made = (
            ec.generate_private_key(ec.SECP256R1())
            if is_curve
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )
        self.keys = {number: made}

    def token(self, **claims: Any) -> str:
        """A token as the newest key signs it."""
        number, key = next(iter(self.keys.items()))
        now = int(time.time())
        said = {
            "iss": self.address, "aud": "orderhub", "sub": "ann", "iat": now, "exp": now + 300, "roles": ["Stewards"], **claims,
        }  # fmt: skip
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key, "ES256" if hasattr(key, "curve") else "RS256", {"kid": number})

    def _public(self, number: str) -> dict[str, Any]:
        key = self.keys[number].public_key()
        algorithm = jwt.algorithms.ECAlgorithm if hasattr(key, "curve") else jwt.algorithms.RSAAlgorithm
        return {**algorithm.to_jwk(key, as_dict=True), "kid": number, "use": "sig"}


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    """An issuer with one RSA key."""
    with contextlib.closing(OidcIssuer()) as made:
        made.rotate("one")
        yield made


@pytest.fixture
def company(database: Database, issuer: OidcIssuer, serving: Serving) -> httpx.Client:
    """A client of the API that trusts the issuer."""
    trust = Trust(
        issuer.address, "orderhub", {"Stewards": "steward", "oms": "oms_service", "Finance": "finance"}
    )
    return serving(create_app(database, LOOK_UPS, trust=trust))


def tasks(client: httpx.Client, token: str) -> httpx.Response:
    return client.get("/identity/tasks", headers={"Authorization": f"Bearer {token}"})


def test_every_route_names_the_roles_it_lets_in(database: Database) -> None:
    app = create_app(database)
    found = {route.path: roles(route) for route in app.routes if isinstance(route, APIRoute)}
    assert {path for path, allowed in found.items() if allowed is None} <= OPEN
    for path, allowed in found.items():
        assert allowed is None or (allowed and set(allowed) <= set(API_ROLES)), path
    described = app.openapi()["paths"]
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path not in OPEN and route.include_in_schema:
            for method in route.methods:
                operation = described[route.path_format][method.lower()]
                assert operation["x-roles"] == list(roles(route) or ()) and operation["security"], route.path


def test_a_token_of_the_issuer_opens_what_its_roles_open(company: httpx.Client, issuer: OidcIssuer) -> None:
    assert tasks(company, issuer.token()).status_code == 200
    assert tasks(company, issuer.token(roles=["Finance"])).status_code == 403
    assert tasks(company, issuer.token(roles=["Finance", "Stewards"])).status_code == 200
    # An OMS service acts for the tenant its token names.
    looked = company.get(
        "/orders/x", headers={"Authorization": f"Bearer {issuer.token(roles=['oms'], tenant='shop')}"}
    )
    assert looked.status_code == 404
    assert tasks(company, issuer.token(roles=["oms"])).status_code == 401


def test_the_first_use_of_a_subjects_tokens_is_logged_once_a_day(
    company: httpx.Client, issuer: OidcIssuer, database: Database, serving: Serving
) -> None:
    def used() -> list[tuple[str, str, Any]]:
        with database.begin() as connection:
            entries = [entry.said for entry in log.read(connection)]
        return [(item["kind"], item["subject"], item["data"].get("tenant")) for item in entries]

    for _ in range(2):  # another token of the same subject is no other use
        assert tasks(company, issuer.token(jti=str(_))).status_code == 200
    assert used() == [("token.used", "steward/oidc:ann", None)]
    assert tasks(company, issuer.token(sub="shop", roles=["oms"], tenant="acme")).status_code == 403
    assert tasks(company, issuer.token(sub="bob", exp=1)).status_code == 401
    first, second = used()
    assert second == ("token.used", "oms_service/oidc:shop", "acme")
    other = serving(
        create_app(database, LOOK_UPS, trust=Trust(issuer.address, "orderhub", {"Stewards": "steward"}))
    )
    assert tasks(other, issuer.token()).status_code == 200  # a second process
    assert len(used()) == 2
    with database.begin() as connection:
        connection.execute(text("UPDATE orderhub.token_holders SET last_used_on = last_used_on - 1"))
    third = serving(
        create_app(database, LOOK_UPS, trust=Trust(issuer.address, "orderhub", {"Stewards": "steward"}))
    )
    assert tasks(third, issuer.token()).status_code == 200
    assert used() == [first, second, first]


def test_a_scope_narrows_what_a_role_opens(database: Database, serving: Serving) -> None:
    client = serving(create_app(database))
    with database.begin() as connection:
        own = keys.make(
            connection,
            "shop",
            role="oms_service",
            tenant="t",
            by="root",
            scopes=["reservations:write", "orders:read"],
        )
        made = [entry.said for entry in log.read(connection) if entry.said["kind"] == "key.made"]
        with pytest.raises(keys.KeyRefusedError, match="'order:read' is no scope"):
            keys.make(connection, "typo", role="oms_service", tenant="t", by="root", scopes=["order:read"])
    assert made[0]["data"]["scopes"] == ["orders:read", "reservations:write"]
    client.headers["X-API-Key"] = own
    asked = {"channel": "web", "lines": [{"sku": "LIP", "qty": 1}]}
    for call, status in (
        (client.get("/orders/x"), 404),
        (client.post("/orders/lookup", json={"numbers": ["x"]}), 404),
        (client.post("/reservations", json=asked, headers={"Idempotency-Key": "k"}), 404),
        (client.get("/reservations/rsv_1"), 403),
        (client.post("/orders/x/events", json={}, headers={"Idempotency-Key": "k"}), 403),
        (client.get("/inventory/LIP"), 403),
        (client.get("/identity/tasks"), 403),
    ):
        assert call.status_code == status, (call.request.url.path, call.text)
        if call.request.url.path == "/inventory/LIP":
            assert call.json()["type"] == "urn:orderhub:problem:insufficient-scope"
            challenge = 'Bearer error="insufficient_scope", scope="inventory:read"'
            assert call.headers["www-authenticate"] == challenge


def test_scopes_of_a_token_count_where_the_trust_names_their_claim(
    database: Database, issuer: OidcIssuer, serving: Serving
) -> None:
    def asks(client: httpx.Client, **claims: Any) -> list[int]:
        bearer = {"Authorization": f"Bearer {issuer.token(**claims)}"}
        return [client.get(path, headers=bearer).status_code for path in ("/identity/tasks", "/releases")]

    roles = {"Stewards": "steward"}
    named = serving(create_app(database, trust=Trust(issuer.address, "orderhub", roles, scope_claim="scope")))
    assert asks(named, scope="openid identity:read") == [200, 403]
    assert asks(named, scope=["releases:read", "identity:read"]) == [200, 200]
    assert asks(named, scope="openid order:read") == asks(named) == [403, 403]
    unnamed = serving(create_app(database, trust=Trust(issuer.address, "orderhub", roles)))
    assert asks(unnamed, scope="openid") == [200, 200]


def test_scopes_are_those_that_routes_need(database: Database) -> None:
    app = create_app(database)
    routes = [route for route in app.routes if isinstance(route, APIRoute) and route.path not in OPEN]
    assert {scopes.needed(method, route.path) for route in routes for method in route.methods} == set(
        scopes.SCOPES
    )
    described = app.openapi()["paths"]
    assert described["/orders/{number}"]["get"]["x-scope"] == "orders:read"


def test_tokens_that_are_not_as_they_must_be_open_nothing(company: httpx.Client, issuer: OidcIssuer) -> None:
    now = int(time.time())
    good = issuer.token()
    head, claims, signature = good.split(".")
    wrong = {
        "expired": issuer.token(exp=now - 60), "for others": issuer.token(aud="shop"), "of another": issuer.token(iss="http://x"),
        "not yet": issuer.token(nbf=now + 120), "without end": issuer.token(exp=None), "of nobody": issuer.token(sub=None), "of a nameless one": issuer.token(sub="a\0"), "of too long a name": issuer.token(sub="a" * 256),
        "without a role": issuer.token(roles=["Cooks"]), "unsigned": jwt.encode({"sub": "ann"}, None, "none", {"kid": "one"}),
        "by a shared secret": jwt.encode({"sub": "ann"}, "x" * 32, "HS256", {"kid": "one"}),
        "changed": f"{head}.{claims[:-2]}AA.{signature}", "no token": "a.b.c",
    }  # fmt: skip
    for what, token in wrong.items():
        answer = tasks(company, token)
        assert answer.status_code == 401, what
        assert answer.headers["content-type"] == "application/problem+json"
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    # Clocks of two machines may differ a little.
    assert tasks(company, issuer.token(exp=now - 10)).status_code == 200


def test_keys_are_kept_and_a_rotation_needs_no_restart(
    company: httpx.Client, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        assert tasks(company, issuer.token()).status_code == 200
    assert issuer.asked == 2
    old = issuer.token()
    issuer.rotate("two", is_curve=True)
    assert tasks(company, issuer.token()).status_code == 401  # just asked: not again at once
    monkeypatch.setattr("oms_core.api.oidc._ASK_AGAIN_SECONDS", 0)
    assert tasks(company, issuer.token()).status_code == 200
    assert tasks(company, old).status_code == 401


def test_a_trust_that_makes_no_sense_is_refused() -> None:
    roles = {"a": "steward"}
    for issuer, audience, given_roles in (
        ("http://login.example", "orderhub", roles), ("https://login.example", "", roles), ("https://login.example", "o", {}),
        ("https://login.example", "o", {"a": "king"}),
    ):  # fmt: skip
        with pytest.raises(IssuerRefusedError):
            Trust(issuer, audience, given_roles)
    values = {"ORDERHUB_OIDC_ISSUER": "https://login.example", "ORDERHUB_OIDC_AUDIENCE": "orderhub"}
    assert Trust.from_environment(values | {"ORDERHUB_OIDC_ROLES": "a b=steward, c=finance"}) == Trust(
        "https://login.example", "orderhub", {"a b": "steward", "c": "finance"}
    )
    assert Trust.from_environment({}) is None


def test_a_caller_that_asks_too_often_waits(database: Database, serving: Serving) -> None:
    client = serving(create_app(database, LOOK_UPS, limit=Limit(rate=0.01, burst=3)))
    with database.begin() as connection:
        own = keys.make(connection, "mia", role="steward", by="root")
    for key in (LOOK_UPS, own):
        answers = [client.get("/releases", headers={"X-API-Key": key}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[-1].json()["type"] == "urn:orderhub:problem:too-many-requests"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 100
    assert client.get("/health").status_code == 200


def test_every_answer_and_every_entry_bears_the_name_of_its_request(
    database: Database, serving: Serving
) -> None:
    client = serving(create_app(database, LOOK_UPS))
    with database.begin() as connection:
        own = keys.make(connection, "mia", role="steward", by="root")
    answer = client.get("/nowhere", headers={"X-Request-Id": "call-7"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "call-7"
    strange = client.get("/nowhere", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"]
    assert strange.isalnum()
    assert client.get("/releases", headers={"X-API-Key": own, "X-Request-Id": "call-8"}).status_code == 200
    with database.begin() as connection:
        said = log.read(connection)[-1].said
    assert (said["kind"], said["request_id"]) == ("key.used", "call-8")


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 5), st.integers(1, 9))
def test_a_bucket_never_gives_more_than_its_rate_and_burst(
    pauses: list[float], rate: int, burst: int
) -> None:
    now = 0.0
    buckets = Buckets(Limit(rate, burst), clock=lambda: now)
    given_out = 0
    for pause in pauses:
        now += pause
        wait = buckets.take("one")
        given_out += not wait
        assert given_out <= burst + rate * now + 1e-6
        assert wait <= 1 / rate
