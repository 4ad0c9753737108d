"""How golden SKUs hang together: packs of an article, variants of a product, components of a kit. Pure functions.

A pack, a variant and a kit are articles of their own, never merged into the single one; what they have to do with it is said
here. Quantities convert one into the other: a pack of 6 is 6 pieces of the single article, a kit is what its recipe lists.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from oms_core.identity.scoring import size, title_text
from oms_core.identity.scoring.size import Quantities

Row = Mapping[str, Any]

PACK_OF, VARIANT_OF, COMPONENT_OF = "pack_of", "variant_of", "component_of"
PIECE = "C62"
# UN/ECE Recommendation 20 code -> dimension and factor of `size`.
_REC20 = {
    "MLT": ("ml", 1.0), "CLT": ("ml", 10.0), "LTR": ("ml", 1000.0), "MGM": ("g", 0.001), "GRM": ("g", 1.0), "KGM": ("g", 1000.0),
}  # fmt: skip
# A title of fewer words names no product: "Serum" is not a family.
_FEWEST_WORDS = 3
# A family of more articles than this is a collective parent ("accessories"), not one product.
_LARGEST_FAMILY = 200


@dataclass(frozen=True, order=True)
class SkuRelation:
    """One golden SKU in terms of another.

    Attributes:
        kind: pack_of (`from` holds `qty` of `to`), variant_of (`to` stands for the family), component_of (`to` is a kit that holds
            `qty` of `from`).
        qty, uom: how many, in a UN/ECE Rec 20 unit; None for variants.
        evidence: recipe, parent (the source groups them) or title.
    """

    kind: str
    from_sku_id: str
    to_sku_id: str
    qty: Decimal | None
    uom: str | None
    evidence: str


def kept_apart(recipes: Iterable[Row]) -> list[tuple[str, str]]:
    """Pairs of records that cannot be one article: a kit and what is in it (rows of `int_sku_recipes`)."""
    pairs = {tuple(sorted((row["kit_record_id"], row["component_record_id"]))) for row in recipes}
    return [(pair[0], pair[1]) for pair in sorted(pairs) if pair[0] != pair[1]]


def relate(
    records: Sequence[Row], sku_of: Mapping[str, str], recipes: Sequence[Row] = ()
) -> list[SkuRelation]:
    """Find the relations among golden SKUs.

    Args:
        records: rows of `int_sku_records`: record_id, title, parent_key, size_qty, size_uom, pack_qty.
        sku_of: record id -> golden SKU.
        recipes: rows of `int_sku_recipes`: kit_record_id, component_record_id, qty, uom.

    Returns:
        Relations in a fixed order, no two of one kind between the same SKUs; none from a SKU to itself.
    """
    kits = _components(recipes, sku_of)
    is_kit = {relation.to_sku_id for relation in kits}
    members: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(records, key=lambda row: str(row["record_id"])):
        if row["record_id"] in sku_of:
            members[sku_of[row["record_id"]]].append(row)
    named = {sku: _quantities(rows) for sku, rows in members.items() if sku not in is_kit}
    found = list(kits)
    for family, parent, grouped in _families(members, sku_of, is_kit):
        found += _packs_and_variants(family, parent, grouped, named)
    unique: dict[tuple[str, str, str], SkuRelation] = {}
    for relation in found:
        unique.setdefault((relation.kind, relation.from_sku_id, relation.to_sku_id), relation)
    return sorted(unique.values(), key=lambda one: (one.kind, one.from_sku_id, one.to_sku_id))


def _components(recipes: Sequence[Row], sku_of: Mapping[str, str]) -> list[SkuRelation]:
    """Recipes by golden kit. Where records of one kit give different ones, the most frequent holds, then the first record's."""
    lines: dict[str, dict[tuple[str, str | None], Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in recipes:
        kit, component = sku_of.get(row["kit_record_id"]), sku_of.get(row["component_record_id"])
        # A recipe that names an unknown article, or whose kit was merged with its content, says nothing.
        if kit is not None and component is not None and kit != component and row["qty"] is not None:
            lines[row["kit_record_id"]][component, row["uom"]] += Decimal(row["qty"])
    versions: dict[str, Counter[tuple[tuple[str, str | None, Decimal], ...]]] = defaultdict(Counter)
    for record in sorted(lines):
        recipe = tuple((sku, uom, qty) for (sku, uom), qty in sorted(lines[record].items(), key=str))
        versions[sku_of[record]][recipe] += 1
    return [
        SkuRelation(COMPONENT_OF, component, kit, qty, uom, "recipe")
        for kit, seen in sorted(versions.items())
        for component, uom, qty in max(seen, key=lambda recipe: seen[recipe])
    ]


def _quantities(rows: Sequence[Row]) -> Quantities:
    """What the records of one SKU say of its size: as declared, else as most of their titles name it."""
    said: Counter[tuple[int | None, tuple[str, float] | None]] = Counter()
    colours: Counter[frozenset[str]] = Counter()
    declared = []
    for row in rows:
        title = size.quantities(row.get("title"))
        if title.content is not None or title.pack is not None:
            said[title.pack, title.content] += 1
        if title.colours:
            colours[title.colours] += 1
        unit = _REC20.get(row.get("size_uom") or "")
        if unit is not None and row.get("size_qty") is not None:
            pack = row.get("pack_qty")
            declared.append(
                (None if pack is None else int(pack), (unit[0], float(row["size_qty"]) * unit[1]))
            )
    pack, content = declared[0] if declared else said.most_common(1)[0][0] if said else (None, None)
    return Quantities(
        pack,
        {} if content is None else {content[0]: (content[1],)},
        colours.most_common(1)[0][0] if colours else frozenset(),
    )


def _families(
    members: Mapping[str, Sequence[Row]], sku_of: Mapping[str, str], is_kit: set[str]
) -> list[tuple[list[str], str | None, set[str]]]:
    """SKUs that are sizes, packs or colours of one product, whatever of their records says so.

    Returns:
        (SKUs of the family, the SKU that is their parent, SKUs that a source groups) for each family of several.
    """
    by_parent: dict[str, set[str]] = defaultdict(set)
    by_title: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for sku, rows in members.items():
        if sku in is_kit:
            continue
        for row in rows:
            if row.get("parent_key"):
                by_parent[row["parent_key"]].add(sku)
            words = tuple(sorted(title_text.read_title(size.without_quantities(row.get("title"))).words))
            if len(words) >= _FEWEST_WORDS:
                by_title[words].add(sku)
    for parent in by_parent:
        head = sku_of.get(parent)
        if head is not None and head not in is_kit:
            by_parent[parent].add(head)
    heads = {sku_of[parent] for parent in by_parent if parent in sku_of}
    groups = [skus for _, skus in sorted(by_parent.items())] + [skus for _, skus in sorted(by_title.items())]
    root = {sku: sku for sku in members if sku not in is_kit}

    def top(sku: str) -> str:
        while root[sku] != sku:
            root[sku] = root[root[sku]]
            sku = root[sku]
        return sku

    for skus in groups:
        if len(skus) <= _LARGEST_FAMILY:
            first, *others = sorted({top(sku) for sku in skus})
            root.update(dict.fromkeys(others, first))
    families: dict[str, list[str]] = defaultdict(list)
    for sku in sorted(root):
        families[top(sku)].append(sku)
    grouped = {sku for skus in by_parent.values() if 1 < len(skus) <= _LARGEST_FAMILY for sku in skus}
    return [
        (skus, next((sku for sku in skus if sku in heads), None), grouped)
        for _, skus in sorted(families.items())
        if len(skus) > 1
    ]


def _packs_and_variants(
    family: Sequence[str], parent: str | None, grouped: set[str], named: Mapping[str, Quantities]
) -> list[SkuRelation]:
    def evidence(sku: str, other: str) -> str:
        return "parent" if sku in grouped and other in grouped else "title"

    def place(sku: str) -> tuple[int, str, float, int, str]:
        what = named[sku]
        unit, amount = what.content or ("", 0.0)
        return (what.pack or 1, unit, amount, len(what.colours), sku)

    found = []
    packs = set()
    for sku in family:
        singles = [
            other
            for other in family
            if other != sku
            and _same_piece(named[sku], named[other])
            and (named[sku].pack or 1) > (named[other].pack or 1)
            and (named[sku].pack or 1) % (named[other].pack or 1) == 0
        ]
        if singles:
            single = min(singles, key=place)
            count = (named[sku].pack or 1) // (named[single].pack or 1)
            found.append(SkuRelation(PACK_OF, sku, single, Decimal(count), PIECE, evidence(sku, single)))
            packs.add(sku)
    base = parent or min((sku for sku in family if sku not in packs), key=place)
    for sku in family:
        differs = size.contents_differ(named[sku], named[base]) or named[sku].colours != named[base].colours
        if sku != base and sku not in packs and (differs or sku in grouped):
            found.append(SkuRelation(VARIANT_OF, sku, base, None, None, evidence(sku, base)))
    return found


def _same_piece(one: Quantities, other: Quantities) -> bool:
    """Whether two SKUs are of the same piece, however many of it."""
    if one.colours and other.colours and one.colours != other.colours:
        return False
    if one.content is None or other.content is None:
        return one.content == other.content
    return one.content[0] == other.content[0] and size.same_value(one.content[1], other.content[1])


def relation_table(relations: Iterable[SkuRelation]) -> pa.Table:
    """Relations as `identity.sku_relations`."""
    rows = list(relations)
    return pa.table(
        {
            "relation_kind": pa.array([row.kind for row in rows], pa.string()),
            "from_sku_id": pa.array([row.from_sku_id for row in rows], pa.string()),
            "to_sku_id": pa.array([row.to_sku_id for row in rows], pa.string()),
            "qty": pa.array([row.qty for row in rows], pa.decimal128(18, 6)),
            "uom": pa.array([row.uom for row in rows], pa.string()),
            "evidence": pa.array([row.evidence for row in rows], pa.string()),
        }
    )
