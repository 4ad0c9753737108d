"""Orders by any number: one with everything needed to fulfil it, or many at once."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from oms_core.api import problems
from oms_core.api.access import Access, Reading
from oms_core.api.documents import Document, read_documents
from oms_core.api.gathering import Gathering
from oms_core.api.identity import Text
from oms_core.api.models import Order
from oms_core.release.read import resolve
from oms_core.store.errors import NotReleasedError
from oms_core.store.postgres import Database

MOST_ORDERS = 100
NOT_CHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "Not changed since the ETag sent"}}

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


class Asked(BaseModel):
    """What may be asked of one order beside its number."""

    as_of: Annotated[str, Field(max_length=40)] | None = None
    explain: bool = False


# Asked most of all, and hardly ever with one of these: they are read where there is a query, and told of here.
_PARAMETERS = [
    {
        "name": "as_of",
        "in": "query",
        "description": "Release id, or an instant: what was released then. The current release by default.",
        "schema": {"type": "string", "maxLength": 40},
        "examples": {"release": {"value": "7"}, "instant": {"value": "2026-10-31T18:00:00Z"}},
    },
    {
        "name": "explain",
        "in": "query",
        "description": "With the provenance of each value.",
        "schema": {"type": "boolean", "default": False},
    },
]


_NOTHING_ASKED = Asked()


class Numbers(BaseModel):
    """Numbers of orders, as any system writes them."""

    numbers: Annotated[
        list[Annotated[Text, Field(min_length=1, max_length=200)]],
        Field(min_length=1, max_length=MOST_ORDERS),
    ]


class FoundOrders(BaseModel):
    """What each number led to: `orders` by the number asked for, and why the others led nowhere."""

    release_id: int | None
    orders: dict[str, Order]
    missing: dict[str, str]


def router(database: Database, access: Access, gathering: Gathering) -> APIRouter:
    """The routes under /orders.

    Args:
        gathering: looks up what is asked most: one order of the current release, with nothing masked.
    """
    routes = APIRouter(prefix="/orders", tags=["look-up"])

    @routes.get(
        "/{number:path}",
        response_model=Order,
        responses=problems.failures(403, 404, 409) | NOT_CHANGED,
        openapi_extra={"parameters": _PARAMETERS},
    )
    async def order(
        request: Request,
        number: Number,
        reading: Reading = Depends(access.reading),
    ) -> Response:
        """One order, with whom it goes to, its lines, events, shipments, payments, refunds and returns, where it is in its flow and what is held for it now."""
        asked = _asked(request)
        if asked.as_of is None and not asked.explain and not reading.is_masked and "\0" not in number:
            found = await gathering.find(number)
        else:
            found = await run_in_threadpool(_one, database, reading, number, asked)
        # Whole and masked are two representations of one row.
        kind = "order masked" if reading.is_masked else "order"
        tag = f'"{hashlib.sha256(f"{kind}|{found.seal}".encode()).hexdigest()[:32]}"'
        headers = answer_headers(tag, found.release_id, reading)
        if tag in tags(request):
            return Response(status_code=304, headers=headers)
        return Response(found.json, headers=headers, media_type="application/json")

    @routes.post("/lookup", response_model=FoundOrders, responses=problems.failures(403, 413))
    def lookup(wanted: Numbers, reading: Reading = Depends(access.reading)) -> Response:
        """Up to 100 orders at once, by any numbers; one statement, so all of one release."""
        with reading.at(None) as connection:
            release_id, outcomes = read_documents(connection, wanted.numbers)
        orders = {number: found.json for number, found in outcomes.items() if isinstance(found, Document)}
        missing = {
            number: str(error) for number, error in outcomes.items() if not isinstance(error, Document)
        }
        return Response(_joined(release_id, orders, missing), media_type="application/json")

    return routes


def answer_headers(tag: str, release_id: int | None, reading: Reading) -> dict[str, str]:
    """What every look-up says in its headers.

    The tag is over the hashes of all rows shown and what else the body says, but not over the release id: what did not change
    keeps its tag from release to release.
    """
    return {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Orderhub-Release": str(release_id),
        "Orderhub-Masked": str(reading.is_masked).lower(),
    }


def tags(request: Request) -> set[str]:
    """The tags that the client has already."""
    return {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}


def _asked(request: Request) -> Asked:
    if not request.scope["query_string"]:
        return _NOTHING_ASKED
    try:
        return Asked.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise RequestValidationError(
            [{**item, "loc": ("query", *item["loc"])} for item in error.errors()]
        ) from error


def _one(database: Database, reading: Reading, number: str, asked: Asked) -> Document:
    release_id = None if asked.as_of is None else resolve(database, asked.as_of).release_id
    with reading.at(release_id) as connection:
        if "\0" in number:  # PostgreSQL's text holds none
            raise NotReleasedError(f"no order has the number {number!r}")
        _, outcomes = read_documents(connection, [number], explain=asked.explain)
    found = outcomes[number]
    if isinstance(found, Document):
        return found
    raise found


def _joined(release_id: int | None, orders: dict[str, str], missing: dict[str, str]) -> bytes:
    """`FoundOrders` around documents that are JSON already."""
    listed = b",".join(orjson.dumps(number) + b":" + document.encode() for number, document in orders.items())
    return b'{"release_id":%b,"orders":{%b},"missing":%b}' % (
        orjson.dumps(release_id),
        listed,
        orjson.dumps(missing),
    )
