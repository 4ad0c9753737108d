"""The demonstration: the main job on the sandbox company, with a report a person can read."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from connectors.extract import Progress, PullResult
from connectors.landing import Landing
from connectors.quarantine import list_rows
from oms_core import intake, pipeline
from oms_core.errors import PipelineError
from oms_core.identity.linking.accuracy import pairwise
from oms_core.pipeline import Say
from oms_core.settings import Settings
from oms_core.warehouse import Warehouse, open_warehouse


@contextmanager
def sandbox_company(
    orders: int, seed: int, inbox: Path, dirt: str = "normal", differences: str = "planted"
) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve a sandbox company from a process of its own; yields its URL and the environment connectors need.

    Args:
        orders: orders the company has.
        seed: same seed, same company.
        inbox: receives the dealers' export files.
        dirt: how dirty its systems are: none, normal or heavy.
        differences: whether its payments, invoices and receipts differ from its orders: none or planted.

    Raises:
        PipelineError: it does not start.
    """
    inbox.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "connectors.sandbox", "--orders", str(orders), "--seed", str(seed), "--inbox", str(inbox),
        "--dirt", dirt, "--differences", differences,
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first:
            raise PipelineError(
                f"the sandbox company did not start (exit {process.wait()}); its error is above"
            )
        try:
            hello = json.loads(first)
            yield hello["url"], hello["env"]
        finally:
            process.terminate()


def run_demo(
    settings: Settings,
    *,
    orders: int,
    seed: int,
    dirt: str = "normal",
    differences: str = "planted",
    say: Say = lambda _: None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Pull, unify and release the sandbox company; score the result against its truth.

    Args:
        settings: where things are; the sandbox's credentials are added to its environment.
        orders: orders the company has.
        seed: same seed, same company.
        dirt: how dirty the company's systems are: none, normal or heavy.
        differences: whether its payments, invoices and receipts differ from its orders: none or planted.

    Returns:
        The report, as `orderhub demo --report` writes it.
    """
    started = time.perf_counter()
    inbox = settings.home / "inbox"
    with sandbox_company(orders, seed, inbox, dirt, differences) as (url, values):
        say(f"sandbox company of {orders:,} orders answers at {url}")
        settings = replace(
            settings, values={**settings.values, **values, "ORDERHUB_FILE_DROP_INBOX": str(inbox)}
        )
        pulling = time.perf_counter()
        with pipeline.open_builder(settings) as builder:
            results = intake.pull(settings, progress=progress, builder=builder)
            pulled_in = time.perf_counter() - pulling
            say(f"{sum(item.pulled for item in results):,} records pulled in {pulled_in:.1f} s")
            unified = pipeline.unify(settings, force=True, builder=builder, say=say)
        truth, planted = _told(f"{url}/_sandbox/truth"), _told(f"{url}/_sandbox/differences")
    return _report(settings, results, unified, truth, planted, pulled_in, time.perf_counter() - started)


def _told(url: str) -> list[dict[str, str]]:
    """JSON lines of the sandbox's desk, which no connector reads."""
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - loopback, our own
        return [json.loads(line) for line in answer.read().decode().splitlines() if line]


def _report(
    settings: Settings,
    results: list[PullResult],
    unified: pipeline.UnifyResult,
    truth: list[dict[str, str]],
    planted: list[dict[str, str]],
    pulled_in: float,
    total: float,
) -> dict[str, Any]:
    assert unified.conservation is not None
    sources: dict[str, dict[str, int]] = {}
    for item in unified.conservation.streams:
        figures = sources.setdefault(
            item.source, dict.fromkeys(("pulled", "landed", "quarantined", "staged"), 0)
        )
        figures["pulled"] += item.pulled
        figures["landed"] += item.landed
        figures["quarantined"] += item.quarantined
        figures["staged"] += item.staged or 0
    return {
        "sources": dict(sorted(sources.items())),
        "orders": unified.orders,
        "orphans": unified.orphans,
        "conservation": {
            "holds": unified.conservation.holds,
            "faults": unified.conservation.faults,
            "streams": [{**vars(item)} for item in unified.conservation.streams],
            "money": [{**vars(item)} for item in unified.conservation.money],
        },
        "gates": {
            gate.gate: {
                "passed": gate.passed,
                "judged": gate.judged,
                "rejected_rows": gate.rejected_rows,
                "complaints": gate.complaints,
                "remarks": gate.remarks,
            }
            for gate in unified.gates
        },
        "quarantine": _quarantine_reasons(settings),
        "scores": scores(settings, truth),
        "differences": difference_scores(settings, truth, planted),
        "systems": systems_of_orders(settings),
        "release": unified.release_id,
        "errors": [f"{item.source}.{item.stream}: {item.error}" for item in results if item.error],
        "warnings": unified.warnings,
        "seconds": {"pull": round(pulled_in, 3), **unified.seconds, "total": round(total, 3)},
        "peak_rss_mb": round(pipeline.peak_rss_mb()),
    }


def _quarantine_reasons(settings: Settings) -> dict[str, int]:
    """How many rows wait in quarantine for each reason, most frequent first."""
    with closing(Landing(settings.landing)) as landing:
        reasons = Counter(
            f"{row.source}.{row.stream}: {row.error.split(' (received')[0]}" for row in list_rows(landing)
        )
    return dict(reasons.most_common())


def scores(settings: Settings, truth: list[dict[str, str]]) -> dict[str, dict[str, float]]:
    """Pairwise precision, recall and F1 of each entity's crosswalk against the truth, over the records both know.

    Documents that stand for several orders are in no pair: `shared_order` scores their links to orders one by one.
    """
    warehouse = open_warehouse(settings.home, settings.warehouse_url)
    found = {}
    of_record: dict[str, set[str]] = defaultdict(set)
    for item in truth:
        if item["entity"] == "order":
            of_record[item["record_id"]].add(item["truth_id"])
    several = {record for record, orders in of_record.items() if len(orders) > 1}
    for entity in ("order", "customer", "sku", "location"):
        rows = warehouse.read(
            f"select record_id, {entity}_id as golden_id from identity.{entity}_xref where valid_to is null"
        ).to_pylist()
        score = pairwise(
            {row["record_id"]: row["golden_id"] for row in rows},
            {
                item["record_id"]: item["truth_id"]
                for item in truth
                if item["entity"] == entity and item["record_id"] not in several
            },
        )
        found[entity] = {
            "precision": round(score.precision, 5),
            "recall": round(score.recall, 5),
            "f1": round(score.f1, 5),
            "records": score.records,
        }
    found["shared_order"] = _share_scores(warehouse, of_record, several)
    return found


def _share_scores(
    warehouse: Warehouse, of_record: Mapping[str, set[str]], several: Collection[str]
) -> dict[str, float]:
    """Precision, recall and F1 of the links from documents that stand for several orders to each of these orders."""
    links = warehouse.read(
        "select record_id, order_id, is_shared from marts.order_xref where is_current"
    ).to_pylist()
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for link in links:
        if not link["is_shared"] and link["record_id"] not in several:
            votes[link["order_id"]].update(of_record.get(link["record_id"], ()))
    meant = {order: counts.most_common(1)[0][0] for order, counts in votes.items() if counts}
    told = {(link["record_id"], meant.get(link["order_id"])) for link in links if link["is_shared"]}
    wanted = {(record, order) for record in several for order in of_record[record]}
    right = len(told & wanted)
    precision = right / len(told) if told else 1.0
    recall = right / len(wanted) if wanted else 1.0
    return {
        "precision": round(precision, 5),
        "recall": round(recall, 5),
        "f1": round(2 * precision * recall / (precision + recall), 5) if right else float(told == wanted),
        "records": len(several),
    }


def difference_scores(
    settings: Settings, truth: list[dict[str, str]], planted: list[dict[str, str]]
) -> dict[str, dict[str, int]]:
    """Differences per cause between the company's systems: planted, found with that cause, and found without being planted.

    A difference counts as found when the order, the system, the document and the cause are right. Several of one cause that
    one system's documents show of an order are one difference, whose amount is their sum.
    """
    warehouse = open_warehouse(settings.home, settings.warehouse_url)
    true_order = {item["record_id"]: item["truth_id"] for item in truth if item["entity"] == "order"}
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for row in warehouse.read(
        "select record_id, order_id from marts.order_xref where is_current and not is_shared"
    ).to_pylist():
        if row["record_id"] in true_order:
            votes[row["order_id"]][true_order[row["record_id"]]] += 1
    named = {golden: counts.most_common(1)[0][0] for golden, counts in votes.items()}
    found = {
        # A document that reaches no order stands for itself.
        (
            named.get(row["order_id"], row["order_id"])
            if row["order_id"]
            else json.loads(row["right_records"])[0],
            row["source_system"],
            row["document"],
            row["cause"],
        )
        for row in warehouse.read(
            "select order_id, source_system, document, cause, right_records from marts.fin_reconciliation"
        ).to_pylist()
    }
    wanted = {(item["order_id"], item["system"], item["document"], item["cause"]) for item in planted}
    return {
        cause: {
            "planted": sum(key[-1] == cause for key in wanted),
            "found": sum(key[-1] == cause for key in wanted & found),
            "not_planted": sum(key[-1] == cause for key in found - wanted),
        }
        for cause in sorted({key[-1] for key in wanted | found})
    }


def systems_of_orders(settings: Settings) -> dict[str, int]:
    """How many systems hang on an order number.

    Returns:
        `all`: systems that tell of any order. Then of one order, at most and in the median: `told_most`, `told_median`, those
        whose documents or values its facts came from; `with_masters_most`, `with_masters_median`, those and the systems that
        know its customer, its SKUs or its places.
    """
    found = (
        open_warehouse(settings.home, settings.warehouse_url)
        .read(
            """
            with told as (
                select order_id, source_system from marts.order_attribute_provenance
                union
                select order_id, split_part(record_id, ':', 1) from marts.order_xref where is_current
            ),
            known as (
                select order_id, source_system from told
                union
                select o.order_id, split_part(x.record_id, ':', 1) from marts.fct_orders as o
                inner join marts.customer_xref as x on o.customer_id = x.customer_id and x.is_current
                union
                select l.order_id, split_part(x.record_id, ':', 1) from marts.fct_order_lines as l
                inner join marts.sku_xref as x on l.sku_id = x.sku_id and x.is_current
                union
                select s.order_id, split_part(x.record_id, ':', 1) from marts.fct_shipments as s
                inner join marts.location_xref as x on s.from_location_id = x.location_id and x.is_current
            )
            select 'told' as measure, order_id, count(distinct source_system) as systems from told
            where order_id in (select order_id from marts.fct_orders) group by order_id
            union all
            select 'with_masters', order_id, count(distinct source_system) from known
            where order_id in (select order_id from marts.fct_orders) group by order_id
            union all
            select 'all', '', count(distinct source_system) from told
            """
        )
        .to_pylist()
    )
    counts: dict[str, list[int]] = defaultdict(list)
    for row in found:
        counts[row["measure"]].append(row["systems"])
    systems = {"all": counts.pop("all")[0]}
    for measure, of_orders in sorted(counts.items()):
        systems[f"{measure}_most"] = max(of_orders)
        systems[f"{measure}_median"] = statistics.median_low(of_orders)
    return systems


def print_report(console: Console, report: Mapping[str, Any], settings: Settings) -> None:
    """Print the report for a person."""
    table = Table(title="What came in", title_justify="left")
    for name in ("source", "pulled", "landed", "quarantined", "staged"):
        table.add_column(name, justify="left" if name == "source" else "right")
    for source, figures in report["sources"].items():
        table.add_row(
            source, *(f"{figures[name]:,}" for name in ("pulled", "landed", "quarantined", "staged"))
        )
    console.print(table)
    for reason, count in list(report["quarantine"].items())[:8]:
        console.print(f"  in quarantine: {count} × {escape(reason)}", highlight=False, soft_wrap=True)
    for error in report["errors"]:
        console.print(f"[bold red]failed:[/] {escape(error)}", highlight=False, soft_wrap=True)
    console.print(
        f"\n[bold]{report['orders']:,} orders[/] unified in release {report['release']}; "
        f"{report['orphans']:,} records hang on no order (select * from ops_orphans)"
    )
    if report["conservation"]["holds"]:
        console.print(
            "conservation law: [bold green]holds[/] (pulled = landed + quarantined; landed distinct = staged; staged "
            "orders = in the facts or listed; money equal on both sides, per source and currency)"
        )
    else:
        console.print("conservation law: [bold red]broken[/]")
        for fault in report["conservation"]["faults"]:
            console.print(f"  {escape(fault)}")
    for name, gate in report["gates"].items():
        word = "[green]passed[/]" if gate["passed"] else "[red]held back[/]"
        console.print(
            f"gate {name}: {word} ({gate['judged']:,} judged, {gate['rejected_rows']:,} rows to quarantine)"
        )
        for complaint in [*gate["complaints"], *gate["remarks"]][:5]:
            console.print(f"  [yellow]{escape(complaint)}[/]", highlight=False, soft_wrap=True)
    accuracy = Table(
        "entity",
        "precision",
        "recall",
        "F1",
        "records",
        title="Against the sandbox's truth",
        title_justify="left",
    )
    for entity, score in report["scores"].items():
        accuracy.add_row(
            entity,
            f"{score['precision']:.4f}",
            f"{score['recall']:.4f}",
            f"{score['f1']:.4f}",
            f"{score['records']:,}",
        )
    console.print(accuracy)
    systems = report["systems"]
    console.print(
        f"{systems['all']} systems tell of orders; of one order at most {systems['told_most']} (median "
        f"{systems['told_median']}), with those that know its customer, SKUs and places {systems['with_masters_most']} "
        f"(median {systems['with_masters_median']})"
    )
    if report["differences"]:
        counts = {
            name: sum(score[name] for score in report["differences"].values())
            for name in ("planted", "found", "not_planted")
        }
        console.print(
            f"differences between systems: {counts['planted']:,} planted, {counts['found']:,} found with the right cause, "
            f"{counts['not_planted']:,} more found (orderhub reconcile --period 2026-10)"
        )
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in report["seconds"].items())
    console.print(f"seconds: {steps}; peak memory {report['peak_rss_mb']:,} MB")
    here = Path.cwd()
    folder = settings.home.relative_to(here) if settings.home.is_relative_to(here) else settings.home
    home = f"--home {folder}"
    # As it can be typed here: the script of this environment, unless it is on the PATH.
    command = "orderhub" if shutil.which("orderhub") else str(Path(sys.argv[0]))
    console.print("\n[bold]Where to look next[/]")
    for line in (
        f'{command} query {home} "select channel, currency, count(*), sum(net_amount) from fct_orders group by 1, 2"',
        f'{command} query {home} "select order_number, source_systems from fct_orders where source_count > 3 limit 5"',
        f"{command} explain {home} ORDER net_amount",
        f"{command} quarantine list {home}",
        f"{command} serve {home}        then http://127.0.0.1:8000/docs",
        f"data docs: {settings.data_docs / 'index.html'}",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
