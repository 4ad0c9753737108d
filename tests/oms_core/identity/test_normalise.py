"""Spellings that mean one thing have one normal form, and what means nothing has none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity import address, names, normalise

QUICK = settings(max_examples=150, deadline=None, database=None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("陳曉明", "陈晓明"), ("陳曉明", "Xiaoming Chen"), ("李月", "Li Yue"), ("Jürgen Böhm", "BOEHM, Juergen"),
        ("Groß", "Gross"), ("Søren Ærø", "Soren Aro"), ("Ｗａｎｇ　Ｗｅｉ", "Wang Wei"),
        ("上海悦和贸易有限公司", "Shanghai Yuehe Trading Co., Ltd."), ("上海悦和贸易股份有限公司", "上海悦和贸易"),
        ("Bramble & Thorne Ltd", "bramble and thorne LIMITED"), ("Maison Lavande S.A.R.L.", "Maison Lavande SARL"),
        ("Grünwald GmbH & Co. KG", "Gruenwald"), ("Acme L.L.C.", "ACME LLC"), ("Straits Pte. Ltd.", "Straits Pte Ltd"),
    ],
)  # fmt: skip
def test_one_name(one: str, other: str) -> None:
    assert normalise.name(one) == normalise.name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Li Yue", "Li Yu"), ("Xue Min", "Xu Min"), ("Harrow Leeds Ltd", "Harrow Ltd"), ("王伟", "王维维")],
)
def test_two_names(one: str, other: str) -> None:
    assert normalise.name(one) != normalise.name(other)


def test_a_name_of_nothing_but_a_legal_form_stays_a_name() -> None:
    assert normalise.name("Company") == normalise.name("COMPANY") is not None
    assert normalise.name(" ,. ") is None


@pytest.mark.parametrize(
    ("value", "country", "expected"),
    [
        ("138 1234 5678", "CN", "+8613812345678"), ("００８６１３８１２３４５６７８", "CN", "+8613812345678"),
        ("0049 160 99887766", None, "+4916099887766"), ("(0)7406 217316", "GB", "+447406217316"),
        ("13800000000", "CN", None), ("13800138000", "CN", None), ("+1 212 555 0123", "US", None),
        ("12345678", "SG", None), ("1111111111", "US", None), ("call me", "US", None), ("07406 217316", None, None),
        ("010819066535680", None, "+819066535680"), ("011 44 7406 217316", None, "+447406217316"), ("010 6552 9988", None, None),
    ],
)  # fmt: skip
def test_phones_in_their_country_and_placeholders(
    value: str, country: str | None, expected: str | None
) -> None:
    assert normalise.phone(value, country) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Anna+shop@Example.com ", "anna@example.com"), ("a.b.c@gmail.com", "abc@gmail.com"),
        ("abc@googlemail.com", "abc@gmail.com"), ("x1@marketplace.amazon.co.uk", None), ("x@mozmail.com", None),
        ("x@privaterelay.appleid.com", None), ("noreply@shop.example", None), ("none@none.com", None),
        ("x@myrelay.com", "x@myrelay.com"), ("no at sign", None), ("a@b@c.de", None), ("a@localhost", None),
    ],
)  # fmt: skip
def test_mailboxes_of_persons_and_of_marketplaces(value: str, expected: str | None) -> None:
    assert normalise.email(value) == expected


@pytest.mark.parametrize(
    ("value", "country", "expected"),
    [
        ("GB 820 4677 37", "GB", "gb820467737"), ("820467737", "GB", "gb820467737"), ("GB820467738", "GB", None),
        ("DE 136 695 976", None, "de136695976"), ("136695976", "DE", "de136695976"), ("DE136695977", "DE", None),
        ("91310000MA1FL0BD7B", None, "91310000ma1fl0bd7b"), ("91310000MA1FL0BD7C", "CN", None),
        ("20-1234567", "US", "201234567"), ("00-1234567", "US", None), ("n/a", None, None), ("000000", None, None),
        ("ABC-12345", None, "abc12345"),
    ],
)  # fmt: skip
def test_tax_numbers_are_checked_where_the_scheme_is_known(
    value: str, country: str | None, expected: str | None
) -> None:
    assert normalise.tax_number(value, country) == expected


def test_gtins_need_their_check_digit_and_a_prefix_that_is_not_for_use_within_one_company() -> None:
    assert normalise.gtin("06970071008097", None) == "06970071008097"
    assert normalise.gtin("6970071008097", None) == "06970071008097"
    assert normalise.gtin("06970071008098", None) is None
    assert normalise.gtin(None, "６９７００７１００８０９７") == "06970071008097"
    assert normalise.gtin("06970071008098", "6970071008097") == "06970071008097"
    assert normalise.gtin("2012345678900", None) is None
    assert normalise.gtin(None, "LB01-30M") is None


@given(st.text(max_size=30))
@QUICK
def test_normal_forms_take_any_text_and_are_stable(text: str) -> None:
    for form in (normalise.plain, normalise.folded, normalise.email, normalise.code):
        once = form(text)
        assert once is None or form(once) == once
    normalise.name(text)
    normalise.phone(text, "CN")
    normalise.tax_number(text, "GB")
    names.words(text)
    address.read(text)


# Names of persons


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("T. Baker", "Baker, Thomas"), ("Dave Lee", "D. Lee"), ("Chris Brooks", "Christopher Brooks"),
        ("Vogel, Max", "Maximilian Vogel"), ("L. von Bülow", "Léa von Bülow"), ("Kathi Jäger", "Katharina Jaeger"),
        ("Íñigo Núñez", "Íñigo Núñez Ibáñez"), ("Emily Jagr", "Emily Jager"), ("王美芬", "Mei Fen Wong"),
        ("美芬 王", "Wong Mei Fen"), ("陳偉", "Tan Wei"), ("欧阳娜", "N. Ouyang"), ("J. Chen", "陈静"),
    ],
)  # fmt: skip
def test_names_that_can_be_one_persons(one: str, other: str) -> None:
    assert names.compatible(one, other) and names.compatible(other, one)
    assert not names.strangers(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("John Chen", "Jane Chen"), ("Amy Chen", "May Chen"), ("Brian Smith", "Brain Smith"), ("Maria Rossi", "Mario Rossi"),
        ("Baker", "Thomas Baker"), ("Wei Chen", "Min Chen"), ("Willow Spa Ltd", "Willow Spa Cardiff Ltd"), ("", "Anna"),
    ],
)  # fmt: skip
def test_names_that_are_not_taken_for_one(one: str, other: str) -> None:
    assert not names.compatible(one, other) and not names.compatible(other, one)


def test_strangers_are_whole_names_of_one_script_far_apart() -> None:
    assert names.strangers("Jane Chen", "Oliver Thompson")
    assert not names.strangers("Dnaiel Lopez", "Daniel Lopez")
    assert not names.strangers("A. M.", "Oliver Thompson")
    assert not names.strangers("小林桜", "Sakura Kobayashi")


@pytest.mark.parametrize(
    ("written", "is_one"),
    [
        (["Mie Lee", "Mike Lee", "Michael Lee"], True), (["Mie Lee", "Michael Lee"], False),
        (["John Chen", "J. Chen", "Jane Chen"], False), (["Jane Chen", "小林桜", "Oliver Thompson"], False),
        (["Oliver Thompson", "O. Thompson", "Oliver"], True), (["A. M.", "Oliver Thompson"], True), ([], True),
    ],
)  # fmt: skip
def test_names_of_one_mailbox_lead_into_each_other_by_whole_names_alone(
    written: list[str], is_one: bool
) -> None:
    assert names.lead_into_each_other(written) is is_one


def test_a_name_that_could_be_two_peoples_is_in_doubt() -> None:
    pairs, doubtful = names.unambiguous(["J. Chen", "John Chen", "Jane Chen", "Johnny Chen"])
    assert doubtful == {"J. Chen"}
    assert pairs == [("John Chen", "Johnny Chen")]


@given(st.sampled_from(["Anna Müller", "王小明", "A. B.", "Jo", ""]), st.text(max_size=12))
@QUICK
def test_likeness_of_names_is_symmetric(one: str, other: str) -> None:
    assert names.compatible(one, other) == names.compatible(other, one)
    assert names.strangers(one, other) == names.strangers(other, one)


# Addresses


@pytest.mark.parametrize(
    ("han", "latin"),
    [
        (
            ("上海市静安区南京西路213号1506室",),
            ("Room 1506, 213 Nanjing West Road", "Shanghai", None, None, "CN"),
        ),
        (("廣州市淮海路344號1703室",), ("344 Huaihai Rd., Room 1703", "Guangzhou", "Guangdong", None, "CN")),
        (("天府大道399号2705室", "成都市"), ("399 Tianfu Avenue, Room 2705", "Chengdu", None, None, "CN")),
        (("北京东路１１１号", "上海市"), ("No. 111 Beijing Dong Lu", "Shanghai", None, None, "CN")),
    ],
)
def test_an_address_in_han_and_latin(han: tuple[str, ...], latin: tuple[str | None, ...]) -> None:
    one, other = address.read(*han), address.read(*latin)
    assert (one.street, one.city, one.door) == (other.street, other.city, other.door)


def test_province_city_and_district_from_one_line() -> None:
    found = address.read("广东省深圳市南山区科技园街道高新南一道9号A座1203室 518057")
    assert (found.region, found.city, found.district) == ("guangdong", "shenzhen", "nanshan")
    assert (found.street, found.number, found.unit, found.postcode) == (
        "gaoxinnanyi road",
        "9",
        "1203",
        "518057",
    )
    estate = address.read("人民路100号阳光小区3栋502室")
    assert (estate.district, estate.street, estate.door) == (None, "renmin road", "100/3-502")


def test_a_municipality_is_its_own_region_and_columns_come_first() -> None:
    assert address.read("上海市浦东新区世纪大道100号").city == "shanghai"
    assert address.read("浦东新区世纪大道100号", city="上海市", region="上海").district == "pudong"
    assert address.read("深圳市南山区科苑路1号", city="Guangzhou").city == "guangzhou"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Königstr. 236", "KOENIGSTRASSE 236"), ("12 High St", "12 High Street"), ("17 av. Victor Hugo", "17 avenue Victor Hugo"),
        ("367 2nd Ave", "367 2nd Avenue"), ("39 Albert Terrace, Flat 27", "Flat 27, 39 Albert Terrace"), ("C/ Mayor 12", "Calle Mayor 12"),
    ],
)  # fmt: skip
def test_a_street_in_two_spellings(one: str, other: str) -> None:
    left, right = address.read(one), address.read(other)
    assert (left.street, left.door) == (right.street, right.door)


def test_the_same_door_in_japan_and_nothing_where_nothing_is_said() -> None:
    assert address.read("梅田7-3-20").door == address.read("7-3-20 Umeda").door == "7-3-20"
    assert address.read(None).door is None
    assert address.read("  ", postcode=" sw1a 1aa").postcode == "sw1a1aa"
