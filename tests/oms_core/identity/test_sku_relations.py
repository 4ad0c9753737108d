"""Packs, variants and kits among golden SKUs."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from oms_core.identity.sku_relations import SkuRelation, kept_apart, relate, relation_table


def record(record_id: str, title: str | None, **fields: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("parent_key", "size_qty", "size_uom", "pack_qty"))
    return {"record_id": record_id, "title": title, **empty, **fields}


def line(kit: str, component: str, qty: str, uom: str = "C62") -> dict[str, Any]:
    return {"kit_record_id": kit, "component_record_id": component, "qty": Decimal(qty), "uom": uom}


def told(relations: list[SkuRelation]) -> set[tuple[str, str, str, int | None]]:
    return {
        (one.kind, one.from_sku_id, one.to_sku_id, None if one.qty is None else int(one.qty))
        for one in relations
    }


SINGLE = record("a:1", "Luna Rosehip Night Serum 50 ml")
DOUBLE = record("a:2", "Luna Rosehip Night Serum 2 × 50 ml")
DOUBLE_AGAIN = record("b:7", "Luna Night Serum Rosehip 50ml 2-pack")
LARGE = record("a:3", "Luna Rosehip Night Serum 500 ml")
OTHER = record("a:4", "Luna Sea Salt Shampoo 50 ml")
SKU_OF = {"a:1": "S50", "a:2": "S2X50", "b:7": "S2X50", "a:3": "S500", "a:4": "SHAMPOO"}


def test_a_pack_is_so_many_of_the_single_article_and_another_size_is_a_variant() -> None:
    relations = relate([SINGLE, DOUBLE, DOUBLE_AGAIN, LARGE, OTHER], SKU_OF)
    assert told(relations) == {("pack_of", "S2X50", "S50", 2), ("variant_of", "S500", "S50", None)}
    assert relations[0].uom == "C62" and relations[0].evidence == "title"


def test_declared_sizes_count_before_titles() -> None:
    single = record("a", "玫瑰果 夜间 精华液", size_qty=Decimal(50), size_uom="MLT", pack_qty=Decimal(1))
    pack = record("b", "玫瑰果 夜间 精华液", size_qty=Decimal("0.05"), size_uom="LTR", pack_qty=Decimal(6))
    assert told(relate([single, pack], {"a": "ONE", "b": "SIX"})) == {("pack_of", "SIX", "ONE", 6)}


def test_a_source_that_groups_variants_is_believed() -> None:
    red = record("a", "Comfort Tee red", parent_key="shop:products:9")
    blue = record("b", "Comfort T-Shirt (blue)", parent_key="shop:products:9")
    assert told(relate([red, blue], {"a": "S1", "b": "S2"})) == {("variant_of", "S2", "S1", None)}
    parent = record("shop:products:9", "Comfort Tee")
    both = relate([red, blue, parent], {"a": "S1", "b": "S2", "shop:products:9": "P"})
    assert told(both) == {("variant_of", "S1", "P", None), ("variant_of", "S2", "P", None)}


def test_one_article_in_two_systems_has_no_relation_to_itself() -> None:
    same = [
        record("a", "Luna Rosehip Serum 50 ml", parent_key="p"),
        record("b", "Luna Rosehip Serum 50ml", parent_key="p"),
    ]
    assert relate(same, {"a": "S", "b": "S"}) == []


def test_a_kit_is_its_recipe_and_no_variant_of_its_content() -> None:
    kit = record("a:9", "Luna Rosehip Night Serum 50 ml x2 gift box")
    recipes = [line("a:9", "a:1", "2"), line("a:9", "a:4", "1"), line("a:9", "a:404", "1")]
    relations = relate([SINGLE, OTHER, kit], SKU_OF | {"a:9": "KIT"}, recipes)
    assert told(relations) == {("component_of", "S50", "KIT", 2), ("component_of", "SHAMPOO", "KIT", 1)}
    assert kept_apart(recipes) == [("a:1", "a:9"), ("a:4", "a:9"), ("a:404", "a:9")]


def test_two_recipes_of_one_kit_are_not_added_up() -> None:
    sku_of = {"a:9": "KIT", "b:9": "KIT", "c:9": "KIT", "a:1": "S50"}
    recipes = [line("a:9", "a:1", "2"), line("b:9", "a:1", "3"), line("c:9", "a:1", "3")]
    assert told(relate([], sku_of, recipes)) == {("component_of", "S50", "KIT", 3)}


def test_a_kit_merged_with_its_content_has_no_recipe() -> None:
    assert relate([], {"k": "S", "c": "S"}, [line("k", "c", "2")]) == []


def test_the_table_has_types_even_when_empty() -> None:
    assert relation_table([]).schema == relation_table(relate([SINGLE, DOUBLE], SKU_OF)).schema


TITLES = st.sampled_from(
    [
        SINGLE["title"],
        DOUBLE["title"],
        DOUBLE_AGAIN["title"],
        LARGE["title"],
        OTHER["title"],
        None,
        "",
        "Luna Rosehip Night Serum red",
    ]
)


@given(
    st.lists(st.tuples(TITLES, st.integers(0, 5), st.sampled_from([None, "p1", "p2"])), max_size=10),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 3)), max_size=6),
    st.randoms(use_true_random=False),
)
def test_relations_do_not_depend_on_order_and_never_point_home(
    rows: list[tuple[str | None, int, str | None]], parts: list[tuple[int, int, int]], rng: random.Random
) -> None:
    records = [record(str(place), title, parent_key=parent) for place, (title, _, parent) in enumerate(rows)]
    sku_of = {str(place): f"S{sku}" for place, (_, sku, _) in enumerate(rows)}
    recipes = [line(str(kit), str(component), str(qty)) for kit, component, qty in parts]
    relations = relate(records, sku_of, recipes)
    rng.shuffle(records)
    rng.shuffle(recipes)
    assert relate(records, sku_of, recipes) == relations
    assert all(one.from_sku_id != one.to_sku_id for one in relations)
    pairs = [(one.kind, one.from_sku_id, one.to_sku_id) for one in relations]
    assert len(set(pairs)) == len(pairs)
