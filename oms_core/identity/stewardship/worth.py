"""What hangs on records: orders, open orders and allocations, revenue; and which of several tasks is therefore asked first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Any

# Per record, so that sums over any records count an order once. An order known to several systems counts for the customer
# record of one of its documents: the first, those that state an amount before those that do not, by record id. Its lines
# count for the SKU records of the first document that has lines. Places are those it was sold at, fulfilled or shipped from.
# Read after the crosswalks of the run are in the warehouse; the same on DuckDB and PostgreSQL.
_WORTH_SQL = """
with documents as (
    select x.order_id, r.record_id, r.customer_key, r.currency, r.net_amount, r.order_status,
        r.store_location_key, r.fulfilment_location_key,
        case when x.order_id in ({allocated}) or r.order_number in ({allocated}) then 1 else 0 end as is_allocated,
        row_number() over (
            partition by x.order_id order by case when r.net_amount is null then 1 else 0 end, r.record_id
        ) as place
    from intermediate.int_order_records as r
    join identity.order_xref as x on x.record_id = r.record_id and x.valid_to is null
    where r.document_role = 'order'
),
orders as (
    select order_id, max(case when place = 1 then currency end) as currency, max(case when place = 1 then net_amount end) as amount,
        case when max(is_allocated) = 1 or (
            max(case when order_status in ('open', 'processing') then 1 else 0 end) = 1
            and max(case when order_status in ('shipped', 'delivered', 'cancelled', 'returned', 'closed') then 1 else 0 end) = 0
        ) then 1 else 0 end as is_open
    from documents group by order_id
),
buyers as (
    select order_id, customer_key, row_number() over (partition by order_id order by place) as place
    from documents where customer_key is not null
),
lines as (
    select d.order_id, d.place, l.sku_key, max(l.currency) as currency, sum(l.net_amount) as amount
    from intermediate.int_order_lines as l join documents as d on d.record_id = l.order_record_id
    where l.sku_key is not null group by d.order_id, d.place, l.sku_key
),
billed as (
    select order_id, min(place) as place from lines group by order_id
),
places as (
    select order_id, store_location_key as location_key from documents
    union select order_id, fulfilment_location_key from documents
    union select x.order_id, s.from_location_key from intermediate.int_shipments as s
        join identity.order_xref as x on x.record_id = s.order_record_id and x.valid_to is null
),
counted as (
    select 'order' as entity, d.record_id, d.order_id, o.currency, o.amount, o.is_open
    from documents as d join orders as o on o.order_id = d.order_id where d.place = 1
    union all
    select 'customer', b.customer_key, b.order_id, o.currency, o.amount, o.is_open
    from buyers as b join orders as o on o.order_id = b.order_id where b.place = 1
    union all
    select 'sku', l.sku_key, l.order_id, l.currency, l.amount, o.is_open
    from lines as l join billed as b on b.order_id = l.order_id and b.place = l.place
    join orders as o on o.order_id = l.order_id
    union all
    select 'location', p.location_key, p.order_id, o.currency, o.amount, o.is_open
    from places as p join orders as o on o.order_id = p.order_id where p.location_key is not null
)
select entity, record_id, currency, count(*) as orders, sum(is_open) as open_orders, sum(amount) as amount
from counted group by entity, record_id, currency
"""


def worth_sql(allocated: Iterable[str] = ()) -> str:
    """Statement that tells what hangs on each record: entity, record_id, currency, orders, open_orders, amount.

    Args:
        allocated: ids or numbers of orders that goods are set aside for; they are open, whatever a system's status says.
    """
    named = ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(set(allocated)))
    return _WORTH_SQL.replace("{allocated}", named or "''")


@dataclass(frozen=True)
class Worth:
    """What hangs on records: orders, those of them still to be fulfilled or with goods set aside, and per currency orders and
    net revenue."""

    orders: int = 0
    open_orders: int = 0
    revenue: Mapping[str, tuple[int, Decimal]] = field(default_factory=dict)

    def __add__(self, other: Worth) -> Worth:
        """Sum; exact where no order counts for two records, which `worth_sql` sees to."""
        both: dict[str, tuple[int, Decimal]] = dict(self.revenue)
        for currency, (orders, amount) in other.revenue.items():
            had = both.get(currency, (0, Decimal(0)))
            both[currency] = (had[0] + orders, had[1] + amount)
        return Worth(self.orders + other.orders, self.open_orders + other.open_orders, both)

    def as_json(self) -> dict[str, Any]:
        """`orders`, `open_orders` and `revenue` as {currency: amount as text}."""
        revenue = {currency: str(amount) for currency, (_, amount) in sorted(self.revenue.items())}
        return {"orders": self.orders, "open_orders": self.open_orders, "revenue": revenue}


def worth_by_record(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Worth]]:
    """Answer of `worth_sql` as entity -> record id -> worth. Amounts without a currency count as orders only."""
    found: dict[str, dict[str, Worth]] = defaultdict(dict)
    for row in rows:
        told = row["currency"] is not None and row["amount"] is not None
        revenue = {row["currency"]: (int(row["orders"]), Decimal(row["amount"]))} if told else {}
        worth = Worth(int(row["orders"]), int(row["open_orders"]), revenue)
        held = found[row["entity"]]
        held[row["record_id"]] = held.get(row["record_id"], Worth()) + worth
    return dict(found)


def points(worth: Worth, usual: Mapping[str, Decimal]) -> Decimal:
    """Worth as one number, in orders: orders, plus open orders (with their allocations still to be put right), plus revenue in usual orders.

    Args:
        worth: of the task.
        usual: currency -> net amount of a usual order; revenue in a currency without one counts nothing.
    """
    revenue = (
        abs(amount) / usual[currency]
        for currency, (_, amount) in worth.revenue.items()
        if usual.get(currency)
    )
    return Decimal(worth.orders + worth.open_orders) + sum(revenue, Decimal(0))


def usual_orders(worths: Iterable[Worth]) -> dict[str, Decimal]:
    """Mean net amount of an order in each currency, so that currencies compare without exchange rates."""
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for currency, (orders, amount) in chain.from_iterable(worth.revenue.items() for worth in worths):
        counts[currency] += orders
        sums[currency] += abs(amount)
    return {currency: sums[currency] / counts[currency] for currency in sums if counts[currency]}


def rank(tasks: Mapping[int, Worth]) -> list[int]:
    """Task ids from the most worth to the least; equal worth in the order they were opened (smaller id first)."""
    usual = usual_orders(tasks.values())
    return sorted(tasks, key=lambda number: (-points(tasks[number], usual), number))
