"""Square, the tills of the stores: locations, catalogue, customers, orders, payments, refunds, stock counts.

Protocol: REST with a bearer token; a cursor in the body or query; 429 without a documented budget. Money comes
in minor units. A return is an order of its own, without line items, that names the sale in `returns`.

Source: https://developer.squareup.com/reference/square
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from connectors.declare import (
    AliasPath,
    Ask,
    Bearer,
    Bounds,
    Child,
    ConnectorError,
    ControlTotal,
    Country,
    Currency,
    DigestSignature,
    FatalError,
    Field,
    Gtin,
    Instant,
    Kind,
    Lookup,
    MinorAmount,
    Notice,
    Phone,
    Quantity,
    Record,
    Source,
    Stream,
    Sweep,
    ThrottledError,
    TokenPages,
    Webhook,
    decode_json,
    dig,
)

# ListPayments and ListPaymentRefunds look back one year unless told otherwise.
_FIRST_DAY = "2009-01-01T00:00:00Z"


def _recipient(*steps: str) -> AliasPath:
    return AliasPath("fulfillments", 0, "shipment_details", "recipient", *steps)


class Location(Record):
    """A seller location; one that takes payments at a counter is a store."""

    location_id: str = Field(validation_alias="id", min_length=1)
    name: str | None = None
    location_type: str | None = Field(None, validation_alias="type", description="PHYSICAL or MOBILE")
    status: str | None = None
    street: str | None = Field(None, validation_alias=AliasPath("address", "address_line_1"))
    city: str | None = Field(None, validation_alias=AliasPath("address", "locality"))
    region: str | None = Field(None, validation_alias=AliasPath("address", "administrative_district_level_1"))
    postcode: str | None = Field(None, validation_alias=AliasPath("address", "postal_code"))
    country: Country | None = None
    latitude: float | None = Field(None, validation_alias=AliasPath("coordinates", "latitude"), ge=-90, le=90)
    longitude: float | None = Field(
        None, validation_alias=AliasPath("coordinates", "longitude"), ge=-180, le=180
    )
    timezone: str | None = None
    currency: Currency | None = None
    phone: Phone | None = Field(None, validation_alias="phone_number")
    business_name: str | None = None
    created_at: Instant | None = None


class Category(Record):
    """A catalogue category."""

    category_id: str = Field(validation_alias="id", min_length=1)
    name: str | None = Field(None, validation_alias=AliasPath("category_data", "name"))
    updated_at: Instant
    version: int | None = None


class Item(Record):
    """A catalogue item; what is sold are its variations."""

    item_id: str = Field(validation_alias="id", min_length=1)
    name: str | None = Field(None, validation_alias=AliasPath("item_data", "name"))
    description: str | None = Field(None, validation_alias=AliasPath("item_data", "description"))
    product_type: str | None = Field(None, validation_alias=AliasPath("item_data", "product_type"))
    category_id: str | None = Field(None, validation_alias=AliasPath("item_data", "reporting_category", "id"))
    is_archived: bool | None = Field(None, validation_alias=AliasPath("item_data", "is_archived"))
    updated_at: Instant
    version: int | None = None


class Variation(Record):
    """A sellable variation of an item: what a line item points at."""

    variation_id: str = Field(validation_alias="id", min_length=1)
    name: str | None = Field(None, validation_alias=AliasPath("item_variation_data", "name"))
    sku: str | None = Field(None, validation_alias=AliasPath("item_variation_data", "sku"))
    upc: Gtin | None = Field(None, validation_alias=AliasPath("item_variation_data", "upc"))
    price_amount: MinorAmount | None = Field(
        None, validation_alias=AliasPath("item_variation_data", "price_money")
    )
    price_currency: Currency | None = Field(
        None, validation_alias=AliasPath("item_variation_data", "price_money", "currency")
    )
    updated_at: Instant
    version: int | None = None


class Customer(Record):
    """A customer profile of the seller's directory."""

    customer_id: str = Field(validation_alias="id", min_length=1)
    given_name: str | None = None
    family_name: str | None = None
    company_name: str | None = None
    email: str | None = Field(None, validation_alias="email_address")
    phone: Phone | None = Field(None, validation_alias="phone_number")
    street: str | None = Field(None, validation_alias=AliasPath("address", "address_line_1"))
    city: str | None = Field(None, validation_alias=AliasPath("address", "locality"))
    region: str | None = Field(None, validation_alias=AliasPath("address", "administrative_district_level_1"))
    postcode: str | None = Field(None, validation_alias=AliasPath("address", "postal_code"))
    country: Country | None = Field(None, validation_alias=AliasPath("address", "country"))
    reference_id: str | None = Field(None, description="another system's id, as the cashier typed it")
    eu_vat: str | None = Field(None, validation_alias=AliasPath("tax_ids", "eu_vat"))
    is_email_unsubscribed: bool | None = Field(
        None, validation_alias=AliasPath("preferences", "email_unsubscribed")
    )
    created_at: Instant
    updated_at: Instant


class Order(Record):
    """A sale, an exchange or a return. Totals include tax, discounts, tips and service charges."""

    order_id: str = Field(validation_alias="id", min_length=1)
    location_id: str = Field(min_length=1)
    reference_id: str | None = Field(None, description="the number printed on the receipt")
    source_name: str | None = Field(None, validation_alias=AliasPath("source", "name"))
    customer_id: str | None = None
    state: str | None = Field(None, description="OPEN, COMPLETED, CANCELED or DRAFT")
    ticket_name: str | None = None
    currency: Currency = Field(validation_alias=AliasPath("total_money", "currency"))
    total_amount: MinorAmount = Field(validation_alias="total_money")
    tax_amount: MinorAmount | None = Field(None, validation_alias="total_tax_money")
    discount_amount: MinorAmount | None = Field(None, validation_alias="total_discount_money")
    tip_amount: MinorAmount | None = Field(None, validation_alias="total_tip_money")
    service_charge_amount: MinorAmount | None = Field(None, validation_alias="total_service_charge_money")
    return_amount: MinorAmount | None = Field(
        None, validation_alias=AliasPath("return_amounts", "total_money")
    )
    ship_to_name: str | None = Field(None, validation_alias=_recipient("display_name"))
    ship_to_street: str | None = Field(None, validation_alias=_recipient("address", "address_line_1"))
    ship_to_city: str | None = Field(None, validation_alias=_recipient("address", "locality"))
    ship_to_region: str | None = Field(
        None, validation_alias=_recipient("address", "administrative_district_level_1")
    )
    ship_to_postcode: str | None = Field(None, validation_alias=_recipient("address", "postal_code"))
    ship_to_country: Country | None = Field(None, validation_alias=_recipient("address", "country"))
    created_at: Instant
    updated_at: Instant
    closed_at: Instant | None = None
    version: int | None = None


class LineItem(Record):
    """One line of a sale; amounts are for the whole line."""

    uid: str = Field(min_length=1)
    name: str | None = None
    variation_name: str | None = None
    item_type: str | None = None
    catalog_object_id: str | None = None
    quantity: Quantity = Field(ge=0)
    measurement_unit: str | None = Field(
        None,
        validation_alias=AliasPath("quantity_unit", "measurement_unit", "type"),
        description="null: each",
    )
    currency: Currency = Field(validation_alias=AliasPath("total_money", "currency"))
    base_price_amount: MinorAmount | None = Field(None, validation_alias="base_price_money")
    gross_sales_amount: MinorAmount | None = Field(None, validation_alias="gross_sales_money")
    tax_amount: MinorAmount | None = Field(None, validation_alias="total_tax_money")
    discount_amount: MinorAmount | None = Field(None, validation_alias="total_discount_money")
    total_amount: MinorAmount = Field(validation_alias="total_money")


class OrderReturn(Record):
    """What one return order takes back of one sale."""

    uid: str = Field(min_length=1)
    source_order_id: str | None = Field(None, description="the sale; unset when the cashier had no receipt")


class ReturnLineItem(Record):
    """One line taken back; amounts are for the whole line, positive."""

    uid: str = Field(min_length=1)
    source_order_id: str | None = Field(None, description="the sale")
    source_line_item_uid: str | None = None
    name: str | None = None
    catalog_object_id: str | None = None
    quantity: Quantity = Field(ge=0)
    note: str | None = None
    currency: Currency = Field(validation_alias=AliasPath("total_money", "currency"))
    total_amount: MinorAmount = Field(validation_alias="total_money")


class Fulfillment(Record):
    """A pick-up or shipment of an order that did not leave over the counter."""

    uid: str = Field(min_length=1)
    fulfillment_type: str | None = Field(None, validation_alias="type")
    state: str | None = None
    pickup_at: Instant | None = Field(None, validation_alias=AliasPath("pickup_details", "pickup_at"))
    placed_at: Instant | None = Field(None, validation_alias=AliasPath("pickup_details", "placed_at"))
    ready_at: Instant | None = Field(None, validation_alias=AliasPath("pickup_details", "ready_at"))
    picked_up_at: Instant | None = Field(None, validation_alias=AliasPath("pickup_details", "picked_up_at"))
    packaged_at: Instant | None = Field(None, validation_alias=AliasPath("shipment_details", "packaged_at"))
    shipped_at: Instant | None = Field(None, validation_alias=AliasPath("shipment_details", "shipped_at"))
    carrier: str | None = Field(None, validation_alias=AliasPath("shipment_details", "carrier"))
    shipping_type: str | None = Field(None, validation_alias=AliasPath("shipment_details", "shipping_type"))
    tracking_number: str | None = Field(
        None, validation_alias=AliasPath("shipment_details", "tracking_number")
    )


class Payment(Record):
    """Money taken for an order."""

    payment_id: str = Field(validation_alias="id", min_length=1)
    order_id: str | None = None
    location_id: str | None = None
    customer_id: str | None = None
    source_type: str | None = Field(None, description="CARD, CASH, WALLET, EXTERNAL, …")
    wallet_brand: str | None = Field(None, validation_alias=AliasPath("wallet_details", "brand"))
    card_brand: str | None = Field(None, validation_alias=AliasPath("card_details", "card", "card_brand"))
    status: str | None = Field(None, description="APPROVED, PENDING, COMPLETED, CANCELED or FAILED")
    currency: Currency = Field(validation_alias=AliasPath("total_money", "currency"))
    total_amount: MinorAmount = Field(validation_alias="total_money", ge=0)
    refunded_amount: MinorAmount | None = Field(None, validation_alias="refunded_money")
    receipt_number: str | None = None
    created_at: Instant
    updated_at: Instant


class ProcessingFee(Record):
    """What Square keeps of one payment; an adjustment is a fee of its own."""

    fee_type: str | None = Field(None, validation_alias="type", description="INITIAL or ADJUSTMENT")
    effective_at: Instant | None = None
    currency: Currency = Field(validation_alias=AliasPath("amount_money", "currency"))
    amount: MinorAmount = Field(validation_alias="amount_money")


class PaymentRefund(Record):
    """Money given back for a payment; `order_id` is the return order."""

    refund_id: str = Field(validation_alias="id", min_length=1)
    payment_id: str | None = None
    order_id: str | None = None
    location_id: str | None = None
    status: str | None = Field(None, description="PENDING, COMPLETED, REJECTED or FAILED")
    currency: Currency = Field(validation_alias=AliasPath("amount_money", "currency"))
    amount: MinorAmount = Field(validation_alias="amount_money", ge=0)
    reason: str | None = None
    created_at: Instant
    updated_at: Instant


class InventoryCount(Record):
    """Units of one variation in one state at one location; below zero if sold before they were counted in."""

    catalog_object_id: str = Field(min_length=1)
    catalog_object_type: str | None = None
    location_id: str = Field(min_length=1)
    state: str = Field(description="IN_STOCK, RESERVED_FOR_SALE, …")
    quantity: Quantity
    calculated_at: Instant


def _rfc3339(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _time_range(bounds: Bounds) -> dict[str, str]:
    ends = {"start_at": bounds.since, "end_at": bounds.until}
    return {name: _rfc3339(instant) for name, instant in ends.items() if instant is not None}


def _ask_catalog(types: str) -> Any:
    return lambda bounds: Ask(params={"types": types})


def _sweep_catalog(types: str) -> Sweep:
    """The list holds no deleted objects."""
    return Sweep(ask=Ask(params={"types": types}), rows="objects", pages=_QUERY_CURSOR)


def _ask_customers(bounds: Bounds) -> Ask:
    query: dict[str, Any] = {"sort": {"field": "CREATED_AT", "order": "ASC"}}
    if window := _time_range(bounds):
        query["filter"] = {"updated_at": window}
    return Ask(json_body={"limit": 100, "query": query})


def _ask_orders(bounds: Bounds) -> Ask:
    # A time filter is refused unless the sort is by the same field.
    query: dict[str, Any] = {"sort": {"sort_field": "UPDATED_AT", "sort_order": "ASC"}}
    if window := _time_range(bounds):
        query["filter"] = {"date_time_filter": {"updated_at": window}}
    return Ask(json_body={"location_ids": list(bounds.keys), "limit": 500, "query": query})


def _money_movements(bounds: Bounds) -> dict[str, Any]:
    params: dict[str, Any] = {
        "begin_time": _FIRST_DAY,
        "sort_field": "UPDATED_AT",
        "sort_order": "ASC",
        "limit": 100,
    }
    if bounds.since is not None:
        params["updated_at_begin_time"] = _rfc3339(bounds.since)
    if bounds.until is not None:
        params["updated_at_end_time"] = _rfc3339(bounds.until)
    return params


def _ask_payments(bounds: Bounds) -> Ask:
    # Without a location the answer covers the seller's main location only.
    return Ask(params={**_money_movements(bounds), "location_id": bounds.keys[0]})


def _ask_refunds(bounds: Bounds) -> Ask:
    return Ask(params=_money_movements(bounds))


def _ask_counts(bounds: Bounds) -> Ask:
    body: dict[str, Any] = {"states": ["IN_STOCK", "RESERVED_FOR_SALE"], "limit": 1000}
    if bounds.since is not None:
        body["updated_after"] = _rfc3339(bounds.since)
    return Ask(json_body=body)


def decode(content: bytes) -> Any:
    """Decode an answer, and write into each returned line which sale it comes from: Square nests it only."""
    body = decode_json(content)
    for taken_back in dig(body, "orders.returns") or []:
        for line in dig(taken_back, "return_line_items") or []:
            if isinstance(line, dict):
                line["source_order_id"] = taken_back.get("source_order_id")
    return body


def fault(body: Any) -> ConnectorError | None:
    """Find Square's `errors` list in an answer."""
    errors = body.get("errors") if isinstance(body, dict) else None
    if not errors:
        return None
    first = errors[0]
    message = (
        f"square: {first.get('category')} {first.get('code')}: {first.get('detail') or 'no detail given'}"
    )
    return ThrottledError(message) if first.get("code") == "RATE_LIMITED" else FatalError(message)


_BODY_CURSOR = TokenPages(read="cursor", write="json.cursor")
_QUERY_CURSOR = TokenPages(read="cursor", write="params.cursor")


def _one(path: str, rows: str) -> Lookup:
    return Lookup(
        ask=lambda bounds: Ask(path=f"{path}/{quote(bounds.keys[0], safe='')}"), rows=rows, method="GET"
    )


def _ask_these_orders(bounds: Bounds) -> Ask:
    return Ask(json_body={"order_ids": list(bounds.keys)})


WEBHOOK = Webhook(
    signature=DigestSignature(header="x-square-hmacsha256-signature", parts=("address", "body")),
    topic="type",
    delivery="event_id",
    notices=(
        # A merge makes a new customer of several, and deletes those.
        Notice(
            topic="customer.*",
            when="data.object.event_context.merge.to_customer_id",
            streams=("customers",),
            key="data.object.event_context.merge.from_customer_ids",
            merged_into="data.object.event_context.merge.to_customer_id",
        ),
        Notice(topic="customer.deleted", streams=("customers",), key="data.id", is_deletion=True),
        Notice(topic="customer.*", streams=("customers",), key="data.id"),
        Notice(topic="order.*", streams=("orders",), key="data.id"),
        Notice(topic="payment.*", streams=("payments",), key="data.id"),
        Notice(topic="refund.*", streams=("refunds",), key="data.id"),
        Notice(topic="location.*", streams=("locations",)),
        Notice(topic="catalog.version.updated", streams=("catalog_categories", "catalog_items")),
        Notice(topic="inventory.count.updated", streams=("inventory_counts",)),
    ),
    documentation="https://developer.squareup.com/docs/webhooks/step3validate",
)

SOURCE = Source(
    name="square",
    title="Square",
    kind=Kind.POS,
    owner="retail",
    base_url="https://connect.squareup.com",
    auth=Bearer(),
    headers={"Square-Version": "2025-08-20"},
    decode=decode,
    fault=fault,
    documentation="https://developer.squareup.com/reference/square",
    webhook=WEBHOOK,
    streams=(
        Stream(
            name="locations",
            kept="Locations are deactivated, which they say, never deleted.",
            record=Location,
            key=("location_id",),
            path="/v2/locations",
            rows="locations",
            description="Seller locations; the list has no change filter.",
        ),
        Stream(
            name="catalog_categories",
            record=Category,
            key=("category_id",),
            path="/v2/catalog/list",
            ask=_ask_catalog("CATEGORY"),
            rows="objects",
            pages=_QUERY_CURSOR,
            sweep=_sweep_catalog("CATEGORY"),
            description="Catalogue categories.",
        ),
        Stream(
            name="catalog_items",
            record=Item,
            key=("item_id",),
            path="/v2/catalog/list",
            ask=_ask_catalog("ITEM"),
            rows="objects",
            pages=_QUERY_CURSOR,
            sweep=_sweep_catalog("ITEM"),
            children=(
                Child(
                    name="catalog_variations",
                    path="item_data.variations",
                    record=Variation,
                    parent={"item_id": "item_id"},
                    description="What is sold.",
                ),
            ),
            description="Catalogue items.",
        ),
        Stream(
            name="customers",
            record=Customer,
            key=("customer_id",),
            path="/v2/customers/search",
            method="POST",
            ask=_ask_customers,
            rows="customers",
            pages=_BODY_CURSOR,
            lookup=_one("/v2/customers", "customer"),
            sweep=Sweep(ask=_ask_customers(Bounds()), rows="customers", pages=_BODY_CURSOR),
            cursor="updated_at",
            description="Customer directory.",
        ),
        Stream(
            name="orders",
            kept="Orders are cancelled, never deleted.",
            record=Order,
            key=("order_id",),
            path="/v2/orders/search",
            method="POST",
            ask=_ask_orders,
            rows="orders",
            pages=_BODY_CURSOR,
            lookup=Lookup(ask=_ask_these_orders, rows="orders", size=100, path="/v2/orders/batch-retrieve"),
            cursor="updated_at",
            fan_out=("locations", "location_id"),
            fan_out_size=10,
            control_totals=(ControlTotal(amount="total_amount", currency="currency"),),
            children=(
                Child(
                    name="order_line_items",
                    path="line_items",
                    record=LineItem,
                    parent={"order_id": "order_id"},
                ),
                Child(
                    name="order_returns", path="returns", record=OrderReturn, parent={"order_id": "order_id"}
                ),
                Child(
                    name="order_return_line_items",
                    path="returns.return_line_items",
                    record=ReturnLineItem,
                    parent={"order_id": "order_id"},
                ),
                Child(
                    name="order_fulfillments",
                    path="fulfillments",
                    record=Fulfillment,
                    parent={"order_id": "order_id"},
                ),
            ),
            description="Sales, exchanges and returns.",
        ),
        Stream(
            name="payments",
            kept="Payments are cancelled, never deleted.",
            record=Payment,
            key=("payment_id",),
            path="/v2/payments",
            ask=_ask_payments,
            rows="payments",
            pages=_QUERY_CURSOR,
            lookup=_one("/v2/payments", "payment"),
            cursor="updated_at",
            fan_out=("locations", "location_id"),
            fan_out_size=1,
            control_totals=(ControlTotal(amount="total_amount", currency="currency"),),
            children=(
                Child(
                    name="payment_fees",
                    path="processing_fee",
                    record=ProcessingFee,
                    parent={"payment_id": "payment_id"},
                ),
            ),
            description="Payments; fees appear on a payment hours after it was taken.",
        ),
        Stream(
            name="refunds",
            kept="Refunds are never deleted.",
            record=PaymentRefund,
            key=("refund_id",),
            path="/v2/refunds",
            ask=_ask_refunds,
            rows="refunds",
            pages=_QUERY_CURSOR,
            lookup=_one("/v2/refunds", "refund"),
            cursor="updated_at",
            control_totals=(ControlTotal(amount="amount", currency="currency"),),
            description="Refunds.",
        ),
        Stream(
            name="inventory_counts",
            kept="A count goes with its variation, whose item is swept.",
            record=InventoryCount,
            key=("catalog_object_id", "location_id", "state"),
            path="/v2/inventory/counts/batch-retrieve",
            method="POST",
            ask=_ask_counts,
            rows="counts",
            pages=_BODY_CURSOR,
            cursor="calculated_at",
            lag=timedelta(hours=1),
            description="Stock per variation, location and state.",
        ),
    ),
)
