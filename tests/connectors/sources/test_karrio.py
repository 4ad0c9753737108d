"""karrio: what stands in for a change filter, the scans' peculiarities, then pulls over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from pydantic import ValidationError

from connectors.client import Client
from connectors.conformance import Conformance
from connectors.declare import Bounds
from connectors.extract import PullResult
from connectors.landing import Landing
from connectors.sources.karrio import OPEN_WINDOW, SOURCE, Parcel, Tracker, TrackerEvent


class TestKarrio(Conformance):
    source = SOURCE


def test_a_tracker_is_as_new_as_its_newest_readable_scan() -> None:
    events = [
        {"timestamp": "2026-10-12T09:00:00.000Z", "status": "delivered"},
        {"timestamp": "2026-10-11T23:00:00", "status": "in_transit"},
        {"timestamp": "yesterday", "status": "in_transit"},
        {"date": "2026-10-10", "time": "09:00 AM", "status": "picked_up"},
    ]
    raw = {
        "id": "trk_1",
        "tracking_number": "SF1",
        "carrier_name": "generic",
        "status": "delivered",
        "events": events,
    }
    assert Tracker.model_validate(raw).last_event_at == datetime(2026, 10, 12, 9, tzinfo=UTC)
    assert Tracker.model_validate({**raw, "events": None}).last_event_at is None


def test_a_scan_without_a_zone_and_a_parcel_below_nothing_are_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        TrackerEvent.model_validate({"timestamp": "2026-10-11T23:00:00", "status": "in_transit"})
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Parcel.model_validate({"id": "pcl_1", "weight": -1.5, "weight_unit": "KG"})


def test_what_may_still_be_under_way_is_read_again(
    serve: Any, pull: Callable[..., dict[str, PullResult]], landing: Landing
) -> None:
    with serve("karrio") as served:
        pull("karrio", served.env)
        cursor = landing.cursor("karrio", "shipments")
        served.sandbox.advance(0, timedelta(days=5))
        again = pull("karrio", served.env)
        assert cursor is not None
        with Client(SOURCE, served.env) as client:
            stream = SOURCE.stream("shipments")
            body = client.send(stream, stream.ask(Bounds(since=cursor - OPEN_WINDOW))).body
    # No new order, yet parcels have arrived: their shipments are older than the cursor and change all the same.
    assert again["shipments"].changed > 0
    assert again["trackers"].changed > 0
    assert body["count"] > 0
    assert all(datetime.fromisoformat(row["created_at"]) >= cursor - OPEN_WINDOW for row in body["results"])


def test_answers_are_paged_newest_first_and_refusals_are_karrios(serve: Any) -> None:
    with serve("karrio") as served:
        url = served.env["ORDERHUB_KARRIO_URL"] + "/v1/shipments"
        headers = {"Authorization": f"Token {served.env['ORDERHUB_KARRIO_TOKEN']}"}
        first = httpx.get(url, headers=headers, params={"limit": 5}).json()
        second = httpx.get(first["next"], headers=headers).json()
        anonymous = httpx.get(url)
        stranger = httpx.get(url, headers={"Authorization": "Token nobody"})
    made = [row["created_at"] for row in first["results"] + second["results"]]
    assert len(made) == 10
    assert made == sorted(made, reverse=True)
    assert anonymous.status_code == stranger.status_code == 401
    assert anonymous.json()["errors"][0]["code"] == "authentication_required"
    assert stranger.json()["errors"][0]["code"] == "invalid_token"


def test_rows_that_break_the_rules_are_quarantined(
    serve: Any, pull: Callable[..., dict[str, PullResult]]
) -> None:
    with serve("karrio", orders=600) as served:
        results = pull("karrio", served.env)
    assert results["shipments"].quarantined > 0
    assert results["trackers"].quarantined > 0
    assert all(result.pulled == result.landed + result.quarantined for result in results.values())


def test_every_shipment_was_quoted_by_known_accounts_and_is_fetched_on_the_day_it_left(serve: Any) -> None:
    with serve("karrio") as served:
        headers = {"Authorization": f"Token {served.env['ORDERHUB_KARRIO_TOKEN']}"}

        def everything(path: str) -> list[dict[str, Any]]:
            url = f"{served.env['ORDERHUB_KARRIO_URL']}/v1/{path}"
            rows: list[dict[str, Any]] = httpx.get(url, headers=headers, params={"limit": 10_000}).json()[
                "results"
            ]
            return rows

        shipments, pickups = everything("shipments"), everything("pickups")
        accounts = {(row["carrier_name"], row["carrier_id"]) for row in everything("connections")}
        left = {
            parcel.shipment_id: parcel
            for order in served.sandbox.world.orders.values()
            for parcel in order.shipments
        }
    waybills = {parcel.tracking_number: parcel for parcel in left.values()}
    fetched = {parcel["id"]: pickup for pickup in pickups for parcel in pickup["parcels"]}
    for shipment in shipments:
        assert len({rate["id"] for rate in shipment["rates"]}) == len(shipment["rates"]) > 1
        assert shipment["selected_rate"] in shipment["rates"]
        assert (shipment["carrier_name"], shipment["carrier_id"]) in accounts
        for rate in shipment["rates"]:
            assert sum(Decimal(str(part["amount"])) for part in rate["extra_charges"]) == Decimal(
                str(rate["total_charge"])
            )
        sent = waybills.get(shipment["tracking_number"])
        assert (sent is None) == (shipment["status"] == "cancelled")
        for parcel in shipment["parcels"]:
            assert (parcel["id"] in fetched) == (sent is not None)
            if sent is not None:
                pickup = fetched[parcel["id"]]
                zone = ZoneInfo(served.sandbox.world.locations[sent.location_id].timezone)
                at = sent.dispatched_at.astimezone(zone)
                assert pickup["carrier_id"] == shipment["carrier_id"]
                assert pickup["pickup_date"] == f"{at:%Y-%m-%d}"
                assert pickup["ready_time"] <= f"{at:%H:%M}" <= pickup["closing_time"]
