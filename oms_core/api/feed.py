"""What services that follow ask for: changes after a cursor."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel

from oms_core.api import keys, problems
from oms_core.api.access import Access
from oms_core.release.feed import MOST_CHANGES, CursorError, read_changes
from oms_core.store.postgres import Database


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


def router(database: Database, access: Access) -> APIRouter:
    """The routes that services follow with.

    Args:
        database: read through its owner.
        access: lets in look-ups, OMS services and data engineers.
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

    return routes
