"""`orderhub resolve` on files of its own making: what it answers, and what it says to bad input."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from stdnum import ean
from typer.testing import CliRunner

from oms_core.cli.main import app
from oms_core.identity.linking import recognise

GIVEN = [
    "Anna",
    "Bernd",
    "Carla",
    "Dieter",
    "Emma",
    "Franz",
    "Greta",
    "Hans",
    "Ines",
    "Jonas",
    "Karin",
    "Lars",
    "Mona",
    "Nils",
    "Olga",
    "Peter",
    "Rosa",
    "Sven",
    "Tina",
    "Uwe",
]
FAMILY = [
    "Albrecht",
    "Becker",
    "Christ",
    "Dahlmann",
    "Ebert",
    "Fischer",
    "Gruber",
    "Hartmann",
    "Immel",
    "Jansen",
    "Kaiser",
    "Lindner",
    "Maurer",
    "Neumann",
    "Oswald",
    "Pohl",
    "Richter",
    "Schubert",
    "Thiele",
    "Ullrich",
    "Vogt",
    "Winkler",
    "Zimmer",
    "Adler",
    "Brandt",
]
CITIES = [
    ("Berlin", "10115"),
    ("Köln", "50667"),
    ("München", "80331"),
    ("Hamburg", "20095"),
    ("Leipzig", "04109"),
]
STREETS = [
    "Hauptstraße",
    "Bahnhofstraße",
    "Gartenweg",
    "Lindenallee",
    "Schulstraße",
    "Ringstraße",
    "Bergweg",
    "Mühlenweg",
]


def orderhub(*words: object) -> Result:
    return CliRunner().invoke(app, ["resolve", *map(str, words)])


def answer(*words: object) -> dict[str, Any]:
    done = orderhub(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(code: int, *words: object) -> str:
    done = orderhub(*words)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    said = " ".join(done.stderr.split())
    assert said.startswith("error: ") or "error: " in said
    return said


def people(count: int, seed: int = 1) -> list[dict[str, str]]:
    made = random.Random(seed)
    rows = []
    for number in range(count):
        city, postcode = made.choice(CITIES)
        given, family = made.choice(GIVEN), made.choice(FAMILY)
        rows.append(
            {
                "id": f"p{number}",
                "Vorname": given,
                "Nachname": family,
                "Straße": f"{made.choice(STREETS)} {made.randrange(1, 200)}",
                "PLZ": postcode,
                "Ort": city,
                "E-Mail": f"{given}.{family}{made.randrange(1, 10_000)}@example.org".lower(),
                "Geburtsdatum": f"{made.randrange(1940, 2005)}-{made.randrange(1, 13):02}-{made.randrange(1, 29):02}",
            }
        )
    return rows


def misspelt(row: dict[str, str], made: random.Random, key: str) -> dict[str, str]:
    """The same person typed again, with two slips."""
    changed = dict(row) | {"id": key}
    for field in made.sample(["Vorname", "Nachname", "Straße", "E-Mail"], 2):
        place = made.randrange(1, len(changed[field]))
        changed[field] = changed[field][:place] + changed[field][place + 1 :]
    return changed


def save(path: Path, rows: list[dict[str, str]]) -> Path:
    pacsv.write_csv(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def crm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 people, 60 of them twice."""
    made = random.Random(2)
    rows = people(300)
    return save(
        tmp_path_factory.mktemp("crm") / "crm.csv",
        [*rows, *(misspelt(rows[place], made, f"q{place}") for place in range(60))],
    )


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two files without doubles of their own, in two formats and with two kinds of headers, and the truth."""
    made = random.Random(3)
    folder = tmp_path_factory.mktemp("linked")
    rows = people(200, seed=4)
    shop = [misspelt(row, made, f"s{row['id']}") for row in rows[:120]]
    shop += [row | {"id": f"x{row['id']}"} for row in people(80, seed=5)]
    english = {
        "id": "customer_no", "Vorname": "first_name", "Nachname": "last name", "Straße": "Street", "PLZ": "zip",
        "Ort": "city", "E-Mail": "mail", "Geburtsdatum": "dob",
    }  # fmt: skip
    right = folder / "shop.parquet"
    pq.write_table(
        pa.Table.from_pylist([{english[name]: value for name, value in row.items()} for row in shop]), right
    )
    truth = folder / "truth.csv"
    truth.write_text("D1|D2\n" + "".join(f"{row['id']}|s{row['id']}\n" for row in rows[:120]))
    return save(folder / "crm.csv", rows), right, truth


# What it answers


def test_one_file_is_deduplicated(crm: Path, tmp_path: Path) -> None:
    pairs, clusters = tmp_path / "pairs.csv", tmp_path / "clusters.parquet"
    done = orderhub("--entity", "customer", "--input", crm, "--out", pairs, "--clusters", clusters)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "360 records" in said and "given_name ← Vorname" in said and "id id" in said and str(pairs) in said
    found = pacsv.read_csv(pairs)
    assert found.column_names == ["left_id", "right_id", "probability", "cluster_id"]
    right = sum(row["left_id"][1:] == row["right_id"][1:] for row in found.to_pylist())
    assert right >= 57 and right >= 0.9 * found.num_rows
    every = pq.read_table(clusters)
    assert every.column_names == ["file", "id", "cluster_id"]
    assert every.num_rows == 360
    cluster_of = dict(zip(every["id"].to_pylist(), every["cluster_id"].to_pylist(), strict=True))
    assert all(
        cluster_of[row["left_id"]] == cluster_of[row["right_id"]] == row["cluster_id"]
        for row in found.to_pylist()
    )


def test_two_files_are_linked_one_to_one_and_measured(
    linked: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    left, right, truth = linked
    pairs = tmp_path / "pairs.parquet"
    found = answer(
        "--entity", "customer", "--input", left, "--input", right, "--truth", truth, "--out", pairs
    )
    assert found["one_to_one"]
    assert [source["records"] for source in found["inputs"]] == [200, 200]
    assert found["inputs"][1]["columns"]["dob"] == "date_of_birth"
    assert found["accuracy"]["pairwise"]["f1"] >= 0.97
    assert found["accuracy"]["b_cubed"]["f1"] >= 0.97
    table = pq.read_table(pairs)
    assert table.num_rows == found["pairs"]
    assert all(value.startswith("p") for value in table["left_id"].to_pylist())
    assert not any(value.startswith("p") for value in table["right_id"].to_pylist())
    assert len(set(table["left_id"].to_pylist())) == table.num_rows


def test_the_answer_does_not_depend_on_the_order_of_rows_or_files(crm: Path, tmp_path: Path) -> None:
    rows = pacsv.read_csv(crm).to_pylist()
    random.Random(9).shuffle(rows)
    shuffled = tmp_path / "shuffled.csv"
    pacsv.write_csv(pa.Table.from_pylist(rows), shuffled)

    def partition(path: Path) -> set[frozenset[str]]:
        out = tmp_path / "clusters.csv"
        answer("--entity", "customer", "--input", path, "--clusters", out)
        members: dict[int, set[str]] = {}
        for row in pacsv.read_csv(out).to_pylist():
            members.setdefault(row["cluster_id"], set()).add(row["id"])
        return {frozenset(group) for group in members.values()}

    assert partition(crm) == partition(shuffled)


def test_products_are_linked_by_title_and_by_article_number(tmp_path: Path) -> None:
    made = random.Random(6)
    nouns = [
        "lamp",
        "chair",
        "table",
        "shelf",
        "mirror",
        "clock",
        "kettle",
        "toaster",
        "blender",
        "fan",
        "heater",
        "speaker",
        "camera",
        "printer",
    ]
    makers = ["Acme", "Borel", "Cyrus", "Dorado", "Elkin", "Fresno"]
    ours, theirs, truth = [], [], []
    for number in range(150):
        maker, noun, code = (
            made.choice(makers),
            made.choice(nouns),
            f"{made.choice('XYZ')}{made.randrange(100, 999)}{number}",
        )
        ours.append(
            {
                "id": f"a{number}",
                "name": f"{maker} {noun} {code} black",
                "ean": "",
                "Preis": f"{number + 10},90 €",
            }
        )
        theirs.append(
            {
                "id": f"b{number}",
                "title": f"{noun} by {maker}, {code}",
                "barcode": "",
                "price": f"${number + 10}.50",
            }
        )
        truth.append(f"a{number},b{number}")
    # One article whose titles share no word, but a GTIN.
    ours[0] |= {"name": "Tischleuchte rot", "ean": "4006381333931"}
    theirs[0] |= {"title": "Desk light", "barcode": "4006381333931"}
    (tmp_path / "truth.csv").write_text("\n".join(truth))
    found = answer(
        "--entity", "sku", "--input", save(tmp_path / "a.csv", ours), "--input", save(tmp_path / "b.csv", theirs),
        "--truth", tmp_path / "truth.csv", "--out", tmp_path / "pairs.csv",
    )  # fmt: skip
    assert found["one_to_one"]
    assert found["accuracy"]["pairwise"]["f1"] >= 0.95
    pairs = {(row["left_id"], row["right_id"]) for row in pacsv.read_csv(tmp_path / "pairs.csv").to_pylist()}
    assert ("a0", "b0") in pairs


def test_locations_are_deduplicated_across_spellings(tmp_path: Path) -> None:
    rows = [
        {"id": str(number), "Filiale": f"Markt {place[0]} {number}", "Anschrift": f"{STREETS[number % 8]} {number + 3}",
         "PLZ": place[1], "Ort": place[0]}
        for number, place in enumerate(CITIES * 8)
    ]  # fmt: skip
    again = [
        row | {"id": f"{row['id']}b", "Anschrift": row["Anschrift"].replace("straße", "str.")}
        for row in rows[:10]
    ]
    found = answer(
        "--entity", "location", "--input", save(tmp_path / "a.csv", rows + again), "--out", tmp_path / "p.csv"
    )
    pairs = pacsv.read_csv(tmp_path / "p.csv").to_pylist()
    assert sum(f"{row['left_id']}b" == str(row["right_id"]) for row in pairs) >= 9
    assert found["pairs"] <= 12


def test_two_lists_of_warehouses_are_linked(tmp_path: Path) -> None:
    """Codes, GLNs, addresses and distance, each known of some only; names abbreviated, streets spelled otherwise."""
    areas = ["Nord", "Süd", "Hafen", "Altstadt"]
    theirs, ours, truth = [], [], []
    for number in range(60):
        city, postcode = CITIES[number % len(CITIES)]
        name, street = f"{city} {areas[number // 5 % 4]} Warehouse", f"{STREETS[number * 7 % 8]} {number + 3}"
        north, east = 48.0 + number * 0.11, 7.0 + number * 0.06
        gln = str(4012340000000 + number * 10)
        gln = gln[:12] + ean.calc_check_digit(gln[:12])
        ours.append({"id": f"a{number}", "warehouse_code": f"WH-{number:03}", "warehouse_name": name, "street": street,
                     "postcode": postcode, "lat": f"{north:.5f}", "lon": f"{east:.5f}", "gln": gln})  # fmt: skip
        if number < 40:
            theirs.append({"key": f"b{number}", "Standort": name.replace("Warehouse", "WH"), "Strasse": street.replace("straße", "str."),
                           "PLZ": postcode if number % 3 else "", "Breite": f"{north + 0.0003:.5f}" if number % 2 else "",
                           "Länge": f"{east:.5f}" if number % 2 else "", "ILN": gln if number % 4 == 0 else "",
                           "Werk": f"WH{number:03}" if number % 5 == 0 else str(7000 + number)})  # fmt: skip
            truth.append({"left": f"a{number}", "right": f"b{number}"})
    found = answer(
        "--entity", "location", "--input", save(tmp_path / "a.csv", ours), "--input", save(tmp_path / "b.csv", theirs),
        "--truth", save(tmp_path / "truth.csv", truth),
    )  # fmt: skip
    assert found["one_to_one"]
    assert found["accuracy"]["pairwise"]["precision"] == 1.0
    assert found["accuracy"]["pairwise"]["recall"] >= 0.95


def test_the_help_names_every_column_that_is_recognised() -> None:
    said = set(re.findall(r"[a-z_0-9]+", orderhub("--help").output))
    for entity in recognise.ENTITIES:
        assert set(recognise.known_names(entity)) <= said


def test_declared_columns_and_threshold(crm: Path, tmp_path: Path) -> None:
    rows = [
        {"key": row["id"], "a": row["Vorname"], "b": row["E-Mail"]} for row in pacsv.read_csv(crm).to_pylist()
    ]
    path = save(tmp_path / "odd.csv", rows)
    found = answer(
        "--entity", "customer", "--input", path, "--id", "key", "--map", "given_name=a", "--map", "email=b",
        "--threshold", "0.9",
    )  # fmt: skip
    assert found["inputs"][0]["id_column"] == "key"
    assert found["inputs"][0]["columns"] == {"a": "given_name", "b": "email"}
    assert found["threshold"] == 0.9


def test_a_truth_of_clusters_may_stand_in_the_file_itself(crm: Path, tmp_path: Path) -> None:
    rows = [row | {"True Id": str(row["id"])[1:]} for row in pacsv.read_csv(crm).to_pylist()]
    path = save(tmp_path / "with_truth.csv", rows)
    found = answer("--entity", "customer", "--input", path, "--truth", path)
    assert "True Id" in found["inputs"][0]["left_out"]
    assert found["accuracy"]["pairwise"]["f1"] >= 0.95


@pytest.mark.parametrize(
    "write",
    [
        lambda pairs: "left_id,right_id\n" + "".join(f"{a},{b}\n" for a, b in pairs),
        lambda pairs: "".join(f"{a}|{b}\n" for a, b in pairs),
        lambda pairs: "row,one,other\n" + "".join(f"{row},{a},{b}\n" for row, (a, b) in enumerate(pairs)),
        lambda pairs: "id,cluster\n" + "".join(f"{a},{row}\n{b},{row}\n" for row, (a, b) in enumerate(pairs)),
    ],
    ids=["two named columns", "no header", "a running number before", "id and cluster"],
)
def test_forms_of_truth(crm: Path, tmp_path: Path, write: Callable[[list[tuple[str, str]]], str]) -> None:
    truth = tmp_path / "truth.txt"
    truth.write_text(write([(f"p{place}", f"q{place}") for place in range(60)]))
    found = answer("--entity", "customer", "--input", crm, "--truth", truth)
    assert found["accuracy"]["pairwise"]["recall"] >= 0.95


def test_labelled_pairs_judge_what_they_label(crm: Path, tmp_path: Path) -> None:
    truth = tmp_path / "labels.csv"
    lines = [f"{row},p{row},q{row},1" for row in range(50)] + [
        f"{row},p{row},q{row + 1},0" for row in range(50)
    ]
    truth.write_text("_id,ltable_id,rtable_id,label\n" + "\n".join(lines))
    found = answer("--entity", "customer", "--input", crm, "--truth", truth)
    assert found["accuracy"]["pairwise"]["precision"] == 1.0
    assert any("100 labelled pairs" in note for note in found["notes"])


def test_help_has_an_example_and_the_program_starts_without_the_scorers() -> None:
    assert "Example" in orderhub("--help").output
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, oms_core.cli.main; print('splink' in sys.modules, 'scipy' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert loaded.stdout.split() == ["False", "False"]


# Bad input

HEADER = "id,given_name,surname,city\n"


@pytest.mark.parametrize("entity", ["customer", "sku", "location"])
@pytest.mark.parametrize(
    ("content", "records"),
    [
        (HEADER, 0),
        (HEADER + "1,Ann,Lee,Rome\n", 1),
        (HEADER + "1,,,\n2,,,\n3,,,\n", 3),
        (HEADER + "1,Ann,,\n2,Ann,,\n", 2),
        (HEADER + "1,Ann,Lee,Rome\n2,Bob,Ray,Oslo\n", 2),
    ],
    ids=["header only", "one row", "all columns null", "one value", "two rows"],
)
def test_too_little_is_a_stated_result(tmp_path: Path, entity: str, content: str, records: int) -> None:
    path = tmp_path / "few.csv"
    path.write_text(content)
    found = answer("--entity", entity, "--input", path, "--out", tmp_path / "pairs.csv")
    assert found["records"] == records
    assert found["pairs"] in (0, 1)
    assert (tmp_path / "pairs.csv").read_text().startswith('"left_id","right_id","probability","cluster_id"')
    if records < 2 or ",,," in content:
        assert found["pairs"] == 0
        assert found["notes"]


@pytest.mark.parametrize("entity", ["customer", "sku", "location"])
def test_one_side_may_be_empty(tmp_path: Path, entity: str, crm: Path) -> None:
    empty = tmp_path / "none.csv"
    empty.write_text(HEADER)
    found = answer("--entity", entity, "--input", crm, "--input", empty)
    assert found["pairs"] == 0 and found["clusters"] == 360
    assert any("no records" in note for note in found["inputs"][1]["notes"])


@pytest.mark.parametrize("entity", ["customer", "sku", "location"])
@pytest.mark.parametrize("rows", [3000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_identical_rows_stay_bounded(tmp_path: Path, entity: str, rows: int) -> None:
    path = tmp_path / "same.csv"
    path.write_text("given_name,surname,name,city,email\n" + "Ann,Lee,Ann Lee,Rome,ann@lee.org\n" * rows)
    found = answer("--entity", entity, "--input", path, "--out", tmp_path / "pairs.parquet")
    assert found["records"] == rows
    assert found["pairs"] <= 3 * rows
    assert any("equal" in note for note in found["notes"])


def test_identical_rows_are_one_thing_where_others_differ(crm: Path, tmp_path: Path) -> None:
    rows = pacsv.read_csv(crm).to_pylist()
    copies = [rows[0] | {"id": f"c{number}"} for number in range(200)]
    found = answer(
        "--entity",
        "customer",
        "--input",
        save(tmp_path / "c.csv", rows + copies),
        "--clusters",
        tmp_path / "k.csv",
    )
    cluster_of = {row["id"]: row["cluster_id"] for row in pacsv.read_csv(tmp_path / "k.csv").to_pylist()}
    assert {cluster_of[f"c{number}"] for number in range(200)} == {cluster_of[str(rows[0]["id"])]}
    assert found["pairs"] < 1000
    assert any("only the pairs that were compared are listed" in note for note in found["notes"])


def test_an_empty_file_and_an_absent_one(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_bytes(b"")
    assert "is empty: not even a header" in refused(1, "--entity", "customer", "--input", empty)
    assert "cannot be read" in refused(2, "--entity", "customer", "--input", tmp_path / "absent.csv")
    assert "is a folder" in refused(2, "--entity", "customer", "--input", tmp_path)


def test_an_unknown_column_in_a_mapping(crm: Path) -> None:
    said = refused(2, "--entity", "customer", "--input", crm, "--map", "surname=Nachnahme")
    assert "Did you mean 'Nachname'?" in said and "PLZ" in said
    assert "no such attribute" in refused(2, "--entity", "customer", "--input", crm, "--map", "shoe=PLZ")
    assert "write canonical=column" in refused(2, "--entity", "customer", "--input", crm, "--map", "surname")
    twice = ("--map", "city=PLZ", "--map", "city=Ort")
    assert "given twice" in refused(2, "--entity", "customer", "--input", crm, *twice)


def test_ids_that_are_not_unique(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text(HEADER + "1,Ann,Lee,Rome\n1,Bob,Ray,Oslo\n")
    said = refused(2, "--entity", "customer", "--input", path)
    assert "'1' (rows 1, 2)" in said and "--id row-number" in said
    assert (
        answer("--entity", "customer", "--input", path, "--id", "row-number")["inputs"][0]["id_column"]
        is None
    )


def test_mixed_encodings_are_read_and_said(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_bytes(b"id,name,city\n" + "1,Müller,Köln\n".encode() + "2,Müller,Köln\n".encode("cp1252"))
    found = answer("--entity", "customer", "--input", path)
    assert "mixed encodings" in found["inputs"][0]["notes"][0]


def test_calls_that_make_no_sense(crm: Path, tmp_path: Path) -> None:
    assert "choose customer, sku, location" in refused(2, "--entity", "order", "--input", crm)
    assert "needs two inputs" in refused(2, "--entity", "customer", "--input", crm, "--one-to-one")
    three = ("--input", crm, "--input", crm, "--input", crm)
    assert "3 inputs" in refused(2, "--entity", "customer", *three)
    assert "no such column" in refused(2, "--entity", "customer", "--input", crm, "--id", "nr")
    assert "--id is given 2 times" in refused(
        2, "--entity", "customer", "--input", crm, "--id", "id", "--id", "id"
    )
    nowhere = tmp_path / "none" / "pairs.csv"
    assert "there is no folder" in refused(2, "--entity", "customer", "--input", crm, "--out", nowhere)
    truth = tmp_path / "truth.csv"
    truth.write_text("a,b\nx,y\nz,w\n")
    assert "no column names records" in refused(2, "--entity", "customer", "--input", crm, "--truth", truth)
    assert orderhub("--entity", "customer").exit_code == 2
    assert orderhub("--entity", "customer", "--input", crm, "--threshold", "2").exit_code == 2


def test_chinese_and_latin_names_meet(tmp_path: Path) -> None:
    """A Chinese export in GB 18030 against a Latin one in UTF-8: headers, encodings and scripts differ, people do not."""
    made = random.Random(8)
    family = [
        ("王", "Wang"),
        ("李", "Li"),
        ("张", "Zhang"),
        ("刘", "Liu"),
        ("陈", "Chen"),
        ("杨", "Yang"),
        ("赵", "Zhao"),
    ]
    given = [("小明", "Xiaoming"), ("丽华", "Lihua"), ("建国", "Jianguo"), ("秀英", "Xiuying"), ("志强", "Zhiqiang"),
             ("美玲", "Meiling"), ("文博", "Wenbo"), ("雨桐", "Yutong")]  # fmt: skip
    cities = [("上海市", "Shanghai"), ("北京市", "Beijing"), ("广州市", "Guangzhou"), ("深圳市", "Shenzhen")]
    chinese, latin = ["编号,姓名,手机号,城市,邮箱"], ["id;name;phone;city;e-mail"]
    for number in range(150):
        (han, pinyin), (own, sound), (place, town) = (
            made.choice(family),
            made.choice(given),
            made.choice(cities),
        )
        phone = f"13{made.randrange(100_000_000, 999_999_999)}"
        mail = f"{sound}{made.randrange(100, 9999)}@example.cn".lower()
        chinese.append(f"c{number},{han}{own},{phone},{place},{mail if number % 3 else ''}")
        latin.append(
            f"l{number};{sound} {pinyin};+86 {phone[:3]} {phone[3:7]} {phone[7:]};{town};{mail if number % 2 else ''}"
        )
    (tmp_path / "cn.csv").write_bytes("\n".join(chinese).encode("gb18030"))
    (tmp_path / "en.csv").write_text("\n".join(latin), encoding="utf-8")
    (tmp_path / "truth.csv").write_text("\n".join(f"c{number},l{number}" for number in range(150)))
    found = answer(
        "--entity", "customer", "--input", tmp_path / "cn.csv", "--input", tmp_path / "en.csv",
        "--truth", tmp_path / "truth.csv",
    )  # fmt: skip
    assert "GB18030" in found["inputs"][0]["format"]
    assert found["inputs"][0]["columns"] == {
        "姓名": "full_name",
        "手机号": "phone",
        "城市": "city",
        "邮箱": "email",
    }
    assert found["accuracy"]["pairwise"]["f1"] >= 0.98
