"""One order after the other, from the till or the basket to the parcel and the way back."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from connectors.sandbox import vocabulary as words
from connectors.sandbox.buyers import COUNTRIES, Customers, address_in
from connectors.sandbox.catalog import minor_unit, price_in
from connectors.sandbox.draw import fill, weighted
from connectors.sandbox.places import DARK_STORES, WAREHOUSES, kilometres, transit_days
from connectors.sandbox.stock import Shelves
from connectors.sandbox.world import (
    CHINESE_MARKETPLACES,
    MARKETPLACES,
    Address,
    Channel,
    Customer,
    Location,
    Order,
    OrderLine,
    Return,
    Shipment,
)

_CHANNELS = (
    (Channel.POS, 27),
    (Channel.AMAZON, 16),
    (Channel.SHOPIFY, 15),
    (Channel.TMALL, 8),
    (Channel.PINDUODUO, 4),
    (Channel.DOUYIN, 5),
    (Channel.XIAOHONGSHU, 3),
    (Channel.WECHAT_SHOP, 3),
    (Channel.LAZADA, 4),
    (Channel.VENDURE, 6),
    (Channel.B2B, 6),
    (Channel.DEALER, 3),
)
# The channel's share of the sale, how it is paid, and the payment provider's share.
_TERMS = {
    Channel.TMALL: ("0.05", ("alipay",), "0.006"),
    Channel.PINDUODUO: ("0.006", ("wechat_pay", "alipay"), "0"),
    Channel.DOUYIN: ("0.056", ("douyin_pay", "alipay"), "0"),
    Channel.XIAOHONGSHU: ("0.05", ("wechat_pay", "alipay"), "0.007"),
    Channel.WECHAT_SHOP: ("0.02", ("wechat_pay",), "0.006"),
    Channel.LAZADA: ("0.06", ("marketplace",), "0.0218"),
    Channel.VENDURE: ("0", ("card", "card", "paypal"), "0.015"),
}
_FBA = {"US": "L12", "GB": "L13", "DE": "L14", "FR": "L14", "ES": "L14"}
CARRIERS = {
    "CN": ("sf_express", "zto"),
    "GB": ("royal_mail", "dpd"),
    "DE": ("dhl", "dpd"),
    "FR": ("colissimo", "dpd"),
    "US": ("ups", "usps", "fedex"),
    "JP": ("yamato", "dhl"),
    "SG": ("dhl", "sf_express"),
    "ES": ("correos", "dhl"),
}
_TRACKING = {
    "sf_express": "SF##############",
    "zto": "7#############",
    "royal_mail": "RM#########GB",
    "dpd": "1550##########",
    "dhl": "00340434##########",
    "colissimo": "6A###########",
    "ups": "1Z999AA1##########",
    "usps": "9400##################",
    "fedex": "7###########",
    "yamato": "4###########",
    "correos": "PQ#####################",
    "amazon": "TBA############",
}
_CUSTOMS_UNION = {"DE", "FR", "ES"}
_DUTY_RATES = {"GB": Decimal("0.025"), "JP": Decimal("0.039"), "US": Decimal("0.049")}
# Whose orders leave in parcels of their own; how often somebody whose parcel is not packed yet orders again, and how often
# an import books an order as two sales.
_PARCELLED = (Channel.AMAZON, Channel.SHOPIFY, Channel.VENDURE, *CHINESE_MARKETPLACES, Channel.LAZADA)
_ORDERS_AGAIN, _BOOKED_APART = 0.5, 0.15
_RETURN_REASONS = (
    ("damaged", 25),
    ("wrong_item", 15),
    ("not_as_described", 15),
    ("no_longer_needed", 30),
    ("allergic_reaction", 5),
    ("arrived_too_late", 10),
)


class OrderDesk:
    """Simulates one order after the other; `numbers` counts what each channel and the ERP printed."""

    def __init__(
        self,
        seed: int,
        now: datetime,
        customers: Customers,
        shelves: Shelves,
        locations: dict[str, Location],
    ) -> None:
        self.seed = seed
        self.now = now
        self.customers = customers
        self.shelves = shelves
        self.locations = locations
        self.stores = [loc for loc in locations.values() if loc.kind == "store"]
        self.zones = {loc.location_id: ZoneInfo(loc.timezone) for loc in locations.values()}
        self.numbers: dict[str, int] = {}
        self.unpicked: list[Order] = []  # sent in one parcel, of those whose goods still lie there

    def _next(self, sequence: str) -> int:
        self.numbers[sequence] = self.numbers.get(sequence, 0) + 1
        return self.numbers[sequence]

    def _number(self, rng: random.Random, channel: Channel, store: Location | None, at: datetime) -> str:
        match channel:
            case Channel.POS:
                assert store is not None
                return f"{store.code}-{self._next(store.code):06d}"
            case Channel.AMAZON:
                head, middle = rng.choice((112, 113, 114, 204, 302, 405)), rng.randrange(10**7)
                return f"{head}-{middle:07d}-{self._next('amazon') + 1_000_000:07d}"
            case Channel.SHOPIFY:
                return f"#{1000 + self._next('shopify')}"
            case Channel.TMALL:
                return f"{2_900_000 + self._next('tmall')}{rng.randrange(10**12):012d}"
            case Channel.PINDUODUO:
                return f"{at:%y%m%d}-{rng.randrange(10**8):08d}{self._next('pinduoduo'):07d}"
            case Channel.DOUYIN:
                return f"69{rng.randrange(10**10):010d}{self._next('douyin'):07d}"
            case Channel.XIAOHONGSHU:
                return f"P7{rng.randrange(10**10):010d}{self._next('xiaohongshu'):07d}"
            case Channel.WECHAT_SHOP:
                return f"37{rng.randrange(10**10):010d}{self._next('wechat_shop'):07d}"
            case Channel.LAZADA:
                return f"{4_100_000 + self._next('lazada')}{rng.randrange(10**8):08d}"
            case Channel.VENDURE:
                letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(12))
                return f"{letters}{_in_letters(self._next('vendure'))}"
            case Channel.B2B:
                return f"B2B-{at.year}-{self._next('b2b'):05d}"
            case Channel.DEALER:
                return f"DL{at:%y%m}-{self._next('dealer'):04d}"

    def _open_store(self, rng: random.Random, at: datetime) -> Location | None:
        open_now = [s for s in self.stores if 9 <= at.astimezone(self.zones[s.location_id]).hour < 22]
        return open_now[rng.randrange(len(open_now))] if open_now else None

    def place(self, number: int, at: datetime) -> Order:
        """Simulate order `number` (from 1), placed at `at`, as far as the world's now."""
        rng = random.Random(f"{self.seed}/order/{number}")
        host: Order | None = None
        channel = weighted(rng, _CHANNELS)
        store = self._open_store(rng, at) if channel is Channel.POS else None
        if channel is Channel.POS and store is None:
            channel = Channel.SHOPIFY
        if store is not None:
            home = store.address.country
            country = home if rng.random() < 0.88 else weighted(rng, COUNTRIES[Channel.SHOPIFY])
            customer = self.customers.buyer(rng, channel, country, at) if rng.random() < 0.55 else None
            market = words.MARKETS[home]
        else:
            customer = self.customers.buyer(rng, channel, weighted(rng, COUNTRIES[channel]), at)
            host = self._host(number, channel, at)
            if host is not None:
                customer = self.customers.found[str(host.customer_id)]
            market = words.MARKETS[customer.address.country]
        is_delivered = store is None or (
            customer is not None and customer.address.country == market.country and rng.random() < 0.1
        )
        ship_to = None
        if customer is not None and is_delivered:
            ship_to = customer.address if rng.random() < 0.92 else address_in(rng, market)
        is_fba = channel is Channel.AMAZON and market.country in _FBA and rng.random() < 0.65
        origin = self._origin(rng, channel, market, store, ship_to, is_fba)
        if host is not None:
            ship_to, is_fba, origin = host.ship_to, False, host.shipments[0].location_id
        lines = self._lines(rng, channel, market, customer, ship_to, origin)

        unit = minor_unit(market.currency)
        gross = sum((line.list_amount for line in lines), Decimal(0) * unit)
        discount = sum((line.discount_amount for line in lines), Decimal(0) * unit)
        shipping = self._shipping_fee(rng, channel, market, gross - discount)
        net = gross - discount + shipping
        method, channel_fee, payment_fee = self._fees(rng, channel, market, net, unit)
        duty = self._duty(channel, origin, market, gross - discount).quantize(unit)

        is_cancelled = rng.random() < (0.01 if store else 0.04)
        cancelled_at = (
            at + timedelta(seconds=rng.randrange(60, 300 if store else 86_400 * 2)) if is_cancelled else None
        )
        paid_at = reserved_at = promised_at = closed_at = None
        shipments: tuple[Shipment, ...] = ()
        if channel in (Channel.B2B, Channel.DEALER):
            pays_after = timedelta(days=rng.randrange(7, 45), seconds=rng.randrange(86_400))
        else:
            pays_after = timedelta(seconds=rng.randrange(5, 90) if store else rng.randrange(20, 3600))
        reserve_after = timedelta(seconds=rng.randrange(30, 7200))
        late_draw, edit_draw, return_draw, test_draw, erp_draw = (rng.random() for _ in range(5))
        if ship_to is not None:
            days = 4 if channel in MARKETPLACES else 1 if origin in DARK_STORES.values() else 6
            promised_at = (at + timedelta(days=days + 2 * (market.country in ("SG", "JP")))).replace(
                hour=20, minute=0, second=0
            )
        if not is_cancelled:
            paid_at = at + pays_after
            if ship_to is not None:
                reserved_at = at + reserve_after
                shipments = self._shipments(
                    rng, number, lines, origin, ship_to, market, reserved_at, unit, late_draw
                )
                host = host if host is not None and _fits(host, lines, shipments, reserved_at) else None
                if host is not None:
                    shipments = (_sent_with(shipments[0], host.shipments[0]),)
                arrivals = [s.delivered_at for s in shipments]
                sent = sum(q for s in shipments for _, q in s.lines)
                if sent == sum(line.quantity for line in lines) and None not in arrivals:
                    closed_at = max([a for a in arrivals if a] + [paid_at]) + timedelta(
                        seconds=rng.randrange(3600, 200_000)
                    )
            else:
                closed_at = paid_at + timedelta(seconds=rng.randrange(1, 40))
        got_at = (
            closed_at
            if store and ship_to is None
            else max((s.delivered_at for s in shipments if s.delivered_at), default=None)
        )
        returns: tuple[Return, ...] = ()
        is_returned = return_draw < (0.05 if store else 0.09) and host is None
        if got_at is not None and paid_at is not None and is_returned:
            returns = self._returns(rng, number, lines, shipments, max(got_at, paid_at), unit)
        edited_at = at + timedelta(seconds=rng.randrange(3600, 86_400 * 50)) if edit_draw < 0.06 else None
        is_test = channel in (Channel.SHOPIFY, Channel.POS) and test_draw < 0.02
        is_trade = channel in (Channel.B2B, Channel.DEALER)
        has_erp = not is_test and (
            is_trade
            or (channel in (Channel.SHOPIFY, Channel.VENDURE) and erp_draw < 0.95)
            or (channel is Channel.AMAZON and not is_fba and erp_draw < 0.9)
        )
        # The group's books: sales in Asia are entered there alone, business orders a second time.
        has_sap = is_trade or (channel in (*CHINESE_MARKETPLACES, Channel.LAZADA) and erp_draw < 0.95)
        order = Order(
            order_id=f"O{number:07d}",
            number=self._number(rng, channel, store, at),
            channel=channel,
            customer_id=customer.customer_id if customer else None,
            currency=market.currency,
            placed_at=at,
            updated_at=at,
            promised_at=promised_at,
            paid_at=paid_at,
            reserved_at=reserved_at,
            cancelled_at=cancelled_at,
            closed_at=closed_at,
            selling_location_id=store.location_id if store else None,
            lines=lines,
            gross_amount=gross,
            discount_amount=discount,
            shipping_amount=shipping,
            tax_amount=sum((line.tax_amount for line in lines), Decimal(0) * unit),
            net_amount=net,
            payment_method=method,
            channel_fee_amount=channel_fee,
            payment_fee_amount=payment_fee,
            ship_to=ship_to,
            shipments=shipments,
            returns=returns,
            is_test=is_test,
            is_fulfilled_by_marketplace=is_fba,
            erp_number=f"SO26-{1000 + self._next('erp')}" if has_erp else None,
            sap_number=f"{4_500_000 + self._next('sap')}" if has_sap else None,
            erp_rest_lines=self._booked_apart(number, channel, lines) if has_erp else (),
            shipped_with=host.order_id if host is not None and shipments else None,
            duty_amount=duty,
        )
        if order.shipped_with is None and _is_sent_at_once(order):
            self.unpicked.append(order)
        order = _as_of(order, self.now, edited_at)
        self._draw_stock(order)
        return order

    def _host(self, number: int, channel: Channel, at: datetime) -> Order | None:
        """An order that lies ready and whose customer now orders again, so that both go in one parcel; mostly none."""
        self.unpicked = [order for order in self.unpicked if order.shipments[0].picked_at > at]
        rng = random.Random(f"{self.seed}/host/{number}")
        countries = {country for country, _ in COUNTRIES[channel]}
        waiting = [
            order
            for order in self.unpicked
            if order.ship_to is not None and order.ship_to.country in countries
        ]
        if channel not in _PARCELLED or not waiting or rng.random() >= _ORDERS_AGAIN:
            return None
        host = rng.choice(waiting)
        self.unpicked.remove(host)
        return host

    def _booked_apart(self, number: int, channel: Channel, lines: tuple[OrderLine, ...]) -> tuple[int, ...]:
        """Lines that the import of a shop's order books as a sale of their own, mostly none: what is to follow later."""
        rng = random.Random(f"{self.seed}/booked-apart/{number}")
        if channel not in _PARCELLED or len(lines) < 2 or rng.random() >= _BOOKED_APART:
            return ()
        return tuple(line.line_number for line in lines[rng.randrange(1, len(lines)) :])

    def _origin(
        self,
        rng: random.Random,
        channel: Channel,
        market: words.Market,
        store: Location | None,
        ship_to: Address | None,
        is_fba: bool,
    ) -> str:
        if store is not None:
            return store.location_id
        if is_fba:
            return _FBA[market.country]
        if (
            channel in (Channel.SHOPIFY, Channel.VENDURE, Channel.WECHAT_SHOP)
            and ship_to is not None
            and ship_to.city in DARK_STORES
            and rng.random() < 0.6
        ):
            return DARK_STORES[ship_to.city]
        return WAREHOUSES[market.country]

    def _lines(
        self,
        rng: random.Random,
        channel: Channel,
        market: words.Market,
        customer: Customer | None,
        ship_to: Address | None,
        origin: str,
    ) -> tuple[OrderLine, ...]:
        wholesale = channel in (Channel.B2B, Channel.DEALER)
        products = self.shelves.pick(
            rng, origin, rng.randrange(3, 11) if wholesale else rng.choice((1, 1, 1, 2, 2, 3, 4, 6))
        )
        too_far = ship_to is not None and kilometres(self.locations[origin].address, ship_to) > 1500
        if too_far:  # chilled food does not travel that far
            products = [p for p in products if not p.needs_cold_chain] or [self.shelves.products["P0001"]]
        unit = minor_unit(market.currency)
        promotion = weighted(rng, ((0, 66), (5, 8), (10, 14), (15, 6), (20, 4), (50, 2)))
        exempt = (
            wholesale
            and customer is not None
            and customer.tax_number is not None
            and market.currency == "EUR"
        )
        region = ship_to.region if ship_to else "NY"
        rate = Decimal(0) if exempt else words.US_SALES_TAX[region] if market.country == "US" else market.vat
        lines = []
        for line_number, product in enumerate(products, start=1):
            quantity = (
                rng.choice((6, 12, 12, 24, 24, 48, 96)) if wholesale else rng.choice((1, 1, 1, 1, 2, 2, 3))
            )
            price = price_in(product, market.currency)
            if wholesale:
                price = (price * (Decimal("0.6") if channel is Channel.DEALER else Decimal("0.72"))).quantize(
                    unit
                )
            amount = price * quantity
            percent = promotion if rng.random() < 0.8 else 0
            discount = (amount * percent / 100).quantize(unit)
            line_rate = (
                Decimal("0.08") if market.country == "JP" and product.category.startswith("FOOD") else rate
            )
            lots = self.shelves.lots.get((product.product_id, origin), [])
            lines.append(
                OrderLine(
                    line_number,
                    product.product_id,
                    quantity,
                    price,
                    amount,
                    discount,
                    ((amount - discount) * line_rate).quantize(unit),
                    rng.choice(lots).lot_id if lots else None,
                )
            )
        return tuple(lines)

    def _shipping_fee(
        self, rng: random.Random, channel: Channel, market: words.Market, goods: Decimal
    ) -> Decimal:
        unit = minor_unit(market.currency)
        base = (
            Decimal(60 if channel is Channel.B2B else 30) * words.PRICE_LIST_RATE[market.currency]
        ).quantize(unit)
        is_free = goods > base * 8 if channel in (Channel.SHOPIFY, Channel.VENDURE) else rng.random() < 0.7
        if channel in (Channel.POS, Channel.DEALER) or is_free:
            return Decimal(0) * unit
        return base

    def _duty(self, channel: Channel, origin: str, market: words.Market, goods: Decimal) -> Decimal:
        """Duty on goods that the own shop sells delivered duty paid, where they leave their customs union."""
        sent_from = self.locations[origin].address.country
        is_within = sent_from == market.country or {sent_from, market.country} <= _CUSTOMS_UNION
        if channel is not Channel.SHOPIFY or is_within:
            return Decimal(0)
        return goods * _DUTY_RATES.get(market.country, Decimal(0))

    def _fees(
        self, rng: random.Random, channel: Channel, market: words.Market, net: Decimal, unit: Decimal
    ) -> tuple[str, Decimal, Decimal]:
        """Return the payment method, the channel's fee and the payment provider's fee."""
        local = "alipay" if market.country == "CN" else "card"
        share, cut = Decimal(0), Decimal(0)
        match channel:
            case Channel.POS:
                method = rng.choice(
                    (local, "card", "cash", "wechat_pay" if market.country == "CN" else "card")
                )
                share = Decimal("0.0175") if method != "cash" else Decimal(0)
            case Channel.AMAZON:
                method, cut = "marketplace", Decimal("0.15")
            case Channel.SHOPIFY:
                method, share, cut = rng.choice((local, "card", "paypal")), Decimal("0.029"), Decimal("0.005")
            case Channel.B2B | Channel.DEALER:
                method = "invoice"
            case _:
                commission, methods, provider = _TERMS[channel]
                method, cut, share = rng.choice(methods), Decimal(commission), Decimal(provider)
        return method, (net * cut).quantize(unit), (net * share).quantize(unit)

    def _shipments(
        self,
        rng: random.Random,
        number: int,
        lines: tuple[OrderLine, ...],
        origin: str,
        ship_to: Address,
        market: words.Market,
        reserved_at: datetime,
        unit: Decimal,
        late: float,
    ) -> tuple[Shipment, ...]:
        whole = [(line.line_number, line.quantity) for line in lines]
        units = sum(q for _, q in whole)
        parts = [whole]
        if units > 1 and rng.random() < 0.12:
            first, rest, room = [], [], rng.randrange(1, units)
            for line_number, quantity in whole:
                now_sent = min(quantity, room)
                room -= now_sent
                if now_sent:
                    first.append((line_number, now_sent))
                if quantity - now_sent:
                    rest.append((line_number, quantity - now_sent))
            parts = [first] if rng.random() < 0.15 else [first, rest]  # some rests are never sent
        found = []
        by_line = {line.line_number: self.shelves.products[line.product_id] for line in lines}
        start = reserved_at
        for index, part in enumerate(parts):
            place = origin
            if index and self.locations[origin].kind == "warehouse" and rng.random() < 0.4:
                cold = any(by_line[n].needs_cold_chain for n, _ in part)
                place = origin if cold else {"L07": "L08", "L08": "L07", "L09": "L08"}[origin]
            start += timedelta(days=index * rng.randrange(1, 5))
            picked = start + timedelta(seconds=rng.randrange(900, 40_000))
            packed = picked + timedelta(seconds=rng.randrange(120, 7200))
            dispatched = packed + timedelta(seconds=rng.randrange(600, 50_000))
            scanned = dispatched + timedelta(seconds=rng.randrange(300, 30_000))
            road = kilometres(self.locations[place].address, ship_to) * 1.27 + 1.5
            transit = transit_days(place, ship_to, road)
            transit *= rng.uniform(0.7, 1.3) * (3.5 if late < 0.09 else 1.0)
            delivered = None if rng.random() < 0.025 else scanned + timedelta(seconds=int(transit * 86_400))
            fba = self.locations[place].kind == "third_party"
            carrier = "amazon" if fba else rng.choice(CARRIERS[market.country])
            weight = sum((by_line[n].weight_kg * q for n, q in part), Decimal("0.150"))
            cost = (
                weight * Decimal("1.8") + Decimal(str(round(road, 1))) * Decimal("0.01") + 8
            ) * words.PRICE_LIST_RATE[market.currency]
            found.append(
                Shipment(
                    shipment_id=f"O{number:07d}-S{index + 1}",
                    location_id=place,
                    carrier=carrier,
                    service="express"
                    if carrier in ("sf_express", "amazon", "yamato") or transit < 1
                    else "standard",
                    tracking_number=fill(rng, _TRACKING[carrier]),
                    lines=tuple(part),
                    picked_at=picked,
                    packed_at=packed,
                    dispatched_at=dispatched,
                    first_scan_at=scanned,
                    delivered_at=delivered,
                    package_count=1 + int(weight // 15),
                    weight_kg=weight,
                    volume_m3=sum((by_line[n].volume_m3 * q for n, q in part), Decimal("0.000500")),
                    distance_km=Decimal(str(round(road, 1))),
                    cost_amount=cost.quantize(unit),
                )
            )
        return tuple(found)

    def _returns(
        self,
        rng: random.Random,
        number: int,
        lines: tuple[OrderLine, ...],
        shipments: tuple[Shipment, ...],
        got_at: datetime,
        unit: Decimal,
    ) -> tuple[Return, ...]:
        came = {line.line_number: line.quantity for line in lines}
        if shipments:
            came = dict.fromkeys(came, 0)
            for shipment in shipments:
                for line_number, quantity in shipment.lines:
                    came[line_number] += quantity if shipment.delivered_at else 0
        found: list[Return] = []
        for line in lines:
            if came[line.line_number] == 0 or (found and rng.random() > 0.25):
                continue
            quantity = rng.randrange(1, came[line.line_number] + 1)
            paid = (line.list_amount - line.discount_amount + line.tax_amount) * quantity / line.quantity
            if rng.random() < 0.15:  # restocking fee
                paid *= Decimal("0.9")
            received = got_at + timedelta(days=rng.randrange(2, 25), seconds=rng.randrange(86_400))
            refunded = received + timedelta(seconds=rng.randrange(600, 86_400 * 5))
            found.append(
                Return(
                    f"O{number:07d}-R{len(found) + 1}",
                    line.line_number,
                    quantity,
                    weighted(rng, _RETURN_REASONS),
                    received,
                    refunded,
                    paid.quantize(unit, rounding="ROUND_DOWN"),
                )
            )
        return tuple(found)

    def _draw_stock(self, order: Order) -> None:
        if order.cancelled_at is not None:
            return
        gone: dict[int, int] = {}
        for shipment in order.shipments:
            for line_number, quantity in shipment.lines:
                gone[line_number] = gone.get(line_number, 0) + quantity
        for line in order.lines:
            if line.lot_id is None:
                continue
            taken = line.quantity if order.ship_to is None else gone.get(line.line_number, 0)
            self.shelves.used[line.lot_id] = self.shelves.used.get(line.lot_id, 0) + taken
            if order.reserved_at is not None and taken < line.quantity:
                held = self.shelves.reserved.get(line.lot_id, 0)
                self.shelves.reserved[line.lot_id] = held + line.quantity - taken


def _is_sent_at_once(order: Order) -> bool:
    """Whether one parcel holds all of an order, and all of it stays with the customer."""
    return (
        order.channel in _PARCELLED
        and not order.is_fulfilled_by_marketplace
        and not order.is_test
        and not order.returns
        and _holds_all(order.shipments, order.lines)
    )


def _holds_all(shipments: tuple[Shipment, ...], lines: tuple[OrderLine, ...]) -> bool:
    """Whether there is one parcel, with all of an order in it."""
    whole = tuple((line.line_number, line.quantity) for line in lines)
    return len(shipments) == 1 and shipments[0].lines == whole


def _fits(
    host: Order, lines: tuple[OrderLine, ...], shipments: tuple[Shipment, ...], reserved_at: datetime
) -> bool:
    return _holds_all(shipments, lines) and reserved_at <= host.shipments[0].picked_at


def _sent_with(goods: Shipment, parcel: Shipment) -> Shipment:
    """One order's goods in another's parcel: its way and its times, their own weight and share of the cost."""
    return replace(
        parcel,
        shipment_id=goods.shipment_id,
        lines=goods.lines,
        package_count=goods.package_count,
        weight_kg=goods.weight_kg,
        volume_m3=goods.volume_m3,
        cost_amount=goods.cost_amount,
    )


def _in_letters(number: int) -> str:
    """Write a number below 32^4 in four signs that nobody takes for another."""
    signs = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "".join(signs[number // 32**place % 32] for place in (3, 2, 1, 0))


def _as_of(order: Order, now: datetime, edited_at: datetime | None) -> Order:
    """Cut an order's life at `now`: what lies later has not happened. A parcel shows from its first scan."""

    def seen(at: datetime | None) -> datetime | None:
        return at if at is not None and at <= now else None

    shipments = tuple(
        replace(s, delivered_at=seen(s.delivered_at)) for s in order.shipments if s.first_scan_at <= now
    )
    returns = tuple(r for r in order.returns if r.refunded_at <= now)
    moments: Iterable[datetime | None] = (
        order.placed_at,
        seen(order.paid_at),
        seen(order.reserved_at),
        seen(order.cancelled_at),
        seen(order.closed_at),
        seen(edited_at),
        *(s.first_scan_at for s in shipments),
        *(s.delivered_at for s in shipments),
        *(r.refunded_at for r in returns),
    )
    return replace(
        order,
        paid_at=seen(order.paid_at),
        reserved_at=seen(order.reserved_at),
        cancelled_at=seen(order.cancelled_at),
        closed_at=seen(order.closed_at),
        shipments=shipments,
        returns=returns,
        updated_at=max(m for m in moments if m is not None),
    )
