"""Ledger and reconciliation of a million orders, generated straight into the warehouse: `make bench`.

One order in fifty differs, half of these by a doubled invoice, half by one nobody can explain; the answer is checked, since a
fast wrong one is worth nothing. Peak memory is resident memory of dbt's process.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import duckdb
import psutil
from rich.console import Console
from rich.table import Table

from oms_core.builder import Builder
from oms_core.warehouse import DuckDBWarehouse

ORDERS = int(os.environ.get("ORDERHUB_BENCH_ORDERS", "1000000"))
AIM_SECONDS = 60
LEDGER = ["fin_rebates", "int_ledger_entries", "fin_order_ledger"]
RECONCILIATION = [
    "int_reconciliation_documents",
    "fin_reconciliation_items",
    "fin_reconciliation",
    "fin_reconciliation_totals",
]

# Every fourth order is sold by a marketplace that settles it, the others by a till or a shop that takes payments; every second
# one stands in the ERP, which bills it; every twentieth came back.
_ORDERS = """
create table numbers as select n::bigint as n, (10 + n % 500)::numeric(18,4) as net, n % 4 = 0 as is_settled,
    n % 2 = 0 as is_billed, n % 20 = 3 as is_returned,
    ['pos', 'shop', 'shop', 'marketplace'][1 + n % 4] as channel, ['EUR', 'USD', 'CNY', 'GBP'][1 + n % 4] as currency,
    case when n % 4 = 0 then 'amazon' when n % 4 = 1 then 'square' else 'shopify' end as seller,
    timestamp '2026-07-01' + to_seconds((n * 7) % 7776000) as placed_at
from range(1, {orders} + 1) as r(n);
create table marts.fct_orders as select 'ORD-' || n as order_id, '#' || n as order_number, channel, 'b2c' as order_type,
    'shipped' as order_status, false as is_test, currency, net + 5 as gross_amount, 5::numeric(18,4) as discount_amount,
    0::numeric(18,4) as shipping_amount, (net * 0.2)::numeric(18,4) as tax_amount, null::numeric(18,4) as duty_amount,
    net as net_amount, (net * 1.2)::numeric(18,4) as paid_amount, (net * 0.15)::numeric(18,4) as channel_fee_amount,
    (net * 0.029)::numeric(18,4) as payment_fee_amount, 2::bigint as line_count,
    net as contribution_margin_amount, placed_at as ordered_at, placed_at as payment_verified_at,
    placed_at + interval 1 day as dispatched_at
from numbers;
create table intermediate.int_orders_survived as
    select 'ORD-' || n as order_id, seller || ':orders:' || n as money_record_id from numbers;
create table marts.order_xref as select seller || ':orders:' || n as record_id, 'ORD-' || n as order_id, true as is_current,
    false as is_shared
    from numbers union all select 'tryton:sales:' || n, 'ORD-' || n, true, false from numbers where is_billed;
create table intermediate.int_order_records_linked as select order_id, split_part(record_id, ':', 1) as source_system
    from marts.order_xref union all select 'ORD-' || n, 'odoo' from numbers where is_returned;
create table intermediate.int_order_records as
    select unnest(['amazon', 'square', 'shopify', 'tryton', 'odoo']) as source_system, timestamp '2026-10-31' as source_updated_at;
create table marts.fct_payments as select seller || ':payments:' || n as payment_id, 'ORD-' || n as order_id,
    seller as source_system, (net * 1.2)::numeric(18,4) as amount, (net * 0.029)::numeric(18,4) as fee_amount, currency,
    placed_at as paid_at, true as is_paid, true as is_counted, placed_at as _extracted_at from numbers where not is_settled;
create table intermediate.int_settlements as select 'amazon:settlements:' || n as record_id, 'paid' as settlement_status,
    timestamp '2026-10-30' as paid_at, 0::numeric(18,4) as net_amount, null::varchar as bank_reference from range(26) as r(n);
create table intermediate.int_settlement_lines as select 'amazon:transactions:' || n as record_id, 'amazon' as source_system,
    'amazon:settlements:' || n % 26 as settlement_record_id, 'charge' as line_kind, 'amazon:orders:' || n as order_record_id,
    null::varchar as order_reference, (net * 1.2)::numeric(18,4) as gross_amount, (net * 0.15)::numeric(18,4) as fee_amount,
    (net * 1.05)::numeric(18,4) as net_amount, currency, null::numeric(18,4) as charged_amount,
    null::varchar as charged_currency, null::numeric(18,8) as exchange_rate, placed_at + interval 2 day as booked_at,
    placed_at + interval 2 day as source_updated_at
from numbers where is_settled;
create table intermediate.int_billing_documents as
    with billed as (select *, unnest(generate_series(1, case when n % 100 = 0 then 2 else 1 end)) as copy
        from numbers where is_billed)
    select 'tryton:invoices:' || n || '/' || copy as record_id, 'tryton' as source_system,
        n || '/' || copy as document_key,
        'tryton:sales:' || n as order_record_id, 'invoice' as document_type, placed_at::date as billed_on,
        (net - case when n % 100 = 50 then 1.37 else 0 end)::numeric(18,4) as net_amount,
        (net * 0.2)::numeric(18,4) as tax_amount,
        (net * 1.2 - case when n % 100 = 50 then 1.37 else 0 end)::numeric(18,4) as total_amount, currency,
        2::bigint as line_count, net as billed_lines_amount, net as sold_lines_amount from billed;
create table marts.fct_refunds as select seller || ':refunds:' || n as refund_id, 'ORD-' || n as order_id,
    seller || ':orders:' || n as order_record_id, seller as source_system, net as amount, currency,
    placed_at + interval 9 day as refunded_at, true as is_counted
    from numbers where is_returned;
create table marts.fct_returns as
    select system || ':returns:' || n as return_id, 'ORD-' || n as order_id, system as source_system, 1::numeric(18,6) as qty,
        'C62' as uom, placed_at + interval 8 day as returned_at, null::numeric(18,4) as promised_amount,
        null::varchar as currency, 'SKU-' || n as sku_id
    from (select *, unnest([seller, 'odoo']) as system from numbers where is_returned);
create table intermediate.int_fx_rates as select unnest(['EUR', 'USD', 'CNY', 'GBP']) as currency, d::date as valid_on,
    1::numeric(18,8) as eur_rate, d::date as rate_on, 'ecb_fx' as fx_source
    from range(timestamp '2026-06-25', timestamp '2026-11-01', interval 1 day) as days(d);
create table intermediate.int_rebate_agreements as select 'dealer_rebates:agreements:A/0' as record_id, 'A' as agreement_code,
    'percent' as basis, 5::numeric(18,6) as rate, 0::numeric(18,4) as tier_from_amount, null::varchar as currency,
    date '2026-01-01' as valid_from, null::date as valid_until;
create table marts.fct_rebates as select 'dealer_rebates:claims:' || n as rebate_id, 'ORD-' || n as order_id,
    'CUS-' || n % 500 as customer_id, 'D' || n % 500 as dealer_code, 'A' as agreement_code, 'C' || n as claim_number,
    'S' || n as settlement_number, 'paid' as rebate_status, currency, net as base_amount, 1::numeric(18,6) as qty,
    (net * 0.05)::numeric(18,4) as claimed_amount, (net * 0.04)::numeric(18,4) as settled_amount,
    (net * 0.04)::numeric(18,4) as amount, placed_at::date as accrued_on, placed_at::date + 20 as settled_on
from numbers where n % 10 = 0;
drop table numbers;
"""


def test_a_million_orders(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    with Builder(warehouse, tmp_path) as builder:
        builder.start()
        with duckdb.connect(warehouse.path) as connection:
            connection.execute("set enable_progress_bar = false")
            for schema in ("marts", "intermediate"):
                connection.execute(f"create schema {schema}")
            connection.execute(_ORDERS.format(orders=ORDERS))
        builder.build(["source_systems", "currencies", "reconciliation_terms", "chart_of_accounts"])
        seconds, processor, peaks = {}, {}, {}
        for name, models in (("ledger", LEDGER), ("reconciliation", RECONCILIATION)):
            with _Peak() as peak:
                started = time.perf_counter()
                result = builder.build(models)
                seconds[name] = time.perf_counter() - started
            peaks[name], processor[name] = peak.megabytes, peak.processor_seconds
            assert not result.failures, result.failures
    with duckdb.connect(warehouse.path, read_only=True) as connection:
        causes = dict(
            connection.execute("select cause, count(*) from marts.fin_reconciliation group by 1").fetchall()
        )
        postings = connection.execute("select count(*) from marts.fin_order_ledger").fetchall()[0][0]
        items = connection.execute("select count(*) from marts.fin_reconciliation_items").fetchall()[0][0]
    assert causes == {"duplicate": ORDERS // 100, "unexplained": ORDERS // 100}
    table = Table(
        "what",
        "rows",
        "seconds",
        "processor",
        "peak MB",
        title=f"books of {ORDERS:,} orders",
        title_justify="left",
    )
    for name, rows in (("ledger", postings), ("reconciliation", items)):
        table.add_row(
            f"{name}, its tests included",
            f"{rows:,}",
            f"{seconds[name]:.1f}",
            f"{processor[name]:.1f}",
            f"{peaks[name]:,.0f}",
        )
    table.add_row(
        "both", "", f"{sum(seconds.values()):.1f} (aim {AIM_SECONDS})", f"{sum(processor.values()):.1f}", ""
    )
    console = Console(width=110)
    console.print()
    console.print(table)


class _Peak:
    """Peak resident memory of the processes this one started, MB, and the processor time they took."""

    def __enter__(self) -> _Peak:
        self.megabytes = 0.0
        self._before = self._processor()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self.processor_seconds = self._processor() - self._before

    @staticmethod
    def _processor() -> float:
        times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
        return sum(time.user + time.system for time in times)

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._is_over.wait(0.05):
            resident = 0
            for child in me.children(recursive=True):
                try:
                    resident += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.megabytes = max(self.megabytes, resident / 1024**2)
