"""The sandbox company as it truly is: products, customers, locations and orders, before any system sees them.

One world per seed, deterministic. Systems never read each other: each twin (`square.py`, `amazon.py`, ...)
looks at the world through its own window and writes its own ids, spellings, time zones and mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum


class Channel(StrEnum):
    """Where an order was placed."""

    POS = "pos"
    AMAZON = "amazon"
    SHOPIFY = "shopify"
    TMALL = "tmall"
    PINDUODUO = "pinduoduo"
    DOUYIN = "douyin"
    XIAOHONGSHU = "xiaohongshu"
    WECHAT_SHOP = "wechat_shop"
    LAZADA = "lazada"
    VENDURE = "vendure"
    B2B = "b2b"
    DEALER = "dealer"


# Marketplaces of China, where every order is paid in CNY and the buyer's name and telephone are masked.
CHINESE_MARKETPLACES = (
    Channel.TMALL,
    Channel.PINDUODUO,
    Channel.DOUYIN,
    Channel.XIAOHONGSHU,
    Channel.WECHAT_SHOP,
)
MARKETPLACES = (Channel.AMAZON, *CHINESE_MARKETPLACES, Channel.LAZADA)
# What people write before an order number of a channel when they pass it on to another system.
PREFIXES = {
    Channel.AMAZON: ("Amazon", "AMAZON"),
    Channel.SHOPIFY: ("Shopify", "SHOPIFY"),
    Channel.TMALL: ("Tmall", "天猫"),
    Channel.PINDUODUO: ("PDD", "拼多多"),
    Channel.DOUYIN: ("Douyin", "抖音"),
    Channel.XIAOHONGSHU: ("XHS", "小红书"),
    Channel.WECHAT_SHOP: ("WeChat", "微信小店"),
    Channel.LAZADA: ("Lazada", "LZD"),
    Channel.VENDURE: ("Webshop", "Vendure"),
}


@dataclass(frozen=True)
class Address:
    """A postal address; `country` is ISO 3166-1 alpha-2, `region` a province or state."""

    street: str
    city: str
    region: str
    postcode: str
    country: str
    latitude: float
    longitude: float


@dataclass(frozen=True)
class Product:
    """One trade item. `components` makes it a kit: (product_id, quantity) pairs."""

    product_id: str
    title: str
    title_zh: str
    brand: str
    mpn: str
    gtin14: str
    category: str
    size_qty: Decimal
    size_uom: str
    pack_qty: int
    list_price: Decimal
    unit_cost: Decimal
    currency: str
    weight_kg: Decimal
    volume_m3: Decimal
    needs_cold_chain: bool
    origin_country: str
    shelf_life_days: int | None
    components: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Customer:
    """One person or company that buys. Names hold both scripts where both exist."""

    customer_id: str
    is_company: bool
    full_name: str
    given_name: str
    family_name: str
    company_name: str | None
    name_zh: str | None
    email: str | None
    phone_e164: str | None
    tax_number: str | None
    address: Address
    language: str
    loyalty_tier: str | None
    segment: str
    preference_tags: tuple[str, ...]
    marketing_consent: bool
    created_at: datetime


@dataclass(frozen=True)
class Location:
    """A place goods rest at or are sold from. `kind`: store, warehouse, dark_store, third_party."""

    location_id: str
    kind: str
    name: str
    name_zh: str | None
    gln: str
    code: str
    address: Address
    timezone: str


@dataclass(frozen=True)
class Lot:
    """A production lot of one product at one location, with its expiry."""

    lot_id: str
    product_id: str
    location_id: str
    expires_on: date | None
    on_hand_qty: Decimal
    reserved_qty: Decimal


@dataclass(frozen=True)
class OrderLine:
    """One line; amounts in the order's currency, tax excluded. `list_amount` = quantity x unit price."""

    line_number: int
    product_id: str
    quantity: int
    unit_price: Decimal
    list_amount: Decimal
    discount_amount: Decimal
    tax_amount: Decimal
    lot_id: str | None


@dataclass(frozen=True)
class Shipment:
    """One parcel group that left one location on one waybill."""

    shipment_id: str
    location_id: str
    carrier: str
    service: str
    tracking_number: str
    lines: tuple[tuple[int, int], ...]  # (line_number, quantity)
    picked_at: datetime
    packed_at: datetime
    dispatched_at: datetime
    first_scan_at: datetime
    delivered_at: datetime | None
    package_count: int
    weight_kg: Decimal
    volume_m3: Decimal
    distance_km: Decimal
    cost_amount: Decimal


@dataclass(frozen=True)
class Return:
    """Goods that came back and the money that went back for them."""

    return_id: str
    line_number: int
    quantity: int
    reason: str
    received_at: datetime
    refunded_at: datetime
    refund_amount: Decimal


@dataclass(frozen=True)
class Order:
    """One purchase as it truly happened. Instants are aware UTC; net = gross - discount + shipping, without tax and duty."""

    order_id: str
    number: str  # as the channel prints it
    channel: Channel
    customer_id: str | None  # anonymous at the till
    currency: str
    placed_at: datetime
    updated_at: datetime
    promised_at: datetime | None
    paid_at: datetime | None
    reserved_at: datetime | None
    cancelled_at: datetime | None
    closed_at: datetime | None
    selling_location_id: str | None  # the store, for POS
    lines: tuple[OrderLine, ...]
    gross_amount: Decimal
    discount_amount: Decimal
    shipping_amount: Decimal
    tax_amount: Decimal
    net_amount: Decimal
    payment_method: str
    channel_fee_amount: Decimal
    payment_fee_amount: Decimal
    ship_to: Address | None
    shipments: tuple[Shipment, ...]
    returns: tuple[Return, ...]
    is_test: bool
    is_fulfilled_by_marketplace: bool
    erp_number: str | None  # Tryton's own sale number, where it has the order
    sap_number: str | None  # SAP's own sales document, where it has the order
    erp_rest_lines: tuple[int, ...] = ()  # numbers of the lines that Tryton booked as a second sale
    shipped_with: str | None = None  # order of the same customer in whose one parcel this one's goods went
    duty_amount: Decimal = Decimal(0)  # customs duty that the shop collects, where goods cross a border

    @property
    def total_amount(self) -> Decimal:
        """What the customer pays: net, tax and duty."""
        return self.net_amount + self.tax_amount + self.duty_amount

    def split_refund(self, returned: Return) -> tuple[Decimal, Decimal]:
        """Net and tax of what was given back for one of its returns."""
        line = self.lines[returned.line_number - 1]
        net = line.list_amount - line.discount_amount
        share = line.tax_amount / (net + line.tax_amount) if net + line.tax_amount else Decimal(0)
        tax = (returned.refund_amount * share).quantize(returned.refund_amount)
        return returned.refund_amount - tax, tax

    @property
    def erp_rest_number(self) -> str | None:
        """Number of the second sale, where Tryton booked the order as two."""
        return f"{self.erp_number}-2" if self.erp_rest_lines else None


@dataclass(frozen=True)
class World:
    """Everything that is true about the sandbox company, keyed by truth id."""

    seed: int
    now: datetime
    products: dict[str, Product] = field(repr=False)
    customers: dict[str, Customer] = field(repr=False)
    locations: dict[str, Location] = field(repr=False)
    lots: dict[str, Lot] = field(repr=False)
    orders: dict[str, Order] = field(repr=False)

    @property
    def guests(self) -> dict[str, Order]:
        """Orders in the parcel of another, by that other's id."""
        return {o.shipped_with: o for o in self.orders.values() if o.shipped_with and o.shipments}
