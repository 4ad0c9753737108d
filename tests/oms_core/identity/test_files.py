"""Anybody's files: how they are read, and what their columns are taken for."""

from __future__ import annotations

import gzip
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity.linking.conform import conform, gtin14, price
from oms_core.identity.linking.files import FileError, read, write
from oms_core.identity.linking.recognise import ENTITIES, ColumnError, fold, known_names, recognise

QUICK = settings(max_examples=60, deadline=None, database=None)
PEOPLE = "id,name,city\n1,Zoë Müller,Köln\n2,François,Orléans\n"
CHINESE = "编号,姓名,城市\n1,王小明,上海市\n2,李娜,北京市\n3,联通,天津市\n"


def put(folder: Path, content: str | bytes, name: str = "some.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


# Reading


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"]
)
def test_western_encodings_are_found_out(tmp_path: Path, encoding: str) -> None:
    found = read(put(tmp_path, PEOPLE, encoding=encoding))
    assert found.table.to_pylist()[0] == {"id": "1", "name": "Zoë Müller", "city": "Köln"}
    assert found.notes == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030", "gbk", "gb2312"])
def test_chinese_encodings_are_found_out(tmp_path: Path, encoding: str) -> None:
    found = read(put(tmp_path, CHINESE, encoding=encoding))
    assert found.table.column_names == ["编号", "姓名", "城市"]
    assert found.table["姓名"].to_pylist() == ["王小明", "李娜", "联通"]
    assert found.notes == ()


def test_an_encoding_can_be_given(tmp_path: Path) -> None:
    path = put(tmp_path, "id,name\n1,東京\n", encoding="shift_jis")
    assert read(path, "shift_jis").table["name"].to_pylist() == ["東京"]
    with pytest.raises(FileError, match="--encoding 'klingon' is unknown"):
        read(path, "klingon")
    with pytest.raises(FileError, match="is not utf-8"):
        read(path, "utf-8")


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("utf-8", "gb18030", "1 as GB18030 and 2 as UTF-8"),
        ("gb18030", "utf-8", "2 as GB18030 and 1 as UTF-8"),
    ],
)
def test_mixed_chinese_encodings_are_read_line_by_line_and_said(
    tmp_path: Path, one: str, other: str, shown: str
) -> None:
    lines = ["编号,姓名\n".encode(one), "1,王小明\n".encode(one), "2,李娜娜\n".encode(other)]
    found = read(put(tmp_path, b"".join(lines)))
    assert found.table["姓名"].to_pylist() == ["王小明", "李娜娜"]
    assert len(found.notes) == 1 and "mixed encodings" in found.notes[0] and shown in found.notes[0]


def test_mixed_western_encodings_are_read_line_by_line_and_said(tmp_path: Path) -> None:
    lines = [b"id,name\n", "1,Zoë Müller\n".encode(), "2,Jürgen Groß\n".encode("cp1252"), b"3,Plain\n"]
    found = read(put(tmp_path, b"".join(lines)))
    assert found.table["name"].to_pylist() == ["Zoë Müller", "Jürgen Groß", "Plain"]
    assert "1 as CP1252 and 1 as UTF-8" in found.notes[0]


def test_a_damaged_byte_costs_its_character_only(tmp_path: Path) -> None:
    content = CHINESE.encode().replace("李娜".encode(), "李娜娜李娜娜李".encode() + b"\xe5")
    found = read(put(tmp_path, content))
    assert found.table["姓名"].to_pylist()[0] == "王小明"
    assert found.table["姓名"].to_pylist()[1] == "李娜娜李娜娜李\ufffd"
    assert any("bytes of no encoding" in note for note in found.notes)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "#", "%", ">"])
def test_delimiters_are_found_out(tmp_path: Path, delimiter: str) -> None:
    rows = [["id", "name", "price"], ["1", "A lamp", "1.5"], ["2", "A chair", "20"]]
    found = read(put(tmp_path, "\n".join(delimiter.join(row) for row in rows)))
    assert found.table.to_pylist()[1] == {"id": "2", "name": "A chair", "price": "20"}


def test_commas_in_values_do_not_hide_the_delimiter(tmp_path: Path) -> None:
    found = read(put(tmp_path, "id;name, first;price\n1;Lamp, red;1,5\n2;Chair, blue, new;2,5\n"))
    assert found.table.column_names == ["id", "name, first", "price"]
    assert found.table["price"].to_pylist() == ["1,5", "2,5"]


def test_quotes_line_breaks_and_escapes(tmp_path: Path) -> None:
    doubled = read(put(tmp_path, 'id,name\n1,"Lamp ""Sun"", big\nand round"\n2,Chair 5" high\n'))
    assert doubled.table["name"].to_pylist() == ['Lamp "Sun", big\nand round', 'Chair 5" high']
    escaped = read(put(tmp_path, 'id,name\n1,"Lamp \\"Sun\\", big"\n2,Chair\n'))
    assert escaped.table["name"].to_pylist() == ['Lamp "Sun", big', "Chair"]


def test_a_quote_that_never_closes_is_a_sign_like_any_other(tmp_path: Path) -> None:
    rows = "".join(f"{number},thing {number}\n" for number in range(3000))
    found = read(put(tmp_path, f'id,name\nx,"open\n{rows}'))
    assert found.table.num_rows == 3001
    assert any("never closed" in note for note in found.notes)


def test_headers_lose_spaces_and_marks_nobody_sees_and_are_never_doubled_or_empty(tmp_path: Path) -> None:
    found = read(put(tmp_path, "\u200b id , name\u00a0,name,,first\tname\n1,a,b,c,d\n", name="x.csv"))
    assert found.table.column_names[:4] == ["id", "name", "name (2)", "column_4"]
    assert any("called name" in note for note in found.notes)


def test_no_header_is_noticed(tmp_path: Path) -> None:
    found = read(put(tmp_path, "1,ann@x.org,2020-01-01\n2,bob@x.org,2020-01-02\n"))
    assert found.table.column_names == ["column_1", "column_2", "column_3"]
    assert found.table.num_rows == 2
    assert "no header" in found.notes[0]


def test_short_rows_are_filled_and_long_ones_left_out_and_said(tmp_path: Path) -> None:
    found = read(put(tmp_path, "id,name,city\n1,Ann\n2,Bob,Rome,extra\n3,Cy,Oslo,\n4,Dee,Kyiv\n"))
    assert found.table["id"].to_pylist() == ["1", "3", "4"]
    assert found.table["city"].to_pylist() == [None, "Oslo", "Kyiv"]
    assert any("1 rows have fewer values" in note for note in found.notes)
    assert any("1 rows left out" in note and "row 2 has 4" in note for note in found.notes)


def test_a_file_that_does_not_fit_its_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="have more values than the 2 columns"):
        read(put(tmp_path, "a,b\n1,2,3\n1,2,3\n1,2,3\n"))


def test_what_means_nothing_is_nothing_and_names_that_look_like_it_stay(tmp_path: Path) -> None:
    values = ["", "  ", "NULL", "n/a", "NaN", "-", "NA", "Null", "None", "0"]
    path = put(tmp_path, "id,value\n" + "".join(f"{place},{value}\n" for place, value in enumerate(values)))
    assert read(path).table["value"].to_pylist() == [None] * 6 + ["NA", "Null", "None", "0"]


def test_excel_says_the_delimiter_itself(tmp_path: Path) -> None:
    found = read(put(tmp_path, "sep=;\r\nid;a,b\r\n1;2\r\n"))
    assert found.table.column_names == ["id", "a,b"]


def test_parquet_of_all_kinds_is_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "ratio": pa.array([1024.0, None]),
            "price": pa.array([Decimal("1.50"), None], pa.decimal128(8, 2)),
            "born": pa.array([date(1990, 1, 2), None]),
            "at": pa.array([datetime(2020, 1, 2), None], pa.timestamp("us")),
            "name": pa.array(["  Ann ", ""]).dictionary_encode(),
            "tags": pa.array([["x"], []]),
            "raw": pa.array([b"\xff", b"x"]),
        }
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path)
    found = read(path)
    assert found.table.to_pylist()[0] == {
        "id": "1", "ratio": "1024", "price": "1.50", "born": "1990-01-02", "at": "2020-01-02", "name": "Ann",
    }  # fmt: skip
    assert found.table["name"].to_pylist() == ["Ann", None]
    assert "tags, raw" in found.notes[0]


def test_gzip_is_read_whatever_the_name_says(tmp_path: Path) -> None:
    path = put(tmp_path, gzip.compress(PEOPLE.encode()), name="people.csv")
    assert read(path).table.num_rows == 2
    assert read(path).format.endswith("gzip")
    with pytest.raises(FileError, match="not a whole gzip file"):
        read(put(tmp_path, gzip.compress(PEOPLE.encode() * 50)[:40]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n\r\n", "is empty"),
        (b"PK\x03\x04rest", "spreadsheet or an archive"),
        (b"PAR1 and then not", "not a whole Parquet file"),
    ],
)
def test_what_is_no_table_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read(put(tmp_path, content))


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"absent\.csv cannot be read: No such file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(FileError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.csv.gz"])
def test_what_is_written_can_be_read_again(tmp_path: Path, name: str) -> None:
    table = pa.table({"left_id": ["1", 'a"b'], "right_id": ["x,y", "z\nz"]})
    write(table, tmp_path / name)
    assert read(tmp_path / name).table.equals(table)


CELLS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe"), max_size=12
).map(str.strip)


@QUICK
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.sampled_from(["utf-8", "utf-16"]))
def test_any_text_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], encoding: str
) -> None:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"'

    lines = ["key,first,second"] + [f"k{at},{quoted(a)},{quoted(b)}" for at, (a, b) in enumerate(rows)]
    found = read(put(tmp_path_factory.mktemp("any"), "\n".join(lines), encoding=encoding))
    assert found.table["key"].to_pylist() == [f"k{at}" for at in range(len(rows))]
    nothing = {"", "NULL", "null", "NaN", "nan", "N/A", "n/a", "#N/A", "<NA>", "\\N", "-", "--", "?", "."}
    for at, (a, b) in enumerate(rows):
        for name, value in (("first", a), ("second", b)):
            assert found.table[name][at].as_py() == (None if value in nothing else value)


# Recognising


def taken(columns: dict[str, list[str | None]], entity: str = "customer") -> dict[str, str | None]:
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    found = recognise(table, entity)  # type: ignore[arg-type]
    return {column.name: column.canonical for column in found.columns}


@pytest.mark.parametrize(
    ("header", "canonical", "value"),
    [
        ("Given Name", "given_name", "Ann"), ("firstName", "given_name", "Ann"), ("fname", "given_name", "Ann"),
        ("Vorname", "given_name", "Ann"), ("Prénom", "given_name", "Ann"), ("名", "given_name", "小明"),
        ("LAST_NAME", "surname", "Li"), ("Nachname", "surname", "Li"), ("姓", "surname", "王"),
        ("Kontakt_Name", None, "Ann"), ("姓名", "full_name", "王小明"), ("Firma", "company_name", "Acme"),
        ("公司名称", "company_name", "上海公司"), ("E-Mail", "email", "a@b.de"), ("电子邮箱", "email", "a@b.cn"),
        ("billing_email", "email", "a@b.de"), ("Telefonnummer", "phone", "030 1234567"), ("手机号", "phone", "13912345678"),
        ("USt-IdNr", "tax_number", "DE123456789"), ("统一社会信用代码", "tax_number", "91310000MA1FL00000"),
        ("Geburtsdatum", "date_of_birth", "01.02.1990"), ("Straße", "street", "Weg 1"), ("地址", "street", "南京路1号"),
        ("Hausnummer", "street_number", "12a"), ("Ort", "city", "Köln"), ("PLZ", "postcode", "50667"),
        ("Zip Code", "postcode", "02134"), ("邮编", "postcode", "200000"), ("Land", "country", "DE"),
        ("http://example.org/onto#phone_number", "phone", "212-555-0100"),
    ],
)  # fmt: skip
def test_customers_columns_by_name(header: str, canonical: str | None, value: str) -> None:
    assert taken({"id": ["1", "2"], header: [value, value]})[header] == canonical


@pytest.mark.parametrize(
    ("header", "canonical", "value"),
    [
        ("Artikelbezeichnung", "title", "Rote Lampe"), ("商品名称", "title", "台灯"), ("product_title", "title", "Red lamp"),
        ("Hersteller", "brand", "Acme"), ("品牌", "brand", "海尔"), ("manufacturer", "brand", "Acme"),
        ("modelno", "mpn", "X-100"), ("型号", "mpn", "X-100"), ("EAN", "gtin14", "4006381333931"),
        ("条码", "gtin14", "6901234567892"), ("Artikelnummer", "sku_code", "A-100"), ("货号", "sku_code", "A100"),
        ("Preis", "price", "1,99 €"), ("Beschreibung", "description", "Eine Lampe"),
    ],
)  # fmt: skip
def test_product_columns_by_name(header: str, canonical: str, value: str) -> None:
    assert taken({"id": ["1", "2"], header: [value, value]}, "sku")[header] == canonical


@pytest.mark.parametrize(
    ("header", "canonical", "value"),
    [
        ("Filiale", "company_name", "Mitte"), ("仓库名称", "company_name", "上海仓"), ("GLN", "gln", "4012345000009"),
        ("store_number", "location_code", "0042"), ("lat", "latitude", "52.5"), ("Breite", "latitude", "52.5"),
        ("lng", "longitude", "13.4"), ("Anschrift", "street", "Weg 1"),
    ],
)  # fmt: skip
def test_location_columns_by_name(header: str, canonical: str, value: str) -> None:
    assert taken({"id": ["1", "2"], header: [value, value]}, "location")[header] == canonical


def test_columns_nobody_named_are_known_by_what_stands_in_them() -> None:
    people = taken(
        {
            "c1": ["Ann Lee", "Bob Ray", "Cy Orr"],
            "c2": ["ann@x.org", "b@y.org", None],
            "c3": ["+49 30 123456", "(212) 555-0100", "030/987654"],
            "c4": ["DE", "US", "CN"],
            "c5": ["1", "2", "3"],
        }
    )
    assert people == {"c1": "full_name", "c2": "email", "c3": "phone", "c4": "country", "c5": None}
    products = taken(
        {
            "a": ["4006381333931", "5901234123457", "4012345678901"],
            "b": ["Red desk lamp with shade", "Blue office chair", "Table for four"],
        },
        "sku",
    )
    assert products == {"a": "gtin14", "b": "title"}


def test_a_name_is_not_believed_against_its_values() -> None:
    found = taken({"id": ["1", "2"], "email": ["yes", "no"], "ean": ["12", "13"], "name": ["7", "8"]})
    assert found == {"email": None, "ean": None, "name": None}


def test_a_column_that_carries_the_answer_is_no_evidence() -> None:
    table = pa.table(
        {"id": ["1", "2"], "name": ["Ann", "Bob"], "True Id": ["7", "7"], "cluster_id": ["1", "1"]}
    )
    found = recognise(table, "customer")
    assert [column.name for column in found.columns] == ["name"]
    assert [name for name, _ in found.left_out] == ["True Id", "cluster_id"]
    declared = recognise(table, "customer", mapping={"national_id": "True Id"})
    assert ("True Id", "national_id") in [(column.name, column.canonical) for column in declared.columns]


def test_ids_are_known_by_name_and_uniqueness() -> None:
    def named(columns: dict[str, list[str]]) -> str | None:
        return recognise(pa.table(columns), "customer").id_column

    assert named({"name": ["a", "b"], "Rec ID": ["1", "2"]}) == "Rec ID"
    assert named({"Kundennummer": ["7", "8"], "name": ["a", "b"]}) == "Kundennummer"
    assert named({"客户编号": ["7", "8"], "姓名": ["王", "李"]}) == "客户编号"
    assert named({"customer_id": ["7", "7"], "name": ["a", "b"]}) is None
    assert named({"name": ["a", "b"], "city": ["x", "y"]}) is None


def test_an_item_code_names_the_record_and_is_evidence_too() -> None:
    found = recognise(pa.table({"sku": ["LAMP-1", "LAMP-2"], "title": ["Lamp one", "Lamp two"]}), "sku")
    assert found.id_column == "sku"
    assert {column.canonical for column in found.columns} == {"sku_code", "title"}


@pytest.mark.parametrize("wanted", [None, "id"])
def test_ids_that_repeat_are_an_error_with_examples_and_a_remedy(wanted: str | None) -> None:
    table = pa.table({"id": ["1", "2", "1", "1", "1"], "name": list("abcde")})
    with pytest.raises(ColumnError, match=r"'1' \(rows 1, 3, 4…\).*--id row-number"):
        recognise(table, "customer", wanted)
    assert recognise(table, "customer", "row-number").id_column is None


def test_ids_that_are_missing_are_an_error_with_the_rows() -> None:
    table = pa.table({"id": ["1", None, "3"], "name": list("abc")})
    with pytest.raises(ColumnError, match=r"1 of 3 rows have none \(row 2\)"):
        recognise(table, "customer")


def test_unknown_columns_and_attributes_name_the_nearest() -> None:
    table = pa.table({"id": ["1"], "Kontakt-Mail": ["a@b.de"], "Ort": ["Köln"]})
    with pytest.raises(
        ColumnError, match=r"no such column\. Did you mean 'Kontakt-Mail'\? There is: id, Kontakt-Mail, Ort"
    ):
        recognise(table, "customer", mapping={"email": "kontakt_mai"})
    with pytest.raises(ColumnError, match=r"no such attribute of a customer\. Did you mean 'email'"):
        recognise(table, "customer", mapping={"emial": "Ort"})
    with pytest.raises(ColumnError, match=r"--id nr: no such column"):
        recognise(table, "customer", "nr")
    with pytest.raises(ColumnError, match="give it once"):
        recognise(table, "customer", mapping={"city": "Ort", "region": "Ort"})


def test_declared_names_of_the_warehouse_are_understood() -> None:
    table = pa.table({"id": ["1"], "x": ["Lee"], "y": ["4006381333931"]})
    found = recognise(table, "customer", mapping={"family_name": "x"})
    assert found.columns[0].canonical == "surname"
    assert recognise(table, "sku", mapping={"gtin": "y"}).columns[-1].canonical == "gtin14"


@pytest.mark.parametrize("entity", ENTITIES)
def test_no_spelling_means_two_things(entity: str) -> None:
    from oms_core.identity.linking.recognise import _SPELLINGS

    seen: dict[str, str] = {}
    for canonical in known_names(entity):  # type: ignore[arg-type]
        for spelling in _SPELLINGS[entity][canonical].split():  # type: ignore[index]
            assert fold(spelling) == spelling, spelling
            assert seen.setdefault(spelling, canonical) == canonical, spelling


# Conforming


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("$1,299.00", 1299.0), ("1.299,00 €", 1299.0), ("69.71 gbp", 69.71), ("¥1,299", 1299.0), ("12,5", 12.5),
        ("1 299,90", 1299.9), ("0.125", 0.125), ("1.000.000", 1_000_000.0), ("CHF 1'200.-", 1200.0), ("free", None),
    ],
)  # fmt: skip
def test_prices_in_any_notation(text: str, amount: float | None) -> None:
    assert price(text) == amount


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4006381333931", "04006381333931"), ("036000291452", "00036000291452"), ("36000291452", "00036000291452"),
        ("4006381333930", None), ("0000000000000", None), ("96385074", "00000096385074"), ("lamp", None),
        ("4006381333931.0", "04006381333931"), ("4-006381-333931", "04006381333931"),
    ],
)  # fmt: skip
def test_article_numbers_need_their_check_digit(text: str, number: str | None) -> None:
    assert gtin14(text) == number


def test_text_nobody_recognised_describes_a_product_and_stands_in_for_a_missing_title() -> None:
    table = pa.table(
        {
            "id": ["1", "2", "3"],
            "title": ["Blade Runner", None, None],
            "person": [None, "Harrison Ford", "Sean Young"],
            "genre": ["drama", "acting", None],
            "minutes": ["117", None, None],
        }
    )
    found = conform(table, recognise(table, "sku").columns, "sku")
    assert found["title"].to_pylist() == ["Blade Runner", "Harrison Ford", "Sean Young"]
    assert found["description"].to_pylist() == ["drama", "acting", None]
    assert "minutes" not in found
