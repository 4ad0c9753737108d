"""Sourcing: single orders over 200 nodes, and 2,000 orders together over 50, each against its aim: `make bench`.

Times are of the processor, since an order is sourced by one core and waits for nothing; the batch is timed by the wall.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from oms_core.fulfilment.sourcing import policy
from oms_core.fulfilment.sourcing.batch import source_batch
from oms_core.fulfilment.sourcing.decide import source_order

_world = Path(__file__).parent.parent / "oms_core" / "fulfilment" / "sourced.py"
_spec = importlib.util.spec_from_file_location("sourced", _world)
assert _spec is not None and _spec.loader is not None
sourced: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sourced)

SINGLES = 2_000
SECONDS = 60.0


def _show(title: str, rows: list[tuple[str, str, str, str]]) -> None:
    table = Table("what", "measured", "aim", "ratio", title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    console = Console(width=110)
    console.print()
    console.print(table)


@pytest.mark.parametrize(("stocked", "deepest"), [(0.5, 20), (0.08, 4)], ids=["well stocked", "scarce"])
def test_single_orders_over_200_nodes(stocked: float, deepest: int) -> None:
    chosen = policy.default()
    nodes = sourced.network(1, 200, 100, stocked, deepest)
    orders = sourced.orders(2, SINGLES, 100, 4, 4)
    for order in orders[:50]:
        source_order(order, nodes, chosen)
    spent, told, proven, split = [], [], 0, 0
    for number, order in enumerate(orders):
        started = time.thread_time()
        decided = source_order(order, nodes, chosen)
        spent.append(time.thread_time() - started)
        proven += decided.is_best
        split += decided.plan is not None and len(decided.plan.nodes) > 1
        if number % 20 == 0:
            started = time.thread_time()
            decided.document()
            told.append(time.thread_time() - started)
    rate = SINGLES / sum(spent)
    p99 = statistics.quantiles(spent, n=100)[98] * 1000
    _show(
        f"sourcing {SINGLES:,} single orders over 200 nodes, {stocked:.0%} of shelves stocked, {split:,} split",
        [
            ("decided, a second and core", f"{rate:,.0f}", "1,000", f"{rate / 1_000:.2f}"),
            ("p99", f"{p99:.2f} ms", "5 ms", f"{p99 / 5:.2f}"),
            ("proven best", f"{proven / SINGLES:.1%}", "98.3 %", f"{proven / SINGLES / 0.983:.3f}"),
            ("all 199 reasons put into words", f"{statistics.mean(told) * 1000:.2f} ms more", "", ""),
        ],
    )


def test_small_orders_against_trying_every_set_of_nodes() -> None:
    chosen = policy.default()
    compared = equal = split = 0
    gaps = []
    for seed in range(10):
        nodes = sourced.network(seed, 10, 8, 0.4, 3)
        for order in sourced.orders(seed, 50, 8, 4, 4):
            decided = source_order(order, nodes, chosen)
            least, parcels = sourced.optimum(decided.weighed, chosen.most_parcels)
            assert (decided.plan is None) == (parcels == 0)
            if decided.plan is not None:
                compared += 1
                split += parcels > 1
                equal += decided.plan.score <= least + 1e-9
                gaps.append((decided.plan.score - least) / least)
    _show(
        f"{compared} small orders against the exact optimum, {split} of them split",
        [
            ("equal to it", f"{equal / compared:.1%}", "98.3 %", f"{equal / compared / 0.983:.3f}"),
            (
                "mean gap to it",
                f"{statistics.mean(gaps):.3%}",
                "0.5 %",
                f"{statistics.mean(gaps) / 0.005:.2f}",
            ),
        ],
    )


@pytest.mark.parametrize("deepest", [40, 12], ids=["well stocked", "scarce"])
def test_a_batch_of_2000_orders_over_50_nodes(deepest: int) -> None:
    nodes = sourced.network(3, 50, 200, 0.5, deepest)
    orders = sourced.orders(4, 2_000, 200, 3, 3)
    started = time.process_time()
    batch = source_batch(orders, nodes, policy.default(), time_limit_seconds=SECONDS)
    spent = time.process_time() - started
    unfilled = sum(not decided.is_filled for decided in batch.decisions)
    _show(
        f"sourcing 2,000 orders together over 50 nodes, {unfilled} unfilled, {batch.rounds} linear programs",
        [
            ("wall clock", f"{batch.seconds:.1f} s", "60 s", f"{batch.seconds / 60:.2f}"),
            ("processor", f"{spent:.1f} s", "", ""),
            ("gap to the bound", f"{batch.gap:.2%}", "1 %", f"{batch.gap / 0.01:.2f}"),
        ],
    )
