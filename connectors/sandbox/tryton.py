"""Tryton as the sandbox company's books see it: every order that an import or a clerk booked as a sale.

One company per currency keeps the books. Sales copied from a shop carry its number as reference, as the import wrote
it; a sale knows its date, not its hour; prices are net of discounts, and freight is a line of its own. What is to follow
later of an order is at times a second sale, with the same reference and an invoice of its own. Businesses get one invoice a
week for all that left for them, as the module sale_invoice_grouping makes it. An invoice tells by its lines which sales it
bills, freight too; a credit note, as the wizard makes it, which lines of an invoice it takes back. Deliveries are copied from
the warehouse as shipments with an inventory move and an outgoing move for each line.
"""

from __future__ import annotations

import base64
import json
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox import vocabulary as words
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.differences import Cause, Differences, Planted, week_end
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.ecb_fx import reference_rates
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import (
    PREFIXES,
    Address,
    Channel,
    Customer,
    Order,
    OrderLine,
    Product,
    Return,
    Shipment,
    World,
)

DATABASE = "luna"
USERNAME = "orderhub"
_USER_ID = 7
_OPENED_AT = datetime(2024, 1, 2, 1, 30, tzinfo=UTC)
_BOOKS = ZoneInfo("Asia/Shanghai")  # the head office's dates
_COMPANIES = {"CNY": (1, "Luna Botanica (Shanghai) Co., Ltd."), "GBP": (2, "Luna Botanica UK Ltd"),
              "EUR": (3, "Luna Botanica GmbH"), "USD": (4, "Luna Botanica Inc."), "JPY": (5, "Luna Botanica KK")}  # fmt: skip
_UNIT = {"id": 1, "symbol": "u"}
_SUPPLIER, _CUSTOMER = 6, 7
_HEAD_OFFICE_BOOKS_AFTER = timedelta(days=4)
_FREIGHT = 99  # number of the line that bills it
_KINDS = ("warehouse", "dark_store")
_WITH_ACTIVE = ("party.party", "party.address", "party.contact_mechanism", "party.identifier", "product.template",
                "product.product", "stock.location")  # fmt: skip

Row = dict[str, Any]


def _number(truth_id: str) -> int:
    return int("".join(character for character in truth_id if character.isdigit()))


def _is_rest(sale: Order) -> bool:
    return sale.lines[0].line_number in sale.erp_rest_lines


def _sale_id(order: Order, is_rest: bool = False) -> int:
    return (60_000_000 if is_rest else 40_000) + _number(order.order_id)


def _booked(order: Order) -> Iterator[Order]:
    """What the books hold of an order: the whole as one sale, or two sales that add up to it, freight with the first."""
    if not order.erp_rest_lines:
        yield order
        return
    for is_rest, number in ((False, order.erp_number), (True, order.erp_rest_number)):
        lines = tuple(line for line in order.lines if (line.line_number in order.erp_rest_lines) is is_rest)
        gross, discount, tax = (
            sum((getattr(line, name) for line in lines), Decimal(0))
            for name in ("list_amount", "discount_amount", "tax_amount")
        )
        freight = Decimal(0) if is_rest else order.shipping_amount
        yield replace(order, erp_number=number, lines=lines, gross_amount=gross, discount_amount=discount,
                      shipping_amount=freight, tax_amount=tax, net_amount=gross - discount + freight,
                      duty_amount=Decimal(0) if is_rest else order.duty_amount)  # fmt: skip


def _line_id(order: Order, line_number: int) -> int:
    return (40_000 + _number(order.order_id)) * 100 + line_number


def _with_freight(order: Order, amounts: Mapping[int, Decimal]) -> dict[int, Decimal]:
    """Net amounts of an order's lines by their numbers, and of its freight."""
    return {**amounts, **({_FREIGHT: order.shipping_amount} if order.shipping_amount else {})}


def _encode(value: Any) -> Any:
    """Tryton's JSON of what JSON does not have."""
    if isinstance(value, datetime):
        utc = value.astimezone(UTC)
        names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        return {"__class__": "datetime", **{name: getattr(utc, name) for name in names}}
    if isinstance(value, date):
        return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    raise TypeError(f"Tryton's protocol has no form for {type(value).__name__}")


def _decode(value: Row) -> Any:
    if value.get("__class__") == "datetime":
        return datetime(**{name: part for name, part in value.items() if name != "__class__"}, tzinfo=UTC)
    if value.get("__class__") == "date":
        return date(value["year"], value["month"], value["day"])
    return value


class Twin:
    """Serves `POST /<database>/rpc/`: `common.db.login`, `model.<model>.search_read` and `search_count`."""

    name = "tryton"

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self._differences = Differences(world, dirt)
        self._rates = reference_rates(world) if dirt.has_differences else {}
        self._truth: list[Truth] = []
        self._tables: dict[str, dict[int, Row]] = {}
        # What is billed by the week, by party, currency and when the week ends.
        self._weekly: dict[tuple[int, str, datetime], list[Order]] = defaultdict(list)
        self._invoice_lines: dict[int, int] = {}  # of each line of a sale, the line that billed it
        self.deleted: set[str] = set()
        self._enter_companies()
        self._enter_places()
        for product in world.products.values():
            for copy in range(dirt.copies(f"product/{product.product_id}", 0.02)):
                self._enter_product(product, 5000 * copy + _number(product.product_id), copy)
        for order in world.orders.values():
            if order.erp_number is not None:
                self._enter_order(order)
        for (party, _, billed_at), orders in self._weekly.items():
            if billed_at <= world.now:
                self._put_collective(party, orders, billed_at)
        for order in world.orders.values():
            if order.erp_number is not None:
                for index, returned in enumerate(order.returns):
                    self._put_credit(order, returned, _number(order.order_id) * 10 + index)
        # Every model exists, with or without records.
        for model in ("stock.shipment.out", "stock.shipment.out.return", "stock.move", "account.invoice",
                      "account.invoice.line", "sale.sale", "sale.line", "party.identifier"):  # fmt: skip
            self._tables.setdefault(model, {})

    def routes(self) -> Sequence[BaseRoute]:
        return [Route(f"/{DATABASE}/rpc/", self._rpc, methods=["POST"])]

    def truth(self) -> Iterable[Truth]:
        return self._truth

    def differences(self) -> Iterable[Planted]:
        """What invoices and credit notes differ in."""
        return self._differences.listed

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_TRYTON_URL": f"{base_url}/{DATABASE}",
            "ORDERHUB_TRYTON_USERNAME": USERNAME,
            "ORDERHUB_TRYTON_PASSWORD": self._credentials.secret("tryton", "password"),
        }

    # --- master data ----------------------------------------------------------------------------------------------

    def _put(
        self, model: str, row_id: int, created_at: datetime, modified_at: datetime, **fields: Any
    ) -> Row:
        """Add a record. A field ending in `_` is what the relation of that name shows under a dotted name."""
        modified_at = max(created_at, min(modified_at, self._world.now))
        row = {f"{name[:-1]}." if name.endswith("_") else name: value for name, value in fields.items()}
        row |= {"id": row_id, "create_date": created_at, "last_modified_at": modified_at}
        row["write_date"] = None if modified_at == created_at else modified_at
        if model in _WITH_ACTIVE:
            row.setdefault("active", 1)
        self._tables.setdefault(model, {})[row_id] = row
        return row

    def _enter_companies(self) -> None:
        for currency, (row_id, name) in _COMPANIES.items():
            self._put("company.company", row_id, _OPENED_AT, _OPENED_AT, party=row_id, party_={"id": row_id, "name": name},
                      currency=row_id, currency_={"id": row_id, "code": currency})  # fmt: skip

    def _enter_places(self) -> None:
        for row_id, name, short, kind in (
            (_SUPPLIER, "Supplier", "SUP", "supplier"),
            (_CUSTOMER, "Customer", "CUS", "customer"),
        ):
            self._put("stock.location", row_id, _OPENED_AT, _OPENED_AT, name=name, code=short, type=kind, parent=None,
                      address=None)  # fmt: skip
        for place in self._world.locations.values():
            if place.kind not in _KINDS:
                continue
            number = _number(place.location_id)
            self._put_address(number, 1, place.address, f"place/{place.location_id}", _OPENED_AT)
            name = self._dirt.text(place.name, f"place/{place.location_id}")
            code = self._dirt.code(place.code, f"place/{place.location_id}", 0.1)
            self._put("stock.location", number * 10, _OPENED_AT, _OPENED_AT, name=name, code=code, type="warehouse",
                      parent=None, address=number)  # fmt: skip
            self._truth.append(Truth("location", f"tryton:locations:{number * 10}", place.location_id))
            for offset, zone, short in (
                (1, "Storage Zone", "STO"),
                (2, "Output Zone", "OUT"),
                (3, "Input Zone", "IN"),
            ):
                self._put("stock.location", number * 10 + offset, _OPENED_AT, _OPENED_AT, name=zone, code=short,
                          type="storage", parent=number * 10, address=None)  # fmt: skip

    def _put_address(
        self, row_id: int, party: int, address: Address, key: str, at: datetime, name: str | None = None
    ) -> None:
        typed = self._dirt.address(address, key, "both")
        self._put("party.address", row_id, at, at, party=party, party_name=name, street=typed.street, city=typed.city,
                  postal_code=typed.postcode, subdivision_={"id": _number(key) % 900 + 1, "name": typed.region},
                  country_={"id": _number(key) % 200 + 1, "code": typed.country}, sequence=None, invoice=0,
                  delivery=0)  # fmt: skip

    def _enter_product(self, product: Product, row_id: int, copy: int) -> None:
        dirt, key = self._dirt, f"product/{product.product_id}/{copy}"
        changed_at = _OPENED_AT + timedelta(days=row_id % 500)
        self._put("product.template", row_id, _OPENED_AT, changed_at, name=dirt.title(product, key, "latin"), code=None,
                  type="goods", account_category_={"id": 1, "name": product.category}, default_uom_=_UNIT)  # fmt: skip
        self._put("product.product", row_id, _OPENED_AT, _OPENED_AT, template=row_id, description=None, replaced_by=None,
                  code=dirt.code(product.mpn, key, 0.03))  # fmt: skip
        found: tuple[tuple[str, str | None], ...] = (("ean", dirt.gtin(product, key, 0.3)), ("mpn", dirt.code(product.mpn, f"{key}/mpn", 0.5)),
                 ("brand", product.brand))  # fmt: skip
        for number, (kind, code) in enumerate(found, start=1):
            if code is not None:
                self._put("product.identifier", row_id * 10 + number, _OPENED_AT, _OPENED_AT, product=row_id, type=kind,
                          code=code)  # fmt: skip
        self._truth.append(Truth("sku", f"tryton:products:{row_id}", product.product_id))

    def _party(self, customer: Customer, order: Order) -> tuple[int, int]:
        """Ids of the party and of the address an order goes to."""
        dirt, key = self._dirt, f"party/{customer.customer_id}"
        row_id = 1000 + _number(customer.customer_id)
        if row_id not in self._tables.get("party.party", {}):
            name = (
                dirt.company(customer, key, "both")
                if customer.is_company
                else dirt.name(customer, key, "latin")
            )
            email, phone = dirt.email(customer, key, 0.2), dirt.phone(customer, key, 0.25)
            tax = dirt.tax_number(customer, key, 0.15)
            at = order.placed_at
            self._put("party.party", row_id, at, at, name=name, code=str(row_id), email=email or "", phone=phone or "",
                      mobile="", langs_=_languages(row_id, customer.language), replaced_by=None,
                      tax_identifier_=None if tax is None else {"id": row_id, "code": tax})  # fmt: skip
            self._put_address(row_id * 10, row_id, customer.address, key, at)
            for number, (kind, value) in enumerate((("email", email), ("phone", phone))):
                if value is not None:
                    self._put("party.contact_mechanism", row_id * 10 + number, at, at, party=row_id, type=kind,
                              value=value)  # fmt: skip
            if tax is not None:
                office = "cn_uscc" if customer.address.country == "CN" else "eu_vat"
                self._put("party.identifier", row_id, at, at, party=row_id, type=office, code=tax)
            self._truth.append(Truth("customer", f"tryton:parties:{row_id}", customer.customer_id))
        if order.ship_to is None or order.ship_to == customer.address:
            return row_id, row_id * 10
        other = 10_000_000 + _number(order.order_id)
        self._put_address(other, row_id, order.ship_to, f"ship-to/{order.order_id}", order.placed_at)
        return row_id, other

    # --- sales and what follows -----------------------------------------------------------------------------------

    def _enter_order(self, order: Order) -> None:
        customer = self._world.customers[order.customer_id or ""]
        party, address = self._party(customer, order)
        booked_at = order.placed_at + timedelta(
            minutes=self._dirt.number(f"sale/{order.order_id}/import", 1, 55)
        )
        booked_at = min(self._dirt.late(booked_at, f"sale/{order.order_id}/booked", 0.04), self._world.now)
        changed_at = self._dirt.late(order.updated_at, f"sale/{order.order_id}")
        here = [s for s in order.shipments if self._world.locations[s.location_id].kind in _KINDS]
        for sale in _booked(order):
            self._put_sale(sale, party, address, booked_at, changed_at, here)
            for line in sale.lines:
                self._put_line(sale, line, booked_at)
        if order.shipping_amount:
            self._put_freight(order, booked_at)
        for shipment in here:
            self._put_shipment(order, shipment, party, address)
        self._put_returns(order, here, party)
        if order.cancelled_at is None and (order.paid_at or here):
            for sale in _booked(order):
                self._put_invoice(sale, party, booked_at, changed_at, here)

    def _company(self, order: Order) -> Row:
        return self._books(order.currency)

    def _books(self, currency: str) -> Row:
        row_id = _COMPANIES[currency][0]
        return {"company": row_id, "currency": row_id, "currency_": {"id": row_id, "code": currency}}

    def _rate_into_cny(self, currency: str, at: datetime) -> Decimal | None:
        """CNY for one unit on the books' day of an instant; None for CNY itself and where no rate is known."""
        days = [day for day in self._rates if day <= at.astimezone(_BOOKS).date()]
        if currency == "CNY" or not days:
            return None
        rates = self._rates[max(days)] | {"EUR": Decimal(1)}
        return rates["CNY"] / rates[currency]

    def _put_sale(
        self,
        order: Order,
        party: int,
        address: int,
        booked_at: datetime,
        changed_at: datetime,
        here: Sequence[Shipment],
    ) -> None:
        row_id = _sale_id(order, _is_rest(order))
        if order.cancelled_at is not None:
            state = "cancelled"
        elif order.closed_at is not None:
            state = "done"
        else:
            state = "processing" if order.reserved_at or order.paid_at else "confirmed"
        whole = sum(line.quantity for line in order.lines)
        ours = {line.line_number for line in order.lines}
        sent = sum(quantity for shipment in here for number, quantity in shipment.lines if number in ours)
        shipped = "waiting" if not sent else "sent" if sent == whole else "partially shipped"
        paid = "paid" if order.paid_at else "awaiting payment"
        # An order that nothing left for yet waits where most of them leave from.
        place = here[0].location_id if here else "L07"
        carrier = None
        if here:
            carrier = {"id": 1, "party.": {"id": 90, "name": here[0].carrier.replace("_", " ").upper()}}
        row = self._put("sale.sale", row_id, booked_at, changed_at, number=order.erp_number, state=state,
                        reference=self._reference(order), description=None,
                        sale_date=order.placed_at.astimezone(_BOOKS).date(), shipping_date=None, party=party,
                        invoice_party=None, shipment_party=None, shipment_address=address, warehouse=_number(place) * 10,
                        carrier_=carrier, untaxed_amount=order.net_amount, tax_amount=order.tax_amount + order.duty_amount,
                        total_amount=order.total_amount,
                        shipment_state="none" if state == "cancelled" else shipped,
                        invoice_state="none" if state == "cancelled" else paid, **self._company(order))  # fmt: skip
        if self._is_unread(order):
            row["currency."] = {"id": 99, "code": "XBT"}
        self._truth.append(Truth("order", f"tryton:sales:{row_id}", order.order_id))

    def _reference(self, order: Order) -> str | None:
        dirt, key = self._dirt, f"reference/{order.order_id}"
        number = dirt.order_number(order.number, key)
        # What an import divides it keeps together by the reference.
        if not order.erp_rest_lines and dirt.chance(f"{key}/missing", 0.02):
            return None
        match order.channel:
            case Channel.SHOPIFY:
                return dirt.spelling(
                    key, number, (f"SHOPIFY {number}", f"Shopify {number}", f"Shopify order {number}")
                )
            case channel if channel in PREFIXES:
                one, other = PREFIXES[channel]
                return dirt.spelling(key, number, (f"{one} {number}", f"{other} {number} "))
            case _:
                return dirt.spelling(key, number, (number, f"PO {number}", number.lower()))

    def _put_line(self, order: Order, line: OrderLine, at: datetime) -> None:
        product = _number(line.product_id)
        amount = line.list_amount - line.discount_amount
        code = self._tables["product.product"][product]["code"]
        self._put("sale.line", _line_id(order, line.line_number), at, at, sale=_sale_id(order, _is_rest(order)),
                  sequence=line.line_number, type="line", product=product, product_={"id": product, "code": code},
                  description=None, quantity=float(line.quantity), unit_=_UNIT, amount=amount, shipment_cost=None,
                  unit_price=(amount / line.quantity).quantize(Decimal("0.0001")),
                  currency_=self._company(order)["currency_"])  # fmt: skip

    def _put_freight(self, order: Order, at: datetime) -> None:
        self._put("sale.line", _line_id(order, _FREIGHT), at, at, sale=_sale_id(order), sequence=_FREIGHT,
                  type="line", product=None, product_=None, description="Freight", quantity=1.0, unit_=_UNIT,
                  unit_price=order.shipping_amount, amount=order.shipping_amount, shipment_cost=order.shipping_amount,
                  currency_=self._company(order)["currency_"])  # fmt: skip

    def _put_shipment(self, order: Order, shipment: Shipment, party: int, address: int) -> None:
        row_id = _number(order.order_id) * 10 + int(shipment.shipment_id.rpartition("-S")[2])
        warehouse, company = _number(shipment.location_id) * 10, self._company(order)
        sent_on = shipment.dispatched_at.astimezone(_BOOKS).date()
        # The carrier's first scan closes it: nobody sees it before.
        closed_at = max(shipment.dispatched_at, shipment.first_scan_at)
        changed_at = self._dirt.late(closed_at, f"shipment/{shipment.shipment_id}")
        self._put("stock.shipment.out", row_id, shipment.picked_at, changed_at, number=f"CS{row_id:08d}", reference=None,
                  state="done", customer=party, delivery_address=address, warehouse=warehouse,
                  planned_date=shipment.picked_at.astimezone(_BOOKS).date(), effective_date=sent_on,
                  carrier_={"id": 1, "party.": {"id": 90, "name": shipment.carrier.replace("_", " ").upper()}},
                  cost=shipment.cost_amount, cost_currency_=company["currency_"],
                  origins=f"{order.erp_number} [{order.number}]")  # fmt: skip
        for line_number, quantity in shipment.lines:
            line, move_id = order.lines[line_number - 1], (row_id * 100 + line_number) * 10
            shown = {"shipment": f"stock.shipment.out,{row_id}", "quantity": float(quantity), "state": "done",
                     "planned_date": sent_on, "effective_date": sent_on, "unit_price": None, "company": company["company"],
                     "currency_": company["currency_"], "cost_price": self._cost(order, line)}  # fmt: skip
            self._put_move(move_id, line, shipment.picked_at, changed_at, (warehouse + 1, "storage"),
                           (warehouse + 2, "storage"), origin=f"stock.move,{move_id + 1}", **shown)  # fmt: skip
            row = self._put_move(move_id + 1, line, shipment.picked_at, changed_at, (warehouse + 2, "storage"),
                                 (_CUSTOMER, "customer"), origin=f"sale.line,{_line_id(order, line_number)}",
                                 **shown)  # fmt: skip
            if self._dirt.is_invalid(f"move/{move_id}"):
                row["quantity"] = -float(quantity)

    def _put_move(
        self,
        row_id: int,
        line: OrderLine,
        created_at: datetime,
        changed_at: datetime,
        source: tuple[int, str],
        target: tuple[int, str],
        **fields: Any,
    ) -> Row:
        lot = None if line.lot_id is None else {"id": _number(line.lot_id) % 10**9, "number": line.lot_id}
        return self._put("stock.move", row_id, created_at, changed_at, product=_number(line.product_id), unit_=_UNIT,
                         from_location=source[0], from_location_={"id": source[0], "type": source[1]},
                         to_location=target[0], to_location_={"id": target[0], "type": target[1]}, lot_=lot,
                         **fields)  # fmt: skip

    def _cost(self, order: Order, line: OrderLine) -> Decimal:
        product = self._world.products[line.product_id]
        return (product.unit_cost * words.PRICE_LIST_RATE[order.currency]).quantize(Decimal("0.0001"))

    def _put_returns(self, order: Order, here: Sequence[Shipment], party: int) -> None:
        for index, returned in enumerate(order.returns):
            row_id, line = _number(order.order_id) * 10 + index, order.lines[returned.line_number - 1]
            warehouse, company = _number(here[0].location_id if here else "L07") * 10, self._company(order)
            came_on = returned.received_at.astimezone(_BOOKS).date()
            # Done once its refund is settled: nobody sees it before.
            self._put("stock.shipment.out.return", row_id, returned.received_at, returned.refunded_at, state="done",
                      number=f"CR{row_id:08d}", reference=None, customer=party, warehouse=warehouse,
                      effective_date=came_on, origins=f"{order.erp_number} [{order.number}]")  # fmt: skip
            self._put_move(2_000_000_000 + row_id, line, returned.received_at, returned.refunded_at,
                           (_CUSTOMER, "customer"), (warehouse + 3, "storage"), state="done",
                           origin=f"sale.line,{_line_id(order, returned.line_number)}",
                           shipment=f"stock.shipment.out.return,{row_id}", quantity=float(returned.quantity),
                           planned_date=came_on, effective_date=came_on, unit_price=None, company=company["company"],
                           currency_=company["currency_"], cost_price=self._cost(order, line))  # fmt: skip

    def _is_unread(self, order: Order) -> bool:
        """Whether the sale breaks the system's own rules, so that what names it reaches none."""
        return self._dirt.is_invalid(f"sale/{order.order_id}")

    def _put_credit(self, order: Order, returned: Return, row_id: int) -> None:
        amount, posted_at = returned.refund_amount, returned.refunded_at
        # Of a sale made here, nobody else tells what was given back.
        is_told_twice = order.channel in (Channel.SHOPIFY, Channel.AMAZON) and not self._is_unread(order)
        cause = self._differences.draw("credit_note", order, returned.return_id) if is_told_twice else None
        copies = 1
        match cause:
            case Cause.MISSING:
                self._differences.plant("credit_note", order, cause, amount, posted_at)
                return
            case Cause.DUPLICATE:
                self._differences.plant("credit_note", order, cause, -amount)
                copies = 2
            case Cause.TIMING:
                late_at = self._differences.late(f"credit/{returned.return_id}", posted_at)
                if late_at is not None:
                    self._differences.plant("credit_note", order, cause, amount)
                    posted_at = late_at
        for copy in range(copies):
            if self._is_unread(order):
                record_id = f"tryton:invoices:{50_000_000 + row_id}"
                self._differences.astray("credit_note", record_id, order, amount)
            credit_id, (net, tax) = (50 + 10 * copy) * 1_000_000 + row_id, order.split_refund(returned)
            line = order.lines[returned.line_number - 1]
            sale_line = _line_id(order, line.line_number)
            billed = self._invoice_lines.get(sale_line)
            sale = _sale_id(order, line.line_number in order.erp_rest_lines)
            # Tryton finds the sales of an invoice by lines that come from a sale's.
            origin = f"sale.line,{sale_line}" if billed is None else f"account.invoice.line,{billed}"
            self._put("account.invoice", credit_id, returned.refunded_at, posted_at, type="out",
                      number=f"CN{copy}{row_id:07d}", reference=None, state="paid",
                      party=self._tables["sale.sale"][sale]["party"],
                      invoice_date=posted_at.astimezone(_BOOKS).date(), untaxed_amount=-net, tax_amount=-tax,
                      total_amount=-amount, amount_to_pay=Decimal(0), sales=[sale] if billed is None else [],
                      **self._company(order))  # fmt: skip
            self._put_invoice_line(credit_id, 1, origin, _number(line.product_id), -returned.quantity, -net,
                                   self._company(order), returned.refunded_at, posted_at)  # fmt: skip

    def _put_invoice(
        self, order: Order, party: int, booked_at: datetime, changed_at: datetime, here: Sequence[Shipment]
    ) -> None:
        row_id = _number(order.order_id) + (10_000_000 if _is_rest(order) else 0)
        company = self._company(order)
        is_read = not self._is_unread(order)
        cause = self._differences.draw("invoice", order) if is_read and not order.erp_rest_lines else None
        if cause is None and is_read and order.channel in (Channel.B2B, Channel.DEALER):
            seen_at = [shipment.first_scan_at for shipment in here] + (
                [order.paid_at] if order.paid_at else []
            )
            self._weekly[party, order.currency, week_end(min(seen_at))].append(order)
            return
        is_told = order.channel is Channel.SHOPIFY and order.payment_method == "card"
        bill = self._differences.billed(
            order, booked_at, cause, order.payment_fee_amount if is_told else None
        )
        if bill is None:
            return
        net, tax, amounts = bill.net, bill.tax, _with_freight(order, bill.lines)
        posted_at, changed_at = bill.posted_at, max(bill.posted_at, changed_at)
        if (
            cause is Cause.FX
        ):  # the head office booked it in its own currency, at the rate of the day it came to it
            later = order.placed_at + _HEAD_OFFICE_BOOKS_AFTER
            rate = self._rate_into_cny(order.currency, later)
            if rate is not None and later + _HEAD_OFFICE_BOOKS_AFTER <= self._world.now:
                if self._shows(net + tax, order, rate):
                    self._differences.plant("invoice", order, cause, Decimal(0))
                posted_at, company, changed_at = later, self._books("CNY"), max(later, changed_at)
                net, tax = ((amount * rate).quantize(Decimal("0.01")) for amount in (net, tax))
                amounts = {
                    line: (amount * rate).quantize(Decimal("0.01")) for line, amount in amounts.items()
                }
        total = net + tax
        for copy in range(bill.copies):
            invoice_id = copy * 20_000_000 + row_id
            if not is_read:
                self._differences.astray("invoice", f"tryton:invoices:{invoice_id}", order, total)
            self._put("account.invoice", invoice_id, booked_at, changed_at, type="out", number=f"INV{invoice_id:07d}",
                      reference=None, state="paid" if order.paid_at else "posted", party=party,
                      invoice_date=posted_at.astimezone(_BOOKS).date(), untaxed_amount=net,
                      tax_amount=tax, total_amount=total, amount_to_pay=Decimal(0) if order.paid_at else total,
                      sales=[_sale_id(order, _is_rest(order))], **company)  # fmt: skip
            self._put_invoice_lines(invoice_id, order, amounts, company, booked_at, changed_at)

    def _put_collective(self, party: int, orders: list[Order], billed_at: datetime) -> None:
        """Bill what left for one party in one week, at the week's end."""
        invoice_id, company = 30_000_000 + _number(orders[0].order_id), self._company(orders[0])
        net = sum((order.net_amount for order in orders), Decimal(0))
        tax = sum((order.tax_amount + order.duty_amount for order in orders), Decimal(0))
        to_pay = sum((order.total_amount for order in orders if order.paid_at is None), Decimal(0))
        changed_at = max(billed_at, *(order.updated_at for order in orders))
        self._put("account.invoice", invoice_id, billed_at, changed_at, type="out", number=f"INV{invoice_id:07d}",
                  reference=None, state="posted" if to_pay else "paid", party=party,
                  invoice_date=billed_at.astimezone(_BOOKS).date(), untaxed_amount=net, tax_amount=tax,
                  total_amount=net + tax, amount_to_pay=to_pay, sales=[_sale_id(order) for order in orders],
                  **company)  # fmt: skip
        place = 0
        for order in orders:
            amounts = {line.line_number: line.list_amount - line.discount_amount for line in order.lines}
            place = self._put_invoice_lines(invoice_id, order, _with_freight(order, amounts), company, billed_at,
                                            changed_at, place)  # fmt: skip
            if len(orders) > 1:
                self._truth.append(Truth("order", f"tryton:invoices:{invoice_id}", order.order_id))

    def _put_invoice_lines(
        self,
        invoice_id: int,
        order: Order,
        amounts: Mapping[int, Decimal],
        company: Row,
        created_at: datetime,
        changed_at: datetime,
        place: int = 0,
    ) -> int:
        """Add a line for each line of a sale, net amounts by line number, after `place`; return the last one's place."""
        sold = {line.line_number: line for line in order.lines}
        for number, amount in amounts.items():
            place += 1
            line, sale_line = sold.get(number), _line_id(order, number)
            product, quantity = (None, 1) if line is None else (_number(line.product_id), line.quantity)
            self._put_invoice_line(invoice_id, place, f"sale.line,{sale_line}", product, quantity, amount, company,
                                   created_at, changed_at)  # fmt: skip
            self._invoice_lines.setdefault(sale_line, invoice_id * 100 + place)
        return place

    def _put_invoice_line(
        self,
        invoice_id: int,
        place: int,
        origin: str,
        product: int | None,
        quantity: int,
        amount: Decimal,
        company: Row,
        created_at: datetime,
        changed_at: datetime,
    ) -> None:
        self._put("account.invoice.line", invoice_id * 100 + place, created_at, changed_at, invoice=invoice_id,
                  type="line", product=product, quantity=float(quantity), amount=amount,
                  unit_price=(amount / quantity).quantize(Decimal("0.0001")), currency_=company["currency_"],
                  origin=origin)  # fmt: skip

    def _shows(self, total: Decimal, order: Order, rate: Decimal) -> bool:
        """Whether an amount that was converted at a later rate is another at the rate of the order's day."""
        then = self._rate_into_cny(order.currency, order.placed_at)
        unit = Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[order.currency])
        return then is None or ((total * rate).quantize(Decimal("0.01")) / then).quantize(unit) != total

    # --- the protocol ---------------------------------------------------------------------------------------------

    def _kept(self, model: str) -> dict[int, Row]:
        """Records of a model but those that were deleted, `<model>,<id>`."""
        gone = {int(key.rpartition(",")[2]) for key in self.deleted if key.startswith(f"{model},")}
        return {row_id: row for row_id, row in self._tables[model].items() if row_id not in gone}

    async def _rpc(self, request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("application/json"):
            return PlainTextResponse("Not a RPC request", status_code=400)
        try:
            call = json.loads(await request.body(), object_hook=_decode)
            method, parameters = str(call["method"]), list(call["params"])
        except (KeyError, TypeError, ValueError):
            return PlainTextResponse("Unable to get RPC method", status_code=400)
        if method == "common.db.login":
            return self._log_in(call, parameters)
        if request.headers.get("authorization") != f"Session {self._session()}":
            return PlainTextResponse(
                "", status_code=401, headers={"WWW-Authenticate": 'Basic realm="Tryton"'}
            )
        model, _, called = method.removeprefix("model.").rpartition(".")
        if not method.startswith("model.") or called not in ("search_read", "search_count"):
            return PlainTextResponse("Forbidden", status_code=403)
        if model not in self._tables:
            return _answer({"id": call.get("id"), "error": [f"'{model}'", ""]})
        if len(parameters) < (6 if called == "search_read" else 2) or not isinstance(parameters[-1], dict):
            return PlainTextResponse("Missing context", status_code=422)
        try:
            if called == "search_count":
                found = _select(
                    self._kept(model), parameters[0], 0, None, None, [], is_archivable=model in _WITH_ACTIVE
                )
                return _answer({"id": call.get("id"), "result": len(found)})
            result = _select(self._kept(model), *parameters[:5], is_archivable=model in _WITH_ACTIVE)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            return _answer({"id": call.get("id"), "error": [str(error), ""]})
        return _answer({"id": call.get("id"), "result": result})

    def _session(self) -> str:
        token = self._credentials.secret("tryton", "session", 64)
        return base64.b64encode(f"{USERNAME}:{_USER_ID}:{token}".encode()).decode()

    def _log_in(self, call: Row, parameters: list[Any]) -> Response:
        username, given = parameters[0], parameters[1]
        if "password" not in given:
            asked = ["password", f"Password for {username}", "password"]
            return _answer({"id": call.get("id"), "error": ["LoginException", asked]})
        if username != USERNAME or not self._credentials.accepts("tryton", "password", given["password"]):
            return Response(
                "<!doctype html><title>401 Unauthorized</title>", status_code=401, media_type="text/html"
            )
        token = self._credentials.secret("tryton", "session", 64)
        return _answer({"id": call.get("id"), "result": [_USER_ID, token, None]})


def _languages(party: int, code: str) -> list[Row]:
    """What Tryton keeps of a party's language: a row of no company, which is empty, and one of the company that set it."""
    return [{"id": party * 2, "lang.": None}, {"id": party * 2 + 1, "lang.": {"id": 1, "code": code}}]


def _answer(body: Row) -> Response:
    return Response(json.dumps(body, default=_encode, separators=(",", ":")), media_type="application/json")


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "in": lambda held, given: held in given,
    "not in": lambda held, given: held not in given,
}


def _select(
    table: dict[int, Row],
    domain: list[Any],
    offset: int,
    limit: int | None,
    order: list[list[str]] | None,
    fields: list[str],
    *,
    is_archivable: bool,
) -> list[Row]:
    """What `search_read` returns; archived records only where the domain names `active`."""
    if is_archivable and "active" not in _named(domain):
        domain = [domain, ["active", "=", 1]]
    rows = [row for row in table.values() if _holds(row, domain)]
    for name, direction in reversed(order or [["id", "ASC"]]):
        rows.sort(key=lambda row, by=name: row[by], reverse=direction.upper().startswith("DESC"))  # type: ignore[misc]
    rows = rows[offset:] if limit is None else rows[offset : offset + limit]
    names = {f"{name.partition('.')[0]}." if "." in name else name for name in fields} | {"id"}
    return [{name: row[name] for name in names} for row in rows]


def _named(domain: Any) -> set[str]:
    if not isinstance(domain, list) or not domain:
        return set()
    if isinstance(domain[0], str) and domain[0] not in ("AND", "OR"):
        return {domain[0]}
    return {name for part in domain for name in _named(part)}


def _holds(row: Row, domain: list[Any]) -> bool:
    if not domain:
        return True
    if isinstance(domain[0], str) and domain[0] not in ("AND", "OR"):
        name, compare, given = domain
        if compare not in _COMPARE:
            raise ValueError(f"operator {compare!r} is not known")
        held = row[name]
        return bool(held is not None and _COMPARE[compare](held, given))
    parts = domain[1:] if domain[0] in ("AND", "OR") else domain
    return (any if domain[0] == "OR" else all)(_holds(row, part) for part in parts)
