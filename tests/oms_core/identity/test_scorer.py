"""The scorer: unsupervised, deterministic, bounded; the same on every engine; every score explained to the bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import Engine, create_engine, text

from oms_core.identity.scoring import scorer
from oms_core.identity.scoring.index import Index, IndexFileError
from oms_core.identity.scoring.model import Model, ModelError, load, shipped
from oms_core.identity.scoring.prepare import kinds_of, prepare
from oms_core.store.postgres import Database

GIVEN = [
    "anna",
    "ben",
    "carla",
    "david",
    "emma",
    "felix",
    "greta",
    "hugo",
    "ida",
    "jonas",
    "klara",
    "leon",
    "mia",
    "noah",
    "olga",
    "paul",
    "rosa",
    "simon",
    "tina",
    "victor",
]
SURNAME = [
    first + last
    for first in ("berg", "stein", "wald", "bach", "feld", "moor", "lind", "korn")
    for last in ("er", "mann", "hof", "au", "ner", "heim")
]
TOWN = [
    (f"{place}{end}", f"{10_000 + 371 * number}")
    for number, (place, end) in enumerate(
        (p, e) for p in ("neu", "alt", "ober", "unter", "klein") for e in ("dorf", "stadt", "kirchen")
    )
]


def people(count: int, seed: int = 1) -> tuple[pa.Table, dict[str, int]]:
    """Customers of which a third is recorded again with errors, and who each record is."""
    chance = random.Random(seed)
    rows, truth = [], {}
    for person in range(count):
        town, postcode = chance.choice(TOWN)
        row: dict[str, Any] = {
            "given_name": chance.choice(GIVEN),
            "surname": chance.choice(SURNAME),
            "date_of_birth": f"{chance.randint(1930, 2005)}-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}",
            "street": f"{chance.choice(SURNAME)} street {chance.randint(1, 150)}",
            "city": town,
            "postcode": postcode,
            "phone": f"+4930{chance.randint(10**7, 10**8 - 1)}",
            "credit": float(chance.randint(0, 5000)),
        }
        for copy in range(2 if person % 3 == 0 else 1):
            record = dict(row)
            if copy:
                record["credit"] = float(chance.randint(0, 5000))
                for name in chance.sample(["given_name", "surname", "street", "phone", "date_of_birth"], 2):
                    value = record[name]
                    at = chance.randrange(len(value) - 1)
                    record[name] = chance.choice(
                        [None, value[:at] + value[at + 1] + value[at] + value[at + 2 :]]
                    )
            record["record_id"] = f"r{person:05d}-{copy}"
            record["source_system"] = "web" if copy else "shop"
            truth[record["record_id"]] = person
            rows.append(record)
    return pa.Table.from_pylist(rows), truth


@pytest.fixture(scope="module")
def prepared() -> pa.Table:
    return prepare(people(900)[0])


@pytest.fixture(scope="module")
def model(prepared: pa.Table) -> Model:
    return scorer.train(prepared, entity="customer")


@pytest.fixture(scope="module")
def scored(prepared: pa.Table, model: Model) -> scorer.Scored:
    return scorer.score(prepared, model)


@pytest.fixture(scope="module")
def postgres(make_home: Callable[[str], Path]) -> Iterator[Engine]:
    with Database.open(make_home("scorer")) as database:
        engine = create_engine(database.url)
        yield engine
        engine.dispose()


# --- quality, without labels ------------------------------------------------------------------------------------------


def test_it_finds_who_is_who_without_having_been_told(prepared: pa.Table, scored: scorer.Scored) -> None:
    truth = people(900)[1]
    labels = scorer.components(prepared["record_id"], scored.pairs, 0.5).to_pylist()
    found = dict(zip(prepared["record_id"].to_pylist(), labels, strict=True))
    said = {frozenset(pair) for pair in _together(found)}
    true = {frozenset(pair) for pair in _together(truth)}
    assert len(said & true) / len(said) > 0.99
    assert len(said & true) / len(true) > 0.97


def _together(group: dict[str, int]) -> list[tuple[str, str]]:
    by: dict[int, list[str]] = {}
    for record, of in group.items():
        by.setdefault(of, []).append(record)
    return [(a, b) for members in by.values() for at, a in enumerate(members) for b in members[at + 1 :]]


def test_a_column_that_says_nothing_weighs_nothing(model: Model) -> None:
    credit = next(c for c in model.comparisons if c.field == "x_credit")
    assert abs(credit.levels[-1].weight) < 0.5


def test_the_prior_is_estimated(model: Model) -> None:
    pairs = 1200 * 1199 / 2
    assert 0.7 * 300 < model.prior * pairs < 1.3 * 300


# --- one answer, whatever the order and the company --------------------------------------------------------------------


def test_rows_in_another_order_give_the_same_model_and_the_same_pairs(
    prepared: pa.Table, model: Model, scored: scorer.Scored
) -> None:
    mixed = prepared.take(np.random.default_rng(3).permutation(prepared.num_rows))
    again = scorer.train(mixed, entity="customer")
    assert again.sha256 == model.sha256
    assert scorer.score(mixed, again).pairs.equals(scored.pairs)


def test_a_pair_has_its_score_whatever_else_is_there(
    prepared: pa.Table, model: Model, scored: scorer.Scored
) -> None:
    best = scored.pairs.slice(0, 1).to_pylist()[0]
    two = prepared.filter(
        pa.array([one in (best["left_id"], best["right_id"]) for one in prepared["record_id"].to_pylist()])
    )
    assert scorer.score(two, model).pairs.to_pylist() == [best]


def test_only_pairs_that_touch_a_new_record(prepared: pa.Table, model: Model, scored: scorer.Scored) -> None:
    new = prepared["record_id"].to_pylist()[100:160]
    found = scorer.score(prepared, model, new=new).pairs.to_pylist()
    assert found == [p for p in scored.pairs.to_pylist() if {p["left_id"], p["right_id"]} & set(new)]
    assert scorer.score(prepared, model, new=[]).pairs.num_rows == 0


def test_two_sides_are_linked_and_not_deduplicated(
    prepared: pa.Table, model: Model, scored: scorer.Scored
) -> None:
    side = dict(zip(prepared["record_id"].to_pylist(), prepared["source_system"].to_pylist(), strict=True))
    found = scorer.score(prepared, model, sides=True).pairs.to_pylist()
    assert found == [p for p in scored.pairs.to_pylist() if side[p["left_id"]] != side[p["right_id"]]]
    with pytest.raises(ValueError, match="needs a column source_system"):
        scorer.score(prepared.drop_columns(["source_system"]), model, sides=True)


# --- explained --------------------------------------------------------------------------------------------------------


def test_field_weights_and_prior_sum_to_the_match_weight(
    prepared: pa.Table, model: Model, scored: scorer.Scored
) -> None:
    rows = {row["record_id"]: row for row in prepared.to_pylist()}
    for pair in scored.pairs.to_pylist()[::60]:
        weights = scorer.explain(model, rows[pair["left_id"]], rows[pair["right_id"]])
        assert [weight.field for weight in weights] == [c.field for c in model.comparisons]
        total = model.prior_weight + sum(weight.weight_bits for weight in weights)
        assert total == pytest.approx(pair["match_weight"], abs=1e-9)
        assert pair["probability"] == pytest.approx(1 / (1 + 2**-total), abs=1e-12)


def test_an_explanation_shows_the_values_and_what_they_have_in_common(model: Model) -> None:
    left = {
        "given_name": "anna",
        "surname": "bergmann",
        "date_of_birth": "19800102",
        "date_of_birth_signs": "00112889",
    }
    right = left | {"surname": "bregmann", "date_of_birth": None}
    by = {weight.field: weight for weight in scorer.explain(model, left, right)}
    assert by["surname"].left_value == "bergmann" and by["surname"].right_value == "bregmann"
    assert by["surname"].level_label == "two letters differ" and by["surname"].weight_bits > 0
    assert by["date_of_birth"].level_label == "unknown" and by["date_of_birth"].weight_bits == 0


# --- small and bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_small_inputs_train_and_score(count: int) -> None:
    raw = people(900)[0]
    table = prepare(raw.slice(0, count))
    model = scorer.train(table)
    pairs = scorer.score(table, model).pairs
    assert all(pair["left_id"] < pair["right_id"] for pair in pairs.to_pylist())
    if count == 2:
        # The same person twice: stated priors are enough to see it.
        assert pairs["probability"][0].as_py() > 0.5


def test_columns_without_a_value_are_left_out_and_said_so() -> None:
    raw = pa.table(
        {"record_id": ["a", "b", "c"], "surname": pa.nulls(3, pa.string()), "given_name": ["x", "x", "x"]}
    )
    table = prepare(raw)
    plan = scorer.make_plan(table)
    assert plan.comparisons == ()
    assert any("surname is empty in all 3 records" in line for line in plan.left_out)
    assert any("given_name has one value in all 3 records" in line for line in plan.left_out)
    scored = scorer.score(table, scorer.train(table, plan))
    assert scored.pairs.num_rows == 0 and "nothing was compared" in scored.cut[0]


def test_ids_must_be_there_and_unique() -> None:
    with pytest.raises(ValueError, match="no column record_id"):
        prepare(pa.table({"id": ["a"]}))
    with pytest.raises(ValueError, match="'a' stands on 2 records"):
        prepare(pa.table({"record_id": ["a", "b", "a"]}))
    with pytest.raises(ValueError, match="1 records have no record_id"):
        prepare(pa.table({"record_id": ["a", None]}))


@pytest.mark.parametrize("sides", [False, True])
def test_many_identical_rows_do_not_explode(model: Model, sides: bool) -> None:
    count = 20_000
    one = people(3)[0].slice(0, 1).to_pylist()[0]
    rows = [
        one | {"record_id": f"s{at:05d}", "source_system": "web" if at % 2 else "shop"} for at in range(count)
    ]
    table = prepare(pa.Table.from_pylist(rows), kinds=model.kinds)
    scored = scorer.score(table, model, sides=sides)
    assert scored.pairs.num_rows <= count
    assert "20,000 records are alike in all that is compared" in scored.cut[0]
    labels = scorer.components(table["record_id"], scored.pairs, 0.5).to_pylist()
    assert set(labels) == {0}


def test_a_block_that_would_explode_is_cut_and_reported(prepared: pa.Table, model: Model) -> None:
    rule = ("city",)
    narrow = model.model_copy(update={"blocks": (rule, *model.blocks), "most_in_block": 40})
    scored = scorer.score(prepared, narrow)
    said = next(line for line in scored.cut if line.startswith("Blocking on city: "))
    assert "15 blocks of " in said and "were cut; 1,200 records are affected" in said
    assert scored.pairs.num_rows > 0


def test_records_without_some_of_the_columns_are_scored_on_the_others(
    prepared: pa.Table, model: Model
) -> None:
    fewer = prepared.select([name for name in prepared.column_names if not name.startswith(("phone", "x_"))])
    pairs = scorer.score(fewer, model).pairs
    assert pairs.num_rows > 0 and set(pairs["phone"].to_pylist()) == {-1}


# --- engines ----------------------------------------------------------------------------------------------------------


def test_postgresql_gives_the_same_pairs_and_probabilities(
    prepared: pa.Table, model: Model, scored: scorer.Scored, postgres: Engine
) -> None:
    there = scorer.score(prepared, model, warehouse=postgres)
    assert there.cut == scored.cut
    same = [name for name in scored.pairs.column_names if name not in ("probability", "match_weight")]
    assert there.pairs.select(same).equals(scored.pairs.select(same))
    for name in ("probability", "match_weight"):
        assert np.abs(there.pairs[name].to_numpy() - scored.pairs[name].to_numpy()).max() < 1e-9
    new = prepared["record_id"].to_pylist()[:30]
    here = scorer.score(prepared, model, new=new, sides=True)
    assert (
        scorer.score(prepared, model, new=new, sides=True, warehouse=postgres)
        .pairs.select(same)
        .equals(here.pairs.select(same))
    )
    with postgres.connect() as con:
        assert (
            con.execute(text("select count(*) from pg_namespace where nspname like 'scoring%'")).scalar() == 0
        )


def test_companies_and_free_text_compare_alike_on_postgresql(postgres: Engine) -> None:
    names = [
        "Acme Trading Ltd",
        "ACME Trading",
        "Trading Acme Limited",
        "上海东方贸易有限公司",
        "Shanghai Dongfang Maoyi",
        "Bergwerk AG",
        "Bergwerke",
    ]
    rows = [
        {
            "record_id": f"{at:03d}",
            "company_name": names[at % len(names)],
            "note": f"{names[at % 5]} since {1990 + at % 13}",
            "postcode": f"{10_000 + at % 9}",
            "age": at % 5,
        }
        for at in range(140)
    ]
    table = prepare(pa.Table.from_pylist(rows))
    model = scorer.train(table)
    here, there = (scorer.score(table, model, at_least=0, warehouse=where) for where in (None, postgres))
    assert here.pairs.num_rows > 100
    assert here.pairs.select(["left_id", "right_id"]).equals(there.pairs.select(["left_id", "right_id"]))
    assert np.abs(here.pairs["probability"].to_numpy() - there.pairs["probability"].to_numpy()).max() < 1e-9


def test_a_connection_that_is_handed_in_is_left_as_it_was(
    prepared: pa.Table, model: Model, scored: scorer.Scored
) -> None:
    with duckdb.connect() as con:
        before = con.execute("select count(*) from information_schema.tables").fetchall()
        assert scorer.score(prepared, model, warehouse=con).pairs.equals(scored.pairs)
        assert con.execute("select count(*) from information_schema.tables").fetchall() == before
    with pytest.raises(TypeError, match="cannot score in a str"):
        scorer.score(prepared, model, warehouse="postgresql://")


# --- the index --------------------------------------------------------------------------------------------------------


def test_the_index_scores_new_records_like_a_full_run(
    prepared: pa.Table, model: Model, scored: scorer.Scored, tmp_path: Path
) -> None:
    order = np.random.default_rng(8).permutation(prepared.num_rows)
    new, known = prepared.take(order[:50]), prepared.take(order[50:])
    names = set(new["record_id"].to_pylist())
    wanted = [p for p in scored.pairs.to_pylist() if {p["left_id"], p["right_id"]} & names]
    with Index.create(tmp_path / "index.duckdb", known, model) as index:
        assert len(index) == known.num_rows
        assert index.score(new).pairs.to_pylist() == wanted
    with Index.open(tmp_path / "index.duckdb") as index:
        assert index.model == model
        assert index.score(new).pairs.to_pylist() == wanted
        index.add(new)
        # A record that is in is compared as it is now, not with what it was.
        assert index.score(new).pairs.to_pylist() == wanted
        index.remove(sorted(names))
        assert len(index) == known.num_rows
        assert index.score(new).pairs.to_pylist() == wanted


def test_an_index_refuses_what_it_cannot_be(prepared: pa.Table, model: Model, tmp_path: Path) -> None:
    path = tmp_path / "index.duckdb"
    with pytest.raises(IndexFileError, match="there is no index"):
        Index.open(path)
    Index.create(path, prepared, model).close()
    with pytest.raises(IndexFileError, match="exists"):
        Index.create(path, prepared, model)
    with duckdb.connect(str(path)) as con:
        con.execute("update meta set hashed_by = '1.0.0'")
    with pytest.raises(IndexFileError, match=r"made by DuckDB 1\.0\.0"):
        Index.open(path)


# --- the model --------------------------------------------------------------------------------------------------------


def test_a_model_is_the_same_after_writing_and_reading(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model.json")
    again = load(tmp_path / "model.json")
    assert again == model and again.sha256 == model.sha256
    assert model.model_copy(update={"prior": model.prior / 2}).sha256 != model.sha256


def test_what_is_no_model_is_refused(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    with pytest.raises(ModelError, match="there is no model"):
        load(path)
    path.write_text("{}")
    with pytest.raises(ModelError, match="train it again"):
        load(path)
    path.write_text(model.canonical().replace('"format": 1', '"format": 99'))
    with pytest.raises(ModelError, match="format 99"):
        load(path)


# --- normal forms -----------------------------------------------------------------------------------------------------


def forms(**columns: list[Any]) -> list[dict[str, Any]]:
    size = len(next(iter(columns.values())))
    table = prepare(pa.table({"record_id": [f"{at:03d}" for at in range(size)], **columns}))
    return sorted(table.to_pylist(), key=lambda row: row["record_id"])


def test_one_name_in_every_script_and_order() -> None:
    rows = forms(
        full_name=[
            "王小明",
            "王小明 先生",
            "Wang Xiaoming",
            "Xiao Ming Wang",
            "Wang, Xiao-Ming",
            "歐陽娜娜",
            "Ouyang Nana",
        ]
    )
    assert {(row["given_name"], row["surname"]) for row in rows[:5]} == {("xiaoming", "wang")}
    assert {(row["given_name"], row["surname"]) for row in rows[5:]} == {("nana", "ouyang")}
    rows = forms(full_name=["Dr. Jörg Müller", "Joerg Mueller", "Muller, Jorg", "unknown", None])
    assert {(row["given_name"], row["surname"]) for row in rows[:3]} == {("jorg", "muller")}
    assert all(row["surname"] is None for row in rows[3:])


def test_names_of_two_fields_short_forms_and_companies_that_are_no_people() -> None:
    rows = forms(
        full_name=["天宇 吴", "吴天宇", "Bill Gates", "Gates, William", "ACME Ltd"],
        company_name=[None, None, None, None, "Acme Ltd"],
    )
    assert {(row["given_name"], row["surname"]) for row in rows[:2]} == {("tianyu", "wu")}
    short, long = (set(row["given_name_forms"].split()) for row in rows[2:4])
    assert "william" in short & long
    assert rows[4]["given_name"] is None and rows[4]["surname"] is None and rows[4]["company_name"] == "acme"


def test_traditional_and_simplified_places_and_company_suffixes() -> None:
    rows = forms(
        city=["上海市", "上海", "Shanghai", "臺北市", "台北"],
        company_name=["东方贸易有限公司", "東方貿易", "ACME GmbH & Co. KG", "Acme", "Ltd"],
    )
    assert [row["city"] for row in rows] == ["shanghai", "shanghai", "shanghai", "taibei", "taibei"]
    assert rows[0]["company_name"] == rows[1]["company_name"] == "dongfangtrading"
    assert rows[2]["company_name"] == rows[3]["company_name"] == "acme"
    assert rows[4]["company_name"] == "ltd"


def test_dates_phones_mail_and_codes() -> None:
    rows = forms(
        date_of_birth=["1999-12-31", "31.12.1999", "31/12/1999", "19991231", "n/a"],
        phone=["+86 138 1264 5078", "138-1264-5078", "13800000000", "12", None],
        email=["A.B+shop@Mail.example", "a.b@mail.example", "x@privaterelay.appleid.com", "none", None],
        tax_number=["DE 123-456.789", "de123456789", "000000", "xxxxxx", None],
        postcode=["SW1A 1AA", "sw1a1aa", "00000", "2119.0", None],
    )
    assert {row["date_of_birth"] for row in rows[:4]} == {"19991231"} and rows[4]["date_of_birth"] is None
    assert [row["phone"] for row in rows] == ["12645078", "12645078", None, None, None]
    assert [row["email"] for row in rows] == ["a.b@mail.example", "a.b@mail.example", None, None, None]
    assert [row["tax_number"] for row in rows] == ["de123456789", "de123456789", None, None, None]
    assert [row["postcode"] for row in rows] == ["sw1a1aa", "sw1a1aa", None, "2119", None]


def test_columns_of_any_name_are_known_by_their_content_and_prepared_alike_later() -> None:
    table = pa.table(
        {
            "record_id": [f"{at}" for at in range(60)],
            "Überschrift (neu)": [f"some words {at}" for at in range(60)],
            "size": [f"{at / 4}" for at in range(60)],
            "seen": [f"2024-01-{1 + at % 28:02d}" for at in range(60)],
            "part": [f"AB-{at:04d}" for at in range(60)],
        }
    )
    prepared = prepare(table)
    kinds = kinds_of(prepared)
    assert kinds == {"x_uberschrift_neu": "text", "x_size": "number", "x_seen": "date", "x_part": "code"}
    later = prepare(table.slice(0, 1), kinds=kinds)
    assert later.schema.names == prepared.schema.names
    assert (
        later.to_pylist()
        == prepared.filter(pa.array([one == "0" for one in prepared["record_id"].to_pylist()])).to_pylist()
    )


def test_a_model_for_customers_comes_along_and_scores_without_training() -> None:
    model = shipped("customer")
    assert model.entity == "customer" and model.records > 2000
    rows = prepare(
        pa.table(
            {
                "record_id": ["crm:1", "erp:1", "erp:2", "shop:1"],
                "full_name": ["王小明", "Wang, Xiaoming", "Xiaoming Li", "Li Wang"],
                "email": ["xm.wang@mail.example", None, "xm.li@mail.example", None],
                "phone": ["+86 138 1264 5078", "138-1264-5078", None, None],
                "street": ["世纪大道100号", None, "Main Street 7", None],
                "city": ["上海市", "Shanghai", "Boston", "Boston"],
            }
        ),
        kinds=model.kinds,
    )
    pairs = scorer.score(rows, model).pairs.to_pylist()
    assert [(pair["left_id"], pair["right_id"]) for pair in pairs if pair["probability"] > 0.9] == [
        ("crm:1", "erp:1")
    ]
    with pytest.raises(ModelError, match="no model comes for boat; there is one for: customer"):
        shipped("boat")


def test_relatives_who_share_a_home_and_a_phone_are_kept_apart() -> None:
    model = shipped("customer")
    home = {"street": "12 Elm Street", "city": "Boston", "postcode": "02134", "phone": "+16175550199"}
    names = ["Anna Fairweather", "Robert Fairweather", "Bob Fairweather"]
    rows = [{"record_id": f"{at}", "full_name": name} | home for at, name in enumerate(names)]
    pairs = scorer.score(prepare(pa.Table.from_pylist(rows)), model).pairs.to_pylist()
    assert [(pair["left_id"], pair["right_id"]) for pair in pairs if pair["probability"] > 0.5] == [
        ("1", "2")
    ]
