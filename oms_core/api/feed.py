"""What services that follow ask for: changes after a cursor, and many orders at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, Field

from oms_core.api import keys, problems
from oms_core.api.access import Access, Reading
from oms_core.api.models import Order
from oms_core.release.feed import MOST_CHANGES, CursorError, read_changes
from oms_core.store.errors import AmbiguousError, NotReleasedError
from oms_core.store.postgres import Database
from oms_core.store.released import ORDER, Found, Released

MOST_ORDERS = 100
MOST_BODY = 32_768  # bytes
Part = Callable[[Released, Found], tuple[dict[str, Any], dict[str, list[dict[str, Any]]], dict[str, Any]]]


class CloudEvent(BaseModel):
    """A CloudEvents 1.0 event; `id` stays the same however often it is asked for."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    data: dict[str, Any]


class Changes(BaseModel):
    """Changes in order. `cursor` is where to go on; it is the one sent when nothing followed it."""

    changes: list[CloudEvent]
    cursor: str | None


class Numbers(BaseModel):
    """Numbers of orders, as any system writes them."""

    numbers: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=MOST_ORDERS)
    ]


class FoundOrders(BaseModel):
    """What each number led to: `orders` by the number asked for, and why the others led nowhere."""

    release_id: int | None
    orders: dict[str, Order]
    missing: dict[str, str]


def router(database: Database, access: Access, part: Part) -> APIRouter:
    """The routes that services follow with.

    Args:
        database: the feed is read through its owner, orders through whom the key may read as.
        access: lets in look-ups, OMS services and data engineers.
        part: gathers one order's row, its parts, and what is said about it.
    """
    routes = APIRouter(tags=["look-up"])
    reader = access.look_up_or(keys.OMS_SERVICE, keys.DATA_ENGINEER)

    @routes.get("/changes", dependencies=[Depends(reader)], responses=problems.failures(422))
    def changes(
        after: Annotated[
            str | None, Query(max_length=400, description="Cursor of the last change dealt with.")
        ] = None,
        entity: Annotated[
            list[Literal["order", "customer", "sku", "location"]] | None,
            Query(description="What to follow; all by default.", max_length=4),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_CHANGES)] = 100,
    ) -> Changes:
        """What releases changed after a cursor, oldest first, as CloudEvents; no one is missed, none comes twice."""
        try:
            with database.begin() as connection:
                found = read_changes(connection, after, entities=entity or (), limit=limit)
        except CursorError as error:
            raise HTTPException(422, str(error)) from error
        events = [CloudEvent.model_validate(change.cloud_event()) for change in found]
        return Changes(changes=events, cursor=found[-1].cursor if found else after)

    @routes.post("/orders/lookup", responses=problems.failures(422))
    def lookup(wanted: Numbers, reading: Reading = Depends(access.reading)) -> FoundOrders:
        """Up to 100 orders at once, by any numbers; one transaction, so all of one release."""
        orders, missing = {}, {}
        with reading.at(None) as connection:
            released = Released(connection)
            for number in dict.fromkeys(wanted.numbers):
                try:
                    row, parts, about = part(released, released.find(ORDER, number))
                except (NotReleasedError, AmbiguousError) as error:
                    missing[number] = str(error)
                else:
                    orders[number] = Order.model_validate({**row, **parts, **about})
            return FoundOrders(release_id=released.release_id, orders=orders, missing=missing)

    return routes
