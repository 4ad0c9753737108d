"""What the API answers with. Fields are the columns of the released marts, which the dbt contracts describe one by one.

Amounts are decimal numbers as strings (JSON numbers are binary), beside the ISO 4217 code of their currency. Instants are
UTC. Null is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict


def _from_json_text(value: Any) -> Any:
    """Lists stand in the marts as JSON array text."""
    return json.loads(value) if isinstance(value, str) else value


TextList = Annotated[list[str], BeforeValidator(_from_json_text)]


EntityName = Literal["customer", "sku", "location", "order"]
Judgement = Literal["same", "different", "unsure"]


class _Row(BaseModel):
    """Columns of one released row; columns the API does not show are left out."""

    model_config = ConfigDict(extra="ignore")


class OrderLine(_Row):
    """One line of the order's surviving document."""

    order_line_id: str
    line_number: int | None = None
    sku_id: str | None = None
    sku_code: str | None = None
    description: str | None = None
    qty: Decimal | None = None
    uom: str | None = None
    unit_price_amount: Decimal | None = None
    discount_amount: Decimal | None = None
    tax_amount: Decimal | None = None
    net_amount: Decimal | None = None
    cost_amount: Decimal | None = None
    currency: str | None = None
    lot_number: str | None = None
    is_return: bool | None = None
    source_system: str | None = None


class OrderEvent(_Row):
    """One thing that happened to the order, as one system tells it."""

    event_id: str
    order_record_id: str | None = None
    event_type: str
    occurred_at: datetime | None = None
    recorded_at: datetime | None = None
    occurred_at_offset_minutes: int | None = None
    location_id: str | None = None
    biz_step: str | None = None
    is_counted: bool | None = None
    lag_seconds: int | None = None
    source_system: str | None = None


class Shipment(_Row):
    """One shipment of the order, as one system tells it."""

    shipment_id: str
    order_record_id: str | None = None
    carrier_code: str | None = None
    service_level: str | None = None
    tracking_number: str | None = None
    shipped_at: datetime | None = None
    delivered_at: datetime | None = None
    from_location_id: str | None = None
    package_count: int | None = None
    gross_weight_kg: Decimal | None = None
    volume_m3: Decimal | None = None
    distance_km: Decimal | None = None
    cost_amount: Decimal | None = None
    currency: str | None = None
    transport_mode: str | None = None
    shipment_status: str | None = None
    is_counted: bool | None = None
    source_system: str | None = None


class Payment(_Row):
    """One payment for the order, as one system tells it."""

    payment_id: str
    order_record_id: str | None = None
    method: str | None = None
    amount: Decimal | None = None
    fee_amount: Decimal | None = None
    currency: str | None = None
    paid_at: datetime | None = None
    payment_status: str | None = None
    is_paid: bool | None = None
    is_counted: bool | None = None
    source_system: str | None = None


class Refund(_Row):
    """One refund on the order, as one system tells it."""

    refund_id: str
    order_record_id: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    refunded_at: datetime | None = None
    reason: str | None = None
    is_counted: bool | None = None
    source_system: str | None = None


class Return(_Row):
    """One returned line of the order, as one system tells it."""

    return_id: str
    order_record_id: str | None = None
    sku_id: str | None = None
    qty: Decimal | None = None
    uom: str | None = None
    reason: str | None = None
    returned_at: datetime | None = None
    promised_amount: Decimal | None = None
    currency: str | None = None
    is_counted: bool | None = None
    source_system: str | None = None


class InventoryPosition(_Row):
    """Stock of a SKU, as one system tells it: counted at a location, or offered on a channel."""

    position_id: str
    location_id: str | None = None
    lot_number: str | None = None
    on_hand_qty: Decimal | None = None
    reserved_qty: Decimal | None = None
    available_qty: Decimal | None = None
    uom: str | None = None
    counted_at: datetime | None = None
    expires_on: date | None = None
    channel: str | None = None
    offered_qty: Decimal | None = Field(None, description="What the channel shows as still for sale")
    source_system: str | None = None


class OrderAttributes(_Row):
    """What one order knows. An unknown value is null and named in `quality_flags`."""

    order_id: str
    order_number: str | None = None
    channel: str | None = None
    store_code: str | None = None
    order_type: str | None = None
    source_systems: TextList | None = None
    source_count: int | None = None
    customer_id: str | None = None
    bill_to_party_id: str | None = None
    is_test: bool | None = None
    ordered_at: datetime | None = None
    payment_verified_at: datetime | None = None
    stock_reserved_at: datetime | None = None
    picked_at: datetime | None = None
    packed_at: datetime | None = None
    dispatched_at: datetime | None = None
    first_carrier_scan_at: datetime | None = None
    delivered_at: datetime | None = None
    cancelled_at: datetime | None = None
    closed_at: datetime | None = None
    promised_at: datetime | None = None
    order_status: str | None = None
    dwell_hours: Decimal | None = None
    dwell_step: str | None = None
    order_to_dispatch_hours: Decimal | None = None
    order_to_delivery_hours: Decimal | None = None
    promise_slip_hours: Decimal | None = None
    cross_system_lag_seconds: int | None = None
    currency: str | None = None
    gross_amount: Decimal | None = None
    discount_amount: Decimal | None = None
    shipping_amount: Decimal | None = None
    tax_amount: Decimal | None = None
    duty_amount: Decimal | None = None
    net_amount: Decimal | None = None
    paid_amount: Decimal | None = None
    refunded_amount: Decimal | None = None
    channel_fee_amount: Decimal | None = None
    payment_fee_amount: Decimal | None = None
    dealer_rebate_amount: Decimal | None = None
    cogs_amount: Decimal | None = None
    logistics_cost_amount: Decimal | None = None
    contribution_margin_amount: Decimal | None = None
    reporting_currency: str | None = None
    fx_rate: Decimal | None = None
    fx_rate_on: date | None = None
    fx_source: str | None = None
    net_reporting_amount: Decimal | None = None
    margin_reporting_amount: Decimal | None = None
    line_count: int | None = None
    unit_qty: Decimal | None = None
    distinct_sku_count: int | None = None
    category_codes: TextList | None = None
    has_bundle: bool | None = None
    needs_cold_chain: bool | None = None
    gross_weight_kg: Decimal | None = None
    volume_m3: Decimal | None = None
    package_count: int | None = None
    fulfilment_location_ids: TextList | None = None
    shipment_count: int | None = None
    is_split: bool | None = None
    carrier_codes: TextList | None = None
    service_level: str | None = None
    tracking_numbers: TextList | None = None
    ship_to_country: str | None = None
    ship_to_region: str | None = None
    ship_to_city: str | None = None
    ship_to_postcode: str | None = None
    distance_km: Decimal | None = None
    distance_method: str | None = None
    origin_countries: TextList | None = None
    lot_numbers: TextList | None = None
    supplier_party_ids: TextList | None = None
    certificate_ids: TextList | None = None
    traceability_ratio: Decimal | None = None
    min_temperature_c: Decimal | None = None
    max_temperature_c: Decimal | None = None
    excursion_minutes: int | None = None
    excursion_count: int | None = None
    sensor_coverage_ratio: Decimal | None = None
    is_cold_chain_intact: bool | None = None
    transport_co2e_kg: Decimal | None = None
    packaging_co2e_kg: Decimal | None = None
    co2e_kg: Decimal | None = None
    co2e_method: str | None = None
    co2e_factor_version: str | None = None
    co2e_uncertainty_ratio: Decimal | None = None
    transport_modes: TextList | None = None
    preference_tags: TextList | None = None
    loyalty_tier: str | None = None
    customer_segment: str | None = None
    is_first_order: bool | None = None
    marketing_consent: bool | None = None
    return_count: int | None = None
    returned_unit_qty: Decimal | None = None
    return_reasons: TextList | None = None
    ticket_count: int | None = None
    first_ticket_at: datetime | None = None
    has_open_ticket: bool | None = None
    refund_gap_amount: Decimal | None = None
    quality_flags: TextList | None = None
    completeness_ratio: Decimal | None = None
    first_seen_at: datetime | None = None
    last_changed_at: datetime | None = None


class CustomerAttributes(_Row):
    """One golden customer."""

    customer_id: str
    customer_type: str | None = None
    full_name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    company_name: str | None = None
    email: str | None = None
    phone: str | None = None
    phone_e164: str | None = None
    tax_number: str | None = None
    street: str | None = None
    city: str | None = None
    region: str | None = None
    postcode: str | None = None
    country: str | None = None
    language: str | None = None
    loyalty_tier: str | None = None
    customer_segment: str | None = None
    preference_tags: TextList | None = None
    marketing_consent: bool | None = None
    source_systems: TextList | None = None
    record_count: int | None = None


class SkuAttributes(_Row):
    """One golden SKU."""

    sku_id: str
    sku_code: str | None = None
    title: str | None = None
    brand: str | None = None
    gtin14: str | None = None
    mpn: str | None = None
    category_code: str | None = None
    size_qty: Decimal | None = None
    size_uom: str | None = None
    pack_qty: Decimal | None = None
    weight_kg: Decimal | None = None
    volume_m3: Decimal | None = None
    needs_cold_chain: bool | None = None
    is_bundle: bool | None = None
    unit_cost_amount: Decimal | None = None
    cost_currency: str | None = None
    origin_country: str | None = None
    source_systems: TextList | None = None
    record_count: int | None = None
    deleted_record_count: int | None = Field(None, description="Of them, those that their source deleted")


class LocationAttributes(_Row):
    """One golden location."""

    location_id: str
    location_name: str | None = None
    location_type: str | None = None
    gln: str | None = None
    location_code: str | None = None
    street: str | None = None
    city: str | None = None
    region: str | None = None
    postcode: str | None = None
    country: str | None = None
    latitude: Decimal | None = None
    longitude: Decimal | None = None
    timezone: str | None = None
    source_systems: TextList | None = None
    record_count: int | None = None
    deleted_record_count: int | None = Field(None, description="Of them, those that their source deleted")


class Origin(_Row):
    """Where a value of the order came from."""

    attribute: str
    rule: str = Field(description="Survivorship rule that chose the record, or the sum it is a part of")
    source_system: str
    stream: str
    record_key: str
    batch_id: str
    page_sha256: str = Field(description="Archived page the record was read from")
    row_index: int = Field(description="0-based place of the record in its page")


ORDER_EXAMPLE: JsonDict = {
    "release_id": 7,
    "found_by": "order_number",
    "record_ids": ["shopify:orders:5123", "tryton:sales:88"],
    "order_id": "ORD-223ALSF7LLTYXOKU",
    "order_number": "#1042",
    "order_type": "b2c",
    "source_systems": ["shopify", "tryton"],
    "order_status": "shipped",
    "ordered_at": "2026-10-31T17:02:11Z",
    "currency": "EUR",
    "net_amount": "49.9000",
    "quality_flags": ["unknown:carbon"],
    "lines": [
        {
            "order_line_id": "shopify:order_lines:9001",
            "line_number": 1,
            "sku_id": "SKU-7QK2MZ5DTH3NAXEB",
            "qty": "2.000000",
            "uom": "C62",
            "net_amount": "49.9000",
            "currency": "EUR",
        }
    ],
    "events": [
        {
            "event_id": "shopify:orders:5123:created",
            "event_type": "created",
            "occurred_at": "2026-10-31T17:02:11Z",
        }
    ],
    "shipments": [],
    "payments": [],
    "refunds": [],
    "returns": [],
    "live": {
        "flow": "b2c",
        "version": "1",
        "state": "shipped",
        "is_done": False,
        "entered_at": "2026-11-01T08:15:00Z",
        "due_at": None,
        "revision": 3,
        "events": [
            {
                "event_id": "acme:scan-7",
                "event_type": "dispatched",
                "occurred_at": "2026-11-01T08:15:00Z",
                "recorded_at": "2026-11-01T08:15:01Z",
                "source_system": "wms",
            }
        ],
    },
}
CUSTOMER_EXAMPLE: JsonDict = {
    "release_id": 7,
    "found_by": "record_id",
    "record_ids": ["hubspot:contacts:301", "square:customers:K9"],
    "customer_id": "CUS-W3GOLAXSWB7VPPGT",
    "customer_type": "person",
    "full_name": "王小明",
    "country": "CN",
    "preference_tags": ["fragrance-free"],
    "order_ids": ["ORD-223ALSF7LLTYXOKU"],
}
SKU_EXAMPLE: JsonDict = {
    "release_id": 7,
    "found_by": "gtin14",
    "record_ids": ["square:catalog_items:W62X", "tryton:products:12"],
    "sku_id": "SKU-7QK2MZ5DTH3NAXEB",
    "sku_code": "LIP-07-RED",
    "title": "Lipstick 07 red",
    "gtin14": "04006381333931",
    "unit_cost_amount": "4.1000",
    "cost_currency": "EUR",
    "positions": [
        {
            "position_id": "odoo:quants:55",
            "location_id": "LOC-V5EL563GNY3IG247",
            "on_hand_qty": "120.000000",
            "uom": "C62",
        }
    ],
}


LOCATION_EXAMPLE: JsonDict = {
    "release_id": 7,
    "found_by": "location_code",
    "record_ids": ["odoo:warehouses:7", "tryton:locations:70"],
    "location_id": "LOC-V5EL563GNY3IG247",
    "location_name": "Hamburg Warehouse",
    "location_type": "warehouse",
    "location_code": "WH-DE",
    "country": "DE",
    "timezone": "Europe/Berlin",
}


class Answer(BaseModel):
    """What every answer says about itself."""

    release_id: int = Field(description="Release that was read", examples=[7])
    found_by: str = Field(
        description="How the number led here: `id`, `redirect` (a retired id), or the kind of number",
        examples=["order_number"],
    )
    record_ids: list[str] = Field(
        description="Source records that are this one, `<source>:<stream>:<key>`",
        examples=[["shopify:orders:5123"]],
    )


class LiveEvent(_Row):
    """One thing told of the order live."""

    event_id: str
    event_type: str
    occurred_at: datetime
    recorded_at: datetime
    source_system: str


class Live(_Row):
    """Where the order is in its flow now, with what was told of it live."""

    flow: str
    version: str
    state: str
    is_done: bool
    entered_at: datetime | None = None
    due_at: datetime | None = Field(None, description="When its timeout happens; null: none will")
    revision: int
    events: list[LiveEvent] = Field(description="The last 20, newest first")


class Recipient(_Row):
    """Whom the order goes to and where, as the document tells it whose address the order shows."""

    customer_id: str | None = None
    ship_to_name: str | None = None
    ship_to_street: str | None = None
    ship_to_city: str | None = None
    ship_to_region: str | None = None
    ship_to_postcode: str | None = None
    ship_to_country: str | None = None
    source_system: str | None = None


class Reserved(_Row):
    """What an open reservation holds for the order, of one lot at one node."""

    reservation_id: str
    state: Literal["held", "allocated"]
    expires_at: datetime | None = Field(None, description="Of the reservation; null: it is allocated")
    line_number: int = Field(description="Of the reservation")
    sku_id: str
    location_id: str
    lot_number: str | None = None
    expires_on: date | None = Field(None, description="Of the goods")
    qty: Decimal
    uom: str
    promised_on: date
    arrives_on: date | None = Field(None, description="Of goods under way: when they are expected")


class Order(OrderAttributes, Answer):
    """One order with everything that hangs on it."""

    model_config = ConfigDict(json_schema_extra={"examples": [ORDER_EXAMPLE]})

    recipient: Recipient | None = Field(None, description="Null where no document tells it")
    lines: list[OrderLine]
    events: list[OrderEvent] = Field(description="In order of time")
    shipments: list[Shipment]
    payments: list[Payment]
    refunds: list[Refund]
    returns: list[Return]
    live: Live | None = Field(
        None,
        description="Null where the order is in no flow, and with `as_of`: it is of now, not of a release",
    )
    reserved: list[Reserved] | None = Field(
        None,
        description="What is held now by reservations and allocations whose `order_reference` is the order's id, or its "
        "number where that leads to no other order; null with `as_of`",
    )
    provenance: list[Origin] | None = Field(
        None, description="With `explain=true`: where each value came from"
    )


class Customer(CustomerAttributes, Answer):
    """One golden customer and the orders it placed."""

    model_config = ConfigDict(json_schema_extra={"examples": [CUSTOMER_EXAMPLE]})

    order_ids: list[str] = Field(description="Newest first, at most 1,000")


class Sku(SkuAttributes, Answer):
    """One golden SKU and where it lies."""

    model_config = ConfigDict(json_schema_extra={"examples": [SKU_EXAMPLE]})

    positions: list[InventoryPosition]


class Location(LocationAttributes, Answer):
    """One golden location; what lies there is asked by SKU."""

    model_config = ConfigDict(json_schema_extra={"examples": [LOCATION_EXAMPLE]})


class Release(BaseModel):
    """One release."""

    release_id: int = Field(examples=[7])
    published_at: datetime
    code_version: str = Field(examples=["0.1.0+g1a2b3c4"])
    merkle_root: str = Field(description="Seals every row of every table; hexadecimal")
    row_counts: Mapping[str, int] = Field(examples=[{"fct_orders": 2000}])
    control_totals: Mapping[str, Mapping[str, Mapping[str, Decimal]]] = Field(
        description="{table: {currency: {column: sum}}}",
        examples=[{"fct_orders": {"EUR": {"net_amount": "1200.5000"}}}],
    )
    batch_count: int = Field(description="Landed batches that came in with it")


class Releases(BaseModel):
    """Releases, newest first."""

    releases: list[Release]
    next_before: int | None = Field(None, description="Pass as `before` for the next page; null on the last")


class Health(BaseModel):
    """Whether answers can be given."""

    status: str = Field(examples=["ok"])
    release_id: int | None = Field(description="Current release; null before the first", examples=[7])
    published_at: datetime | None = None


class Decision(BaseModel):
    """One decision about two records. It is in force until it is withdrawn, and stays in the history for good."""

    id: int
    entity: EntityName
    left: str
    right: str
    judgement: Judgement
    by: str
    at: datetime
    reason: str
    withdrawn_at: datetime | None
    withdrawn_by: str | None
    withdrawn_reason: str | None


class Problem(BaseModel):
    """What went wrong. Source: RFC 9457."""

    type: str = Field(examples=["urn:orderhub:problem:not-released"])
    title: str = Field(examples=["Not found in this release"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["no order in release 7 has the number '1042'"])
    instance: str = Field(examples=["/orders/1042"])
    request_id: str | None = Field(None, description="As X-Request-Id says it; the server's log has it, too")
    candidates: list[str] | None = Field(
        None, description="Ambiguous numbers: where each of the rows can be read"
    )
    errors: list[dict[str, Any]] | None = Field(None, description="Invalid parameters, one by one")
    decision: Decision | None = Field(None, description="Conflicts: the decision that stands now")
    version: int | None = Field(None, description="Conflicts: version of the pair now")
    chain: list[Decision] | None = Field(
        None, description="Contradictions: standing decisions that say the opposite together"
    )
