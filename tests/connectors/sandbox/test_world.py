"""The world is one per seed, consistent to the minor unit, and keeps its past when time passes."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

import phonenumbers
import pytest
import stdnum.cn.uscc
import stdnum.de.vat
import stdnum.ean
import stdnum.fr.tva
import stdnum.gb.vat
import stdnum.sg.uen
import stdnum.us.ein
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sandbox.catalog import minor_unit, price_in
from connectors.sandbox.generate import DEFAULT_NOW, advance, generate
from connectors.sandbox.places import kilometres
from connectors.sandbox.world import Channel, Order, World

SEEDS = st.integers(min_value=0, max_value=2**31)
TAX_NUMBERS = {
    "CN": stdnum.cn.uscc, "GB": stdnum.gb.vat, "DE": stdnum.de.vat, "FR": stdnum.fr.tva, "US": stdnum.us.ein,
    "SG": stdnum.sg.uen,
}  # fmt: skip


@lru_cache(maxsize=4)
def world_of(seed: int = 7, orders: int = 2000) -> World:
    return generate(seed, orders)


def paid(order: Order) -> Decimal:
    return order.net_amount + order.tax_amount


def moments(order: Order) -> list[datetime]:
    found = [order.placed_at, order.paid_at, order.reserved_at, order.cancelled_at, order.closed_at]
    for shipment in order.shipments:
        found += [shipment.picked_at, shipment.packed_at, shipment.dispatched_at, shipment.first_scan_at]
        found.append(shipment.delivered_at)
    for back in order.returns:
        found += [back.received_at, back.refunded_at]
    return [moment for moment in found if moment is not None]


def test_the_same_seed_gives_the_same_world() -> None:
    assert generate(11, 200) == generate(11, 200)


def test_another_seed_gives_another_world() -> None:
    assert generate(11, 200).orders != generate(12, 200).orders


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, count=st.integers(min_value=0, max_value=120))
def test_order_arithmetic_holds_for_every_seed(seed: int, count: int) -> None:
    world = generate(seed, count)
    assert len(world.orders) == count
    for order in world.orders.values():
        unit = minor_unit(order.currency)
        assert order.net_amount == order.gross_amount - order.discount_amount + order.shipping_amount
        assert order.gross_amount == sum(line.list_amount for line in order.lines)
        assert order.discount_amount == sum(line.discount_amount for line in order.lines)
        assert order.tax_amount == sum(line.tax_amount for line in order.lines)
        for line in order.lines:
            assert line.quantity > 0
            assert line.list_amount == line.quantity * line.unit_price
            assert Decimal(0) <= line.discount_amount <= line.list_amount
            for amount in (line.unit_price, line.list_amount, line.discount_amount, line.tax_amount):
                assert amount == amount.quantize(unit), (
                    f"{amount} {order.currency} is not in whole minor units"
                )
        for amount in (order.shipping_amount, order.channel_fee_amount, order.payment_fee_amount):
            assert amount >= 0 and amount == amount.quantize(unit)


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS)
def test_no_more_leaves_than_was_ordered_and_no_more_comes_back_than_arrived(seed: int) -> None:
    for order in generate(seed, 120).orders.values():
        ordered = {line.line_number: line.quantity for line in order.lines}
        sent: Counter[int] = Counter()
        arrived: Counter[int] = Counter()
        for shipment in order.shipments:
            for line_number, quantity in shipment.lines:
                sent[line_number] += quantity
                arrived[line_number] += quantity if shipment.delivered_at else 0
        assert all(sent[line_number] <= ordered[line_number] for line_number in sent)
        got = ordered if order.ship_to is None else arrived
        for back in order.returns:
            assert 0 < back.quantity <= got[back.line_number]
        assert sum(back.refund_amount for back in order.returns) <= paid(order)
        if order.cancelled_at:
            assert not order.shipments and not order.returns and order.paid_at is None


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS)
def test_time_runs_forward_and_not_beyond_now(seed: int) -> None:
    world = generate(seed, 120)
    for order in world.orders.values():
        assert min(moments(order)) == order.placed_at
        assert max(moments(order)) <= order.updated_at <= world.now
        for shipment in order.shipments:
            steps = [shipment.picked_at, shipment.packed_at, shipment.dispatched_at, shipment.first_scan_at]
            assert steps == sorted(steps)
            assert shipment.delivered_at is None or shipment.delivered_at > shipment.first_scan_at
        if order.customer_id is not None:
            assert world.customers[order.customer_id].created_at <= order.placed_at


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_every_reference_leads_somewhere(seed: int) -> None:
    world = generate(seed, 120)
    for order in world.orders.values():
        assert order.customer_id is None or order.customer_id in world.customers
        assert order.selling_location_id is None or order.selling_location_id in world.locations
        assert all(line.product_id in world.products for line in order.lines)
        assert all(line.lot_id is None or line.lot_id in world.lots for line in order.lines)
        assert all(shipment.location_id in world.locations for shipment in order.shipments)
    for product in world.products.values():
        assert all(part in world.products for part, _ in product.components)
    for lot in world.lots.values():
        assert lot.product_id in world.products and lot.location_id in world.locations
        assert Decimal(0) <= lot.reserved_qty <= lot.on_hand_qty


def test_numbers_printed_on_orders_are_unique_and_marketplaces_may_share_figures_with_the_erp() -> None:
    orders = world_of().orders.values()
    assert len({order.number for order in orders}) == len(orders)
    erp = [order.erp_number for order in orders if order.erp_number]
    assert len(set(erp)) == len(erp)
    shop = {order.number.lstrip("#") for order in orders if order.channel is Channel.SHOPIFY}
    assert shop & {number.rpartition("-")[2] for number in erp}


def test_codes_have_valid_check_digits() -> None:
    world = world_of()
    assert all(len(p.gtin14) == 14 and stdnum.ean.is_valid(p.gtin14) for p in world.products.values())
    assert len({p.gtin14 for p in world.products.values()}) == len(world.products)
    assert len({p.mpn for p in world.products.values()}) == len(world.products)
    assert all(len(place.gln) == 13 and stdnum.ean.is_valid(place.gln) for place in world.locations.values())
    for customer in world.customers.values():
        if customer.tax_number is not None:
            assert TAX_NUMBERS[customer.address.country].is_valid(customer.tax_number)


def test_phones_are_mostly_valid_and_mail_goes_nowhere_real() -> None:
    customers = world_of().customers.values()
    phones = [customer.phone_e164 for customer in customers if customer.phone_e164]
    valid = sum(phonenumbers.is_valid_number(phonenumbers.parse(phone)) for phone in phones)
    assert valid > 0.95 * len(phones)
    assert all(customer.email is None or customer.email.endswith(".example") for customer in customers)


def test_the_company_is_plausible() -> None:
    world = world_of()
    orders = list(world.orders.values())
    share = {channel: n / len(orders) for channel, n in Counter(order.channel for order in orders).items()}
    expected = {Channel.POS: 0.27, Channel.AMAZON: 0.16, Channel.SHOPIFY: 0.15, Channel.TMALL: 0.08}
    assert set(share) == set(Channel)
    assert all(share[channel] == pytest.approx(wanted, abs=0.04) for channel, wanted in expected.items())
    assert 0.35 * len(orders) < len(world.customers) < 0.55 * len(orders)
    assert {order.currency for order in orders} >= {"CNY", "GBP", "EUR", "USD", "JPY"}
    assert 100 <= len(world.products) <= 140 and 10 <= len(world.locations) <= 15
    assert any(product.components for product in world.products.values())
    assert any(len(order.shipments) > 1 for order in orders)
    assert any(shipment.delivered_at is None for order in orders for shipment in order.shipments)
    assert any(order.is_test for order in orders) and any(order.cancelled_at for order in orders)
    assert any(order.returns for order in orders) and any(
        order.is_fulfilled_by_marketplace for order in orders
    )
    people = [customer for customer in world.customers.values() if not customer.is_company]
    homes = Counter(customer.address for customer in people)
    assert any(n > 1 for n in homes.values()), "no family shares an address"
    buys = Counter(order.customer_id for order in orders if order.customer_id)
    assert max(buys.values()) > 8 and sum(n == 1 for n in buys.values()) > len(buys) / 2


def test_chilled_food_travels_neither_far_nor_from_warm_places() -> None:
    world = world_of()
    for order in world.orders.values():
        for shipment in order.shipments:
            products = {line.line_number: world.products[line.product_id] for line in order.lines}
            if any(products[line_number].needs_cold_chain for line_number, _ in shipment.lines):
                place = world.locations[shipment.location_id]
                assert place.kind != "third_party" and order.ship_to is not None
                assert kilometres(place.address, order.ship_to) <= 1500


def test_prices_are_whole_minor_units_of_each_currency() -> None:
    for product in world_of().products.values():
        for currency in ("CNY", "GBP", "EUR", "USD", "JPY"):
            price = price_in(product, currency)
            assert price > 0 and price == price.quantize(minor_unit(currency))


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, new=st.integers(min_value=0, max_value=30), hours=st.integers(min_value=1, max_value=500))
def test_advancing_adds_orders_and_keeps_the_past(seed: int, new: int, hours: int) -> None:
    before = generate(seed, 80)
    after = advance(before, new, timedelta(hours=hours))
    assert after == advance(before, new, timedelta(hours=hours))
    assert len(after.orders) == len(before.orders) + new
    assert after.now == before.now + timedelta(hours=hours)
    assert all(after.customers[key] == customer for key, customer in before.customers.items())
    for key, old in before.orders.items():
        then = after.orders[key]
        assert (then.number, then.lines, then.placed_at, then.net_amount) == (
            old.number, old.lines, old.placed_at, old.net_amount)  # fmt: skip
        assert set(moments(old)) <= set(moments(then))
        assert then == old or then.updated_at > before.now
    assert all(
        order.placed_at >= before.now for key, order in after.orders.items() if key not in before.orders
    )


def test_something_under_way_moves_when_time_passes() -> None:
    before = world_of()
    after = advance(before, 0, timedelta(days=2))
    assert any(after.orders[key] != order for key, order in before.orders.items())


def test_now_is_fixed_unless_given() -> None:
    assert generate(1, 1).now == DEFAULT_NOW
    assert generate(1, 1, datetime(2026, 1, 1, tzinfo=UTC)).now == datetime(2026, 1, 1, tzinfo=UTC)


def test_what_cannot_be_generated_is_refused() -> None:
    with pytest.raises(ValueError, match="orders is -1"):
        generate(1, -1)
    with pytest.raises(ValueError, match="no UTC offset"):
        generate(1, 1, datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="cannot advance"):
        advance(generate(1, 1), 1, timedelta(0))
