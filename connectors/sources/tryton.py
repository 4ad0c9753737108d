"""Tryton 8.2: the ERP's parties, products, sales, stock moves, shipments and invoices, by JSON-RPC.

Every request is `POST <server>/<database>/rpc/` with a method such as `model.sale.sale.search_read`; errors come as
an answer 200 with `error` instead of `result`. ORDERHUB_TRYTON_URL includes the database: `http://erp:8000/erp`.

A session is opened once with USERNAME and PASSWORD; each further use of the password would cost the server a hash.
Changes are found by `last_modified_at`, which every model has since 8.2 (write_date stays null until the first
change). It is the start of the writing transaction, hence the lag. Changing a line does not touch its sale, so each
model is a stream of its own. Answers are paged by id: with an offset, a row changed meanwhile would hide another.
A record deleted in Tryton stays as last seen, until a sweep finds that it is gone.

Source: trytond 8.2, `trytond/protocols/` and the models' field definitions
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Generator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import httpx
from pydantic import BaseModel, ConfigDict, model_validator

from connectors.declare import (
    AliasPath,
    Amount,
    Ask,
    Bounds,
    BrokenAnswerError,
    ConnectorError,
    ControlTotal,
    Count,
    Country,
    Currency,
    Field,
    FloatQuantity,
    Gtin,
    KeysetPages,
    Kind,
    Phone,
    ProtocolError,
    Record,
    RefusedError,
    Secrets,
    Source,
    Stream,
    Sweep,
    ThrottledError,
    UtcInstant,
)

PAGE_SIZE = 1000
SWEEP_SIZE = 5000  # ids alone
_RPC = "/rpc/"
_INSTANT_PARTS = ("year", "month", "day", "hour", "minute", "second", "microsecond")


class _SessionFlow(httpx.Auth):
    def __init__(self, url: str, username: str, password: str) -> None:
        self._url, self._username, self._password = url, username, password
        self._header: str | None = None
        self._lock = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        with self._lock:
            header = self._header
        if header is None:
            header = yield from self._log_in()
        request.headers["Authorization"] = header
        response = yield request
        if response.status_code == 401:  # the session is over: open another, once
            request.headers["Authorization"] = yield from self._log_in()
            yield request

    def _log_in(self) -> Generator[httpx.Request, httpx.Response, str]:
        parameters = [self._username, {"password": self._password}, "en"]
        body = {"id": 0, "method": "common.db.login", "params": parameters}
        response = yield httpx.Request("POST", self._url, json=body)
        response.read()
        if response.status_code == 429:
            raise ThrottledError(f"tryton: too many failed logins for {self._username!r} (429).")
        if response.status_code >= 500:
            raise BrokenAnswerError(f"tryton: the server failed at login ({response.status_code}).")
        try:
            answer = json.loads(response.content) if response.status_code == 200 else {}
        except ValueError as error:
            raise BrokenAnswerError(
                f"tryton: the answer to the login at {self._url} is not JSON: {error}."
            ) from error
        if not answer.get("result"):
            # Never repeated: Tryton delays each further attempt and then locks the user out.
            raise RefusedError(
                f"tryton: login at {self._url} failed ({response.status_code}). Check ORDERHUB_TRYTON_USERNAME, "
                "ORDERHUB_TRYTON_PASSWORD and the database's name in ORDERHUB_TRYTON_URL."
            )
        user_id, token = answer["result"][:2]
        session = base64.b64encode(f"{self._username}:{user_id}:{token}".encode()).decode()
        with self._lock:
            self._header = f"Session {session}"
            return self._header


class Session(BaseModel):
    """Tryton's login: user name and password once, then the session it answers with."""

    model_config = ConfigDict(frozen=True)

    @property
    def secrets(self) -> tuple[str, ...]:
        return ("USERNAME", "PASSWORD")

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        return _SessionFlow(base_url.rstrip("/") + _RPC, secrets.get("USERNAME"), secrets.get("PASSWORD"))


def _from_tryton(value: dict[str, Any]) -> Any:
    """Turn one of Tryton's typed objects into the Python value it stands for."""
    match value.get("__class__"):
        case None:
            return value
        case "Decimal":
            return Decimal(value["decimal"])
        case "datetime":
            return datetime(**{name: value[name] for name in _INSTANT_PARTS}, tzinfo=UTC)
        case "date":
            return date(value["year"], value["month"], value["day"])
        case "timedelta":
            return timedelta(seconds=value["seconds"]).total_seconds()
        case other:
            raise ValueError(f"Tryton sent a value of class {other!r}, which no field of ours has")


def decode(content: bytes) -> Any:
    """Decode an answer: Decimal, aware UTC datetime and date instead of Tryton's typed objects.

    Raises:
        ValueError: not JSON, or an impossible value such as month 13.
    """
    return json.loads(content, object_hook=_from_tryton)


def fault(body: Any) -> ConnectorError | None:
    """Find Tryton's error inside an answer 200: `{"error": [class, arguments]}`."""
    error = body.get("error") if isinstance(body, dict) else None
    if error is None:
        return None
    name, *rest = error if isinstance(error, list) else [error]
    said = rest[0] if rest else ""
    text = "; ".join(str(part) for part in said if part) if isinstance(said, list) else str(said).strip()
    if name == "LoginException":
        return RefusedError(
            f"tryton: asks for another login step ({text}). Use a user that needs only a password."
        )
    if name == "ConcurrencyException":
        return ThrottledError(f"tryton: {text or name}", wait_seconds=1.0)
    return ProtocolError(
        f"tryton: {name}{': ' + text if text else ''}. Check that its modules are the ones we read."
    )


class TrytonRecord(Record):
    """What every Tryton record has. `model` is Tryton's name of it; `has_active`, whether it can be archived;
    `has_sweep`, whether it is deleted at times.
    """

    model: ClassVar[str]
    has_active: ClassVar[bool] = False

    id: int = Field(gt=0, description="Tryton's id; unique per model and database")
    created_at: UtcInstant = Field(validation_alias="create_date")
    modified_at: UtcInstant = Field(
        validation_alias="last_modified_at", description="Start of the last writing transaction"
    )

    @model_validator(mode="before")
    @classmethod
    def _blank_is_absent(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {name: value for name, value in data.items() if value != ""}
        return data


class Company(TrytonRecord):
    """One of the companies that keep their books here."""

    model: ClassVar[str] = "company.company"

    name: str | None = Field(default=None, validation_alias=AliasPath("party.", "name"))
    currency: Currency = Field(
        validation_alias=AliasPath("currency.", "code"), description="Of its books and costs"
    )


class Party(TrytonRecord):
    """A customer, supplier or other party; Tryton does not say whether a person or a company."""

    model: ClassVar[str] = "party.party"
    has_active: ClassVar[bool] = True

    name: str | None = None
    code: str | None = Field(default=None, description="Number the company gives it")
    is_active: bool = Field(default=True, validation_alias="active")
    language: str | None = Field(
        default=None,
        validation_alias=AliasPath("langs.", "lang.", "code"),
        description="The first that a company has for it",
    )
    email: str | None = Field(default=None, description="First of its e-mail contacts")
    phone: Phone | None = Field(default=None, description="First of its phone contacts")
    mobile: Phone | None = Field(default=None, description="First of its mobile contacts")
    tax_code: str | None = Field(default=None, validation_alias=AliasPath("tax_identifier.", "code"))
    replaced_by_id: int | None = Field(
        default=None, validation_alias="replaced_by", description="Merged into this one"
    )

    @model_validator(mode="before")
    @classmethod
    def _find_language(cls, data: Any) -> Any:
        """Each company has a language of its own for a party: its `lang` is null to whoever names no company."""
        told = data.get("langs.") if isinstance(data, dict) else None
        if not isinstance(told, list):
            return data
        return {
            **data,
            "langs.": next((row for row in told if isinstance(row, dict) and row.get("lang.")), None),
        }


class PartyAddress(TrytonRecord):
    """One postal address of a party."""

    model: ClassVar[str] = "party.address"
    has_active: ClassVar[bool] = True

    party_id: int = Field(validation_alias="party")
    party_name: str | None = Field(default=None, description="Addressee, where not the party itself")
    street: str | None = None
    city: str | None = None
    postal_code: str | None = None
    region: str | None = Field(default=None, validation_alias=AliasPath("subdivision.", "name"))
    country: Country | None = Field(default=None, validation_alias=AliasPath("country.", "code"))
    sequence: int | None = None
    is_invoice: bool | None = Field(default=None, validation_alias="invoice")
    is_delivery: bool | None = Field(default=None, validation_alias="delivery")
    is_active: bool = Field(default=True, validation_alias="active")


class ContactMechanism(TrytonRecord):
    """One phone number, e-mail address or the like of a party."""

    model: ClassVar[str] = "party.contact_mechanism"
    has_active: ClassVar[bool] = True

    party_id: int = Field(validation_alias="party")
    type: str = Field(description="phone, mobile, fax, email, website, skype, sip, irc, jabber, other")
    value: str | None = None
    is_active: bool = Field(default=True, validation_alias="active")


class PartyIdentifier(TrytonRecord):
    """One official number of a party."""

    model: ClassVar[str] = "party.identifier"
    has_active: ClassVar[bool] = True

    party_id: int = Field(validation_alias="party")
    type: str | None = Field(default=None, description="eu_vat, cn_uscc and so on")
    code: str = Field(min_length=1)
    is_active: bool = Field(default=True, validation_alias="active")


class Template(TrytonRecord):
    """What the variants of one product share. A change here does not touch the variants."""

    model: ClassVar[str] = "product.template"
    has_active: ClassVar[bool] = True

    name: str | None = None
    code: str | None = None
    type: str = Field(description="goods, assets, service")
    category_name: str | None = Field(default=None, validation_alias=AliasPath("account_category.", "name"))
    unit_symbol: str | None = Field(default=None, validation_alias=AliasPath("default_uom.", "symbol"))
    is_active: bool = Field(default=True, validation_alias="active")


class Product(TrytonRecord):
    """One variant: what is sold and stocked."""

    model: ClassVar[str] = "product.product"
    has_active: ClassVar[bool] = True

    template_id: int = Field(validation_alias="template")
    code: str | None = Field(default=None, description="The company's item number")
    description: str | None = None
    is_active: bool = Field(default=True, validation_alias="active")
    replaced_by_id: int | None = Field(default=None, validation_alias="replaced_by")


class ProductIdentifier(TrytonRecord):
    """One standard number of a variant."""

    model: ClassVar[str] = "product.identifier"

    product_id: int = Field(validation_alias="product")
    type: str | None = Field(default=None, description="ean, isbn, brand, mpn and so on")
    code: Gtin = Field(min_length=1)


class StockLocation(TrytonRecord):
    """A warehouse, a zone inside one, or a virtual place."""

    model: ClassVar[str] = "stock.location"
    has_active: ClassVar[bool] = True

    name: str = Field(min_length=1)
    code: str | None = None
    type: str = Field(
        description="supplier, customer, lost_found, warehouse, storage, production, drop, rental, view"
    )
    parent_id: int | None = Field(default=None, validation_alias="parent")
    address_id: int | None = Field(
        default=None, validation_alias="address", description="Only warehouses have one"
    )
    is_active: bool = Field(default=True, validation_alias="active")


class Sale(TrytonRecord):
    """One order as the ERP books it."""

    model: ClassVar[str] = "sale.sale"

    number: str | None = Field(default=None, description="Given at quotation")
    reference: str | None = Field(default=None, description="The other side's number, as typed or imported")
    description: str | None = None
    state: str = Field(description="draft, quotation, confirmed, processing, done, cancelled")
    sale_on: date | None = Field(default=None, validation_alias="sale_date")
    shipping_on: date | None = Field(default=None, validation_alias="shipping_date", description="Promised")
    party_id: int | None = Field(default=None, validation_alias="party")
    invoice_party_id: int | None = Field(
        default=None, validation_alias="invoice_party", description="Null: the party"
    )
    shipment_party_id: int | None = Field(
        default=None, validation_alias="shipment_party", description="Null: the party"
    )
    shipment_address_id: int | None = Field(default=None, validation_alias="shipment_address")
    currency: Currency = Field(validation_alias=AliasPath("currency.", "code"))
    company_id: int = Field(validation_alias="company")
    warehouse_id: int | None = Field(default=None, validation_alias="warehouse")
    carrier_name: str | None = Field(default=None, validation_alias=AliasPath("carrier.", "party.", "name"))
    untaxed_amount: Amount | None = Field(default=None, description="Lines, freight included")
    tax_amount: Amount | None = None
    total_amount: Amount | None = None
    shipment_state: str | None = Field(
        default=None, description="none, waiting, partially shipped, sent, exception"
    )
    invoice_state: str | None = Field(
        default=None, description="none, pending, awaiting payment, partially paid, paid, exception"
    )


class SaleLine(TrytonRecord):
    """One line of a sale; a comment or title has no product and no amount."""

    model: ClassVar[str] = "sale.line"

    sale_id: int = Field(validation_alias="sale")
    sequence: int | None = None
    type: str = Field(description="line, subtotal, title, comment")
    product_id: int | None = Field(default=None, validation_alias="product")
    product_code: str | None = Field(default=None, validation_alias=AliasPath("product.", "code"))
    description: str | None = None
    quantity: FloatQuantity | None = Field(default=None, description="Negative: comes back")
    unit_symbol: str | None = Field(default=None, validation_alias=AliasPath("unit.", "symbol"))
    unit_price: Amount | None = Field(default=None, ge=0)
    amount: Amount | None = Field(default=None, description="Net, tax excluded")
    shipment_cost: Amount | None = Field(default=None, description="Not null: this line is the freight")
    currency: Currency | None = Field(default=None, validation_alias=AliasPath("currency.", "code"))


class Move(TrytonRecord):
    """One product moved from one place to another."""

    model: ClassVar[str] = "stock.move"

    product_id: int = Field(validation_alias="product")
    quantity: FloatQuantity = Field(ge=0)
    unit_symbol: str | None = Field(default=None, validation_alias=AliasPath("unit.", "symbol"))
    from_location_id: int = Field(validation_alias="from_location")
    from_location_type: str | None = Field(default=None, validation_alias=AliasPath("from_location.", "type"))
    to_location_id: int = Field(validation_alias="to_location")
    to_location_type: str | None = Field(default=None, validation_alias=AliasPath("to_location.", "type"))
    state: str = Field(description="staging, draft, assigned, done, cancelled")
    shipment: str | None = Field(default=None, description="Model and id, such as stock.shipment.out,1")
    origin: str | None = Field(default=None, description="Model and id, such as sale.line,13")
    lot_number: str | None = Field(default=None, validation_alias=AliasPath("lot.", "number"))
    planned_on: date | None = Field(default=None, validation_alias="planned_date")
    effective_on: date | None = Field(default=None, validation_alias="effective_date")
    unit_price: Amount | None = None
    currency: Currency | None = Field(default=None, validation_alias=AliasPath("currency.", "code"))
    cost_price: Amount | None = Field(
        default=None, description="Per unit, in the company's currency, once done"
    )
    company_id: int = Field(validation_alias="company")


class ShipmentOut(TrytonRecord):
    """One delivery to a customer."""

    model: ClassVar[str] = "stock.shipment.out"

    number: str | None = None
    reference: str | None = None
    state: str = Field(description="draft, waiting, assigned, picked, packed, shipped, done, cancelled")
    customer_id: int | None = Field(default=None, validation_alias="customer")
    delivery_address_id: int | None = Field(default=None, validation_alias="delivery_address")
    warehouse_id: int = Field(validation_alias="warehouse")
    planned_on: date | None = Field(default=None, validation_alias="planned_date")
    effective_on: date | None = Field(default=None, validation_alias="effective_date")
    carrier_name: str | None = Field(default=None, validation_alias=AliasPath("carrier.", "party.", "name"))
    cost_amount: Amount | None = Field(default=None, validation_alias="cost")
    cost_currency: Currency | None = Field(default=None, validation_alias=AliasPath("cost_currency.", "code"))
    origins: str | None = Field(default=None, description="Names of the sales it delivers")


class ShipmentReturn(TrytonRecord):
    """One return from a customer."""

    model: ClassVar[str] = "stock.shipment.out.return"

    number: str | None = None
    reference: str | None = None
    state: str = Field(description="draft, received, done, cancelled")
    customer_id: int | None = Field(default=None, validation_alias="customer")
    warehouse_id: int = Field(validation_alias="warehouse")
    effective_on: date | None = Field(default=None, validation_alias="effective_date")
    origins: str | None = Field(default=None, description="Names of the sales it takes back")


class Invoice(TrytonRecord):
    """One invoice or credit note."""

    model: ClassVar[str] = "account.invoice"

    number: str | None = Field(default=None, description="Given when posted")
    reference: str | None = None
    type: str = Field(description="out: ours to a customer; in: a supplier's to us")
    state: str = Field(description="draft, validated, posted, paid, cancelled")
    invoice_on: date | None = Field(default=None, validation_alias="invoice_date")
    party_id: int = Field(validation_alias="party")
    currency: Currency = Field(validation_alias=AliasPath("currency.", "code"))
    untaxed_amount: Amount | None = None
    tax_amount: Amount | None = None
    total_amount: Amount | None = None
    amount_to_pay: Amount | None = None
    sale_ids: list[int] = Field(default=[], validation_alias="sales")
    company_id: int = Field(validation_alias="company")


class InvoiceLine(TrytonRecord):
    """One line of an invoice."""

    model: ClassVar[str] = "account.invoice.line"

    invoice_id: int | None = Field(default=None, validation_alias="invoice")
    type: str | None = None
    product_id: int | None = Field(default=None, validation_alias="product")
    quantity: FloatQuantity | None = None
    unit_price: Amount | None = None
    amount: Amount | None = None
    currency: Currency | None = Field(default=None, validation_alias=AliasPath("currency.", "code"))
    origin: str | None = Field(default=None, description="Model and id, such as sale.line,1")


def _field_names(record: type[TrytonRecord]) -> list[str]:
    """Tryton's names of the fields a record reads, relations dotted: `currency.code`."""
    names = []
    for name, field in record.model_fields.items():
        alias = field.validation_alias
        names.append("".join(map(str, alias.path)) if isinstance(alias, AliasPath) else str(alias or name))
    return sorted(names)


def _tryton_time(instant: datetime) -> dict[str, Any]:
    utc = instant.astimezone(UTC)
    return {"__class__": "datetime", **{name: getattr(utc, name) for name in _INSTANT_PARTS}}


def _search_read(record: type[TrytonRecord]) -> Callable[[Bounds], Ask]:
    def ask(bounds: Bounds) -> Ask:
        domain: list[list[Any]] = [["id", ">", 0]]
        if record.has_active:
            domain.append(["active", "in", [True, False]])
        if bounds.since is not None:
            domain.append(["last_modified_at", ">=", _tryton_time(bounds.since)])
        if bounds.until is not None:
            domain.append(["last_modified_at", "<", _tryton_time(bounds.until)])
        parameters = [domain, 0, PAGE_SIZE, [["id", "ASC"]], _field_names(record), {}]
        return Ask(json_body={"id": 1, "method": f"model.{record.model}.search_read", "params": parameters})

    return ask


def _count(record: type[TrytonRecord]) -> Ask:
    domain: list[list[Any]] = [["id", ">", 0]]
    if record.has_active:
        domain.append(["active", "in", [True, False]])
    method = f"model.{record.model}.search_count"
    return Ask(json_body={"id": 1, "method": method, "params": [domain, 0, None, {}]})


def _sweep(record: type[TrytonRecord]) -> Sweep:
    domain: list[list[Any]] = [["id", ">", 0]]
    if record.has_active:
        domain.append(["active", "in", [True, False]])
    parameters = [domain, 0, SWEEP_SIZE, [["id", "ASC"]], ["id"], {}]
    return Sweep(
        ask=Ask(json_body={"id": 1, "method": f"model.{record.model}.search_read", "params": parameters}),
        rows="result",
        pages=KeysetPages(write="json.params.0.0.2", rows="result", size=SWEEP_SIZE),
    )


def _stream(
    name: str, record: type[TrytonRecord], description: str, control_totals: tuple[ControlTotal, ...] = ()
) -> Stream:
    return Stream(
        name=name,
        record=record,
        key=("id",),
        path=_RPC,
        method="POST",
        ask=_search_read(record),
        rows="result",
        pages=KeysetPages(write="json.params.0.0.2", rows="result", read="id", size=PAGE_SIZE),
        cursor="modified_at",
        control_totals=control_totals,
        count=Count(ask=_count(record), read=("result",)),
        sweep=_sweep(record),
        description=description,
    )


_TOTAL = (ControlTotal(amount="total_amount", currency="currency"),)

SOURCE = Source(
    name="tryton",
    title="Tryton",
    kind=Kind.ERP,
    owner="finance-team",
    unheard="Tryton calls nobody; changes are pulled by their time.",
    # No base URL: every company runs its own; ORDERHUB_TRYTON_URL says where, database included.
    auth=Session(),
    decode=decode,
    fault=fault,
    timeout_seconds=60.0,
    documentation="https://docs.tryton.org/latest/server/ref/protocols.html",
    streams=(
        _stream("companies", Company, "Companies that keep books here, with the currency of their costs."),
        _stream("parties", Party, "Customers and other parties."),
        _stream("addresses", PartyAddress, "Addresses of parties."),
        _stream("contact_mechanisms", ContactMechanism, "Phone numbers and e-mail addresses of parties."),
        _stream("party_identifiers", PartyIdentifier, "Tax and other official numbers of parties."),
        _stream("templates", Template, "What product variants share."),
        _stream("products", Product, "Product variants."),
        _stream("product_identifiers", ProductIdentifier, "Barcodes and part numbers."),
        _stream("locations", StockLocation, "Warehouses, zones and virtual places."),
        _stream("sales", Sale, "Sales orders.", _TOTAL),
        _stream("sale_lines", SaleLine, "Lines of sales orders."),
        _stream("moves", Move, "Stock moves with lot and cost."),
        _stream("shipments", ShipmentOut, "Customer deliveries."),
        _stream("shipment_returns", ShipmentReturn, "Customer returns."),
        _stream("invoices", Invoice, "Invoices and credit notes.", _TOTAL),
        _stream("invoice_lines", InvoiceLine, "Lines of invoices."),
    ),
)
