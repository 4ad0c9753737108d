"""Seconds and memory of scoring a million customers, beside plain Splink with the same blocking in the same run: `make bench`.

Each side runs in a process of its own on the same prepared records, so that peak memory is that side's. Machines are noisy: the
ratios are what to watch, and nothing here fails for being slow. ORDERHUB_BENCH_RECORDS sets another number of records.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from rich.table import Table

console = Console(width=110)
RECORDS = int(os.environ.get("ORDERHUB_BENCH_RECORDS", "1000000"))
DUPLICATES = 0.3
NEW = 0.01

_SYLLABLES = [
    "ba",
    "be",
    "bi",
    "bo",
    "da",
    "de",
    "di",
    "do",
    "fa",
    "fe",
    "ga",
    "ge",
    "ha",
    "he",
    "ja",
    "jo",
    "ka",
    "ke",
    "ki",
    "ko",
    "la",
    "le",
    "li",
    "lo",
    "ma",
    "me",
    "mi",
    "mo",
    "na",
    "ne",
    "ni",
    "no",
    "pa",
    "pe",
    "ra",
    "re",
    "ri",
    "ro",
    "sa",
    "se",
    "si",
    "so",
    "ta",
    "te",
    "ti",
    "to",
    "va",
    "ve",
    "wa",
    "we",
    "za",
    "zo",
]
_ENDS = ["", "n", "s", "r", "th", "ck", "l", "m", "son", "ton", "ner", "man", "field", "berg"]


def _words(generator: np.random.Generator, count: int, syllables: int) -> np.ndarray[Any, Any]:
    made: dict[str, None] = {}
    while len(made) < count:
        parts = generator.integers(0, len(_SYLLABLES), generator.integers(2, syllables + 1))
        made["".join(_SYLLABLES[part] for part in parts) + _ENDS[generator.integers(0, len(_ENDS))]] = None
    return np.array(list(made), dtype=object)


def _skewed(generator: np.random.Generator, words: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Draws with the skew of real names: the hundred most common hold about a third."""
    rank = 1 / (np.arange(len(words)) + 15) ** 0.9
    return words[generator.choice(len(words), count, p=rank / rank.sum())]


def _typo(generator: np.random.Generator, text: str) -> str:
    if len(text) < 3:
        return text
    at = int(generator.integers(0, len(text) - 1))
    letter = "abcdefghijklmnopqrstuvwxyz0123456789"[generator.integers(0, 26 if text[at].isalpha() else 36)]
    kind = generator.integers(0, 4)
    if kind == 0:
        return text[:at] + letter + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2:
        return text[:at] + letter + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def customers(records: int, seed: int = 20) -> pa.Table:
    """Customer records of which 30 % are further records of the same people, with typing errors, gaps and moves.

    Columns: record_id, entity (the truth), given_name, surname, date_of_birth, street, city, postcode, phone, email.
    """
    generator = np.random.default_rng(seed)
    people = records - int(records * DUPLICATES)
    given = _skewed(generator, _words(generator, 3_000, 2), people)
    surname = _skewed(generator, _words(generator, 40_000, 3), people)
    days = generator.integers(-14_000, 12_000, people)
    born = np.datetime_as_string(np.datetime64("1970-01-01") + days.astype("timedelta64[D]"))
    towns = _words(generator, 5_000, 3)
    town = generator.choice(len(towns), people, p=(weights := 1 / (np.arange(5_000) + 20)) / weights.sum())
    roads = _words(generator, 20_000, 3)
    kinds = np.array(["street", "road", "avenue", "lane"])
    columns = {
        "given_name": given,
        "surname": surname,
        "date_of_birth": born.astype(object),
        "street": np.array(
            [
                f"{number} {road} {kind}"
                for number, road, kind in zip(
                    generator.integers(1, 300, people),
                    roads[generator.integers(0, len(roads), people)],
                    kinds[generator.integers(0, 4, people)],
                    strict=True,
                )
            ],
            dtype=object,
        ),
        "city": towns[town],
        "postcode": np.array(
            [
                f"{10_000 + place * 17 % 89_999:05d}"
                for place in town + generator.integers(0, 3, people) * 5_003
            ],
            dtype=object,
        ),
        "phone": np.array(
            [f"+4{digits:010d}" for digits in generator.integers(10**9, 10**10, people)], dtype=object
        ),
        "email": np.array(
            [
                f"{first}.{last}{digits}@{host}.example"
                for first, last, digits, host in zip(
                    given,
                    surname,
                    generator.integers(1, 1000, people),
                    towns[generator.integers(0, 300, people)],
                    strict=True,
                )
            ],
            dtype=object,
        ),
    }
    copies = generator.integers(0, people, records - people)
    entity = np.concatenate([np.arange(people), copies])
    made = {}
    for name, values in columns.items():
        again = values[copies].copy()
        chance = generator.random(len(copies))
        if name in ("street", "city", "postcode", "phone", "email"):
            # Another home, phone or mailbox is one that somebody else has, too.
            again = np.where(chance < 0.08, values[generator.integers(0, people, len(copies))], again)
        for at in np.nonzero((chance > 0.08) & (chance < 0.22))[0]:
            again[at] = _typo(generator, again[at])
        again[chance > 0.9] = None
        whole = np.concatenate([values, again])
        made[name] = whole
    order = generator.permutation(records)
    table = {"record_id": [f"bench:customers:{at:07d}" for at in range(records)], "entity": entity[order]}
    return pa.table(
        table | {name: pa.array(values[order].tolist(), pa.string()) for name, values in made.items()}
    )


_OURS = """
raw = pq.read_table(home / "records.parquet").drop_columns(["entity"])
prepared = timed("prepare", lambda: prepare(raw))
pq.write_table(prepared, home / "prepared.parquet")
del raw
plan = timed("plan", lambda: scorer.make_plan(prepared))
model = timed("train", lambda: scorer.train(prepared, plan, entity="customer", memory_limit="2500MB"))
model.save(home / "model.json")
scored = timed("score", lambda: scorer.score(prepared, model, memory_limit="2500MB"))
labels = timed("cluster", lambda: scorer.components(prepared["record_id"], scored.pairs, 0.5))
pq.write_table(pa.table({"record_id": prepared["record_id"], "cluster": labels}), home / "ours.parquet")
answer |= {"pairs": scored.pairs.num_rows, "cut": scored.cut, "blocks": model.blocks}
"""

# As Splink's documentation sets customers up: library comparisons, u by random sampling, m by two rounds of EM.
_SPLINK = """
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on
import duckdb
blocks = load(home / "model.json").blocks
con = duckdb.connect(config={"memory_limit": "2500MB"})
con.execute(f"create table customers as select * exclude (record_id), record_id as unique_id from '{home / 'prepared.parquet'}'")
settings = SettingsCreator(
    link_type="dedupe_only",
    comparisons=[
        cl.NameComparison("given_name"), cl.NameComparison("surname"),
        cl.DamerauLevenshteinAtThresholds("date_of_birth", [1, 2]), cl.EmailComparison("email"),
        cl.LevenshteinAtThresholds("phone", [1, 2]), cl.LevenshteinAtThresholds("street_name", [2]),
        cl.ExactMatch("street_number"), cl.PostcodeComparison("postcode"), cl.LevenshteinAtThresholds("city", [2]),
    ],
    blocking_rules_to_generate_predictions=[block_on(*rule) for rule in blocks],
)
api = DuckDBAPI(con)
linker = Linker(api.register("customers"), settings, log_level=None)
def training():
    linker.training.estimate_probability_two_random_records_match(
        [block_on("given_name", "surname", "date_of_birth"), block_on("email")], recall=0.7)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    # Its own limit on pairs, so that a common name's block does not take minutes.
    for rule in (block_on("email"), block_on("date_of_birth", "given_name")):
        linker.training.estimate_parameters_using_expectation_maximisation(rule, max_pairs=1e6)
timed("train", training)
predictions = timed("score", lambda: linker.inference.predict(threshold_match_probability=0.01))
clusters = timed("cluster", lambda: linker.clustering.cluster_pairwise_predictions_at_threshold(
    predictions, threshold_match_probability=0.5))
con.execute(f"copy (select unique_id as record_id, cluster_id as cluster from {clusters.physical_name}) to "
    f"'{home / 'splink.parquet'}' (format parquet)")
answer["pairs"] = con.execute(f"select count(*) from {predictions.physical_name}").fetchall()[0][0]
"""

_NEW = """
from oms_core.identity.scoring.index import Index
prepared = pq.read_table(home / "prepared.parquet")
order = np.random.default_rng(1).permutation(prepared.num_rows)
arriving = max(1, int(prepared.num_rows * SHARE))
known = prepared.take(order[arriving:])
timed("make the index (once)", lambda: Index.create(home / "index.duckdb", known, load(home / "model.json")).close())
raw = pq.read_table(home / "records.parquet").drop_columns(["entity"])
raw = raw.filter(pa.compute.is_in(raw["record_id"], value_set=prepared["record_id"].take(order[:arriving])))
new = timed("prepare", lambda: prepare(raw))
def batch():
    with Index.open(home / "index.duckdb") as index:
        return index.score(new)
answer["pairs"] = timed("score", batch).pairs.num_rows
""".replace("SHARE", str(NEW))

_HEAD = """
import json, resource, sys, time
import numpy as np, pyarrow as pa, pyarrow.compute, pyarrow.parquet as pq
from pathlib import Path
from oms_core.identity.scoring import scorer
from oms_core.identity.scoring.model import load
from oms_core.identity.scoring.prepare import prepare
home, seconds, answer = Path(sys.argv[1]), {}, {}
def timed(name, call):
    started = time.perf_counter()
    result = call()
    seconds[name] = time.perf_counter() - started
    return result
"""
_TAIL = """
answer |= {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
print(json.dumps(answer))
"""


def side(code: str, home: Path) -> dict[str, Any]:
    """Run one side in a fresh process: what it printed last."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _HEAD + code + _TAIL, str(home)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def quality(home: Path, name: str) -> tuple[float, float, float]:
    """Pairwise precision, recall and F1 of the clusters a side wrote."""
    with duckdb.connect() as con:
        con.execute(
            f"create table placed as select cluster, entity from '{home / name}' join '{home / 'records.parquet'}' using (record_id)"
        )
        joint, said, true = (
            con.execute(
                f"select coalesce(sum(n * (n - 1) / 2), 0) from (select count(*) as n from placed group by {by})"
            ).fetchall()[0][0]
            for by in ("cluster, entity", "cluster", "entity")
        )
    precision, recall = joint / max(said, 1), joint / max(true, 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def test_a_million_customers(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("identity-speed")
    pq.write_table(customers(RECORDS), home / "records.parquet")
    ours, plain = side(_OURS, home), side(_SPLINK, home)
    new = side(_NEW, home)
    total = sum(ours["seconds"][step] for step in ("plan", "train", "score", "cluster"))
    theirs = sum(plain["seconds"].values())
    batch = new["seconds"]["score"]
    prepared = new["seconds"]["prepare"] + batch
    table = Table(
        "what",
        "ours",
        "plain Splink",
        "ratio",
        title=f"{RECORDS:,} customers, 30 % duplicates",
        title_justify="left",
    )
    table.add_row("prepare (both use it)", f"{ours['seconds']['prepare']:.1f} s", "", "")
    table.add_row("plan", f"{ours['seconds']['plan']:.1f} s", "", "")
    for step in ("train", "score", "cluster"):
        table.add_row(step, f"{ours['seconds'][step]:.1f} s", f"{plain['seconds'][step]:.1f} s", "")
    table.add_row(
        "plan, train, score, cluster", f"{total:.1f} s", f"{theirs:.1f} s", f"{total / theirs:.2f} (aim 1.00)"
    )
    table.add_row(
        "peak memory",
        f"{ours['peak']:,.0f} MB",
        f"{plain['peak']:,.0f} MB",
        f"{ours['peak'] / 5000:.2f} (of 5,000)",
    )
    for at, name in enumerate(("precision", "recall", "F1")):
        table.add_row(
            name, *(f"{quality(home, side)[at]:.4f}" for side in ("ours.parquet", "splink.parquet")), ""
        )
    table.add_row("pairs at 0.01 and more", f"{ours['pairs']:,}", f"{plain['pairs']:,}", "")
    whole = total + ours["seconds"]["prepare"]
    table.add_row(
        f"{NEW:.0%} new against the rest, prepared",
        f"{batch:.2f} s",
        "",
        f"{batch / total:.3f} of all, prepared (aim 0.05)",
    )
    table.add_row(
        "  prepared first", f"{prepared:.2f} s", "", f"{prepared / whole:.3f} of preparing all and the rest"
    )
    table.add_row(
        "  index made (once)",
        f"{new['seconds']['make the index (once)']:.1f} s",
        "",
        f"{new['peak']:,.0f} MB",
    )
    console.print()
    console.print(table)
    console.print("blocking:", "; ".join(" + ".join(rule) for rule in ours["blocks"]), *ours["cut"])
