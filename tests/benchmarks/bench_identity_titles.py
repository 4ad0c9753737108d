"""Seconds and memory of matching products by title, each against its aim: `make bench`.

Titles are generated, so that no file is needed; each step runs in a process of its own, so that peak memory is that step's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

console = Console(width=110)

_MAKE = """
import json, random, resource, sys
import pyarrow as pa
from oms_core.identity.scoring.titles import fit_titles

KINDS = ["Turntable", "Headphones", "Receiver", "Cordless Phone", "Digital Camera", "Camcorder", "Laser Printer", "Ink Cartridge",
         "Washer", "Refrigerator", "Microwave Oven", "Vacuum Cleaner", "Router", "Ethernet Switch", "Hard Drive", "Monitor Cable",
         "Wall Mount", "Subwoofer", "Car Speaker", "Projector Lamp", "Tripod", "Flash Drive", "Keyboard", "Optical Mouse"]
TRAITS = ["Black", "White", "Silver", "Stainless Steel", "Wireless", "Portable", "Compact", "Professional", "5 Disc", "Dual",
          "High Speed", "Bluetooth", "Rechargeable", "10 ft", "16GB", "32GB", "1080p", "Front Loading", "Series II", "Outdoor",
          "Noise Cancelling", "Energy Star", "Slim", "Heavy Duty", "6-Pack", "2-Pack", "Refurbished", "Titanium", "for Notebooks"]

def word(rng):
    return "".join(rng.choice("bcdfghklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randrange(2, 4))).capitalize()

def products(count, seed):
    rng = random.Random(seed)
    brands = [word(rng) for _ in range(400)]
    lines = [word(rng) for _ in range(3000)]
    for _ in range(count):
        brand = rng.choice(brands)
        model = brand[:2].upper() + rng.choice("ABCDEFGHKLMNPRSTX") + str(rng.randrange(100, 99999)) + rng.choice(["", "", "B", "W", "NA", "S"])
        yield brand, rng.choice(lines), rng.choice(KINDS), rng.sample(TRAITS, rng.randrange(1, 4)), model

def one(rng, product):
    brand, line, kind, traits, model = product
    return f"{brand} {line} {' '.join(traits)} {kind} - {model}"

def other(rng, product):
    brand, line, kind, traits, model = product
    kept = [trait for trait in traits if rng.random() < 0.6]
    written = model if rng.random() < 0.6 else model[:2] + "-" + model[2:]
    words = [brand, kind, *kept] + ([line] if rng.random() < 0.6 else []) + ([written] if rng.random() < 0.8 else [])
    return " ".join(words)

def catalogues(count, overlap):
    rng = random.Random(7)
    everything = list(products(2 * count - int(count * overlap), 1))
    left, right = everything[:count], everything[count - int(count * overlap):]
    rows = [{"record_id": f"a:{n:07d}", "source_system": "a", "title": one(rng, p)} for n, p in enumerate(left)]
    first = count - int(count * overlap)
    rows += [{"record_id": f"b:{first + n:07d}", "source_system": "b", "title": other(rng, p)} for n, p in enumerate(right)]
    return pa.Table.from_pylist(rows)
"""

_STEPS = {
    "link": """
records = catalogues(int(sys.argv[1]), 0.5)
fitted = fit_titles(records, sides=True, one_to_one=True)
""",
    "dedupe": """
records = catalogues(int(sys.argv[1]), 0.5)
fitted = fit_titles(records)
""",
    "identical": """
records = pa.table({"record_id": [f"r{n}" for n in range(int(sys.argv[1]))],
                    "title": ["Sony Turntable - PSLX350H"] * int(sys.argv[1])})
fitted = fit_titles(records)
""",
}

_REPORT = """
pairs = fitted.scored.pairs
likely = [(left, right) for left, right, chance in zip(pairs["left_id"].to_pylist(), pairs["right_id"].to_pylist(),
                                                       pairs["probability"].to_pylist()) if chance >= 0.5]
right = sum(one[2:] == other[2:] for one, other in likely)
print(json.dumps({"seconds": round(time.perf_counter() - started, 2), "rows": records.num_rows, "pairs": len(likely), "right": right,
                  "cut": fitted.scored.cut, "peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}))
"""


def run(step: str, count: int) -> dict[str, float]:
    """Run one step in a fresh process: seconds of scoring, rows, pairs, right pairs, peak MB."""
    lines = _STEPS[step].strip().splitlines()
    made, scored = "\n".join(lines[:-1]), lines[-1]
    program = f"{_MAKE}\nimport time\n{made}\nstarted = time.perf_counter()\n{scored}\n{_REPORT}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(count)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, float] = json.loads(done.stdout)
    return result


def show(title: str, rows: list[tuple[str, float, float | None, str]]) -> None:
    """Print figures beside their aims."""
    table = Table("what", "measured", "aim", "ratio", title=title, title_justify="left")
    for what, measured, aim, unit in rows:
        ratio = f"{measured / aim:.2f}" if aim else ""
        table.add_row(what, f"{measured:,.1f} {unit}", f"{aim:,.0f} {unit}" if aim else "", ratio)
    console.print()
    console.print(table)


def test_50000_titles_against_50000() -> None:
    started = time.perf_counter()
    found = run("link", 50_000)
    show(
        "Products by title, 50,000 × 50,000, half of them in both",
        [
            ("scoring", found["seconds"], 60.0, "s"),
            ("with making the titles", time.perf_counter() - started, None, "s"),
            ("peak memory", found["peak"], 4000.0, "MB"),
            ("pairs at even odds", found["pairs"], None, ""),
            ("of them right", 100 * found["right"] / max(found["pairs"], 1), None, "%"),
            ("of all found", 100 * found["right"] / 25_000, None, "%"),
        ],
    )


def test_20000_titles_deduplicated() -> None:
    found = run("dedupe", 10_000)
    show(
        "Products by title, one catalogue of 20,000 with 5,000 duplicates",
        [("scoring", found["seconds"], None, "s"), ("peak memory", found["peak"], None, "MB")],
    )


def test_a_million_identical_titles() -> None:
    found = run("identical", 1_000_000)
    show(
        "Products by title, 1,000,000 identical rows",
        [("scoring", found["seconds"], None, "s"), ("peak memory", found["peak"], None, "MB")],
    )
