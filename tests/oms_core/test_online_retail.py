"""A year of a real retailer's invoices, from file to release, against totals recomputed from the file alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from connectors.landing import Landing
from oms_core import intake, pipeline
from oms_core.release.read import query
from oms_core.settings import Settings
from oms_core.store.postgres import Database

pytestmark = pytest.mark.heavy


class Run:
    """One run from file to release, and the file itself to compare with."""

    def __init__(
        self, settings: Settings, file: Path, result: pipeline.UnifyResult, database: Database
    ) -> None:
        self.settings, self.file, self.result, self.database = settings, file, result, database

    def released(self, sql: str) -> list[Any]:
        """Rows of the released tables."""
        return list(query(self.database, sql, limit=1_000_000).rows)

    def in_file(self, sql: str) -> list[Any]:
        """Rows of the file, read with nothing of ours."""
        with duckdb.connect() as connection:
            connection.execute(f"create view sold as select * from read_parquet('{self.file}')")
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def run(online_retail: Path, make_home: Callable[[str], Path]) -> Iterator[Run]:
    settings = Settings.from_environment(make_home("retail"), {})
    intake.drop(settings, online_retail)
    (pulled,) = intake.pull(settings, ["file_drop"])
    assert pulled.error is None
    result = pipeline.unify(settings)
    with Database.from_environment(settings.home, settings.values) as database:
        yield Run(settings, online_retail, result, database)


def test_every_invoice_and_every_line_is_accounted_for(run: Run) -> None:
    assert run.in_file("select count(*), count(distinct Invoice) from sold") == [(525_461, 28_816)]
    assert run.released("select count(*) from fct_orders") == [(28_816,)]
    assert run.released("select count(*) from fct_order_lines") == [(525_461,)]
    assert run.result.orders == 28_816
    assert run.result.orphans == 0
    landing = Landing(run.settings.landing)
    (count,) = landing.counts()
    landing.close()
    assert (count.pulled, count.landed, count.quarantined) == (525_461, 525_461, 0)
    assert run.result.conservation is not None
    assert run.result.conservation.holds


def test_the_money_of_every_invoice_equals_the_files_to_the_penny(run: Run) -> None:
    theirs = dict(
        run.in_file(
            "select Invoice, sum(Quantity * cast(Price as decimal(18, 4))) from sold group by Invoice"
        )
    )
    ours = dict(run.released("select order_number, net_amount from fct_orders"))
    assert {number: amount for number, amount in ours.items() if theirs[number] != amount} == {}
    assert len(ours) == len(theirs)
    assert run.released("select distinct currency from fct_orders") == [("GBP",)]
    lines = dict(
        run.released(
            "select o.order_number, sum(l.net_amount) from fct_order_lines l join fct_orders o using (order_id) group by 1"
        )
    )
    assert {number: Decimal(amount) for number, amount in lines.items()} == ours


def test_cancellations_are_returns(run: Run) -> None:
    invoices = {row[0] for row in run.in_file("select distinct Invoice from sold where Invoice like 'C%'")}
    assert {
        row[0] for row in run.released("select order_number from fct_orders where order_type = 'return'")
    } == invoices
    (units,) = run.in_file("select -sum(Quantity) from sold where Invoice like 'C%'")[0]
    (returned,) = run.released(
        "select sum(r.qty) from fct_returns r join fct_orders o using (order_id) where o.order_type = 'return'"
    )[0]
    assert returned == units


def test_lines_without_a_customer_are_kept(run: Run) -> None:
    without = run.in_file('select count(*) from sold where "Customer ID" is null')
    assert without == [(107_927,)]
    assert (
        run.released(
            "select count(*) from fct_order_lines l join fct_orders o using (order_id) where o.customer_id is null"
        )
        == without
    )


def test_a_sku_with_several_descriptions_survives_as_one(run: Run) -> None:
    described = run.in_file(
        "select StockCode, count(distinct trim(Description)) as n from sold "
        "where trim(Description) <> '' group by 1 having n > 1 order by n desc limit 50"
    )
    assert described
    for code, _ in described:
        rows = run.released(
            "select count(distinct l.sku_id), count(distinct s.title) from fct_order_lines l "
            f"join dim_skus s using (sku_id) where l.sku_code = '{code}'"
        )
        assert rows == [(1, 1)], code


def test_a_second_run_with_nothing_new_releases_nothing(run: Run) -> None:
    assert intake.pull(run.settings, ["file_drop"]) == []
    again = pipeline.unify(run.settings)
    assert not again.is_new
    assert again.release_id == run.result.release_id
