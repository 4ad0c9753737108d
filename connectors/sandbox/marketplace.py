"""What the marketplaces of China show alike: masked people behind a buyer id, Han titles, prices with or without tax.

A shop's prices may have the tax in them, as in China they mostly do, or state it beside, as cross-border shops must.
Times are printed in China Standard Time, which has no summer time.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from functools import cached_property

from connectors.sandbox import vocabulary as words
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.places import WAREHOUSES
from connectors.sandbox.stock import free_at
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Customer, Order, OrderLine, Product, Return, World

CST = timezone(timedelta(hours=8))
_DISTRICTS = {
    "Shanghai": ("黄浦区", "徐汇区", "静安区", "浦东新区"),
    "Beijing": ("东城区", "朝阳区", "海淀区"),
    "Guangzhou": ("天河区", "越秀区", "海珠区"),
    "Shenzhen": ("福田区", "南山区", "罗湖区"),
    "Hangzhou": ("西湖区", "上城区", "余杭区"),
    "Chengdu": ("锦江区", "青羊区", "武侯区"),
    "Nanjing": ("玄武区", "秦淮区", "鼓楼区"),
    "Wuhan": ("江岸区", "武昌区", "洪山区"),
}
_CITIES = {city.name: city.name_local for city in words.CN.cities}
CARRIERS = {"sf_express": ("SF", "顺丰速运"), "zto": ("ZTO", "中通快递")}
REASONS = {
    "damaged": "商品破损",
    "wrong_item": "卖家发错货",
    "not_as_described": "商品与描述不符",
    "no_longer_needed": "不喜欢/不想要",
    "allergic_reaction": "过敏",
    "arrived_too_late": "未按约定时间发货",
}
_CENT = Decimal("0.01")


class Stage(StrEnum):
    """How far an order has come, as its buyer is shown it."""

    UNPAID = "unpaid"
    CANCELLED = "cancelled"
    UNSENT = "unsent"
    PART_SENT = "part_sent"
    SENT = "sent"
    CLOSED = "closed"
    REFUNDED = "refunded"


@dataclass(frozen=True)
class ShownLine:
    """One line as a shop shows it, in yuan: gross = unit price x quantity, paid = gross - discount + stated tax."""

    line: OrderLine
    unit_price: Decimal
    gross: Decimal
    discount: Decimal
    tax: Decimal
    paid: Decimal


def local_text(at: datetime | None) -> str:
    """China time as `2026-10-31 08:00:00`; empty where nothing happened."""
    return "" if at is None else f"{at.astimezone(CST):%Y-%m-%d %H:%M:%S}"


def seconds(at: datetime | None) -> int:
    """Seconds since 1970; 0 where nothing happened, as these systems write it."""
    return 0 if at is None else int(at.timestamp())


def fen(amount: Decimal) -> int:
    """Hundredths of a yuan."""
    return int(amount.scaleb(2))


def yuan(amount: Decimal) -> str:
    return format(amount, ".2f")


class Shop:
    """The company's shop on one marketplace.

    Args:
        world, dirt: what is true, and the shop's own habits.
        channel: which marketplace.
        states_tax: whether tax stands beside the prices, or in them.
        shows_unpaid: whether orders show before they are paid.
        buyer_prefix, buyer_length: what ids of buyers begin with, and how many signs follow.
    """

    def __init__(
        self,
        world: World,
        dirt: Dirt,
        channel: Channel,
        *,
        states_tax: bool,
        shows_unpaid: bool = True,
        buyer_prefix: str = "",
        buyer_length: int = 24,
    ) -> None:
        self.world, self.dirt, self.channel, self.states_tax = world, dirt, channel, states_tax
        self._shows_unpaid = shows_unpaid
        self._buyer_prefix, self._buyer_length = buyer_prefix, buyer_length
        self.name = channel.value

    @cached_property
    def orders(self) -> list[Order]:
        return [
            order
            for order in self.world.orders.values()
            if order.channel is self.channel and (self._shows_unpaid or order.paid_at is not None)
        ]

    @cached_property
    def opened_at(self) -> datetime:
        """Midnight in China before the first order anywhere."""
        first = min((order.placed_at for order in self.world.orders.values()), default=self.world.now)
        return first.astimezone(CST).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)

    def updated_at(self, order: Order) -> datetime:
        """When the last change was written: late at times, never later than the system's own clock."""
        late = self.dirt.late(order.updated_at, f"order/{order.order_id}", 0.05)
        return min(late, self.world.now).replace(microsecond=0)

    def total(self, order: Order) -> Decimal:
        """What the buyer paid or has to pay."""
        return order.net_amount + order.tax_amount

    def refunded(self, order: Order) -> Decimal:
        return sum((taken.refund_amount for taken in order.returns), Decimal(0))

    def lines(self, order: Order) -> list[ShownLine]:
        return [self._line(line) for line in order.lines]

    def _line(self, line: OrderLine) -> ShownLine:
        paid = line.list_amount - line.discount_amount + line.tax_amount
        if self.states_tax:
            return ShownLine(
                line, line.unit_price, line.list_amount, line.discount_amount, line.tax_amount, paid
            )
        rate = line.tax_amount / (line.list_amount - line.discount_amount)
        price = (line.unit_price * (1 + rate)).quantize(_CENT, rounding=ROUND_CEILING)
        gross = price * line.quantity
        return ShownLine(line, price, gross, gross - paid, Decimal(0), paid)

    # --- goods --------------------------------------------------------------------------------------------------------

    def product(self, line: OrderLine) -> Product:
        return self.world.products[line.product_id]

    def item_id(self, product: Product) -> int:
        return int("6" + self.dirt.token(f"item/{product.product_id}", 11, "0123456789"))

    def sku_id(self, product: Product) -> int:
        return int("5" + self.dirt.token(f"sku/{product.product_id}", 12, "0123456789"))

    def title(self, product: Product) -> str:
        return self.dirt.title(product, f"item/{product.product_id}", "han")

    def code(self, product: Product) -> str | None:
        """The seller's own code, as typed into the shop: at times left out."""
        return self.dirt.code(product.mpn, f"item/{product.product_id}")

    def barcode(self, product: Product) -> str | None:
        return self.dirt.gtin(product, f"item/{product.product_id}", 0.3)

    def listed_at(self, product: Product) -> datetime:
        days = self.dirt.number(f"listed/{product.product_id}", 1, 200)
        return self.opened_at - timedelta(days=days)

    def price(self, product: Product) -> Decimal:
        price = product.list_price
        return price if self.states_tax else (price * Decimal("1.13")).quantize(_CENT, rounding=ROUND_CEILING)

    @cached_property
    def _free(self) -> Counter[str]:
        return free_at(self.world, WAREHOUSES["CN"])

    def offered(self, product: Product) -> int:
        """Units the shop shows for sale: all that nobody was promised where its orders are sent from."""
        return self._free[product.product_id]

    @cached_property
    def _held(self) -> Counter[str]:
        held: Counter[str] = Counter()
        for order in self.orders:
            if order.paid_at is None and order.cancelled_at is None:
                for line in order.lines:
                    held[line.product_id] += line.quantity
        return held

    def held(self, product: Product) -> int:
        """Units that the shop holds for buyers who have not paid yet."""
        return self._held[product.product_id]

    # --- people -------------------------------------------------------------------------------------------------------

    def customer(self, order: Order) -> Customer:
        return self.world.customers[str(order.customer_id)]

    def buyer_id(self, order: Order) -> str:
        """Names the buyer to this shop alone."""
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        return self._buyer_prefix + self.dirt.token(f"buyer/{order.customer_id}", self._buyer_length, letters)

    def name_mask(self, order: Order) -> str:
        customer = self.customer(order)
        name = customer.name_zh or customer.full_name
        return f"{name[0]}**"

    def phone_mask(self, order: Order) -> str:
        phone = (self.customer(order).phone_e164 or "+8613000000000").removeprefix("+86")
        return f"{phone[:3]}****{phone[-4:]}"

    def place(self, order: Order) -> tuple[str, str, str]:
        """Province, city and district of where the order goes."""
        if order.ship_to is None:
            raise ValueError(f"{order.order_id}: a marketplace order without an address")
        city = order.ship_to.city
        district = self.dirt.pick(f"district/{order.order_id}", _DISTRICTS[city])
        return words.REGION_ZH[order.ship_to.region], _CITIES[city], district

    def cipher(self, order: Order, what: str) -> str:
        """Text that only the marketplace can read."""
        digest = hashlib.sha512(f"{self.world.seed}/{self.name}/{order.order_id}/{what}".encode()).digest()
        return base64.b64encode(digest).decode()

    # --- what became of it --------------------------------------------------------------------------------------------

    def stage(self, order: Order) -> Stage:
        if order.cancelled_at is not None:
            return Stage.CANCELLED
        if order.paid_at is None:
            return Stage.UNPAID
        if self.refunded(order) >= self.total(order):
            return Stage.REFUNDED
        if order.closed_at is not None:
            return Stage.CLOSED
        if self.sent(order) == 0:
            return Stage.UNSENT
        return Stage.SENT if self.is_sent(order) else Stage.PART_SENT

    def sent(self, order: Order, line_number: int | None = None) -> int:
        """Units sent, of one line or of all."""
        return sum(
            quantity
            for shipment in order.shipments
            for number, quantity in shipment.lines
            if line_number in (None, number)
        )

    def is_sent(self, order: Order) -> bool:
        return self.sent(order) >= sum(line.quantity for line in order.lines)

    def is_delivered(self, order: Order) -> bool:
        return self.is_sent(order) and all(shipment.delivered_at for shipment in order.shipments)

    def shipped_at(self, order: Order) -> datetime | None:
        return min((shipment.dispatched_at for shipment in order.shipments), default=None)

    def returns(self) -> Iterator[tuple[Order, Return, OrderLine]]:
        for order in self.orders:
            for taken in order.returns:
                yield order, taken, order.lines[taken.line_number - 1]

    def withdrawn(self) -> Iterator[tuple[Order, datetime]]:
        """Orders whose buyer wanted the money back and thought better of it, and when that was."""
        for order in self.orders:
            if order.paid_at is None or order.returns:
                continue
            at = order.paid_at + timedelta(hours=30)
            if at <= self.world.now and self.dirt.chance(f"withdrawn/{order.order_id}", 0.06):
                yield order, at

    def truth(self, order_stream: str, sku_streams: Iterable[str]) -> Iterator[Truth]:
        """Which order, buyer and product each record is; a buyer is one record, of the newest of his orders."""
        for order in self.orders:
            yield Truth("order", f"{self.name}:{order_stream}:{order.number}", order.order_id)
        buyers = {self.buyer_id(order): str(order.customer_id) for order in self.orders}
        for buyer_id, customer_id in buyers.items():
            yield Truth("customer", f"{self.name}:{order_stream}:{buyer_id}", customer_id)
        for stream in sku_streams:
            for product in self.world.products.values():
                yield Truth("sku", f"{self.name}:{stream}:{self.sku_id(product)}", product.product_id)
