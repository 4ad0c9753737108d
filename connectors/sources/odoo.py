"""Odoo 19: the warehouses' pickings, moves, stock and lots, and what its tills sell, by the external JSON-2 API.

`POST /json/2/<model>/search_read` with an API key. Odoo writes `false` for every empty value that is not a boolean,
names a linked record as `[id, display name]`, and gives times as naive UTC to the second. Archived records are hidden
unless the context says otherwise. Answers are paged by id: with an offset, a row changed while the pages are read
would shift the others, and one would be missed. A database without an app, such as Point of Sale or Manufacturing, knows
none of its models: their streams fail, and the others go on.

Secrets: KEY is the API key; DATABASE names the database, since one server may host several.

Source: https://www.odoo.com/documentation/19.0/developer/reference/external_api.html
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar

import httpx
from pydantic import BaseModel, ConfigDict, model_validator

from connectors.declare import (
    AliasPath,
    Ask,
    Bounds,
    ControlTotal,
    Count,
    Country,
    Currency,
    Field,
    FloatAmount,
    FloatQuantity,
    Gtin,
    KeysetPages,
    Kind,
    Phone,
    Record,
    Secrets,
    Source,
    Stream,
    Sweep,
    UtcInstant,
)

PAGE_SIZE = 1000
SWEEP_SIZE = 5000  # ids alone


class _KeyFlow(httpx.Auth):
    def __init__(self, key: str, database: str) -> None:
        self._key, self._database = key, database

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"bearer {self._key}"
        request.headers["X-Odoo-Database"] = self._database
        yield request


class KeyAndDatabase(BaseModel):
    """An API key as bearer, and the database it is for."""

    model_config = ConfigDict(frozen=True)

    @property
    def secrets(self) -> tuple[str, ...]:
        return ("KEY", "DATABASE")

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        return _KeyFlow(secrets.get("KEY"), secrets.get("DATABASE"))


def _id(field: str) -> AliasPath:
    """Id of a linked record, `[id, display name]`."""
    return AliasPath(field, 0)


def _name(field: str) -> AliasPath:
    """Display name of a linked record."""
    return AliasPath(field, 1)


@cache
def _boolean_fields(record: type[Record]) -> frozenset[str]:
    fields = record.model_fields.items()
    return frozenset(
        str(field.validation_alias or name) for name, field in fields if field.annotation is bool
    )


class OdooRecord(Record):
    """What every Odoo record has. `model` is Odoo's name of it; `has_sweep`, whether it is deleted at times."""

    model: ClassVar[str]

    id: int = Field(gt=0, description="Odoo's id; unique per model and database")
    created_at: UtcInstant = Field(validation_alias="create_date")
    modified_at: UtcInstant = Field(
        validation_alias="write_date", description="Start of the last writing transaction"
    )

    @model_validator(mode="before")
    @classmethod
    def _false_is_empty(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        booleans = _boolean_fields(cls)
        return {name: value for name, value in data.items() if value is not False or name in booleans}


class Warehouse(OdooRecord):
    """A place goods are stored at and shipped from."""

    model: ClassVar[str] = "stock.warehouse"

    name: str = Field(min_length=1)
    code: str = Field(min_length=1, description="Short name; the first part of its documents' numbers")
    partner_id: int | None = Field(default=None, validation_alias=_id("partner_id"), description="Address")
    is_active: bool = Field(default=True, validation_alias="active")


class StockLocation(OdooRecord):
    """A shelf, zone or virtual place inside or outside a warehouse."""

    model: ClassVar[str] = "stock.location"

    name: str = Field(min_length=1)
    complete_name: str | None = Field(default=None, description="With the names of all parents")
    usage: str = Field(description="internal, customer, supplier, view, inventory, production, transit")
    barcode: str | None = None
    warehouse_id: int | None = Field(default=None, validation_alias=_id("warehouse_id"))
    is_active: bool = Field(default=True, validation_alias="active")


class PickingType(OdooRecord):
    """A kind of warehouse operation: pick, pack, deliver, receive."""

    model: ClassVar[str] = "stock.picking.type"

    name: str
    code: str = Field(description="incoming, outgoing or internal")
    sequence_code: str = Field(description="Part of the document numbers, such as PICK, PACK, OUT, IN")
    warehouse_id: int | None = Field(default=None, validation_alias=_id("warehouse_id"))
    reservation_method: str | None = Field(default=None, description="at_confirm, manual or by_date")


class Partner(OdooRecord):
    """A person, a company or one of its addresses."""

    model: ClassVar[str] = "res.partner"

    name: str | None = None
    is_company: bool = False
    parent_id: int | None = Field(
        default=None, validation_alias=_id("parent_id"), description="Company it belongs to"
    )
    parent_name: str | None = Field(default=None, validation_alias=_name("parent_id"))
    ref: str | None = Field(default=None, description="Our reference for the partner")
    email: str | None = None
    phone: Phone | None = None
    vat: str | None = Field(default=None, description="Tax number")
    street: str | None = None
    street2: str | None = None
    city: str | None = None
    state_name: str | None = Field(
        default=None, validation_alias=_name("state_id"), description="Province or state"
    )
    zip: str | None = None
    country: Country | None = Field(
        default=None, validation_alias="country_code", description="ISO 3166-1 alpha-2"
    )
    lang: str | None = Field(default=None, description="POSIX locale, such as zh_CN")
    is_active: bool = Field(default=True, validation_alias="active")


class Product(OdooRecord):
    """One product variant."""

    model: ClassVar[str] = "product.product"

    name: str = Field(min_length=1)
    template_id: int | None = Field(
        default=None,
        validation_alias=_id("product_tmpl_id"),
        description="Product of which this is a variant",
    )
    default_code: str | None = Field(
        default=None, description="Internal reference: the warehouse's own SKU code"
    )
    barcode: Gtin | None = None
    category_name: str | None = Field(default=None, validation_alias=_name("categ_id"))
    weight_kg: FloatQuantity | None = Field(default=None, ge=0, validation_alias="weight")
    volume_m3: FloatQuantity | None = Field(default=None, ge=0, validation_alias="volume")
    list_price: FloatAmount | None = Field(default=None, ge=0)
    standard_price: FloatAmount | None = Field(default=None, ge=0, description="Unit cost")
    cost_currency: Currency | None = Field(default=None, validation_alias=_name("cost_currency_id"))
    uom_name: str | None = Field(default=None, validation_alias=_name("uom_id"))
    tracking: str | None = Field(default=None, description="none, lot or serial")
    origin_country: Country | None = Field(default=None, validation_alias=_name("country_of_origin"))
    is_active: bool = Field(default=True, validation_alias="active")


class BillOfMaterials(OdooRecord):
    """What a product is put together from; `phantom` is a kit, taken apart when it is sold.

    Source: https://www.odoo.com/documentation/19.0/applications/inventory_and_mrp/manufacturing/advanced_configuration/kit_shipping.html
    """

    model: ClassVar[str] = "mrp.bom"

    template_id: int = Field(validation_alias=_id("product_tmpl_id"))
    product_id: int | None = Field(
        default=None,
        validation_alias=_id("product_id"),
        description="The one variant it is for; empty: for all",
    )
    type: str = Field(description="normal (manufactured) or phantom (kit)")
    quantity: FloatQuantity = Field(
        gt=0, validation_alias="product_qty", description="How many one recipe yields"
    )
    uom_name: str | None = Field(default=None, validation_alias=_name("product_uom_id"))
    is_active: bool = Field(default=True, validation_alias="active")


class BillOfMaterialsLine(OdooRecord):
    """One component of a bill of materials."""

    model: ClassVar[str] = "mrp.bom.line"

    bom_id: int = Field(validation_alias=_id("bom_id"))
    product_id: int = Field(validation_alias=_id("product_id"))
    quantity: FloatQuantity = Field(ge=0, validation_alias="product_qty")
    uom_name: str | None = Field(default=None, validation_alias=_name("product_uom_id"))


class Lot(OdooRecord):
    """One production lot of one product."""

    model: ClassVar[str] = "stock.lot"

    name: str = Field(min_length=1, description="Lot number as printed")
    product_id: int = Field(validation_alias=_id("product_id"))
    expires_at: UtcInstant | None = Field(default=None, validation_alias="expiration_date")


class Quant(OdooRecord):
    """What lies at one place of one product and lot."""

    model: ClassVar[str] = "stock.quant"

    product_id: int = Field(validation_alias=_id("product_id"))
    location_id: int = Field(validation_alias=_id("location_id"))
    lot_id: int | None = Field(default=None, validation_alias=_id("lot_id"))
    lot_name: str | None = Field(default=None, validation_alias=_name("lot_id"))
    quantity: FloatQuantity = Field(description="On hand; negative where more was shipped than booked in")
    reserved_quantity: FloatQuantity = Field(ge=0)
    uom_name: str | None = Field(default=None, validation_alias=_name("product_uom_id"))


class Picking(OdooRecord):
    """One warehouse operation document: a pick, a pack, a delivery, a receipt."""

    model: ClassVar[str] = "stock.picking"

    name: str = Field(min_length=1, description="Document number, such as WH/OUT/00042")
    origin: str | None = Field(
        default=None, description="Number of the document that caused it, as typed or imported"
    )
    state: str = Field(description="draft, waiting, confirmed, assigned, done, cancel")
    partner_id: int | None = Field(
        default=None, validation_alias=_id("partner_id"), description="Delivery address"
    )
    picking_type_id: int = Field(validation_alias=_id("picking_type_id"))
    picking_type_code: str = Field(description="incoming, outgoing or internal")
    location_id: int = Field(validation_alias=_id("location_id"), description="From")
    location_dest_id: int = Field(validation_alias=_id("location_dest_id"), description="To")
    scheduled_at: UtcInstant | None = Field(default=None, validation_alias="scheduled_date")
    deadline_at: UtcInstant | None = Field(
        default=None, validation_alias="date_deadline", description="Promised"
    )
    done_at: UtcInstant | None = Field(default=None, validation_alias="date_done")
    carrier_name: str | None = Field(default=None, validation_alias=_name("carrier_id"))
    tracking_number: str | None = Field(default=None, validation_alias="carrier_tracking_ref")
    shipping_weight_kg: FloatQuantity | None = Field(default=None, ge=0, validation_alias="shipping_weight")
    backorder_id: int | None = Field(default=None, validation_alias=_id("backorder_id"))
    return_id: int | None = Field(
        default=None, validation_alias=_id("return_id"), description="Delivery it brings back"
    )


class Move(OdooRecord):
    """One product to be moved by a picking."""

    model: ClassVar[str] = "stock.move"

    picking_id: int | None = Field(default=None, validation_alias=_id("picking_id"))
    product_id: int = Field(validation_alias=_id("product_id"))
    sequence: int | None = None
    demand_quantity: FloatQuantity = Field(ge=0, validation_alias="product_uom_qty")
    quantity: FloatQuantity = Field(ge=0, description="Moved, or reserved while not done")
    uom_name: str | None = Field(default=None, validation_alias=_name("product_uom"))
    state: str = Field(description="draft, waiting, confirmed, partially_available, assigned, done, cancel")
    location_id: int = Field(validation_alias=_id("location_id"))
    location_dest_id: int = Field(validation_alias=_id("location_dest_id"))
    moved_at: UtcInstant = Field(validation_alias="date", description="Planned time, or actual once done")
    returned_move_id: int | None = Field(default=None, validation_alias=_id("origin_returned_move_id"))


class MoveLine(OdooRecord):
    """The lot a move takes goods from, and how many."""

    model: ClassVar[str] = "stock.move.line"

    move_id: int | None = Field(default=None, validation_alias=_id("move_id"))
    picking_id: int | None = Field(default=None, validation_alias=_id("picking_id"))
    product_id: int = Field(validation_alias=_id("product_id"))
    lot_id: int | None = Field(default=None, validation_alias=_id("lot_id"))
    lot_name: str | None = Field(default=None, validation_alias=_name("lot_id"))
    quantity: FloatQuantity = Field(ge=0)
    uom_name: str | None = Field(default=None, validation_alias=_name("product_uom_id"))
    state: str | None = None
    moved_at: UtcInstant | None = Field(default=None, validation_alias="date")


class PosConfig(OdooRecord):
    """One till."""

    model: ClassVar[str] = "pos.config"

    name: str = Field(min_length=1, description="The first part of its sales' names")
    picking_type_id: int = Field(
        validation_alias=_id("picking_type_id"),
        description="Operation that takes what it sells out of stock, and so the warehouse it sells from",
    )
    currency: Currency | None = Field(default=None, validation_alias=_name("currency_id"))
    is_active: bool = Field(default=True, validation_alias="active")


class PosPaymentMethod(OdooRecord):
    """What tills take: cash, a terminal, a wallet, the customer's account."""

    model: ClassVar[str] = "pos.payment.method"

    name: str = Field(min_length=1)
    type: str = Field(description="cash, bank or pay_later")
    is_active: bool = Field(default=True, validation_alias="active")


class PosOrder(OdooRecord):
    """One sale of a till, or what it gave back of one: then quantities and amounts are negative.

    Source: https://github.com/odoo/odoo/blob/19.0/addons/point_of_sale/models/pos_order.py
    """

    model: ClassVar[str] = "pos.order"

    name: str = Field(min_length=1, description="Such as SH1 - 000042; / until it is paid")
    receipt_number: str | None = Field(default=None, validation_alias="pos_reference")
    tracking_number: str | None = Field(default=None, description="Short number that customers are called by")
    uuid: str | None = None
    state: str = Field(description="draft, cancel, paid, done (posted)")
    ordered_at: UtcInstant = Field(
        validation_alias="date_order", description="When it was begun; once paid, when it was paid"
    )
    config_id: int = Field(validation_alias=_id("config_id"), description="Till")
    session_id: int | None = Field(default=None, validation_alias=_id("session_id"))
    session_name: str | None = Field(default=None, validation_alias=_name("session_id"))
    partner_id: int | None = Field(
        default=None, validation_alias=_id("partner_id"), description="Customer; empty where nobody asked"
    )
    currency: Currency = Field(validation_alias=_name("currency_id"))
    total_amount: FloatAmount = Field(validation_alias="amount_total", description="With tax")
    tax_amount: FloatAmount = Field(validation_alias="amount_tax")
    paid_amount: FloatAmount = Field(validation_alias="amount_paid")
    is_refund: bool = False
    refunded_order_id: int | None = Field(
        default=None, validation_alias=_id("refunded_order_id"), description="Sale that it gives back"
    )
    refunded_order_name: str | None = Field(default=None, validation_alias=_name("refunded_order_id"))
    invoice_name: str | None = Field(default=None, validation_alias=_name("account_move"))
    shipping_on: date | None = Field(
        default=None, validation_alias="shipping_date", description="Of a sale that is shipped later"
    )
    label: str | None = Field(
        default=None, validation_alias="floating_order_name", description="What the cashier called it"
    )


class PosOrderLine(OdooRecord):
    """One product of a sale; negative where it came back."""

    model: ClassVar[str] = "pos.order.line"

    order_id: int = Field(validation_alias=_id("order_id"))
    product_id: int = Field(validation_alias=_id("product_id"))
    description: str | None = Field(default=None, validation_alias="full_product_name")
    quantity: FloatQuantity = Field(validation_alias="qty")
    uom_name: str | None = Field(default=None, validation_alias=_name("product_uom_id"))
    unit_price: FloatAmount = Field(validation_alias="price_unit")
    discount_percent: FloatQuantity = Field(default=Decimal(0), ge=0, le=100, validation_alias="discount")
    net_amount: FloatAmount = Field(
        validation_alias="price_subtotal", description="After discount, without tax"
    )
    total_amount: FloatAmount = Field(validation_alias="price_subtotal_incl", description="With tax")
    refunded_line_id: int | None = Field(
        default=None, validation_alias=_id("refunded_orderline_id"), description="Line that it gives back"
    )
    customer_note: str | None = None


class PosPayment(OdooRecord):
    """Money that a till took or, negative, gave back for one sale."""

    model: ClassVar[str] = "pos.payment"

    order_id: int = Field(validation_alias=_id("pos_order_id"))
    payment_method_id: int = Field(validation_alias=_id("payment_method_id"))
    amount: FloatAmount
    currency: Currency = Field(validation_alias=_name("currency_id"))
    paid_at: UtcInstant = Field(validation_alias="payment_date")
    is_change: bool = Field(default=False, description="Cash given back of what the customer handed over")
    card_type: str | None = None
    card_brand: str | None = None
    transaction_id: str | None = Field(default=None, description="The terminal's own")
    payment_status: str | None = Field(default=None, description="The terminal's word, such as done")


def _field_names(record: type[OdooRecord]) -> list[str]:
    """Odoo's names of the fields a record reads."""
    names = []
    for name, field in record.model_fields.items():
        alias = field.validation_alias
        names.append(str(alias.path[0]) if isinstance(alias, AliasPath) else str(alias or name))
    return sorted(set(names))


def _odoo_time(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _search_read(record: type[OdooRecord]) -> Callable[[Bounds], Ask]:
    def ask(bounds: Bounds) -> Ask:
        domain: list[list[Any]] = [["id", ">", 0]]
        if bounds.since is not None:
            domain.append(["write_date", ">=", _odoo_time(bounds.since)])
        if bounds.until is not None:
            domain.append(["write_date", "<", _odoo_time(bounds.until)])
        return Ask(
            json_body={
                "domain": domain,
                "fields": _field_names(record),
                "limit": PAGE_SIZE,
                "order": "id asc",
                "context": {"lang": "en_US", "active_test": False},
            }
        )

    return ask


def _count(record: type[OdooRecord]) -> Ask:
    body = {"domain": [["id", ">", 0]], "context": {"active_test": False}}
    return Ask(path=f"/json/2/{record.model}/search_count", json_body=body)


def _sweep(record: type[OdooRecord]) -> Sweep:
    body = {"domain": [["id", ">", 0]], "fields": ["id"], "limit": SWEEP_SIZE, "order": "id asc",
            "context": {"active_test": False}}  # fmt: skip
    return Sweep(ask=Ask(json_body=body), pages=KeysetPages(write="json.domain.0.2", size=SWEEP_SIZE))


# Apps of Odoo that a company may not have installed; its Inventory it has, or it would not pull from Odoo.
_TILLS, _MAKING = "Point of Sale app", "Manufacturing app"


def _stream(
    name: str,
    record: type[OdooRecord],
    description: str,
    control_totals: tuple[ControlTotal, ...] = (),
    app: str = "",
) -> Stream:
    return Stream(
        name=name,
        record=record,
        key=("id",),
        path=f"/json/2/{record.model}/search_read",
        method="POST",
        ask=_search_read(record),
        pages=KeysetPages(write="json.domain.0.2", read="id", size=PAGE_SIZE),
        cursor="modified_at",
        count=Count(ask=_count(record)),
        sweep=_sweep(record),
        control_totals=control_totals,
        app=app,
        description=description,
    )


SOURCE = Source(
    name="odoo",
    title="Odoo Point of Sale and Inventory",
    kind=Kind.WMS,
    owner="warehouse-team",
    unheard="An automation of Odoo may post to an address, but signs nothing; changes are pulled by their time.",
    # No base URL: every company's Odoo is at its own address, set in ORDERHUB_ODOO_URL.
    auth=KeyAndDatabase(),
    documentation="https://www.odoo.com/documentation/19.0/developer/reference/external_api.html",
    streams=(
        _stream("warehouses", Warehouse, "Warehouses and dark stores."),
        _stream("locations", StockLocation, "Shelves, zones and virtual places."),
        _stream("picking_types", PickingType, "Kinds of warehouse operation."),
        _stream("partners", Partner, "Delivery addresses, customers and the warehouses' own addresses."),
        _stream("products", Product, "Product variants."),
        _stream("boms", BillOfMaterials, "Bills of materials: kits and what is manufactured.", app=_MAKING),
        _stream("bom_lines", BillOfMaterialsLine, "Components of bills of materials.", app=_MAKING),
        _stream("lots", Lot, "Production lots with expiry."),
        _stream("quants", Quant, "Stock on hand per place and lot."),
        _stream("pickings", Picking, "Picks, packs, deliveries and receipts."),
        _stream("moves", Move, "Products moved by pickings."),
        _stream("move_lines", MoveLine, "Lots moved."),
        _stream("pos_configs", PosConfig, "Tills.", app=_TILLS),
        _stream("pos_payment_methods", PosPaymentMethod, "What tills take.", app=_TILLS),
        _stream(
            "pos_orders",
            PosOrder,
            "Sales of tills, and what was given back of them.",
            (ControlTotal(amount="total_amount", currency="currency"),),
            _TILLS,
        ),
        _stream("pos_order_lines", PosOrderLine, "Products sold and brought back at tills.", app=_TILLS),
        _stream(
            "pos_payments",
            PosPayment,
            "Money taken and given back at tills.",
            (ControlTotal(amount="amount", currency="currency"),),
            _TILLS,
        ),
    ),
)
