"""Shopify, the company's own web shop: orders, customers, products, variants, locations, stock levels.

Protocol: Admin GraphQL, one address per shop (ORDERHUB_SHOPIFY_URL=https://<shop>.myshopify.com); an access token
in a header; connections with `pageInfo`; a leaky bucket of query cost. A throttled query is answered 200 with an
error `THROTTLED` and the state of the bucket, from which the wait follows. Amounts are read as the buyer saw
them (`presentmentMoney`). Orders older than 60 days need the scope `read_all_orders`.

Page sizes keep every query under 1,000 points, the most one may ask for, even when each nested connection is
full. An order with more lines than one answer holds is quarantined rather than cut short.

Source: https://shopify.dev/docs/api/admin-graphql
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from connectors.declare import (
    AliasPath,
    Amount,
    Ask,
    Bounds,
    Bulk,
    Child,
    ConnectorError,
    ControlTotal,
    Count,
    Country,
    Currency,
    DigestSignature,
    FatalError,
    Field,
    Gtin,
    HeaderToken,
    Instant,
    Kind,
    Lookup,
    Notice,
    Phone,
    Quantity,
    Record,
    RefusedError,
    Source,
    Stream,
    Sweep,
    ThrottledError,
    TokenPages,
    Webhook,
    decode_json,
    dig,
)

_PATH = "/admin/api/2026-07/graphql.json"
# No connection can be paged further than this; ordered streams start again from the last change time.
_DEEPEST_ROW = 25_000
# A throttle that states no bucket restores in about this time on every plan.
_BLIND_WAIT_SECONDS = 10.0


def _total_of(path: str, empty: Decimal | None = Decimal(0)) -> BeforeValidator:
    """Sum the decimal texts found at `path` below each item of a list; an empty list is `empty`."""

    def total(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        if not value:
            return empty
        try:
            return sum((Decimal(str(dig(item, path))) for item in value), Decimal(0))
        except InvalidOperation as error:
            raise ValueError(f"an item of the list has no amount at {path}") from error

    return BeforeValidator(total)


def _whole(has_more: bool) -> bool:
    if has_more:
        raise ValueError("it has more lines than one answer holds; ask for more per page in the query")
    return has_more


def _money(name: str, part: str = "amount") -> AliasPath:
    return AliasPath(name, "presentmentMoney", part)


class Order(Record):
    """An order of the web shop. Amounts in the currency the buyer paid in, as first booked."""

    order_id: str = Field(validation_alias="id", min_length=1)
    name: str = Field(description="number as printed, such as #1001")
    is_test: bool | None = Field(None, validation_alias="test")
    source_name: str | None = Field(None, validation_alias="sourceName")
    po_number: str | None = Field(None, validation_alias="poNumber")
    financial_status: str | None = Field(None, validation_alias="displayFinancialStatus")
    fulfillment_status: str | None = Field(None, validation_alias="displayFulfillmentStatus")
    email: str | None = None
    phone: Phone | None = None
    customer_id: str | None = Field(None, validation_alias=AliasPath("customer", "id"))
    currency: Currency = Field(validation_alias="presentmentCurrencyCode")
    discount_amount: Amount | None = Field(None, validation_alias=_money("totalDiscountsSet"))
    shipping_amount: Amount | None = Field(
        None, validation_alias=_money("totalShippingPriceSet"), description="before discounts and returns"
    )
    tax_amount: Amount | None = Field(None, validation_alias=_money("totalTaxSet"))
    duty_amount: Amount | None = Field(None, validation_alias=_money("originalTotalDutiesSet"))
    tip_amount: Amount | None = Field(None, validation_alias=_money("totalTipReceivedSet"))
    total_amount: Amount = Field(
        validation_alias=_money("totalPriceSet"),
        ge=0,
        description="what the buyer pays, tax and duties included",
    )
    received_amount: Amount | None = Field(None, validation_alias=_money("totalReceivedSet"))
    refunded_amount: Amount | None = Field(None, validation_alias=_money("totalRefundedSet"))
    shipping_title: str | None = Field(None, validation_alias=AliasPath("shippingLine", "title"))
    ship_to_name: str | None = Field(None, validation_alias=AliasPath("shippingAddress", "name"))
    ship_to_street: str | None = Field(None, validation_alias=AliasPath("shippingAddress", "address1"))
    ship_to_city: str | None = Field(None, validation_alias=AliasPath("shippingAddress", "city"))
    ship_to_region: str | None = Field(None, validation_alias=AliasPath("shippingAddress", "province"))
    ship_to_postcode: str | None = Field(None, validation_alias=AliasPath("shippingAddress", "zip"))
    ship_to_country: Country | None = Field(
        None, validation_alias=AliasPath("shippingAddress", "countryCodeV2")
    )
    tags: list[str] = Field(default_factory=list)
    created_at: Instant = Field(validation_alias="createdAt")
    processed_at: Instant | None = Field(
        None,
        validation_alias="processedAt",
        description="when the buyer ordered; before createdAt if imported",
    )
    updated_at: Instant = Field(validation_alias="updatedAt")
    cancelled_at: Instant | None = Field(None, validation_alias="cancelledAt")
    closed_at: Instant | None = Field(None, validation_alias="closedAt")
    has_more_lines: Annotated[bool, AfterValidator(_whole)] = Field(
        validation_alias=AliasPath("lineItems", "pageInfo", "hasNextPage")
    )


class LineItem(Record):
    """One line of an order, as first booked."""

    line_item_id: str = Field(validation_alias="id", min_length=1)
    title: str | None = None
    sku: str | None = None
    variant_id: str | None = Field(None, validation_alias=AliasPath("variant", "id"))
    quantity: Quantity = Field(ge=0)
    currency: Currency = Field(validation_alias=_money("originalUnitPriceSet", "currencyCode"))
    unit_price_amount: Amount = Field(validation_alias=_money("originalUnitPriceSet"))
    discount_amount: Annotated[Amount, _total_of("allocatedAmountSet.presentmentMoney.amount")] | None = (
        Field(None, validation_alias="discountAllocations")
    )
    tax_amount: Annotated[Amount, _total_of("priceSet.presentmentMoney.amount")] | None = Field(
        None, validation_alias="taxLines"
    )


class Transaction(Record):
    """Money asked for, taken or given back through one gateway."""

    transaction_id: str = Field(validation_alias="id", min_length=1)
    kind: str | None = Field(None, description="AUTHORIZATION, CAPTURE, SALE, VOID, REFUND, …")
    status: str | None = Field(None, description="SUCCESS, PENDING, FAILURE, ERROR, …")
    gateway: str | None = None
    currency: Currency = Field(validation_alias=_money("amountSet", "currencyCode"))
    amount: Amount = Field(validation_alias=_money("amountSet"), ge=0)
    fee_amount: Annotated[Amount | None, _total_of("amount.amount", empty=None)] = Field(
        None, validation_alias="fees", description="null where another provider took the money"
    )
    fee_currency: Currency | None = Field(
        None, validation_alias=AliasPath("fees", 0, "amount", "currencyCode")
    )
    processed_at: Instant | None = Field(None, validation_alias="processedAt")


class Refund(Record):
    """A refund of an order, with or without goods coming back."""

    refund_id: str = Field(validation_alias="id", min_length=1)
    note: str | None = None
    currency: Currency = Field(validation_alias=_money("totalRefundedSet", "currencyCode"))
    amount: Amount = Field(validation_alias=_money("totalRefundedSet"), ge=0)
    created_at: Instant | None = Field(
        None, validation_alias="createdAt", description="null until it is made"
    )
    has_more_lines: Annotated[bool, AfterValidator(_whole)] = Field(
        validation_alias=AliasPath("refundLineItems", "pageInfo", "hasNextPage")
    )


class RefundLineItem(Record):
    """Units of one order line that a refund took back; `restock_type` tells whether goods came."""

    refund_line_item_id: str = Field(validation_alias="id", min_length=1)
    line_item_id: str | None = Field(None, validation_alias=AliasPath("lineItem", "id"))
    variant_id: str | None = Field(None, validation_alias=AliasPath("lineItem", "variant", "id"))
    quantity: Quantity = Field(ge=0)
    restock_type: str | None = Field(
        None, validation_alias="restockType", description="RETURN, CANCEL, NO_RESTOCK, …"
    )
    refund_id: str | None = Field(None, validation_alias=AliasPath("refund", "id"))
    refunded_at: Instant | None = Field(None, validation_alias=AliasPath("refund", "createdAt"))


class Fulfillment(Record):
    """A parcel group that left one location."""

    fulfillment_id: str = Field(validation_alias="id", min_length=1)
    name: str | None = None
    status: str | None = Field(None, description="SUCCESS, CANCELLED, ERROR, FAILURE, …")
    display_status: str | None = Field(None, validation_alias="displayStatus")
    location_id: str | None = Field(None, validation_alias=AliasPath("location", "id"))
    carrier: str | None = Field(None, validation_alias=AliasPath("trackingInfo", 0, "company"))
    tracking_number: str | None = Field(None, validation_alias=AliasPath("trackingInfo", 0, "number"))
    created_at: Instant = Field(validation_alias="createdAt")
    in_transit_at: Instant | None = Field(None, validation_alias="inTransitAt")
    delivered_at: Instant | None = Field(None, validation_alias="deliveredAt")


class Customer(Record):
    """A customer account, or a guest that left an address."""

    customer_id: str = Field(validation_alias="id", min_length=1)
    first_name: str | None = Field(None, validation_alias="firstName")
    last_name: str | None = Field(None, validation_alias="lastName")
    email: str | None = Field(None, validation_alias=AliasPath("defaultEmailAddress", "emailAddress"))
    email_consent: str | None = Field(
        None, validation_alias=AliasPath("defaultEmailAddress", "marketingState")
    )
    phone: Phone | None = Field(None, validation_alias=AliasPath("defaultPhoneNumber", "phoneNumber"))
    locale: str | None = None
    company: str | None = Field(None, validation_alias=AliasPath("defaultAddress", "company"))
    street: str | None = Field(None, validation_alias=AliasPath("defaultAddress", "address1"))
    city: str | None = Field(None, validation_alias=AliasPath("defaultAddress", "city"))
    region: str | None = Field(None, validation_alias=AliasPath("defaultAddress", "province"))
    postcode: str | None = Field(None, validation_alias=AliasPath("defaultAddress", "zip"))
    country: Country | None = Field(None, validation_alias=AliasPath("defaultAddress", "countryCodeV2"))
    tags: list[str] = Field(default_factory=list)
    created_at: Instant = Field(validation_alias="createdAt")
    updated_at: Instant = Field(validation_alias="updatedAt")


class Product(Record):
    """A product; what is sold are its variants."""

    product_id: str = Field(validation_alias="id", min_length=1)
    title: str | None = None
    vendor: str | None = None
    product_type: str | None = Field(None, validation_alias="productType")
    status: str | None = None
    tags: list[str] = Field(default_factory=list)
    updated_at: Instant = Field(validation_alias="updatedAt")


class Variant(Record):
    """A variant: what a line item points at."""

    variant_id: str = Field(validation_alias="id", min_length=1)
    product_id: str | None = Field(None, validation_alias=AliasPath("product", "id"))
    title: str | None = None
    sku: str | None = None
    barcode: Gtin | None = None
    price_amount: Amount | None = Field(None, validation_alias="price", description="in the shop's currency")
    inventory_item_id: str | None = Field(None, validation_alias=AliasPath("inventoryItem", "id"))
    unit_cost_amount: Amount | None = Field(
        None, validation_alias=AliasPath("inventoryItem", "unitCost", "amount")
    )
    cost_currency: Currency | None = Field(
        None, validation_alias=AliasPath("inventoryItem", "unitCost", "currencyCode")
    )
    origin_country: Country | None = Field(
        None, validation_alias=AliasPath("inventoryItem", "countryCodeOfOrigin")
    )
    weight: Quantity | None = Field(
        None, validation_alias=AliasPath("inventoryItem", "measurement", "weight", "value"), ge=0
    )
    weight_unit: str | None = Field(
        None, validation_alias=AliasPath("inventoryItem", "measurement", "weight", "unit")
    )
    updated_at: Instant = Field(validation_alias="updatedAt")


class Location(Record):
    """A place the shop keeps stock at."""

    location_id: str = Field(validation_alias="id", min_length=1)
    name: str | None = None
    is_active: bool | None = Field(None, validation_alias="isActive")
    is_fulfillment_service: bool | None = Field(
        None, validation_alias="isFulfillmentService", description="run by a third party"
    )
    fulfills_online_orders: bool | None = Field(None, validation_alias="fulfillsOnlineOrders")
    street: str | None = Field(None, validation_alias=AliasPath("address", "address1"))
    city: str | None = Field(None, validation_alias=AliasPath("address", "city"))
    region: str | None = Field(None, validation_alias=AliasPath("address", "province"))
    postcode: str | None = Field(None, validation_alias=AliasPath("address", "zip"))
    country: Country | None = Field(None, validation_alias=AliasPath("address", "countryCode"))
    latitude: float | None = Field(None, validation_alias=AliasPath("address", "latitude"), ge=-90, le=90)
    longitude: float | None = Field(None, validation_alias=AliasPath("address", "longitude"), ge=-180, le=180)


class InventoryLevel(Record):
    """Stock of one variant at one location; on hand below zero means oversold."""

    inventory_level_id: str = Field(validation_alias="id", min_length=1)
    inventory_item_id: str = Field(validation_alias=AliasPath("item", "id"), min_length=1)
    location_id: str = Field(validation_alias=AliasPath("location", "id"), min_length=1)
    on_hand_qty: Quantity | None = Field(None, validation_alias=AliasPath("onHand", 0, "quantity"))
    committed_qty: Quantity | None = Field(None, validation_alias=AliasPath("committed", 0, "quantity"))
    updated_at: Instant = Field(validation_alias="updatedAt")


_MONEY = "{ presentmentMoney { amount currencyCode } }"

_ORDER_HEAD = f"""
      id name test sourceName poNumber displayFinancialStatus displayFulfillmentStatus email phone tags
      presentmentCurrencyCode createdAt processedAt updatedAt cancelledAt closedAt
      customer {{ id }}
      totalDiscountsSet {_MONEY} totalShippingPriceSet {_MONEY} totalTaxSet {_MONEY} totalTipReceivedSet {_MONEY}
      originalTotalDutiesSet {_MONEY} totalPriceSet {_MONEY} totalReceivedSet {_MONEY} totalRefundedSet {_MONEY}
      shippingLine {{ title }}
      shippingAddress {{ name address1 city province zip countryCodeV2 }}
      transactions {{ id kind status gateway processedAt amountSet {_MONEY} fees {{ amount {{ amount currencyCode }} }} }}
      fulfillments {{
        id name status displayStatus createdAt inTransitAt deliveredAt
        location {{ id }}
        trackingInfo {{ company number }}
      }}
"""

_LINE = f"""
          id title sku quantity
          variant {{ id }}
          originalUnitPriceSet {_MONEY}
          discountAllocations {{ allocatedAmountSet {_MONEY} }}
          taxLines {{ priceSet {_MONEY} }}
"""

_REFUND_LINES = (
    "refundLineItems(first: 8) "
    "{ pageInfo { hasNextPage } nodes { id quantity restockType lineItem { id variant { id } } } }"
)

_ORDER = f"""
      {_ORDER_HEAD}
      lineItems(first: 24) {{ pageInfo {{ hasNextPage }} nodes {{ {_LINE} }} }}
      refunds {{ id note createdAt totalRefundedSet {_MONEY} {_REFUND_LINES} }}
"""

_ORDER_IN_BULK = f"""
      {_ORDER_HEAD}
      lineItems {{ edges {{ node {{ {_LINE} }} }} }}
      refunds {{ id }}
"""

ORDERS = f"""
query Orders($query: String, $after: String) {{
  orders(first: 3, after: $after, query: $query, sortKey: UPDATED_AT) {{
    pageInfo {{ hasNextPage endCursor }}
    nodes {{
      {_ORDER}
    }}
  }}
}}
"""

_CUSTOMER = """
      id firstName lastName locale tags createdAt updatedAt
      defaultEmailAddress { emailAddress marketingState }
      defaultPhoneNumber { phoneNumber }
      defaultAddress { company address1 city province zip countryCodeV2 }
"""

CUSTOMERS = f"""
query Customers($query: String, $after: String) {{
  customers(first: 150, after: $after, query: $query, sortKey: UPDATED_AT) {{
    pageInfo {{ hasNextPage endCursor }}
    nodes {{
      {_CUSTOMER}
    }}
  }}
}}
"""

_PRODUCT = "id title vendor productType status tags updatedAt"

PRODUCTS = f"""
query Products($query: String, $after: String) {{
  products(first: 250, after: $after, query: $query, sortKey: UPDATED_AT) {{
    pageInfo {{ hasNextPage endCursor }}
    nodes {{ {_PRODUCT} }}
  }}
}}
"""

_VARIANT = """
      id title sku barcode price updatedAt
      product { id }
      inventoryItem {
        id countryCodeOfOrigin
        unitCost { amount currencyCode }
        measurement { weight { value unit } }
      }
"""

VARIANTS = f"""
query Variants($query: String, $after: String) {{
  productVariants(first: 100, after: $after, query: $query) {{
    pageInfo {{ hasNextPage endCursor }}
    nodes {{
      {_VARIANT}
    }}
  }}
}}
"""

LOCATIONS = """
query Locations($after: String) {
  locations(first: 100, after: $after, includeInactive: true, includeLegacy: true) {
    pageInfo { hasNextPage endCursor }
    nodes {
      id name isActive isFulfillmentService fulfillsOnlineOrders
      address { address1 city province zip countryCode latitude longitude }
    }
  }
}
"""

INVENTORY_LEVELS = """
query InventoryLevels($location: ID!, $query: String, $after: String) {
  location(id: $location) {
    inventoryLevels(first: 150, after: $after, query: $query) {
      pageInfo { hasNextPage endCursor }
      nodes {
        id updatedAt
        item { id }
        location { id }
        onHand: quantities(names: ["on_hand"]) { quantity }
        committed: quantities(names: ["committed"]) { quantity }
      }
    }
  }
}
"""


def _iso(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _changed(bounds: Bounds) -> str | None:
    ends = [(">=", bounds.since), ("<", bounds.until)]
    return " ".join(f"updated_at:{sign}'{_iso(at)}'" for sign, at in ends if at is not None) or None


def _ask(document: str) -> Callable[[Bounds], Ask]:
    def ask(bounds: Bounds) -> Ask:
        return Ask(json_body={"query": document, "variables": {"query": _changed(bounds)}})

    return ask


def _ask_locations(bounds: Bounds) -> Ask:
    return Ask(json_body={"query": LOCATIONS, "variables": {}})


def _ask_levels(bounds: Bounds) -> Ask:
    variables = {"location": bounds.keys[0], "query": _changed(bounds)}
    return Ask(json_body={"query": INVENTORY_LEVELS, "variables": variables})


def _count(field: str) -> Count:
    document = f"query {{ {field}(limit: null) {{ count precision }} }}"
    return Count(ask=Ask(json_body={"query": document, "variables": {}}), read=("data", field, "count"))


def _by_id(kind: str, fields: str, size: int) -> Lookup:
    """Objects by their ids; what is no more comes as null."""
    document = f"query Nodes($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on {kind} {{ {fields} }} }} }}"
    return Lookup(
        ask=lambda bounds: Ask(json_body={"query": document, "variables": {"ids": list(bounds.keys)}}),
        rows="data.nodes",
        size=size,
    )


_RUN = """
mutation Run($query: String!) {
  bulkOperationRunQuery(query: $query) { bulkOperation { id status } userErrors { field message } }
}
"""
_ASK_RUN = (
    "query Run($id: ID!) { node(id: $id) { ... on BulkOperation { id status errorCode objectCount url } } }"
)


def _in_bulk(connection: str, fields: str) -> Bulk:
    """A whole connection; a bulk query pages nothing, and allows no connection inside a list."""

    def start(bounds: Bounds) -> Ask:
        changed = _changed(bounds)
        within = f'(query: "{changed}")' if changed else ""
        document = f"{{ {connection}{within} {{ edges {{ node {{ {fields} }} }} }} }}"
        return Ask(json_body={"query": _RUN, "variables": {"query": document}})

    return Bulk(
        start=start,
        begun="data.bulkOperationRunQuery.bulkOperation.id",
        complaints="data.bulkOperationRunQuery.userErrors",
        ask=lambda name: Ask(json_body={"query": _ASK_RUN, "variables": {"id": name}}),
        told="data.node",
        state="status",
        address="url",
        count="objectCount",
        running=("CREATED", "RUNNING"),
        done=("COMPLETED",),
        assemble=assemble,
    )


def assemble(lines: list[Any]) -> tuple[list[Any], list[str]]:
    """Put lines below the object that their `__parentId` names, in the order they came; they may stand before it.

    Orders with refunds are left to be asked for one by one: the lines of a refund are in no file.
    """
    objects = {line["id"]: line for line in lines if "__parentId" not in line}
    for key, row in objects.items():
        if key.startswith("gid://shopify/Order/"):
            row["lineItems"] = {"pageInfo": {"hasNextPage": False}, "nodes": []}
    for line in lines:
        if "__parentId" in line:
            objects[line.pop("__parentId")]["lineItems"]["nodes"].append(line)
    refunded = [key for key, row in objects.items() if row.get("refunds")]
    return [row for key, row in objects.items() if not row.get("refunds")], refunded


def _sweep(connection: str) -> Sweep:
    document = (
        f"query Ids($after: String) {{ {connection}(first: 250, after: $after) "
        "{ pageInfo { hasNextPage endCursor } nodes { id } } }"
    )
    return Sweep(
        ask=Ask(json_body={"query": document, "variables": {}}),
        rows=f"data.{connection}.nodes",
        pages=_pages(connection),
    )


def _pages(connection: str, ceiling: int | None = None) -> TokenPages:
    info = f"data.{connection}.pageInfo"
    return TokenPages(
        read=f"{info}.endCursor", more=f"{info}.hasNextPage", write="json.variables.after", ceiling=ceiling
    )


def decode(content: bytes) -> Any:
    """Decode an answer, and write into each refunded line which refund it belongs to: Shopify nests it only.

    A refunded line without an id gets one of what a refund has once: line, and what became of the goods.
    """
    body = decode_json(content)
    for refund in dig(body, "data.orders.nodes.refunds") or dig(body, "data.nodes.refunds") or []:
        for line in dig(refund, "refundLineItems.nodes") or []:
            if isinstance(line, dict):
                line["refund"] = {"id": refund.get("id"), "createdAt": refund.get("createdAt")}
                if line.get("id") is None and refund.get("id") and (item := dig(line, "lineItem.id")):
                    line["id"] = f"{refund['id']}/{item}/{line.get('restockType')}"
    return body


def fault(body: Any) -> ConnectorError | None:
    """Find GraphQL errors in a 200 answer; a throttle carries the seconds until the bucket holds enough."""
    errors = body.get("errors") if isinstance(body, dict) else None
    if not errors:
        return None
    if not isinstance(errors, list):
        return FatalError(f"shopify: {errors}")
    first = errors[0]
    message = f"shopify: {first.get('message')}"
    match dig(first, "extensions.code"):
        case "THROTTLED":
            cost = dig(body, "extensions.cost") or {}
            bucket = cost.get("throttleStatus") or {}
            missing = float(cost.get("requestedQueryCost") or 0) - float(
                bucket.get("currentlyAvailable") or 0
            )
            rate = float(bucket.get("restoreRate") or 0)
            wait = max(missing, 0.0) / rate if rate else _BLIND_WAIT_SECONDS
            return ThrottledError(message, wait)
        case "ACCESS_DENIED":
            return RefusedError(f"{message}. Grant the app the scope it names.")
        case _:
            return FatalError(message)


def _told(topic: str, stream: str, kind: str) -> tuple[Notice, ...]:
    """What is told of one kind of object: a deletion names the bare number only."""
    prefix = f"gid://shopify/{kind}/"
    return (
        Notice(topic=f"{topic}/delete", streams=(stream,), key="id", prefix=prefix, is_deletion=True),
        Notice(topic=f"{topic}/*", streams=(stream,), key="id", prefix=prefix),
    )


_OF_ORDER: dict[str, Any] = {"key": "order_id", "prefix": "gid://shopify/Order/"}

WEBHOOK = Webhook(
    signature=DigestSignature(header="x-shopify-hmac-sha256"),
    topic="header:x-shopify-topic",
    delivery="header:x-shopify-webhook-id",
    notices=(
        Notice(
            topic="customers/merge",
            when="status",
            equals="completed",
            streams=("customers",),
            key="admin_graphql_api_customer_deleted_id",
            merged_into="admin_graphql_api_customer_kept_id",
        ),
        # A merge that failed or goes on is told too: whether the customer is still there, the shop says.
        Notice(topic="customers/merge", streams=("customers",), key="admin_graphql_api_customer_deleted_id"),
        # Whose messages are no orders or customers, but name one, or none that can be relied on.
        Notice(
            topic="orders/edited",
            streams=("orders",),
            key="order_edit.order_id",
            prefix="gid://shopify/Order/",
        ),
        Notice(topic="orders/*_changed", streams=("orders",)),
        Notice(topic="orders/link_requested", streams=("orders",)),
        Notice(topic="customers/purchasing_summary", streams=("customers",), key="customerId"),
        Notice(topic="customer.tags_*", streams=("customers",), key="customerId"),
        # The consent to text messages names the customer otherwise than those to mail and to WhatsApp do.
        Notice(
            topic="customers_marketing_consent/update",
            streams=("customers",),
            key="id",
            prefix="gid://shopify/Customer/",
        ),
        Notice(
            topic="customers_*_consent/update",
            streams=("customers",),
            key="customer_id",
            prefix="gid://shopify/Customer/",
        ),
        *_told("orders", "orders", "Order"),
        Notice(topic="refunds/*", streams=("orders",), **_OF_ORDER),
        Notice(topic="fulfillments/*", streams=("orders",), **_OF_ORDER),
        Notice(topic="order_transactions/*", streams=("orders",), **_OF_ORDER),
        *_told("customers", "customers", "Customer"),
        *_told("products", "products", "Product"),
        Notice(topic="locations/*", streams=("locations",)),
        Notice(topic="inventory_levels/*", streams=("inventory_levels",)),
    ),
    documentation="https://shopify.dev/docs/apps/build/webhooks/subscribe/https",
)

SOURCE = Source(
    name="shopify",
    title="Shopify",
    kind=Kind.MARKETPLACE,
    owner="e-commerce",
    auth=HeaderToken(header="X-Shopify-Access-Token"),
    hosts=("storage.googleapis.com",),
    decode=decode,
    fault=fault,
    documentation="https://shopify.dev/docs/api/admin-graphql",
    webhook=WEBHOOK,
    streams=(
        Stream(
            name="locations",
            record=Location,
            key=("location_id",),
            path=_PATH,
            method="POST",
            ask=_ask_locations,
            rows="data.locations.nodes",
            pages=_pages("locations"),
            sweep=_sweep("locations"),
            count=_count("locationsCount"),
            description="Stock locations; the list has no change filter.",
        ),
        Stream(
            name="products",
            record=Product,
            key=("product_id",),
            path=_PATH,
            method="POST",
            ask=_ask(PRODUCTS),
            rows="data.products.nodes",
            pages=_pages("products", _DEEPEST_ROW),
            lookup=_by_id("Product", _PRODUCT, 100),
            bulk=_in_bulk("products", _PRODUCT),
            sweep=_sweep("products"),
            count=_count("productsCount"),
            cursor="updated_at",
            description="Products.",
        ),
        Stream(
            name="variants",
            record=Variant,
            key=("variant_id",),
            path=_PATH,
            method="POST",
            ask=_ask(VARIANTS),
            rows="data.productVariants.nodes",
            pages=_pages("productVariants"),
            lookup=_by_id("ProductVariant", _VARIANT, 50),
            bulk=_in_bulk("productVariants", _VARIANT),
            sweep=_sweep("productVariants"),
            count=_count("productVariantsCount"),
            cursor="updated_at",
            description="Product variants.",
        ),
        Stream(
            name="customers",
            record=Customer,
            key=("customer_id",),
            path=_PATH,
            method="POST",
            ask=_ask(CUSTOMERS),
            rows="data.customers.nodes",
            pages=_pages("customers", _DEEPEST_ROW),
            lookup=_by_id("Customer", _CUSTOMER, 100),
            bulk=_in_bulk("customers", _CUSTOMER),
            sweep=_sweep("customers"),
            count=_count("customersCount"),
            cursor="updated_at",
            description="Customers.",
        ),
        Stream(
            name="orders",
            record=Order,
            key=("order_id",),
            path=_PATH,
            method="POST",
            ask=_ask(ORDERS),
            rows="data.orders.nodes",
            pages=_pages("orders", _DEEPEST_ROW),
            lookup=_by_id("Order", _ORDER, 3),
            bulk=_in_bulk("orders", _ORDER_IN_BULK),
            sweep=_sweep("orders"),
            count=_count("ordersCount"),
            cursor="updated_at",
            control_totals=(ControlTotal(amount="total_amount", currency="currency"),),
            children=(
                Child(
                    name="order_line_items",
                    path="lineItems.nodes",
                    record=LineItem,
                    parent={"order_id": "order_id"},
                ),
                Child(
                    name="order_transactions",
                    path="transactions",
                    record=Transaction,
                    parent={"order_id": "order_id"},
                ),
                Child(name="order_refunds", path="refunds", record=Refund, parent={"order_id": "order_id"}),
                Child(
                    name="order_refund_line_items",
                    path="refunds.refundLineItems.nodes",
                    record=RefundLineItem,
                    parent={"order_id": "order_id"},
                ),
                Child(
                    name="order_fulfillments",
                    path="fulfillments",
                    record=Fulfillment,
                    parent={"order_id": "order_id"},
                ),
            ),
            description="Orders with their lines, transactions, refunds and fulfilments.",
        ),
        Stream(
            name="inventory_levels",
            kept="A level goes with its variant or its location, which are swept.",
            record=InventoryLevel,
            key=("inventory_level_id",),
            path=_PATH,
            method="POST",
            ask=_ask_levels,
            rows="data.location.inventoryLevels.nodes",
            pages=_pages("location.inventoryLevels"),
            cursor="updated_at",
            fan_out=("locations", "location_id"),
            fan_out_size=1,
            description="Stock per variant and location.",
        ),
    ),
)
