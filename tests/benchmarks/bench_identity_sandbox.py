"""How right identity is on the sandbox company, three seeds at three levels of dirt, beside two other tools: `make bench`.

Each cell pulls a company of its own into a home of its own, stages it and identifies it as `orderhub run` does, in a process of
its own; gate 1, marts and release are not what is measured and left out. The other tools get the same customer records as a
file: Splink with the comparisons its documentation gives for such columns, GoldenMatch with nothing. A contender that is not
installed is named as skipped. Truth measures; nothing that is measured sees it, and nothing here fails for a low figure.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from oms_core.identity import normalise
from oms_core.identity.linking.accuracy import pairwise

console = Console(width=120)
SEEDS = (21, 42, 84)
LEVELS = ("none", "normal", "heavy")
ORDERS = 600
AIMS = {"customer": 0.985, "sku": 0.985, "location": 0.995, "order": 0.999}

IDENTIFY = """
import csv, json, resource, sys, time, urllib.request, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from connectors.landing import Landing
from oms_core import pipeline
from oms_core.demo import sandbox_company
from oms_core.settings import Settings
from oms_core.store.postgres import Database
from oms_core.warehouse import open_warehouse

home, seed, dirt, orders = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
with sandbox_company(orders, seed, home / "inbox", dirt) as (url, values):
    settings = Settings(home, {**values, "ORDERHUB_FILE_DROP_INBOX": str(home / "inbox")})
    failed = [item.error for item in pipeline.pull(settings) if item.error]
    with urllib.request.urlopen(f"{url}/_sandbox/truth", timeout=60) as answer:
        truth = [json.loads(line) for line in answer.read().decode().splitlines() if line]
assert not failed, failed
landing = Landing(settings.landing)
for batch in landing.batches(gate="pending"):
    landing.pass_gate(batch.batch_id, "not judged: a benchmark of identity", [])
warehouse = open_warehouse(home, None)
pipeline.load(landing, warehouse)
landing.close()
with pipeline.open_builder(settings) as dbt:
    built = dbt.build(["resource_type:seed", "staging", "intermediate"])
    assert not built.failures, built.failures
with Database.from_environment(home, {}) as database:
    database.upgrade()
    started = time.perf_counter()
    outcome = pipeline.identify(warehouse, database)
    seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
columns = "record_id, full_name, company_name, email, phone, phone_e164, tax_number, street, city, region, postcode, country"
customers = warehouse.read(f"select {columns} from intermediate.int_customer_records").to_pylist()
with (home / "customers.csv").open("w", newline="", encoding="utf-8") as opened:
    writer = csv.DictWriter(opened, list(customers[0]))
    writer.writeheader()
    writer.writerows(customers)
linked = warehouse.read(
    "select record_id, customer_key from intermediate.int_order_records where customer_key is not null"
).to_pylist()
parents = warehouse.read("select record_id, parent_key from intermediate.int_customer_records").to_pylist()
(home / "found.json").write_text(json.dumps({
    "seconds": seconds, "peak": peak, "truth": truth, "customers": customers, "linked": linked, "parents": parents,
    "members": {entity: found.assignment.members for entity, found in outcome.items()},
    "orphans": len(outcome["order"].orphans),
}))
"""

# Comparisons and training of Splink's own examples for names, e-mail and postcode; certain rules and blocks on the same columns.
SPLINK = """
import logging
import pandas as pd, splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on
logging.disable(logging.CRITICAL)
started = time.perf_counter()
db = DuckDBAPI()
settings = SettingsCreator(
    link_type="dedupe_only",
    unique_id_column_name="record_id",
    blocking_rules_to_generate_predictions=[
        block_on("email"), block_on("phone_e164"), block_on("full_name"), block_on("postcode"), block_on("tax_number"),
    ],
    comparisons=[
        cl.NameComparison("full_name"),
        cl.EmailComparison("email"),
        cl.ExactMatch("phone_e164"),
        cl.ExactMatch("tax_number"),
        cl.JaroWinklerAtThresholds("street"),
        cl.ExactMatch("city").configure(term_frequency_adjustments=True),
        cl.DamerauLevenshteinAtThresholds("postcode", [2]).configure(term_frequency_adjustments=True),
    ],
)
linker = Linker([db.register(pd.read_csv(files[0], dtype=str))], settings)
linker.training.estimate_probability_two_random_records_match([block_on("email"), block_on("phone_e164")], recall=0.7)
linker.training.estimate_u_using_random_sampling(max_pairs=1e6)
for session in (block_on("full_name"), block_on("postcode"), block_on("email")):
    linker.training.estimate_parameters_using_expectation_maximisation(session)
scored = linker.inference.predict(threshold_match_probability=0.5)
found = linker.clustering.cluster_pairwise_predictions_at_threshold(scored, 0.5).as_pandas_dataframe()
save(list(found["record_id"]), list(found["cluster_id"]))
done(time.perf_counter() - started)
"""


@pytest.fixture(scope="module")
def contenders() -> ModuleType:
    """The benchmark on public data: how contenders are run there is how they are run here."""
    path = Path(__file__).with_name("bench_identity_quality.py")
    spec = importlib.util.spec_from_file_location("bench_identity_quality", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def identify(home: Path, seed: int, level: str) -> dict[str, Any]:
    """Pull, stage and identify a company in a process of its own; what it found and what is true."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IDENTIFY, str(home), str(seed), level, str(ORDERS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((home / "found.json").read_text())
    return found


def in_both_scripts(found: dict[str, Any], truth: dict[str, str]) -> set[str]:
    """True customers whom at least one record names in Chinese signs."""
    return {
        truth[row["record_id"]]
        for row in found["customers"]
        if row["record_id"] in truth
        and any("\u4e00" <= sign <= "\u9fff" for sign in f"{row['full_name']}{row['company_name']}")
    }


def reachable(found: dict[str, Any], truth: dict[str, str]) -> float:
    """Share of true pairs whose records share any identifying value, directly or through records of the same customer.

    The rest share a name at most: an order that a marketplace fulfils shows a name, and a town it was sent to.
    """
    order = {item["record_id"]: item["truth_id"] for item in found["truth"] if item["entity"] == "order"}
    shared: dict[tuple[str, str, str], list[str]] = {}
    said = [(row["record_id"], "order", order.get(key["record_id"])) for row, key in _orders(found)]
    said += [(row["record_id"], "parent", row["parent_key"] or row["record_id"]) for row in found["parents"]]
    for row in found["customers"]:
        said += [
            (row["record_id"], "mailbox", normalise.email(row["email"])),
            (row["record_id"], "relay", row["email"]),
            (row["record_id"], "phone", normalise.phone_tail(row["phone_e164"] or row["phone"])),
            (row["record_id"], "tax", normalise.code(row["tax_number"])),
            (row["record_id"], "postcode", normalise.code(row["postcode"])),
        ]
    for record, kind, value in said:
        if value is not None and record in truth:
            shared.setdefault((truth[record], kind, value), []).append(record)
    root = {record: record for record in truth}

    def find(record: str) -> str:
        while root[record] != record:
            record = root[record]
        return record

    for records in shared.values():
        for record in records[1:]:
            root[find(record)] = find(records[0])
    known = {row["record_id"] for row in found["customers"]} & truth.keys()
    return pairwise({record: find(record) for record in known}, truth).recall


def _orders(found: dict[str, Any]) -> list[tuple[dict[str, str], dict[str, str]]]:
    rows = {row["record_id"]: row for row in found["customers"]}
    return [(rows[row["customer_key"]], row) for row in found["linked"] if row["customer_key"] in rows]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("level", LEVELS)
def test_identity_of_the_sandbox_company(
    level: str, seed: int, make_home: Callable[[str], Path], contenders: ModuleType
) -> None:
    home = make_home(f"identity-{seed}-{level}")
    found = identify(home, seed, level)
    truths = {
        entity: {item["record_id"]: item["truth_id"] for item in found["truth"] if item["entity"] == entity}
        for entity in AIMS
    }
    # A document for several orders, such as a parcel with two, is in no partition of them.
    told = Counter(item["record_id"] for item in found["truth"] if item["entity"] == "order")
    truths["order"] = {record: order for record, order in truths["order"].items() if told[record] == 1}
    customers = truths["customer"]
    table = Table(
        "what", "precision", "recall", "F1", "aim at normal", "seconds", "peak MB",
        title=f"sandbox company of {ORDERS} orders, seed {seed}, dirt {level}", title_justify="left",
    )  # fmt: skip

    def add(
        what: str, score: Any, aim: str = "", seconds: float | None = None, peak: float | None = None
    ) -> None:
        table.add_row(
            what,
            *(f"{value:.4f}" for value in (score.precision, score.recall, score.f1)),
            aim,
            "" if seconds is None else f"{seconds:.1f}",
            "" if peak is None else f"{peak:,.0f}",
        )

    for entity, aim in AIMS.items():
        score = pairwise(found["members"][entity], truths[entity])
        if entity == "customer":
            add("customers, all", score, f"{aim:.3f}", found["seconds"], found["peak"])
            signs = in_both_scripts(found, customers)
            for name, wanted in (("Chinese", True), ("Latin", False)):
                some = {record: true for record, true in customers.items() if (true in signs) is wanted}
                add(f"  {name} names", pairwise(found["members"][entity], some))
        else:
            add(f"{entity}s", score, f"{aim:.3f}")
    known = {row["record_id"] for row in found["customers"]} & customers.keys()
    data = contenders.DataSet(
        "sandbox", "customer", (home / "customers.csv",), {one: customers[one] for one in known}, None, 0.985
    )
    for name, module, script in (
        ("Splink, documented settings", "splink", contenders._PEAK + SPLINK),
        ("GoldenMatch, zero-config", "goldenmatch", contenders.GOLDENMATCH),
    ):
        if importlib.util.find_spec(module) is None:
            table.add_row(f"customers: {name}", "skipped: not installed (extra: bench)")
            continue
        try:
            run = contenders.run(script, data, home / f"{module}.parquet")
        except AssertionError as failure:
            table.add_row(f"customers: {name}", f"failed: {str(failure).strip().splitlines()[-1][:60]}")
            continue
        add(f"customers: {name}", run.score, "", run.work, run.peak)
    console.print()
    console.print(table)
    console.print(
        f"{reachable(found, customers):.4f} of the true pairs of customers share any identifying value; "
        f"{found['orphans']} documents hang on no order"
    )
