"""karrio 2026.1: the transport desk's shipments with the rates they were quoted, trackers, pickups and carriers.

REST with `Authorization: Token <key>`, offset and limit, newest first. A shipment or tracker changes until the parcel
has arrived, but neither can be asked for by the time of its change, and a tracker does not even show when it was made.
What is asked for is therefore what was created up to OPEN_WINDOW before the last thing seen: the declared lag.
Newest first also means that what is created while the pages are read repeats a row and hides none. Pickups, a few a day, and
carriers, which are our accounts with them (karrio's "connections"), show no time at all and are read whole.

An event's timestamp ends in Z whatever the carrier said: karrio keeps the digits of the carrier's clock and drops its offset
(`karrio.lib.fiso_timestamp`, which its carriers' interfaces use). It is the instant with carriers that report in UTC; with
others it is off by the offset of the place, of which karrio keeps nothing. dbt's variable karrio_zones names the zone of an
account's clock, where the company knows it; what lands is what karrio says.

Source: karrio.server.core.serializers and filters of karrio-server-core 2026.1
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

from pydantic import model_validator

from connectors.declare import (
    AliasPath,
    Ask,
    Bounds,
    Child,
    ControlTotal,
    Count,
    Country,
    Currency,
    Field,
    FloatAmount,
    FloatQuantity,
    HeaderToken,
    Instant,
    Kind,
    Lookup,
    Notice,
    OffsetPages,
    Phone,
    Record,
    Source,
    Stream,
    TokenSignature,
    Webhook,
)

PAGE_SIZE = 200
OPEN_WINDOW = timedelta(days=60)
"""The longest a parcel is taken to be under way: carriers close a claim for a lost one well before."""


class KarrioRecord(Record):
    """What every karrio entity has. An empty text means unknown."""

    id: str = Field(min_length=1)
    is_test_mode: bool = Field(default=False, validation_alias="test_mode")

    @model_validator(mode="before")
    @classmethod
    def _blank_is_absent(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {name: value for name, value in data.items() if value != ""}
        return data


class Shipment(KarrioRecord):
    """One shipment on one waybill."""

    status: str = Field(
        description="draft, created, shipped, in_transit, out_for_delivery, delivered, delivery_failed, "
        "needs_attention, cancelled"
    )
    created_at: Instant
    reference: str | None = Field(
        default=None, description="What the shipper wrote: a delivery or order number"
    )
    order_id: str | None = Field(default=None, description="Order number, where the caller gave one")
    metadata_order_ids: str | None = Field(
        default=None,
        validation_alias=AliasPath("metadata", "order_ids"),
        description="Order numbers, comma separated",
    )
    distance_km: FloatQuantity | None = Field(
        default=None,
        ge=0,
        validation_alias=AliasPath("metadata", "distance_km"),
        description="Planned road distance",
    )
    carrier_name: str | None = Field(default=None, description="karrio's code of the carrier's interface")
    carrier_id: str | None = Field(default=None, description="Name of our account with the carrier")
    service: str | None = None
    tracking_number: str | None = None
    tracker_id: str | None = None
    is_return: bool = False
    selected_rate_id: str | None = Field(default=None, description="Which of its rates was bought")
    rated_carrier: str | None = Field(
        default=None,
        validation_alias=AliasPath("selected_rate", "carrier_name"),
        description="The carrier itself, also where its interface is the generic one",
    )
    charge_amount: FloatAmount | None = Field(
        default=None,
        ge=0,
        validation_alias=AliasPath("selected_rate", "total_charge"),
        description="All charges of the rate that was bought, as quoted: karrio learns of no bill",
    )
    charge_currency: Currency | None = Field(
        default=None, validation_alias=AliasPath("selected_rate", "currency")
    )
    ship_from_company: str | None = Field(default=None, validation_alias=AliasPath("shipper", "company_name"))
    ship_from_city: str | None = Field(default=None, validation_alias=AliasPath("shipper", "city"))
    ship_from_country: Country | None = Field(
        default=None, validation_alias=AliasPath("shipper", "country_code")
    )
    ship_to_name: str | None = Field(default=None, validation_alias=AliasPath("recipient", "person_name"))
    ship_to_company: str | None = Field(default=None, validation_alias=AliasPath("recipient", "company_name"))
    ship_to_email: str | None = Field(default=None, validation_alias=AliasPath("recipient", "email"))
    ship_to_phone: Phone | None = Field(default=None, validation_alias=AliasPath("recipient", "phone_number"))
    ship_to_street: str | None = Field(default=None, validation_alias=AliasPath("recipient", "address_line1"))
    ship_to_city: str | None = Field(default=None, validation_alias=AliasPath("recipient", "city"))
    ship_to_region: str | None = Field(default=None, validation_alias=AliasPath("recipient", "state_code"))
    ship_to_postcode: str | None = Field(default=None, validation_alias=AliasPath("recipient", "postal_code"))
    ship_to_country: Country | None = Field(
        default=None, validation_alias=AliasPath("recipient", "country_code")
    )


class Parcel(Record):
    """One parcel of a shipment, as measured."""

    parcel_id: str = Field(min_length=1, validation_alias="id")
    weight: FloatQuantity = Field(ge=0)
    weight_unit: str = Field(pattern=r"^(KG|LB|OZ|G)$")
    length: FloatQuantity | None = Field(default=None, ge=0)
    width: FloatQuantity | None = Field(default=None, ge=0)
    height: FloatQuantity | None = Field(default=None, ge=0)
    dimension_unit: str | None = Field(default=None, pattern=r"^(CM|IN)$")


class Rate(Record):
    """What one service of a carrier would cost for a shipment, as quoted when its label was made."""

    rate_id: str = Field(min_length=1, validation_alias="id")
    carrier_name: str = Field(description="The carrier itself, not its interface")
    carrier_id: str = Field(description="Name of our account with the carrier")
    service: str | None = None
    charge_amount: FloatAmount = Field(ge=0, validation_alias="total_charge", description="All charges")
    charge_currency: Currency | None = Field(default=None, validation_alias="currency")
    extra_charges: list[dict[str, str | float | None]] = Field(
        default_factory=list, description="What the charge is made of: name, amount, currency"
    )
    transit_days: int | None = Field(default=None, ge=0)
    estimated_delivery: str | None = None


class Tracker(KarrioRecord):
    """Where one parcel group is, as its carrier says."""

    tracking_number: str = Field(min_length=1)
    carrier_name: str
    carrier_id: str | None = None
    status: str = Field(
        description="pending, picked_up, in_transit, out_for_delivery, delivered, delivery_failed, delivery_delayed, "
        "on_hold, ready_for_pickup, return_to_sender, cancelled, unknown"
    )
    is_delivered: bool = Field(default=False, validation_alias="delivered")
    estimated_delivery: str | None = None
    last_event_at: Instant | None = Field(
        default=None, description="Newest event; computed, moves the cursor"
    )

    @model_validator(mode="before")
    @classmethod
    def _find_last_event(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        times = [time for event in data.get("events") or [] if (time := _event_time(event)) is not None]
        return {**data, "last_event_at": max(times, default=None)}


def _event_time(event: Any) -> datetime | None:
    """Instant of an event, or None where it is missing or unreadable: the event's own record then reports it."""
    if not isinstance(event, dict) or not isinstance(event.get("timestamp"), str):
        return None
    try:
        instant = datetime.fromisoformat(event["timestamp"])
    except ValueError:
        return None
    return instant.astimezone(UTC) if instant.tzinfo else None


class TrackerEvent(Record):
    """One scan or message of the carrier."""

    occurred_at: Instant = Field(
        validation_alias="timestamp", description="By the carrier's clock, which karrio takes to be UTC"
    )
    status: str | None = Field(default=None, description="karrio's reading of the carrier's code")
    code: str | None = Field(default=None, description="The carrier's own code")
    reason: str | None = Field(default=None, description="Why it went wrong, where it did")
    description: str | None = None
    location: str | None = None


class Pickup(KarrioRecord):
    """A carrier's visit, as agreed: when and where it fetches which parcels. When it came, karrio does not keep."""

    carrier_name: str = Field(description="karrio's code of the carrier's interface")
    carrier_id: str = Field(description="Name of our account with the carrier")
    confirmation_number: str
    status: str = Field(description="scheduled, picked_up, cancelled, closed: the day has passed")
    pickup_on: date = Field(validation_alias="pickup_date")
    ready_time: str | None = Field(default=None, description="HH:MM by the clock of the place")
    closing_time: str | None = Field(default=None, description="HH:MM by the clock of the place")
    pickup_type: str | None = Field(default=None, description="one_time, daily, recurring")
    charge_amount: FloatAmount | None = Field(
        default=None, ge=0, validation_alias=AliasPath("pickup_charge", "amount")
    )
    charge_currency: Currency | None = Field(
        default=None, validation_alias=AliasPath("pickup_charge", "currency")
    )
    instruction: str | None = None
    package_location: str | None = None
    place_name: str | None = Field(default=None, validation_alias=AliasPath("address", "person_name"))
    place_company: str | None = Field(default=None, validation_alias=AliasPath("address", "company_name"))
    place_street: str | None = Field(default=None, validation_alias=AliasPath("address", "address_line1"))
    place_city: str | None = Field(default=None, validation_alias=AliasPath("address", "city"))
    place_postcode: str | None = Field(default=None, validation_alias=AliasPath("address", "postal_code"))
    place_country: Country | None = Field(default=None, validation_alias=AliasPath("address", "country_code"))


class PickupParcel(Record):
    """One parcel that a visit fetches."""

    parcel_id: str = Field(min_length=1, validation_alias="id")


class Carrier(KarrioRecord):
    """One account with a carrier; karrio tells nobody its credentials."""

    carrier_id: str = Field(min_length=1, description="Name of our account with the carrier")
    carrier_name: str = Field(description="karrio's code of the carrier's interface")
    display_name: str | None = None
    capabilities: list[str] = Field(default_factory=list, description="rating, shipping, tracking, pickup …")
    is_active: bool = Field(validation_alias="active")
    is_system: bool = Field(default=False, description="Lent by whoever runs karrio")


def _created_since(bounds: Bounds) -> Ask:
    params: dict[str, Any] = {}
    if bounds.since is not None:
        params["created_after"] = bounds.since.astimezone(UTC).isoformat()
    if bounds.until is not None:
        params["created_before"] = bounds.until.astimezone(UTC).isoformat()
    return Ask(params=params)


_COUNT = Count(ask=Ask(params={"limit": 1}), read=("count",))
_PAGES = OffsetPages(offset="params.offset", limit="params.limit", size=PAGE_SIZE)


def _by_id(kind: str) -> Lookup:
    return Lookup(ask=lambda bounds: Ask(path=f"/v1/{kind}/{quote(bounds.keys[0], safe='')}"))


# karrio signs nothing: it sends the secret of the webhook along, in a header that is called otherwise.
WEBHOOK = Webhook(
    signature=TokenSignature(header="x-event-id"),
    topic="event",
    notices=(
        Notice(topic="shipment_*", streams=("shipments",), key="data.id"),
        Notice(topic="tracker_*", streams=("trackers",), key="data.id"),
        Notice(topic="pickup_*", streams=("pickups",), key="data.id"),
    ),
    documentation="karrio.server.events.task_definitions.base.webhook of karrio-server-events 2026.1",
)

SOURCE = Source(
    name="karrio",
    title="karrio",
    kind=Kind.TMS,
    owner="transport-team",
    # No base URL: karrio is run by the company itself; ORDERHUB_KARRIO_URL says where.
    auth=HeaderToken(prefix="Token "),
    documentation="https://docs.karrio.io/reference/api",
    webhook=WEBHOOK,
    streams=(
        Stream(
            name="shipments",
            kept="Shipments are cancelled; what Karrio drops after its time of retention is no deletion.",
            record=Shipment,
            key=("id",),
            path="/v1/shipments",
            ask=_created_since,
            rows="results",
            pages=_PAGES,
            cursor="created_at",
            lag=OPEN_WINDOW,
            lookup=_by_id("shipments"),
            count=_COUNT,
            children=(
                Child(
                    name="parcels",
                    path="parcels",
                    record=Parcel,
                    parent={"shipment_id": "id"},
                    description="Parcels of a shipment with their measures.",
                ),
                Child(
                    name="rates",
                    path="rates",
                    record=Rate,
                    parent={"shipment_id": "id"},
                    description="What the shipment's carriers quoted.",
                ),
            ),
            control_totals=(ControlTotal(amount="charge_amount", currency="charge_currency"),),
            description="Waybills with carrier, charge and addresses.",
        ),
        Stream(
            name="trackers",
            kept="What Karrio drops after its time of retention is no deletion.",
            record=Tracker,
            key=("id",),
            path="/v1/trackers",
            ask=_created_since,
            rows="results",
            pages=_PAGES,
            cursor="last_event_at",
            lag=OPEN_WINDOW,
            lookup=_by_id("trackers"),
            count=_COUNT,
            children=(
                Child(
                    name="tracker_events",
                    path="events",
                    record=TrackerEvent,
                    parent={"tracker_id": "id"},
                    description="Carrier scans of a tracker.",
                ),
            ),
            description="Where parcels are.",
        ),
        Stream(
            name="pickups",
            kept="Pickups are cancelled; what Karrio drops after its time of retention is no deletion.",
            record=Pickup,
            key=("id",),
            path="/v1/pickups",
            rows="results",
            pages=_PAGES,
            lookup=_by_id("pickups"),
            count=_COUNT,
            children=(
                Child(
                    name="pickup_parcels",
                    path="parcels",
                    record=PickupParcel,
                    parent={"pickup_id": "id"},
                    description="Which parcels a visit fetches.",
                ),
            ),
            control_totals=(ControlTotal(amount="charge_amount", currency="charge_currency"),),
            description="Visits of carriers that fetch parcels.",
        ),
        Stream(
            name="carriers",
            kept="Shipments keep the carrier that they went with.",
            record=Carrier,
            key=("id",),
            path="/v1/connections",
            rows="results",
            pages=_PAGES,
            lookup=_by_id("connections"),
            count=_COUNT,
            description="Our accounts with carriers.",
        ),
    ),
)
