"""Odoo's Point of Sale as the sandbox company's Chinese stores use it: a till each, a session a day, refunds as sales of
negative quantities, what a session sold booked out of stock in one picking when it closes.

What is dirty here: customers entered again at the till, training sales marked by the name of the order alone, sales that
reach the server when the line is back, rows that a migration wrote past the forms, without a date or with an impossible
discount. Payments of cards, of WeChat and in cash come with no fee: nobody tells the till what the bank keeps.

Source: https://www.odoo.com/documentation/19.0/applications/sales/point_of_sale.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

from connectors.sandbox.differences import Cause, Differences
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.odoo_records import Records, Row, written
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Location, Order, OrderLine, Return, World

PICKING_TYPE = 5  # the till's own kind of operation, after the four of a warehouse
_STOCK, _CUSTOMERS = 1, 5  # a warehouse's shelves; the place outside that goods are sold to
_CURRENCY = [7, "CNY"]
_CASH, _CARD = 10, 2
_METHODS = {_CARD: "银联 POS", 3: "支付宝", 4: "WeChat Pay"}
_PAID_BY = {"card": _CARD, "alipay": 3, "wechat_pay": 4}
_NOTE = Decimal(100)  # largest banknote
_FIRST_DAY = date(2024, 1, 8)
_SESSION_PICKINGS = 10**10


@dataclass
class _Session:
    """One day at one till, and what it sold and took back: (product, lot) -> units."""

    row_id: int
    place: Location
    name: str
    closes_at: datetime
    sold: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    taken_back: Counter[tuple[str, str | None]] = field(default_factory=Counter)


@dataclass
class Tills:
    """Writes the stores' sales into the company's Odoo.

    Attributes:
        partner: id of the partner a sale's customer is at the till, and at deliveries.
        lot: id of a lot.
        truth: which true order each document is.
    """

    world: World
    dirt: Dirt
    differences: Differences
    records: Records
    partner: Callable[[Order], int | None]
    lot: Callable[[str], int]
    truth: list[Truth] = field(default_factory=list)
    _sessions: dict[int, _Session] = field(default_factory=dict)

    def open(self, place: Location, opened_at: datetime) -> None:
        """Set up a store's till, with its own cash and what all tills take."""
        number = _number(place.location_id)
        self.records.put("stock.picking.type", number * 10 + PICKING_TYPE, opened_at, opened_at, code="outgoing",
                         name="PoS Orders", sequence_code="POS", reservation_method="at_confirm",
                         warehouse_id=self.records.link("stock.warehouse", number))  # fmt: skip
        methods = {number * _CASH: f"现金 {place.code}", **_METHODS}
        for row_id, name in methods.items():
            is_cash = row_id not in _METHODS
            self.records.put("pos.payment.method", row_id, opened_at, opened_at, name=name, is_cash_count=is_cash,
                             type="cash" if is_cash else "bank", active=True)  # fmt: skip
        self.records.put("pos.config", number, opened_at, opened_at, name=place.code, active=True, currency_id=_CURRENCY,
                         picking_type_id=self.records.link("stock.picking.type", number * 10 + PICKING_TYPE))  # fmt: skip

    def sell(self, order: Order) -> None:
        """Enter a sale with its payments, and what was given back of it."""
        session = self._session(order, order.placed_at)
        synced_at = self.dirt.late(order.paid_at or order.placed_at, f"till/{order.order_id}")
        synced_at = min(synced_at, session.closes_at, self.world.now)
        partner = self.partner(order)
        payments = [] if order.paid_at is None else self._payments(order, session, order.paid_at, synced_at)
        sale = self._put_order(order, None, session, order.paid_at or order.placed_at, synced_at, partner,
                               order.net_amount + order.tax_amount, order.tax_amount, payments)  # fmt: skip
        for line in order.lines:
            self._put_line(order, sale, line, line.quantity, line.list_amount - line.discount_amount, line.tax_amount,
                           synced_at)  # fmt: skip
            if order.paid_at is not None and order.ship_to is None:
                session.sold += self._goods(line, line.quantity)
        for index, returned in enumerate(order.returns, start=1):
            self._give_back(order, index, returned, partner)

    def close(self) -> None:
        """Book what each closed session sold and took back out of stock, and into it."""
        for session in self._sessions.values():
            if session.closes_at <= self.world.now:
                self._book(session, _SESSION_PICKINGS + 2 * session.row_id, session.sold, False)
                self._book(session, _SESSION_PICKINGS + 2 * session.row_id + 1, session.taken_back, True)

    # --- sessions -------------------------------------------------------------------------------------------------

    def _session(self, order: Order, at: datetime) -> _Session:
        """The session of a day at the till that sold an order: all is on the server when the till closes for the night."""
        place = self.world.locations[str(order.selling_location_id)]
        zone = ZoneInfo(place.timezone)
        day = at.astimezone(zone).date()
        config, nth = _number(place.location_id), (day - _FIRST_DAY).days
        row_id = config * 100_000 + nth
        if row_id not in self._sessions:
            starts_at = datetime.combine(day, time(), zone).astimezone(UTC)
            closes_at = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
            session = _Session(row_id, place, f"{place.code}/{nth:05d}", closes_at)
            is_closed = closes_at <= self.world.now
            self.records.put("pos.session", row_id, starts_at, closes_at if is_closed else starts_at, name=session.name,
                             config_id=self.records.link("pos.config", config), start_at=written(starts_at),
                             stop_at=written(closes_at) if is_closed else None,
                             state="closed" if is_closed else "opened")  # fmt: skip
            self._sessions[row_id] = session
        return self._sessions[row_id]

    def _goods(self, line: OrderLine, quantity: int) -> Counter[tuple[str, str | None]]:
        """What a line takes off the shelf: a kit's parts."""
        parts = self.world.products[line.product_id].components
        if parts:
            return Counter({(product_id, None): each * quantity for product_id, each in parts})
        return Counter({(line.product_id, line.lot_id): quantity})

    def _book(
        self, session: _Session, row_id: int, goods: Counter[tuple[str, str | None]], is_return: bool
    ) -> None:
        if not goods:
            return
        number, at = _number(session.place.location_id), session.closes_at
        stock = self.records.link("stock.location", number * 10 + _STOCK)
        customers = self.records.link("stock.location", _CUSTOMERS)
        source, target = (customers, stock) if is_return else (stock, customers)
        name = f"{session.place.code}/POS/{row_id - _SESSION_PICKINGS:06d}"
        self.records.put("stock.picking", row_id, at, at, name=name, origin=session.name, state="done", partner_id=None,
                         picking_type_id=self.records.link("stock.picking.type", number * 10 + PICKING_TYPE),
                         picking_type_code="outgoing", location_id=source, location_dest_id=target,
                         scheduled_date=written(at), date_deadline=None, date_done=written(at), carrier_id=None,
                         carrier_tracking_ref=None, shipping_weight=0.0, backorder_id=None, return_id=None)  # fmt: skip
        picking = self.records.link("stock.picking", row_id)
        for place, ((product_id, lot_id), quantity) in enumerate(sorted(goods.items(), key=str), start=1):
            move_id = row_id * 1000 + place
            shown = {"picking_id": picking, "product_id": self.records.link("product.product", _number(product_id)),
                     "state": "done", "quantity": float(quantity), "date": written(at)}  # fmt: skip
            self.records.put("stock.move", move_id, at, at, sequence=10 * place, product_uom_qty=float(quantity),
                             product_uom=[1, "Units"], location_id=source, location_dest_id=target,
                             origin_returned_move_id=None, **shown)  # fmt: skip
            lot = None if lot_id is None else self.records.link("stock.lot", self.lot(lot_id))
            self.records.put("stock.move.line", move_id, at, at, move_id=[move_id, name], lot_id=lot,
                             product_uom_id=[1, "Units"], **shown)  # fmt: skip

    # --- sales ----------------------------------------------------------------------------------------------------

    def _put_order(
        self,
        order: Order,
        returned: Return | None,
        session: _Session,
        at: datetime,
        synced_at: datetime,
        partner: int | None,
        total: Decimal,
        tax: Decimal,
        payments: list[Row],
    ) -> Row:
        """One `pos.order`: a sale, or what was given back of it. It is posted when its session closes, or when invoiced."""
        is_refund = returned is not None
        row_id = order_row_id(order) + (
            int(returned.return_id.rpartition("-R")[2]) if returned is not None else 0
        )
        key, config = f"till/{row_id}", _number(session.place.location_id)
        sequence = f"{row_id:06d}" if is_refund else order.number.rpartition("-")[2]
        is_paid = is_refund or order.paid_at is not None
        is_invoiced = partner is not None and is_paid and self.dirt.fraction(f"{key}/invoice") < 0.1
        is_posted = is_invoiced or session.closes_at <= self.world.now
        state = "cancel" if order.cancelled_at is not None else "draft"
        if is_paid:
            state = "done" if is_posted else "paid"
        written_at = synced_at if is_refund else max(synced_at, order.updated_at)
        if is_paid and session.closes_at <= self.world.now:
            written_at = max(written_at, session.closes_at)
        sale = sale_name(order)
        row = self.records.put(
            "pos.order", row_id, synced_at, written_at,
            name=f"{sale} REFUND" if is_refund else sale if is_paid else "/",
            pos_reference=f"{at:%y}{2 if is_refund else 1}-{config}-{sequence}",
            tracking_number=str(int(sequence) % 1000), uuid=self._uuid(key), date_order=written(at), state=state,
            session_id=self.records.link("pos.session", session.row_id), config_id=self.records.link("pos.config", config),
            partner_id=self.records.link("res.partner", partner), currency_id=_CURRENCY, amount_total=float(total),
            amount_tax=float(tax), amount_paid=float(sum((Decimal(str(each["amount"])) for each in payments), Decimal(0))),
            is_refund=is_refund, refunded_order_id=[order_row_id(order), sale] if is_refund else None,
            account_move=[row_id, f"INV/{at:%Y}/{row_id % 100_000:05d}"] if is_invoiced else None,
            shipping_date=None if is_refund or order.promised_at is None else f"{order.promised_at:%Y-%m-%d}",
            floating_order_name="TEST" if order.is_test else None,
        )  # fmt: skip
        for each in payments:
            each["pos_order_id"] = [row_id, row["name"]]
        if not is_refund and self._is_unread(order):
            row["date_order"] = False
        self.truth.append(Truth("order", f"odoo:pos_orders:{row_id}", order.order_id))
        return row

    def _put_line(
        self,
        order: Order,
        sale: Row,
        line: OrderLine,
        quantity: int,
        net: Decimal,
        tax: Decimal,
        synced_at: datetime,
        returned: Return | None = None,
    ) -> None:
        row_id = sale["id"] * 100 + line.line_number
        sold_id = order_row_id(order) * 100 + line.line_number
        product = self.records.link("product.product", self._product_id(line, f"till/{sold_id}"))
        whole = line.unit_price * quantity
        sign = 1 if returned is None else -1
        row = self.records.put(
            "pos.order.line", row_id, synced_at, synced_at, order_id=[sale["id"], sale["name"]], product_id=product,
            full_product_name=product[1] if product else None, qty=float(sign * quantity),
            price_unit=float(line.unit_price), discount=float(100 * (whole - net) / whole) if whole else 0.0,
            price_subtotal=float(sign * net), price_subtotal_incl=float(sign * (net + tax)), product_uom_id=[1, "Units"],
            refunded_orderline_id=None if returned is None else [sold_id, product[1] if product else ""],
            customer_note=None if returned is None else returned.reason,
        )  # fmt: skip
        if returned is None and self.dirt.is_invalid(f"till/{row_id}"):
            row["discount"] = 900.0

    def _give_back(self, order: Order, index: int, returned: Return, partner: int | None) -> None:
        session = self._session(order, returned.refunded_at)
        net, tax = order.split_refund(returned)
        line = order.lines[returned.line_number - 1]
        payment = self._put_payment(order, session, order_row_id(order) * 10 + 5 + index, -returned.refund_amount,
                                    returned.refunded_at, returned.refunded_at)  # fmt: skip
        refund = self._put_order(order, returned, session, returned.refunded_at, returned.refunded_at, partner,
                                 -returned.refund_amount, -tax, [payment])  # fmt: skip
        self._put_line(order, refund, line, returned.quantity, net, tax, returned.refunded_at, returned)
        session.taken_back += self._goods(line, returned.quantity)
        if self._is_unread(order):
            self.differences.astray(
                "refund", f"odoo:pos_payments:{payment['id']}", order, returned.refund_amount
            )

    def _product_id(self, line: OrderLine, key: str) -> int:
        """The product as a cashier finds it: at times the copy that somebody made again."""
        number = _number(line.product_id)
        copies = self.dirt.copies(f"product/{line.product_id}", 0.03)
        return 5000 * self.dirt.number(f"{key}/copy", 0, copies - 1) + number

    def _is_unread(self, order: Order) -> bool:
        """Whether a sale breaks Odoo's own rules, so that what names it reaches none."""
        return self.dirt.is_invalid(f"till/{order.order_id}")

    # --- payments -------------------------------------------------------------------------------------------------

    def _payments(self, order: Order, session: _Session, paid_at: datetime, synced_at: datetime) -> list[Row]:
        """What a sale was paid with: at times not at all, twice or in part; cash with what the till gave back."""
        key, first = f"till/{order.order_id}/payment", order_row_id(order) * 10
        taken = order.net_amount + order.tax_amount
        is_read, is_astray = not self.dirt.is_invalid(key), self._is_unread(order)
        cause = self.differences.draw("payment", order) if is_read and not is_astray else None
        if cause is Cause.MISSING and not order.returns:
            self.differences.plant("payment", order, cause, taken)
            return []
        if cause is Cause.UNEXPLAINED:
            short = self.differences.part(key, taken, order.currency)
            self.differences.plant("payment", order, cause, short)
            taken -= short
        change = Decimal(0)
        if order.payment_method == "cash" and self.dirt.fraction(f"{key}/change") < 0.7:
            change = -taken % _NOTE
        rows = [self._put_payment(order, session, first, taken + change, paid_at, synced_at)]
        if change:
            rows.append(
                self._put_payment(order, session, first + 1, -change, paid_at, synced_at, is_change=True)
            )
        if cause is Cause.DUPLICATE:
            self.differences.plant("payment", order, cause, -taken)
            rows.append(self._put_payment(order, session, first + 2, taken, paid_at, synced_at))
        if not is_read:
            rows[0]["payment_date"] = False
            if not is_astray:
                self.differences.plant("payment", order, Cause.MISSING, taken)
        elif is_astray:
            self.differences.astray("payment", f"odoo:pos_payments:{first}", order, taken)
        return rows

    def _put_payment(
        self,
        order: Order,
        session: _Session,
        row_id: int,
        amount: Decimal,
        at: datetime,
        synced_at: datetime,
        is_change: bool = False,
    ) -> Row:
        key = f"till/payment/{row_id}"
        is_card, is_cash = order.payment_method == "card", order.payment_method == "cash"
        method = (
            _number(session.place.location_id) * _CASH if is_cash else _PAID_BY[str(order.payment_method)]
        )
        return self.records.put(
            "pos.payment", row_id, synced_at, synced_at, pos_order_id=None, amount=float(amount), payment_date=written(at),
            payment_method_id=self.records.link("pos.payment.method", method), currency_id=_CURRENCY,
            card_type=self.dirt.pick(f"{key}/card", ("Debit", "Credit")) if is_card else None,
            card_brand=self.dirt.pick(f"{key}/brand", ("UnionPay", "Visa", "Mastercard")) if is_card else None,
            transaction_id=None if is_cash else self.dirt.token(f"{key}/transaction", 12, "0123456789"),
            payment_status=None if is_cash else "done", is_change=is_change,
        )  # fmt: skip

    def _uuid(self, key: str) -> str:
        return str(UUID(self.dirt.token(f"{key}/uuid", 32, "0123456789abcdef")))


def order_row_id(order: Order) -> int:
    """Id of a sale's `pos.order`; what was given back of it follows."""
    return _number(order.order_id) * 100


def sale_name(order: Order) -> str:
    """What Odoo calls a sale that was paid, and writes on the delivery of one that is shipped later."""
    code, _, number = order.number.rpartition("-")
    return f"{code} - {number}"


def _number(truth_id: str) -> int:
    return int("".join(character for character in truth_id if character.isdigit()))
