"""Make a world from a seed: who buys what, where, when, and what becomes of it.

Every entity draws from its own stream `random.Random("<seed>/<entity>/<number>")`, so that one more draw for
a product changes no order. Lives are simulated to their end and then cut at `now`: letting time pass
(`advance`) reveals what was going to happen to the orders that exist, and adds new ones, without changing
the past.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from connectors.sandbox.buyers import Customers
from connectors.sandbox.catalog import products
from connectors.sandbox.orders import OrderDesk
from connectors.sandbox.places import locations
from connectors.sandbox.stock import Shelves
from connectors.sandbox.world import World

DEFAULT_NOW = datetime(2026, 10, 31, tzinfo=UTC)
HISTORY = timedelta(days=120)


def generate(seed: int, orders: int, now: datetime | None = None) -> World:
    """Return the world of one seed: about `orders` x 0.45 customers, 120 products, 14 locations.

    Args:
        seed: same seed, same world.
        orders: how many orders were placed in the 120 days before `now`.
        now: aware; nothing later than this instant is in the world. Default 2026-10-31T00:00:00Z.

    Amounts are exact in the minor unit of their currency (JPY has none). `Shipment.cost_amount` and the fees
    are in the order's currency, `Product.list_price` and `unit_cost` in CNY (`price_in` gives the price list
    of a currency).

    Raises:
        ValueError: `orders` is negative or `now` has no offset.
    """
    if orders < 0:
        raise ValueError(f"orders is {orders}; give 0 or more")
    until = DEFAULT_NOW if now is None else now
    if until.tzinfo is None:
        raise ValueError("now has no UTC offset; give an aware datetime")
    until = until.astimezone(UTC)
    return _build(seed, _spread(random.Random(f"{seed}/times"), orders, until - HISTORY, until), until)


def advance(world: World, orders: int, by: timedelta) -> World:
    """Return the same company `by` later, with `orders` new orders placed meanwhile.

    What was under way moves on: parcels arrive, invoices are paid, goods come back, orders are edited. The
        past stays.

    Raises:
        ValueError: `by` is not positive or `orders` is negative.
    """
    if by <= timedelta(0) or orders < 0:
        raise ValueError(
            f"cannot advance by {by} with {orders} orders; time must pass and orders be 0 or more"
        )
    now = world.now + by
    rng = random.Random(f"{world.seed}/times/{len(world.orders)}")
    past = [order.placed_at for order in world.orders.values()]
    return _build(world.seed, past + _spread(rng, orders, world.now, now), now)


def _build(seed: int, times: list[datetime], now: datetime) -> World:
    start = times[0] if times else now - HISTORY
    goods, places = products(seed), locations(seed)
    customers = Customers(seed, start)
    shelves = Shelves(seed, goods, places, (start + HISTORY).date())
    desk = OrderDesk(seed, now, customers, shelves, places)
    orders = [desk.place(number, at) for number, at in enumerate(times, start=1)]
    return World(
        seed=seed,
        now=now,
        products=goods,
        customers=customers.found,
        locations=places,
        lots=shelves.counted(),
        orders={order.order_id: order for order in orders},
    )


def _spread(rng: random.Random, count: int, start: datetime, end: datetime) -> list[datetime]:
    """Draw `count` instants in [start, end), ascending, whole seconds."""
    seconds = int((end - start).total_seconds())
    return [start + timedelta(seconds=s) for s in sorted(rng.randrange(seconds) for _ in range(count))]
