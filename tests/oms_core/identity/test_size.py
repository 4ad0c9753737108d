"""Contents, packs and colours as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms_core.identity.scoring.size import contents_differ, measures_agree, quantities

ONE_OF_50 = ("Serum 50 ml", "Serum 50ML", "精华液 50毫升", "Sérum 5 cl", "SERUM 0.05 L")
TWO_OF_50 = (
    "Serum 2 × 50 ml",
    "Serum 50ml x2",
    "Serum 50 ml (2-pack)",
    "精华液 50毫升 2支装",
    "精华液 50毫升×2",
    "两支装 精华液 50毫升",
)


@pytest.mark.parametrize("title", ONE_OF_50)
def test_one_piece_in_every_spelling(title: str) -> None:
    assert quantities(title).content == ("ml", 50.0)
    assert quantities(title).pack is None


@pytest.mark.parametrize("title", TWO_OF_50)
def test_two_pieces_in_every_spelling(title: str) -> None:
    assert quantities(title).content == ("ml", 50.0)
    assert quantities(title).pack == 2


@pytest.mark.parametrize(
    ("title", "pack", "content"),
    [
        ("Bier 12er 0,5 l", 12, ("ml", 500.0)),
        ("Twin-Pack 1 lb butter", 2, ("g", 453.592)),
        ("pack of 3 socks", 3, None),
        ("三盒装 面膜 25克", 3, ("g", 25.0)),
        ("rice 1.2kg*4", 4, ("g", 1200.0)),
        ("1.5-L bottle, 6 pack", 6, ("ml", 1500.0)),
        ("4 x 6 inch photo frame", None, None),
        ("8-port 10/100 switch 802.11g", None, None),
    ],
)
def test_packs_and_contents(title: str, pack: int | None, content: tuple[str, float] | None) -> None:
    assert (quantities(title).pack, quantities(title).content) == (pack, content)


@pytest.mark.parametrize("one", ONE_OF_50)
@pytest.mark.parametrize("two", TWO_OF_50)
def test_a_pack_of_two_is_not_one_piece(one: str, two: str) -> None:
    assert contents_differ(quantities(one), quantities(two))
    assert contents_differ(quantities(two), quantities("Serum 100 ml"))
    assert not contents_differ(quantities(one), quantities(ONE_OF_50[0]))
    assert not contents_differ(quantities(two), quantities(TWO_OF_50[0]))


def test_units_convert_within_the_rounding_of_labels() -> None:
    assert not contents_differ(quantities("Beer 16.9 fl oz"), quantities("Beer 500 ml"))
    assert contents_differ(quantities("Beer 12 fl oz"), quantities("Beer 500 ml"))
    assert not contents_differ(quantities("coffee 1 kg"), quantities("咖啡 1000克"))
    assert not contents_differ(quantities("100 g (2 × 50 g)"), quantities("100 g"))


def test_what_is_not_named_does_not_differ() -> None:
    assert not contents_differ(quantities("Serum"), quantities("Serum 50 ml"))
    assert not contents_differ(quantities(None), quantities(""))


def test_colours_in_several_languages() -> None:
    assert quantities("MDR-EX32LP/BLK").colours == {"black"}
    assert quantities("Kopfhörer schwarz").colours == quantities("耳机 黑色").colours == {"black"}
    assert quantities("blackberry redmi").colours == frozenset()


def test_measures_agree_or_differ_by_dimension() -> None:
    assert measures_agree(quantities("iPod 16GB"), quantities("iPod 16 GB 3 inch")) == (1, 0)
    assert measures_agree(quantities("cable 6 ft"), quantities("cable 10 ft")) == (0, 1)


@given(st.text(max_size=60), st.text(max_size=60))
def test_differing_is_symmetric_and_nothing_differs_from_itself(one: str, other: str) -> None:
    left, right = quantities(one), quantities(other)
    assert contents_differ(left, right) == contents_differ(right, left)
    assert measures_agree(left, right) == measures_agree(right, left)
    assert not contents_differ(left, left)


@given(st.integers(1, 48), st.integers(1, 900), st.sampled_from(["ml", "g", "cl"]))
def test_a_pack_is_read_before_and_after(pack: int, amount: int, unit: str) -> None:
    before, after = quantities(f"Cream {pack} x {amount} {unit}"), quantities(f"Cream {amount}{unit} x{pack}")
    assert before == after
    assert before.pack == pack
