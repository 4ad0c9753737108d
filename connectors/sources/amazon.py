"""Amazon, the marketplace: orders with items and packages, settlement transactions, stock in its warehouses.

Protocol: Selling Partner API with a Login with Amazon token in `x-amz-access-token`; a next token in the query; a
token bucket per operation (`x-amzn-RateLimit-Limit`, in requests per second). Buyers are known by a relay address
only. Money of an order is a list of categories whose sum is the grand total; discounts count negative in it. What
Amazon keeps and pays back comes from the transactions, days later.

Who bought and where it goes needs a restricted role (Direct-to-Consumer Delivery, Tax Invoicing or Remittance), and no
restricted data token. Amazon lists the operations that ask for one: those of Orders v0, of the shipping, invoicing and direct
fulfilment APIs, and reports with personal data (docs/tokens-api-use-case-guide). None of the three called here is among them:
searchOrders of Orders 2026-01-01 (the role alone decides, docs/access-orders-pii), listTransactions of Finances 2024-06-19
and getInventorySummaries of FBA Inventory v1 (no buyers in either). Who moves from Orders v0, which is deprecated, needs the same
roles and drops the token (docs/orders-api-migration-guide). Without the role, orders are asked for without buyer and recipient; both stay
unknown then, and the pull says so.

Source: https://developer-docs.amazon.com/sp-api (Orders 2026-01-01, Finances 2024-06-19, FBA Inventory v1)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import BeforeValidator

from connectors.declare import (
    AliasPath,
    Amount,
    Ask,
    Bounds,
    Child,
    ConnectorError,
    ControlTotal,
    Country,
    Currency,
    FatalError,
    Field,
    FloatAmount,
    Instant,
    Kind,
    OAuthRefresh,
    Phone,
    Quantity,
    RateLimit,
    Record,
    Source,
    Stream,
    ThrottledError,
    TokenPages,
    decode_json,
    dig,
)

# Orders older than two years are not shown (in some countries: older than 2016).
_FIRST_DAY = "2016-01-01T00:00:00Z"
_OF_PERSONS = ("BUYER", "RECIPIENT")
_STOCK_TOLD_FOR = timedelta(days=540)  # 18 months
_INCLUDED = "BUYER,RECIPIENT,PROCEEDS,PROMOTION,CANCELLATION,FULFILLMENT,PACKAGES,TAX,PAYMENT"


def _subtotal_of(*types: str) -> BeforeValidator:
    """Sum the categories of a proceeds breakdown, sign dropped; a breakdown without them says nought."""

    def total(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        found = [item for item in value if isinstance(item, dict) and item.get("type") in types]
        try:
            return abs(sum((Decimal(str(dig(item, "subtotal.amount"))) for item in found), Decimal(0)))
        except InvalidOperation as error:
            raise ValueError(f"a {' or '.join(types)} breakdown has no amount") from error

    return BeforeValidator(total)


def _breakdown_of(kind: str) -> BeforeValidator:
    """Take the signed amount of one top breakdown of a transaction; null when it is not there.

    The contract's schema has a list of them, its example an object that holds the list.
    """

    def amount(value: Any) -> Any:
        if isinstance(value, dict):
            value = value.get("breakdowns")
        if not isinstance(value, list):
            return value
        found = [item for item in value if isinstance(item, dict) and item.get("breakdownType") == kind]
        return dig(found[0], "breakdownAmount.currencyAmount") if found else None

    return BeforeValidator(amount)


def _identifier_of(name: str) -> BeforeValidator:
    def pick(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        found = [
            dig(item, "relatedIdentifierValue")
            for item in value
            if dig(item, "relatedIdentifierName") == name
        ]
        return found[0] if found else None

    return BeforeValidator(pick)


def _alias_of(kind: str) -> BeforeValidator:
    def pick(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        found = [dig(item, "aliasId") for item in value if dig(item, "aliasType") == kind]
        return found[0] if found else None

    return BeforeValidator(pick)


def _proceeds(*steps: str) -> AliasPath:
    return AliasPath("proceeds", *steps)


def _address(field: str) -> AliasPath:
    return AliasPath("recipient", "deliveryAddress", field)


class Order(Record):
    """An order of one marketplace. A pending order has no money yet."""

    order_id: str = Field(validation_alias="orderId", min_length=1)
    seller_order_id: Annotated[str | None, _alias_of("SELLER_ORDER_ID")] = Field(
        None, validation_alias="orderAliases"
    )
    channel_name: str | None = Field(None, validation_alias=AliasPath("salesChannel", "channelName"))
    marketplace_id: str | None = Field(None, validation_alias=AliasPath("salesChannel", "marketplaceId"))
    marketplace_name: str | None = Field(None, validation_alias=AliasPath("salesChannel", "marketplaceName"))
    programs: list[str] = Field(default_factory=list)
    fulfillment_status: str | None = Field(
        None, validation_alias=AliasPath("fulfillment", "fulfillmentStatus")
    )
    fulfilled_by: str | None = Field(
        None, validation_alias=AliasPath("fulfillment", "fulfilledBy"), description="AMAZON or MERCHANT"
    )
    service_level: str | None = Field(
        None, validation_alias=AliasPath("fulfillment", "fulfillmentServiceLevel")
    )
    promised_at: Instant | None = Field(
        None, validation_alias=AliasPath("fulfillment", "deliverByWindow", "latestDateTime")
    )
    currency: Currency | None = Field(None, validation_alias=_proceeds("grandTotal", "currencyCode"))
    total_amount: Amount | None = Field(None, validation_alias=_proceeds("grandTotal", "amount"))
    item_amount: Annotated[Amount | None, _subtotal_of("ITEM")] = Field(
        None, validation_alias=_proceeds("breakdowns")
    )
    shipping_amount: Annotated[Amount | None, _subtotal_of("SHIPPING")] = Field(
        None, validation_alias=_proceeds("breakdowns")
    )
    discount_amount: Annotated[Amount | None, _subtotal_of("DISCOUNT")] = Field(
        None, validation_alias=_proceeds("breakdowns")
    )
    tax_amount: Annotated[Amount | None, _subtotal_of("TAX")] = Field(
        None, validation_alias=_proceeds("breakdowns")
    )
    tip_amount: Annotated[Amount | None, _subtotal_of("DELIVERY_TIP")] = Field(
        None, validation_alias=_proceeds("breakdowns")
    )
    buyer_name: str | None = Field(None, validation_alias=AliasPath("buyer", "buyerName"))
    buyer_email: str | None = Field(
        None,
        validation_alias=AliasPath("buyer", "buyerEmail"),
        description="relay address, the same for one buyer; not shown for orders fulfilled by Amazon",
    )
    buyer_company: str | None = Field(None, validation_alias=AliasPath("buyer", "buyerCompanyName"))
    po_number: str | None = Field(None, validation_alias=AliasPath("buyer", "buyerPurchaseOrderNumber"))
    tax_number: str | None = Field(
        None, validation_alias=AliasPath("tax", "taxRegistrations", 0, "taxRegistrationNumber")
    )
    ship_to_name: str | None = Field(None, validation_alias=_address("name"))
    ship_to_street: str | None = Field(None, validation_alias=_address("addressLine1"))
    ship_to_city: str | None = Field(None, validation_alias=_address("city"))
    ship_to_region: str | None = Field(None, validation_alias=_address("stateOrRegion"))
    ship_to_postcode: str | None = Field(None, validation_alias=_address("postalCode"))
    ship_to_country: Country | None = Field(None, validation_alias=_address("countryCode"))
    ship_to_phone: Phone | None = Field(None, validation_alias=_address("phone"))
    created_at: Instant = Field(validation_alias="createdTime")
    updated_at: Instant = Field(validation_alias="lastUpdatedTime")


class OrderItem(Record):
    """One item of an order; amounts are for all its units."""

    order_item_id: str = Field(validation_alias="orderItemId", min_length=1)
    asin: str | None = Field(None, validation_alias=AliasPath("product", "asin"))
    seller_sku: str | None = Field(None, validation_alias=AliasPath("product", "sellerSku"))
    title: str | None = Field(None, validation_alias=AliasPath("product", "title"))
    quantity: Quantity = Field(validation_alias="quantityOrdered", ge=0)
    fulfilled_qty: Quantity | None = Field(
        None, validation_alias=AliasPath("fulfillment", "quantityFulfilled"), ge=0
    )
    unit_price_amount: Amount | None = Field(
        None, validation_alias=AliasPath("product", "price", "unitPrice", "amount")
    )
    currency: Currency | None = Field(None, validation_alias=_proceeds("proceedsTotal", "currencyCode"))
    total_amount: Amount | None = Field(None, validation_alias=_proceeds("proceedsTotal", "amount"))
    item_amount: Annotated[Amount | None, _subtotal_of("ITEM")] = Field(
        None, validation_alias=_proceeds("breakdowns")
    )
    discount_amount: Annotated[Amount | None, _subtotal_of("DISCOUNT")] = Field(
        None, validation_alias=_proceeds("breakdowns")
    )
    tax_amount: Annotated[Amount | None, _subtotal_of("TAX")] = Field(
        None, validation_alias=_proceeds("breakdowns")
    )
    cancel_reason: str | None = Field(
        None, validation_alias=AliasPath("cancellation", "cancellationExecution", "cancelReason")
    )


class Package(Record):
    """A parcel of an order that the merchant ships."""

    package_reference_id: str = Field(validation_alias="packageReferenceId", min_length=1)
    status: str | None = Field(None, validation_alias=AliasPath("packageStatus", "status"))
    detailed_status: str | None = Field(None, validation_alias=AliasPath("packageStatus", "detailedStatus"))
    carrier: str | None = None
    shipping_service: str | None = Field(None, validation_alias="shippingService")
    tracking_number: str | None = Field(None, validation_alias="trackingNumber")
    packed_at: Instant | None = Field(None, validation_alias="createdTime")
    shipped_at: Instant | None = Field(None, validation_alias="shipTime")


class PaymentExecution(Record):
    """How a part of an order was paid; only some marketplaces and methods show it."""

    method: str | None = Field(None, validation_alias="paymentMethod")
    currency: Currency = Field(validation_alias=AliasPath("paymentAmount", "currencyCode"))
    amount: Amount = Field(validation_alias=AliasPath("paymentAmount", "amount"))


class Transaction(Record):
    """Money booked to the seller's account: a shipment's proceeds, a refund, a fee. Signed from the seller's side."""

    transaction_id: str = Field(validation_alias="transactionId", min_length=1)
    transaction_type: str | None = Field(
        None, validation_alias="transactionType", description="Shipment, Refund, …"
    )
    status: str | None = Field(
        None,
        validation_alias="transactionStatus",
        description="RELEASED; DEFERRED; DEFERRED_RELEASED: replaced by the transaction that released it",
    )
    description: str | None = None
    order_id: Annotated[str | None, _identifier_of("ORDER_ID")] = Field(
        None, validation_alias="relatedIdentifiers"
    )
    refund_id: Annotated[str | None, _identifier_of("REFUND_ID")] = Field(
        None, validation_alias="relatedIdentifiers"
    )
    settlement_id: Annotated[str | None, _identifier_of("SETTLEMENT_ID")] = Field(
        None, validation_alias="relatedIdentifiers"
    )
    shipment_id: Annotated[str | None, _identifier_of("SHIPMENT_ID")] = Field(
        None, validation_alias="relatedIdentifiers", description="at times in place of the order's id"
    )
    transfer_id: Annotated[str | None, _identifier_of("TRANSFER_ID")] = Field(
        None, validation_alias="relatedIdentifiers", description="of the transfer that closes a settlement"
    )
    marketplace_id: str | None = Field(
        None, validation_alias=AliasPath("marketplaceDetails", "marketplaceId")
    )
    currency: Currency = Field(validation_alias=AliasPath("totalAmount", "currencyCode"))
    total_amount: FloatAmount = Field(validation_alias=AliasPath("totalAmount", "currencyAmount"))
    sales_amount: Annotated[FloatAmount | None, _breakdown_of("Sales")] = Field(
        None, validation_alias="breakdowns"
    )
    expenses_amount: Annotated[FloatAmount | None, _breakdown_of("Expenses")] = Field(
        None, validation_alias="breakdowns"
    )
    posted_at: Instant = Field(validation_alias="postedDate")


class InventorySummary(Record):
    """Stock of one seller SKU that Amazon keeps for one marketplace."""

    marketplace_id: str = Field(min_length=1)
    seller_sku: str = Field(validation_alias="sellerSku", min_length=1)
    asin: str | None = None
    fn_sku: str | None = Field(None, validation_alias="fnSku")
    condition: str | None = None
    product_name: str | None = Field(None, validation_alias="productName")
    total_qty: Quantity | None = Field(None, validation_alias="totalQuantity", ge=0)
    fulfillable_qty: Quantity | None = Field(
        None, validation_alias=AliasPath("inventoryDetails", "fulfillableQuantity"), ge=0
    )
    reserved_qty: Quantity | None = Field(
        None,
        validation_alias=AliasPath("inventoryDetails", "reservedQuantity", "totalReservedQuantity"),
        ge=0,
    )
    updated_at: Instant | None = Field(None, validation_alias="lastUpdatedTime")


def _iso(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _without_persons(ask: Ask) -> Ask:
    """The same orders without what only restricted roles may see; other requests stay as they are."""
    included = str(ask.params.get("includedData", "")).split(",")
    kept = [name for name in included if name not in _OF_PERSONS]
    return ask if kept == included else ask.put("params.includedData", ",".join(kept))


def _ask_orders(bounds: Bounds) -> Ask:
    params: dict[str, Any] = {
        "lastUpdatedAfter": _iso(bounds.since) if bounds.since else _FIRST_DAY,
        "includedData": _INCLUDED,
        "maxResultsPerPage": 100,
    }
    if bounds.until is not None:
        params["lastUpdatedBefore"] = _iso(bounds.until)
    return Ask(params=params)


def _ask_transactions(bounds: Bounds) -> Ask:
    params: dict[str, Any] = {"postedAfter": _iso(bounds.since) if bounds.since else _FIRST_DAY}
    if bounds.until is not None:
        params["postedBefore"] = _iso(bounds.until)
    return Ask(params=params)


def _ask_inventory(bounds: Bounds) -> Ask:
    marketplace = bounds.keys[0]
    params: dict[str, Any] = {
        "details": "true",
        "granularityType": "Marketplace",
        "granularityId": marketplace,
        "marketplaceIds": marketplace,
    }
    # A start that lies further back is refused: all of it is asked for then.
    if bounds.since is not None and bounds.since > datetime.now(UTC) - _STOCK_TOLD_FOR:
        params["startDateTime"] = _iso(bounds.since)
    return Ask(params=params)


def decode(content: bytes) -> Any:
    """Decode an answer, and write into each stock summary which marketplace it is of: Amazon says so once a page."""
    body = decode_json(content)
    marketplace = dig(body, "payload.granularity.granularityId")
    for summary in dig(body, "payload.inventorySummaries") or []:
        if isinstance(summary, dict):
            summary["marketplace_id"] = marketplace
    return body


def fault(body: Any) -> ConnectorError | None:
    """Find the `errors` list that some operations put beside their payload."""
    errors = body.get("errors") if isinstance(body, dict) else None
    if not errors:
        return None
    message = f"amazon: {dig(errors[0], 'code')}: {dig(errors[0], 'message') or 'no message given'}"
    return ThrottledError(message) if dig(errors[0], "code") == "QuotaExceeded" else FatalError(message)


SOURCE = Source(
    name="amazon",
    title="Amazon",
    kind=Kind.MARKETPLACE,
    owner="marketplaces",
    unheard="Notifications of the Selling Partner API go to a queue (SQS) or an event bus (EventBridge), not to an address.",
    base_url="https://sellingpartnerapi-eu.amazon.com",
    auth=OAuthRefresh(
        token_url="https://api.amazon.com/auth/o2/token",  # noqa: S106  an address, no secret
        header="x-amz-access-token",
        prefix="",
        hint="amazon",
    ),
    limit=RateLimit(requests=20, seconds=10),
    decode=decode,
    fault=fault,
    documentation="https://developer-docs.amazon.com/sp-api",
    streams=(
        Stream(
            name="orders",
            kept="Orders are cancelled, never deleted.",
            record=Order,
            key=("order_id",),
            path="/orders/2026-01-01/orders",
            ask=_ask_orders,
            without=_without_persons,
            rows="orders",
            pages=TokenPages(read="pagination.nextToken", write="params.paginationToken"),
            cursor="updated_at",
            control_totals=(ControlTotal(amount="total_amount", currency="currency"),),
            children=(
                Child(
                    name="order_items", path="orderItems", record=OrderItem, parent={"order_id": "order_id"}
                ),
                Child(
                    name="order_packages", path="packages", record=Package, parent={"order_id": "order_id"}
                ),
                Child(
                    name="order_payments",
                    path="payment.paymentExecutions",
                    record=PaymentExecution,
                    parent={"order_id": "order_id"},
                ),
            ),
            description="Orders of all marketplaces of the region.",
        ),
        Stream(
            name="transactions",
            kept="What was booked stays; what is undone is booked anew.",
            record=Transaction,
            key=("transaction_id",),
            path="/finances/2024-06-19/transactions",
            ask=_ask_transactions,
            rows="payload.transactions",
            pages=TokenPages(read="payload.nextToken", write="params.nextToken"),
            cursor="posted_at",
            # A deferred transaction keeps its date when it is released, weeks later.
            lag=timedelta(days=30),
            # A longer range is answered with nothing at all.
            window=timedelta(days=180),
            control_totals=(ControlTotal(amount="total_amount", currency="currency"),),
            freshness=timedelta(days=3),
            description="Settlement: proceeds, refunds and fees as booked to the seller's account.",
        ),
        Stream(
            name="inventory_summaries",
            kept="A listing that is closed has no stock any more, which is a change.",
            record=InventorySummary,
            key=("marketplace_id", "seller_sku"),
            path="/fba/inventory/v1/summaries",
            ask=_ask_inventory,
            rows="payload.inventorySummaries",
            pages=TokenPages(read="pagination.nextToken", write="params.nextToken"),
            cursor="updated_at",
            fan_out=("orders", "marketplace_id"),
            fan_out_size=1,
            description="Stock in Amazon's warehouses per marketplace and seller SKU.",
        ),
    ),
)
