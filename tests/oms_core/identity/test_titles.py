"""Products matched by title: what is one article, what is not, and laws that hold for any input."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity.scoring.titles import assign, explain_titles, fit_titles, score_titles

ABT_BUY = Path(__file__).parents[4] / "shared" / "data" / "abt-buy"

LEFT = (
    "Sony Turntable - PSLX350H",
    "Panasonic Toner Cartridge - KXFA83",
    "Netgear RangeMax Wireless Router - WGR614NA",
    "Canon PIXMA Photo Printer - IP2600",
    "Bose Acoustimass 5 Series III Speaker System - AM53BK",
    "Whirlpool Cabrio White Top Loading Washer - WTW6700TWH",
)
RIGHT = (
    "Sony PS-LX350H Belt Drive Turntable",
    "Toner KX-FA83 for Panasonic fax",
    "Netgear WGR614 54 Mbps router",
    "Canon PIXMA iP2600 Inkjet Photo Printer - 2435B002",
    "Bose Acoustimass 5 III speakers black",
    "Whirlpool WTW6700TW 28 inch Cabrio Series Washer",
)


def table(left: Iterable[str | None], right: Iterable[str | None] = ()) -> pa.Table:
    rows = [(f"a{place}", title, "a") for place, title in enumerate(left)]
    rows += [(f"b{place}", title, "b") for place, title in enumerate(right)]
    return pa.table(
        {
            "record_id": pa.array([row[0] for row in rows], pa.string()),
            "title": pa.array([row[1] for row in rows], pa.string()),
            "source_system": pa.array([row[2] for row in rows], pa.string()),
        }
    )


def likely(pairs: pa.Table, probability: float = 0.5) -> set[tuple[str, str]]:
    return {
        (row["left_id"], row["right_id"]) for row in pairs.to_pylist() if row["probability"] >= probability
    }


def weights(pairs: pa.Table) -> dict[tuple[str, str], float]:
    return {(row["left_id"], row["right_id"]): row["match_weight"] for row in pairs.to_pylist()}


def test_model_numbers_match_however_they_are_written() -> None:
    pairs = score_titles(table(LEFT, RIGHT), sides=True, one_to_one=True).pairs
    assert likely(pairs) >= {(f"a{place}", f"b{place}") for place in (0, 1, 2, 3)}
    assert all(left[1:] == right[1:] for left, right in likely(pairs))
    assert max(pairs["model"].to_pylist()) == 2


def test_chinese_titles_match_in_both_scripts() -> None:
    left = [
        "兰蔻 小黑瓶精华肌底液 50毫升",
        "雅诗兰黛 特润修护肌透精华露 30ml",
        "资生堂 红腰子精华 75毫升",
        "海蓝之谜 精华面霜 60ml",
    ]
    right = [
        "蘭蔻 小黑瓶 精華肌底液 50ml",
        "雅詩蘭黛 特潤修護肌透精華露 30毫升",
        "資生堂 紅腰子精華 75ml",
        "海藍之謎 精華面霜 60毫升",
    ]
    pairs = score_titles(table(left, right), sides=True, one_to_one=True).pairs
    assert likely(pairs) == {(f"a{place}", f"b{place}") for place in range(4)}


@pytest.mark.parametrize(
    "other",
    [
        "Lumière Night Serum 2 × 50 ml",
        "Lumière Night Serum 500 ml",
        "Lumière Night Serum 50 ml 2支装",
        "Lumière Night Serum 50ml x2",
    ],
)
def test_another_size_or_pack_is_another_article(other: str) -> None:
    pairs = score_titles(table(["Lumière Night Serum 50 ml"], [other]), sides=True).pairs
    assert likely(pairs, 0.02) == set()
    same = score_titles(table(["Lumière Night Serum 50 ml"], ["Lumiere Night Serum 50ML"]), sides=True).pairs
    assert likely(same, 0.9) == {("a0", "b0")}


def generated(count: int, seed: int, copies: float = 0.0) -> tuple[pa.Table, set[tuple[str, str]]]:
    """Two catalogues of invented products, half of them in both; the second names some twice, by `copies`."""
    rng = random.Random(seed)

    def word() -> str:
        return "".join(rng.choice("bcdfgklmnprstvz") + rng.choice("aeiou") for _ in range(3))

    brands, kinds, traits = (
        [word() for _ in range(12)],
        [word() for _ in range(15)],
        [word() for _ in range(20)],
    )
    left: list[str] = []
    right: list[tuple[int | None, str]] = []
    for place in range(count):
        words = [
            rng.choice(brands),
            *rng.sample(traits, 2),
            rng.choice(kinds),
            f"{word()[:3]}{rng.randrange(100, 9999)}",
        ]
        if place % 4 != 3:
            left.append(" ".join(words))
        if place % 4 != 1:
            times = 2 if rng.random() < copies else 1
            for _ in range(times):
                kept = [one for one in words if rng.random() < 0.85]
                rng.shuffle(kept)
                right.append((len(left) - 1 if place % 4 != 3 else None, " ".join([*kept, word()])))
    rng.shuffle(right)
    truth = {(f"a{origin}", f"b{place}") for place, (origin, _) in enumerate(right) if origin is not None}
    return table(left, [title for _, title in right]), truth


def quality(pairs: set[tuple[str, str]], truth: set[tuple[str, str]]) -> tuple[float, float]:
    right = len(pairs & truth)
    return right / max(len(pairs), 1), right / len(truth)


def test_two_clean_catalogues_are_found_to_be_clean_and_matched_one_to_one() -> None:
    records, truth = generated(400, 1)
    fitted = fit_titles(records, sides=True, one_to_one=None)
    assert fitted.free_of_duplicates == (True, True)
    assert fitted.one_to_one
    found = likely(fitted.scored.pairs)
    assert len({left for left, _ in found}) == len({right for _, right in found}) == len(found)
    assert min(quality(found, truth)) > 0.9


def test_a_catalogue_with_duplicates_is_found_out_and_not_forced_one_to_one() -> None:
    records, truth = generated(400, 2, copies=0.5)
    fitted = fit_titles(records, sides=True, one_to_one=None)
    assert fitted.free_of_duplicates[1] is False
    assert not fitted.one_to_one
    precision, recall = quality(likely(fitted.scored.pairs), truth)
    assert precision > 0.9 and recall > 0.6


def test_probabilities_mean_what_they_say() -> None:
    records, truth = generated(800, 3)
    pairs = score_titles(records, sides=True, one_to_one=True).pairs.to_pylist()
    expected = sum(pair["probability"] for pair in pairs)
    right = sum((pair["left_id"], pair["right_id"]) in truth for pair in pairs)
    assert abs(expected - right) / right < 0.1


@pytest.mark.skipif(not ABT_BUY.exists(), reason="the Abt-Buy files are not part of the project")
@pytest.mark.parametrize("one_to_one", [True, None, False])
def test_abt_buy_without_looking_at_the_truth(one_to_one: bool | None) -> None:
    def read(name: str) -> list[dict[str, Any]]:
        with (ABT_BUY / name).open(encoding="utf-8") as file:
            return list(csv.DictReader(file, delimiter="|"))

    rows = [
        {
            "record_id": f"{side}:{row['id']}",
            "source_system": side,
            "title": row["name"],
            "description": row["description"] or None,
            "price": float(row["price"]) if row["price"] else None,
        }
        for side, name in (("abt", "abt.csv"), ("buy", "buy.csv"))
        for row in read(name)
    ]
    truth = {(f"abt:{row['D1']}", f"buy:{row['D2']}") for row in read("gt.csv")}
    pairs = score_titles(pa.Table.from_pylist(rows), sides=True, one_to_one=one_to_one).pairs
    precision, recall = quality(likely(pairs), truth)
    assert 2 * precision * recall / (precision + recall) > 0.96


def test_evidence_sums_to_the_match_weight() -> None:
    records, _ = generated(200, 4)
    fitted = fit_titles(records, sides=True, one_to_one=True)
    for (left, right), weight in list(weights(fitted.scored.pairs).items())[:40]:
        lines = explain_titles(fitted, left, right)
        assert sum(line.weight_bits for line in lines) == pytest.approx(weight, abs=1e-6)
        assert lines[0].field == "prior"


def test_an_explanation_names_model_and_contents() -> None:
    fitted = fit_titles(
        table(
            ["Sony Turntable PSLX350H", "Night Serum 50 ml"],
            ["Sony PS-LX350H turntable", "Night Serum 2 x 50 ml"],
        ),
        sides=True,
    )
    model = {line.field: line for line in explain_titles(fitted, "a0", "b0")}["model"]
    assert "pslx350h" in (model.left_value or "") and model.weight_bits > 0
    contents = {line.field: line for line in explain_titles(fitted, "a1", "b1")}["contents"]
    assert contents.weight_bits < -10
    with pytest.raises(KeyError, match="nowhere has no title"):
        explain_titles(fitted, "a0", "nowhere")


def test_only_pairs_of_new_records() -> None:
    records, _ = generated(200, 5)
    everything = weights(score_titles(records, sides=True).pairs)
    new = weights(score_titles(records, sides=True, new=pa.array(["a3", "b9"])).pairs)
    assert new == {pair: weight for pair, weight in everything.items() if {"a3", "b9"} & set(pair)}


def test_identical_rows_are_joined_and_do_not_explode() -> None:
    few = score_titles(table(["Sony Turntable PSLX350H"] * 3 + ["Bose speaker AM53BK"]))
    assert likely(few.pairs) == {("a0", "a1"), ("a0", "a2"), ("a1", "a2")}
    again = fit_titles(table(["Sony Turntable PSLX350H"] * 2 + ["Bose speaker AM53BK"]))
    (line,) = explain_titles(again, "a0", "a1")
    assert line.weight_bits == pytest.approx(weights(again.scored.pairs)["a0", "a1"])
    many = score_titles(table(["Sony Turntable PSLX350H"] * 20_000))
    assert many.pairs.num_rows == 19_999
    assert any("20,000 identical rows" in sentence for sentence in many.cut)


def test_bad_records_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="no column title"):
        score_titles(pa.table({"record_id": ["a"]}))
    with pytest.raises(ValueError, match="record_id is not unique"):
        score_titles(pa.table({"record_id": ["a", "a"], "title": ["x", "y"]}))
    with pytest.raises(ValueError, match="one_to_one links two catalogues"):
        score_titles(table(LEFT), one_to_one=True)
    with pytest.raises(ValueError, match="two source systems"):
        score_titles(
            pa.table(
                {"record_id": ["a", "b", "c"], "title": ["x", "y", "z"], "source_system": ["1", "2", "3"]}
            ),
            sides=True,
        )


@pytest.mark.parametrize("one_to_one", [True, None, False])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((), ()),
        (("Sony Turntable",), ()),
        ((), ("Sony Turntable",)),
        ((None, None), (None, "")),
        (("x",), ("y",)),
        (("!!!",), ("…",)),
    ],
)
def test_nothing_to_compare(
    left: tuple[str | None, ...], right: tuple[str | None, ...], one_to_one: bool | None
) -> None:
    assert score_titles(table(left, right), sides=True, one_to_one=one_to_one).pairs.num_rows == 0
    assert score_titles(table(left, right)).pairs.num_rows == 0 or left == ("x",)


TITLES = st.lists(
    st.one_of(
        st.none(),
        st.sampled_from(
            [*LEFT, *RIGHT, "兰蔻 精华 50ml", "蘭蔻 精華 50毫升", "Serum 2 x 50 ml", "Ünïcode – größe", "x2"]
        ),
        st.text(max_size=25),
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(TITLES, TITLES, st.sampled_from([True, False, None]), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    left: list[str | None], right: list[str | None], one_to_one: bool | None, rng: random.Random
) -> None:
    records = table(left, right)
    places = list(range(records.num_rows))
    rng.shuffle(places)
    one = score_titles(records, sides=True, one_to_one=one_to_one).pairs
    assert (
        score_titles(records.take(pa.array(places, pa.int64())), sides=True, one_to_one=one_to_one).pairs
        == one
    )
    assert score_titles(records.take(pa.array(places, pa.int64()))).pairs == score_titles(records).pairs


def _mirrored(found: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    turn = str.maketrans("ab", "ba")
    return {(right.translate(turn), left.translate(turn)): weight for (left, right), weight in found.items()}


@pytest.mark.parametrize("one_to_one", [True, None, False])
def test_which_catalogue_comes_first_does_not_matter(one_to_one: bool | None) -> None:
    records, _ = generated(300, 6)
    systems = records["source_system"].to_pylist()
    left = [
        title for title, system in zip(records["title"].to_pylist(), systems, strict=True) if system == "a"
    ]
    right = [
        title for title, system in zip(records["title"].to_pylist(), systems, strict=True) if system == "b"
    ]
    there = weights(score_titles(table(left, right), sides=True, one_to_one=one_to_one).pairs)
    back = _mirrored(weights(score_titles(table(right, left), sides=True, one_to_one=one_to_one).pairs))
    assert there.keys() == back.keys()
    assert [there[pair] for pair in sorted(there)] == pytest.approx(
        [back[pair] for pair in sorted(there)], abs=1e-3
    )


@settings(deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 6), st.integers(0, 6)),
        st.floats(0, 1, allow_nan=False),
        min_size=1,
        max_size=20,
    )
)
def test_an_assignment_uses_each_record_once_and_is_best(chances: dict[tuple[int, int], float]) -> None:
    from scipy.optimize import linear_sum_assignment

    pairs = sorted(chances)
    left, right = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    probability = np.array([chances[pair] for pair in pairs])
    chosen = assign(left, right, probability)
    assert len(set(left[chosen].tolist())) == len(set(right[chosen].tolist())) == len(chosen)
    dense = np.zeros((7, 7))
    dense[left, right] = probability
    rows, columns = linear_sum_assignment(dense, maximize=True)
    assert probability[chosen].sum() == pytest.approx(dense[rows, columns].sum(), abs=1e-9)
