"""Dirt is the same on every pull, differs between systems, and is absent at level "none"."""

from collections import Counter
from functools import lru_cache

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sandbox.dirt import Dirt, Level, full_width, full_width_digits, without_diacritics
from connectors.sandbox.generate import generate
from connectors.sandbox.world import Customer, World

KEYS = st.text(min_size=1, max_size=20)


@lru_cache(maxsize=1)
def world() -> World:
    return generate(5, 800)


def people() -> list[Customer]:
    return list(world().customers.values())


@given(seed=st.integers(), system=KEYS, key=KEYS)
def test_draws_depend_on_seed_system_and_key_alone(seed: int, system: str, key: str) -> None:
    assert Dirt(seed, system).fraction(key) == Dirt(seed, system).fraction(key)
    assert 0 <= Dirt(seed, system).fraction(key) < 1
    assert Dirt(seed, system).token(key, 12) != Dirt(seed, system + "x").token(key, 12)


@given(key=KEYS, low=st.integers(-50, 50), more=st.integers(0, 50))
def test_numbers_stay_in_their_range(key: str, low: int, more: int) -> None:
    assert low <= Dirt(1, "x").number(key, low, low + more) <= low + more


@given(text=st.text(max_size=40), key=KEYS)
def test_a_typo_is_one_edit(text: str, key: str) -> None:
    typed = Dirt(1, "x").typo(text, key)
    assert abs(len(typed) - len(text)) <= 1
    assert sum((Counter(typed) - Counter(text)).values()) <= 1


def test_chances_come_out_about_as_often_as_asked_and_levels_scale_them() -> None:
    counts: dict[Level, int] = {"none": 0, "normal": 0, "heavy": 0}
    for level in counts:
        counts[level] = sum(Dirt(3, "x", level).chance(str(n), 0.1) for n in range(4000))
    assert counts["none"] == 0
    assert counts["normal"] == pytest.approx(400, rel=0.2)
    assert counts["heavy"] == pytest.approx(1000, rel=0.2)


def test_level_none_shows_the_truth() -> None:
    clean = Dirt(1, "x", "none")
    for customer in people():
        key = customer.customer_id
        assert clean.email(customer, key) == customer.email
        assert clean.phone(customer, key) == customer.phone_e164
        assert clean.tax_number(customer, key) == customer.tax_number
        assert clean.address(customer.address, key) == customer.address
        assert clean.name_parts(customer, key) == (customer.given_name, customer.family_name)
    for product in world().products.values():
        assert clean.title(product, product.product_id) == product.title
        assert clean.gtin(product, product.product_id) == product.gtin14


def test_two_systems_spell_the_same_people_differently() -> None:
    one, other = Dirt(1, "one", "heavy"), Dirt(1, "other", "heavy")
    names = [(one.name(c, c.customer_id, "both"), other.name(c, c.customer_id, "both")) for c in people()]
    assert sum(a != b for a, b in names) > len(names) / 5
    assert all(a.strip() and b.strip() for a, b in names)


def test_a_spelled_phone_is_still_the_same_line_in_its_country() -> None:
    dirt = Dirt(1, "x", "heavy")
    spelled = set()
    for customer in people():
        typed = dirt.phone(customer, customer.customer_id)
        if typed is not None:
            number = phonenumbers.parse(typed, customer.address.country)
            assert (
                phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) == customer.phone_e164
            )
            spelled.add(typed == customer.phone_e164)
    assert spelled == {True, False}


def test_han_names_keep_family_and_given_name_apart() -> None:
    dirt = Dirt(1, "x")
    for customer in people():
        if customer.name_zh and not customer.is_company:
            given, family = dirt.name_parts(customer, customer.customer_id, "han")
            assert given and family and family + given == customer.name_zh
            assert dirt.name(customer, customer.customer_id, "han") == customer.name_zh


def test_chinese_addresses_can_be_written_in_han() -> None:
    dirt = Dirt(1, "x", "none")
    found = [dirt.address(c.address, c.customer_id, "han") for c in people() if c.address.country == "CN"]
    assert found
    assert all(address.city.endswith("市") and "Road" not in address.street for address in found)


def test_bar_codes_lose_at_most_their_zeros_and_rarely_their_check_digit() -> None:
    dirt = Dirt(1, "x")
    shown = [
        (dirt.gtin(p, f"{n}/{p.product_id}"), p.gtin14) for p in world().products.values() for n in range(20)
    ]
    kept = [(code, truth) for code, truth in shown if code is not None]
    width = str.maketrans("０１２３４５６７８９", "0123456789")
    right = sum(code.translate(width).zfill(14) == truth for code, truth in kept)
    assert len(kept) < len(shown)
    assert 0.95 * len(kept) < right < len(kept)


def test_an_order_number_is_rarely_copied_wrong_and_never_at_level_none() -> None:
    numbers = [f"SO26-{n}" for n in range(1000, 4000)]
    assert all(Dirt(1, "x", "none").order_number(number, number) == number for number in numbers)
    wrong = {Dirt(1, "x").order_number(number, number) for number in numbers} - set(numbers)
    assert 5 < len(wrong) < 50
    assert all(len(number) >= 8 for number in wrong)


def test_one_spelling_of_everything_at_level_none() -> None:
    clean, dirty = Dirt(1, "x", "none"), Dirt(1, "x")
    assert {clean.spelling(str(n), "right", ("other",)) for n in range(20)} == {"right"}
    assert {dirty.spelling(str(n), "right", ("other",)) for n in range(20)} == {"right", "other"}
    chinese = [customer for customer in people() if customer.name_zh and not customer.is_company]
    assert all(clean.name(c, c.customer_id, "both") == f"{c.given_name} {c.family_name}" for c in chinese)


def test_forms_of_writing() -> None:
    assert full_width("A1 b") == "Ａ１　ｂ"
    assert full_width_digits("A1") == "A１"
    assert without_diacritics("Lefèvre Ağa Ørsted") == "Lefevre Aga Orsted"
    assert without_diacritics("Müller Straße", german=True) == "Mueller Strasse"


def test_a_person_has_no_company_name() -> None:
    person = next(customer for customer in people() if not customer.is_company)
    with pytest.raises(ValueError, match="is a person"):
        Dirt(1, "x").company(person, "k")
