"""The application: read-only look-ups over the released tables, and what stewards look at and decide."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from oms_core.api import (
    exceptions,
    feed,
    finance,
    flows,
    fulfilment,
    history,
    hooks,
    identity,
    orders,
    problems,
    sourcing,
)
from oms_core.api.access import LIMIT, Access, Reading
from oms_core.api.description import describe
from oms_core.api.edge import Edge
from oms_core.api.gathering import Gathering
from oms_core.api.limits import Limit
from oms_core.api.models import Customer, Health, Location, Release, Releases, Sku
from oms_core.api.oidc import Issuer, Trust
from oms_core.api.orders import NOT_CHANGED, AsOf, Number, answer_headers, tags
from oms_core.release.read import current_release, list_releases, resolve
from oms_core.store.postgres import Database
from oms_core.store.released import CUSTOMER, LOCATION, SKU, Entity, Found, Released
from oms_core.store.tables import API_ROLES

_MOST_ORDER_IDS = 1000


def create_app(
    database: Database,
    api_key: str | None = None,
    trust: Trust | None = None,
    limit: Limit = LIMIT,
    hear: hooks.Hear | None = None,
    differ: identity.Differ | None = None,
) -> FastAPI:
    """The API over an opened database.

    Args:
        database: look-ups read through its reading role only; what stewards see and decide goes through the owner.
        api_key: every look-up must carry it, as `Authorization: Bearer` or `X-API-Key`. Without one the app
            answers only requests addressed to loopback names, so that no web page can reach it by a name of its own.
        trust: whose OIDC tokens are accepted beside keys.
        limit: requests a second of one caller, in this process.
        hear: takes notifications of source systems in; without it, there is no `/hooks`.
        differ: works out what a model of identity would change; without it, that is refused.
    """

    access = Access(database, api_key, Issuer(trust) if trust else None, limit)
    gathering = Gathering(database)
    persons = Depends(access.reading)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await gathering.close()

    app = FastAPI(
        lifespan=lifespan,
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

    app.add_middleware(Edge, bodies={"/hooks/": hooks.MOST_BODY})
    app.include_router(flows.router(database, access))
    app.include_router(orders.router(database, access, gathering))

    @app.get(
        "/customers/{number:path}",
        tags=["look-up"],
        response_model=Customer,
        responses=problems.failures(403, 404, 409) | NOT_CHANGED,
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
        responses=problems.failures(403, 404, 409) | NOT_CHANGED,
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

    @app.get(
        "/locations/{number:path}",
        tags=["look-up"],
        response_model=Location,
        responses=problems.failures(403, 404, 409) | NOT_CHANGED,
    )
    def location(
        request: Request, number: Number, as_of: AsOf = None, reading: Reading = persons
    ) -> Response:
        """One golden location: a store, a warehouse, somebody else's."""
        with reading.at(_release(database, as_of)) as connection:
            released = Released(connection)
            found = released.find(LOCATION, number)
            row = released.rows("dim_locations", {"location_id": found.golden_id}, "location_id")[0]
            about = _about(released, LOCATION, found)
        return _answer(request, Location, row, {}, about, reading)

    @app.get(
        "/releases",
        tags=["releases"],
        dependencies=[Depends(access.look_up_or(*API_ROLES))],
        responses=problems.failures(),
    )
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
    app.include_router(feed.router(database, access))
    app.include_router(finance.router(database, access))
    app.include_router(identity.router(database, access, differ))
    app.include_router(fulfilment.router(database, access))
    app.include_router(exceptions.router(database, access))
    app.include_router(sourcing.router(database, access))
    if hear is not None:
        app.include_router(hooks.router(hear))
    describe(app, access)
    return app


def _release(database: Database, as_of: str | None) -> int | None:
    return None if as_of is None else resolve(database, as_of).release_id


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
    """The answer with its ETag, or 304 when the client has it already."""
    # Whole and masked are two representations of one row.
    kind = f"{model.__name__} masked" if reading.is_masked else model.__name__
    tag = _tag(kind, row, parts, {**about, "release_id": None})
    headers = answer_headers(tag, about["release_id"], reading)
    if tag in tags(request):
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
