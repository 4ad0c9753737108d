"""The application: read-only look-ups over the released tables, and what stewards look at and decide."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.middleware.base import RequestResponseEndpoint

from oms_core.api import feed, flows, fulfilment, history, identity, problems
from oms_core.api.access import Access, Reading
from oms_core.api.models import Customer, Health, Order, Release, Releases, Sku
from oms_core.release.read import current_release, list_releases, resolve
from oms_core.store.postgres import Database
from oms_core.store.released import CUSTOMER, ORDER, SKU, Entity, Found, Released

_LONGEST_PATH = 1024
_MOST_ORDER_IDS = 1000
# Requests that carry a body, and how long it may be.
_BODIES = (
    ("POST", "/orders/lookup", feed.MOST_BODY),
    ("POST", "/orders/", feed.MOST_BODY),
    ("POST", "/identity/", identity.MOST_BODY),
    ("POST", "/inventory/", fulfilment.MOST_BODY),
    ("PUT", "/inventory/", fulfilment.MOST_BODY),
    ("POST", "/reservations", fulfilment.MOST_BODY),
)

Number = Annotated[
    str, Path(min_length=1, max_length=200, description="Golden id, or any number any system uses")
]
AsOf = Annotated[
    str | None,
    Query(
        max_length=40,
        description="Release id, or an instant: what was released then. The current release by default.",
        openapi_examples={"release": {"value": "7"}, "instant": {"value": "2026-10-31T18:00:00Z"}},
    ),
]


def create_app(database: Database, api_key: str | None = None) -> FastAPI:
    """The API over an opened database.

    Args:
        database: look-ups read through its reading role only; what stewards see and decide goes through the owner.
        api_key: every look-up must carry it, as `Authorization: Bearer` or `X-API-Key`. Without one the app
            answers only requests addressed to loopback names, so that no web page can reach it by a name of its own.
    """

    access = Access(database, api_key)
    authorise = access.look_up
    persons = Depends(access.reading)
    app = FastAPI(
        title="orderhub",
        version="1",
        summary="One order, one row, one truth.",
        description=(
            "Reads the current release, or any release before it with `as_of`. Answers carry an `ETag` made of the row "
            "hashes they show: send it back as `If-None-Match`. Errors are problem+json (RFC 9457). Stewards look at "
            "identity and decide with a key of their own, which `orderhub identity key NAME` makes."
        ),
    )
    problems.install(app)

    @app.middleware("http")
    async def limit(request: Request, call_next: RequestResponseEndpoint) -> Response:
        if len(request.url.path) + len(request.url.query) > _LONGEST_PATH:
            return problems.problem(
                request, 414, "invalid-request", f"the address is longer than {_LONGEST_PATH} bytes"
            )
        most = next(
            (
                allowed
                for method, start, allowed in _BODIES
                if request.method == method and request.url.path.startswith(start)
            ),
            0,
        )
        length = request.headers.get("content-length", "0")
        if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > most:
            told = (
                f"a body here has a length and at most {most:,} bytes"
                if most
                else "requests here carry no body"
            )
            return problems.problem(request, 413, "invalid-request", told)
        return await call_next(request)

    app.include_router(flows.router(database, access))

    @app.get(
        "/orders/{number:path}",
        tags=["look-up"],
        response_model=Order,
        responses=problems.failures(403, 404, 409)
        | {304: {"description": "Not changed since the ETag sent"}},
    )
    def order(
        request: Request,
        number: Number,
        as_of: AsOf = None,
        reading: Reading = persons,
        explain: Annotated[bool, Query(description="With the provenance of each value.")] = False,
    ) -> Response:
        """One order, with its lines, events, shipments, payments, refunds and returns."""
        with reading.at(_release(database, as_of)) as connection:
            released = Released(connection)
            row, parts, about = _order(released, released.find(ORDER, number))
            if explain:
                order_by = "attribute, source_system, stream, record_key"
                key = {"order_id": row["order_id"]}
                parts["provenance"] = released.rows("order_attribute_provenance", key, order_by)
        return _answer(request, Order, row, parts, about, reading)

    @app.get(
        "/customers/{number:path}",
        tags=["look-up"],
        response_model=Customer,
        responses=problems.failures(403, 404, 409)
        | {304: {"description": "Not changed since the ETag sent"}},
    )
    def customer(
        request: Request, number: Number, as_of: AsOf = None, reading: Reading = persons
    ) -> Response:
        """One golden customer."""
        with reading.at(_release(database, as_of)) as connection:
            released = Released(connection)
            found = released.find(CUSTOMER, number)
            key = {"customer_id": found.golden_id}
            row = released.rows("dim_customers", key, "customer_id")[0]
            orders = released.rows("fct_orders", key, "ordered_at DESC NULLS LAST, order_id")[
                :_MOST_ORDER_IDS
            ]
            about = _about(released, CUSTOMER, found)
        about["order_ids"] = [item["order_id"] for item in orders]
        return _answer(request, Customer, row, {}, about, reading)

    @app.get(
        "/skus/{number:path}",
        tags=["look-up"],
        response_model=Sku,
        responses=problems.failures(403, 404, 409)
        | {304: {"description": "Not changed since the ETag sent"}},
    )
    def sku(request: Request, number: Number, as_of: AsOf = None, reading: Reading = persons) -> Response:
        """One golden SKU, and where it lies."""
        with reading.at(_release(database, as_of)) as connection:
            released = Released(connection)
            found = released.find(SKU, number)
            key = {"sku_id": found.golden_id}
            row = released.rows("dim_skus", key, "sku_id")[0]
            positions = released.rows("fct_inventory_positions", key, "location_id, lot_number, position_id")
            about = _about(released, SKU, found)
        return _answer(request, Sku, row, {"positions": positions}, about, reading)

    @app.get("/releases", tags=["releases"], dependencies=[Depends(authorise)], responses=problems.failures())
    def releases(
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[
            int | None, Query(ge=1, lt=2**63, description="Only older releases than this.")
        ] = None,
    ) -> Releases:
        """Releases, newest first."""
        found = list_releases(database, limit=limit + 1, before=before)
        shown = [Release(**{**vars(item), "merkle_root": item.merkle_root.hex()}) for item in found[:limit]]
        return Releases(releases=shown, next_before=shown[-1].release_id if len(found) > limit else None)

    @app.get("/health", tags=["releases"], responses=problems.failures(503))
    def health() -> Health:
        """Whether the database answers, and which release is current. Needs no key."""
        release = current_release(database)
        return Health(
            status="ok",
            release_id=release.release_id if release else None,
            published_at=release.published_at if release else None,
        )

    app.include_router(history.router(database, access))
    app.include_router(feed.router(database, access, _order))
    app.include_router(identity.router(database, access))
    app.include_router(fulfilment.router(database, access))
    document = app.openapi

    def openapi() -> dict[str, Any]:
        """FastAPI's document, with failures under their own media type."""
        if app.openapi_schema is None:
            operations = [item for path in document()["paths"].values() for item in path.values()]
            for response in (answer for item in operations for answer in item["responses"].values()):
                if problems.MEDIA_TYPE in response.get("content", {}):
                    response["content"][problems.MEDIA_TYPE] = response["content"].pop("application/json")
        return document()

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _release(database: Database, as_of: str | None) -> int | None:
    return None if as_of is None else resolve(database, as_of).release_id


def _order(
    released: Released, found: Found
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """One order's row, its parts, and what is said about it."""
    key = {"order_id": found.golden_id}
    parts = {
        "lines": released.rows("fct_order_lines", key, "line_number, order_line_id"),
        "events": released.rows("fct_order_events", key, "occurred_at, event_id"),
        "shipments": released.rows("fct_shipments", key, "shipped_at, shipment_id"),
        "payments": released.rows("fct_payments", key, "paid_at, payment_id"),
        "refunds": released.rows("fct_refunds", key, "refunded_at, refund_id"),
        "returns": released.rows("fct_returns", key, "returned_at, return_id"),
    }
    return released.rows("fct_orders", key, "order_id")[0], parts, _about(released, ORDER, found)


def _about(released: Released, entity: Entity, found: Found) -> dict[str, Any]:
    return {
        "release_id": released.release_id,
        "found_by": found.found_by,
        "record_ids": released.record_ids(entity, found.golden_id),
    }


def _answer(
    request: Request,
    model: type[BaseModel],
    row: Mapping[str, Any],
    parts: Mapping[str, list[dict[str, Any]]],
    about: Mapping[str, Any],
    reading: Reading,
) -> Response:
    """The answer with its ETag, or 304 when the client has it already.

    The tag is over the hashes of all rows shown and what else the body says, but not over the release id: an order that
    did not change keeps its tag from release to release.
    """
    # Whole and masked are two representations of one row.
    kind = f"{model.__name__} masked" if reading.is_masked else model.__name__
    tag = _tag(kind, row, parts, {**about, "release_id": None})
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Orderhub-Release": str(about["release_id"]),
        "Orderhub-Masked": str(reading.is_masked).lower(),
    }
    if tag in _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    body = model.model_validate({**row, **parts, **about})
    return JSONResponse(body.model_dump(mode="json"), headers=headers)


def _tag(
    kind: str, row: Mapping[str, Any], parts: Mapping[str, Iterable[Mapping[str, Any]]], about: Any
) -> str:
    hashes = [
        row["row_hash"],
        *(f"{name}:{item['row_hash']}" for name, items in parts.items() for item in items),
    ]
    return f'"{hashlib.sha256(repr((kind, hashes, sorted(parts), sorted(about.items()))).encode()).hexdigest()[:32]}"'


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}
