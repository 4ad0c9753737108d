"""Exact evidence that two records are one: identifiers for customers, SKUs and locations, reference chains for orders.

Each rule is a value two records share. A value shared by too many, or by records that contradict each other, proves
nothing: a family's phone, a marketplace's relay address, a code that was given to another article.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from oms_core.identity import normalise
from oms_core.identity.cluster import Edge

Row = Mapping[str, Any]

# A value that more records than this share within one source is a placeholder, not an identifier.
_MOST_SHARERS = 12
_SHORTEST_KEY = 10
_MOST_IN_FULL = 12


def _chain(
    groups: Mapping[Any, Sequence[str]], rule: str, strength: int, most: int | None = None
) -> list[Edge]:
    """Edges that connect all records of each group, in a chain rather than all pairs."""
    edges = []
    for records in groups.values():
        unique = sorted(set(records))
        if len(unique) < 2 or (most is not None and len(unique) > most):
            continue
        # All pairs where they are few, so that one vetoed pair does not part the others.
        pairs = combinations(unique, 2) if len(unique) <= _MOST_IN_FULL else pairwise(unique)
        edges += [Edge(strength, left, right, rule) for left, right in pairs]
    return edges


def _group(rows: Iterable[Row], value: Callable[[Row], Any]) -> dict[Any, list[str]]:
    groups: dict[Any, list[str]] = defaultdict(list)
    for row in rows:
        key = value(row)
        if key is not None and not (isinstance(key, tuple) and None in key):
            groups[key].append(row["record_id"])
    return groups


def customer_edges(rows: Sequence[Row]) -> list[Edge]:
    """Evidence among customer records (columns of `int_customer_records`)."""
    shared = _values_of_many_names(rows)

    def mailbox(row: Row) -> str | None:
        address = normalise.email(row["email"])
        return None if address in shared else address

    def number(row: Row) -> str | None:
        return normalise.phone(row["phone_e164"] or row["phone"], row["country"])

    def named(row: Row) -> str | None:
        return normalise.name(row["company_name"] or row["full_name"])

    def person(row: Row) -> str | None:
        return normalise.name(row["full_name"])

    def postcode(row: Row) -> str | None:
        return normalise.code(row["postcode"])

    def buyer(row: Row) -> tuple[str, str] | None:
        text = normalise.code(row["marketplace_buyer_id"])
        return None if text is None else (row["source_system"], text)

    edges = _chain(_group(rows, lambda row: normalise.tax_number(row["tax_number"])), "tax_number", 1)
    edges += _chain(_group(rows, buyer), "marketplace_buyer_id", 1)
    edges += _chain(_group(rows, lambda row: (mailbox(row), number(row))), "email+phone", 2)
    edges += _chain(_group(rows, lambda row: (mailbox(row), named(row))), "email+name", 2)
    edges += _chain(_group(rows, lambda row: (number(row), named(row))), "phone+name", 3)
    edges += _chain(_group(rows, lambda row: (number(row), person(row))), "phone+name", 3)
    edges += _chain(
        _group(rows, lambda row: (normalise.phone_tail(row["phone"]), person(row))), "phone+name", 3
    )
    edges += _chain(_group(rows, mailbox), "email", 4, most=_MOST_SHARERS * 4)
    at_address = _group(rows, lambda row: (named(row), postcode(row)))
    number_of = {row["record_id"]: normalise.house_number(row["street"]) for row in rows}
    edges += _chain(_one_house(at_address, number_of), "name+address", 4)
    return edges


def _one_house(
    groups: Mapping[Any, Sequence[str]], number_of: Mapping[str, str | None]
) -> dict[Any, list[str]]:
    """Split groups of one name and postcode by house number, which survives every spelling and script of a street.

    Records without a number stay with the others only where those agree on one.
    """
    houses: dict[Any, list[str]] = {}
    for key, records in groups.items():
        numbers = {number_of[record] for record in records} - {None}
        if len(numbers) <= 1:
            houses[key] = list(records)
            continue
        for number in numbers:
            houses[(key, number)] = [record for record in records if number_of[record] == number]
    return houses


def _values_of_many_names(rows: Sequence[Row]) -> set[str]:
    """E-mail addresses that carry more than three different names: shared mailboxes, not persons."""
    names: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        address, name = normalise.email(row["email"]), normalise.name(row["full_name"] or row["company_name"])
        if address is not None and name is not None:
            names[address].add(name)
    return {address for address, found in names.items() if len(found) > 3}


def customer_veto(rows: Sequence[Row]) -> Callable[[str, str], str | None]:
    """Contradictions between two customer records that outweigh one shared weak identifier."""
    tax = {row["record_id"]: normalise.tax_number(row["tax_number"]) for row in rows}
    kind = {row["record_id"]: row["customer_type"] for row in rows}

    def veto(left: str, right: str) -> str | None:
        if tax[left] and tax[right] and tax[left] != tax[right]:
            return "their tax numbers differ"
        if kind[left] and kind[right] and kind[left] != kind[right]:
            return "one is a person, the other a company"
        return None

    return veto


def sku_edges(rows: Sequence[Row]) -> list[Edge]:
    """Evidence among SKU records (columns of `int_sku_records`)."""

    def part(row: Row) -> tuple[str | None, str | None]:
        return normalise.code(row["brand"]), normalise.code(row["mpn"])

    def maker(row: Row) -> str | None:
        # Where one system calls the maker's part number what another calls its item code.
        return normalise.sku_code(row["mpn"]) or normalise.sku_code(row["sku_code"])

    edges = _chain(_group(rows, lambda row: normalise.gtin(row["gtin14"], row["sku_code"])), "gtin", 1)
    edges += _chain(_group(rows, part), "brand+mpn", 2)
    edges += _chain(_group(rows, lambda row: normalise.sku_code(row["sku_code"])), "sku_code", 3)
    edges += _chain(_group(rows, maker), "sku_code", 3)
    edges += _chain(_group(rows, lambda row: normalise.title(row["title"])), "title", 4)
    return edges


def sku_veto(rows: Sequence[Row]) -> Callable[[str, str], str | None]:
    """Two valid GTINs that differ, or two sizes that differ, name two articles, whatever other code they share."""
    gtin = {row["record_id"]: normalise.gtin(row["gtin14"], row["sku_code"]) for row in rows}
    declared = {row["record_id"]: (row["size_qty"], row["size_uom"], row["pack_qty"]) for row in rows}
    titled = {row["record_id"]: normalise.size(row["title"]) for row in rows}

    def veto(left: str, right: str) -> str | None:
        if gtin[left] and gtin[right] and gtin[left] != gtin[right]:
            return "their GTINs differ"
        if None not in declared[left] and None not in declared[right] and declared[left] != declared[right]:
            return "their sizes differ"
        if titled[left] and titled[right] and titled[left] != titled[right]:
            return "the sizes in their titles differ"
        return None

    return veto


def location_edges(rows: Sequence[Row]) -> list[Edge]:
    """Evidence among location records (columns of `int_location_records`)."""

    def place(row: Row) -> tuple[str | None, str | None]:
        return normalise.code(row["street"]), normalise.code(row["postcode"])

    edges = _chain(_group(rows, lambda row: normalise.code(row["gln"])), "gln", 1)
    edges += _chain(_group(rows, lambda row: normalise.code(row["location_code"])), "location_code", 2)
    edges += _chain(_group(rows, place), "street+postcode", 3)
    edges += _chain(
        _group(rows, lambda row: (normalise.name(row["location_name"]), row["country"])), "name+country", 4
    )
    return edges


def location_veto(rows: Sequence[Row]) -> Callable[[str, str], str | None]:
    """Two GLNs that differ name two places."""
    gln = {row["record_id"]: normalise.code(row["gln"]) for row in rows}

    def veto(left: str, right: str) -> str | None:
        return "their GLNs differ" if gln[left] and gln[right] and gln[left] != gln[right] else None

    return veto


@dataclass(frozen=True)
class OrderLinks:
    """How order records hang together.

    `edges` join order documents; `hangers` put a fulfilment or shipment record on an order document or on another
    hanger; `orphans` names each record that hangs on nothing, with the reason.
    """

    edges: list[Edge]
    hangers: dict[str, tuple[str, str]]  # record id -> (record id it hangs on, rule)
    orphans: dict[str, str]


def agreements(entity: str, rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """Identifiers of which one golden record can have only one value: name -> record id -> value."""
    read: dict[str, tuple[str, Callable[[Row], str | None]]] = {
        "customer": ("tax number", lambda row: normalise.tax_number(row["tax_number"])),
        "sku": ("GTIN", lambda row: normalise.gtin(row["gtin14"], row["sku_code"])),
        "location": ("GLN", lambda row: normalise.code(row["gln"])),
    }
    if entity not in read:
        return {}
    name, value_of = read[entity]
    return {name: {row["record_id"]: value for row in rows if (value := value_of(row)) is not None}}


def order_links(records: Sequence[Row], references: Sequence[Row]) -> OrderLinks:
    """Follow order references across systems.

    Args:
        records: rows of `int_order_records` (record_id, source_system, document_role, order_number, source_key, channel).
        references: rows of `int_order_references`.
    """
    by_id = {row["record_id"]: row for row in records}
    by_number: dict[str, list[str]] = defaultdict(list)
    for row in records:
        names = set(filter(None, [normalise.order_number(row["order_number"])]))
        key = normalise.order_number(row["source_key"])
        # A short internal id of one system looks like another system's order number.
        if key is not None and len(key) >= _SHORTEST_KEY:
            names.add(key)
        for value in names:
            by_number[value].append(row["record_id"])

    edges: set[Edge] = set()
    hangs_on: dict[str, set[tuple[int, str, str]]] = defaultdict(set)
    faults: dict[str, str] = {}
    for reference in references:
        origin = reference["order_record_id"]
        if origin not in by_id:
            continue
        found, fault = _find(by_id, by_number, origin, reference)
        if fault is not None:
            faults.setdefault(origin, fault)
        for position, target in found:
            if by_id[origin]["document_role"] == "order" and by_id[target]["document_role"] == "order":
                left, right = sorted((origin, target))
                edges.add(Edge(1, left, right, f"reference:{reference['reference_type']}"))
            elif by_id[origin]["document_role"] != "order":
                hangs_on[origin].add((position, target, f"reference:{reference['reference_type']}"))

    hangers: dict[str, tuple[str, str]] = {}
    orphans: dict[str, str] = {}
    for row in sorted(records, key=lambda item: item["record_id"]):
        record = row["record_id"]
        if row["document_role"] == "order":
            continue
        path = _path_to_order(record, by_id, hangs_on)
        if path is not None:
            hangers[record] = path
        else:
            orphans[record] = faults.get(record, "it refers to no order")
    return OrderLinks(sorted(edges), hangers, orphans)


def _find(
    by_id: Mapping[str, Row], by_number: Mapping[str, list[str]], origin: str, reference: Row
) -> tuple[list[tuple[int, str]], str | None]:
    value = reference["reference_value"]
    hint = reference["target_system"] or _system_named(
        value, {row["source_system"] for row in by_id.values()}
    )
    own = by_id[origin]["source_system"]
    for position, candidate in enumerate(normalise.reference_candidates(value)):
        targets = [
            record
            for record in by_number.get(candidate, ())
            if record != origin
            and (by_id[record]["source_system"] != own or by_id[record]["document_role"] == "order")
        ]
        if by_id[origin]["document_role"] == "order":
            targets = [record for record in targets if by_id[record]["source_system"] != own]
        if hint is not None:
            targets = [record for record in targets if by_id[record]["source_system"] == hint] or targets
        if len(targets) == 1:
            return [(position, targets[0])], None
        if len({by_id[record]["source_system"] for record in targets}) == 1 and targets:
            return [], f"{value!r} names {len(targets)} orders of one system"
        if targets:
            orders = [record for record in targets if by_id[record]["document_role"] == "order"]
            if len(orders) == 1:
                return [(position, orders[0])], None
            return [], f"{value!r} could be an order of {len(targets)} systems"
    return [], f"no order has the number {value!r}"


def _system_named(value: str | None, systems: set[str]) -> str | None:
    text = normalise.plain(value) or ""
    named = [system for system in sorted(systems) if system in text]
    return named[0] if len(named) == 1 else None


def _path_to_order(
    record: str, by_id: Mapping[str, Row], hangs_on: Mapping[str, set[tuple[int, str, str]]]
) -> tuple[str, str] | None:
    """Breadth first over references until an order document is met; the first rule on the way names the link."""
    seen = {record}
    frontier = [(target, rule) for _, target, rule in sorted(hangs_on.get(record, ()))]
    while frontier:
        following = []
        for target, rule in frontier:
            if by_id[target]["document_role"] == "order":
                return target, rule
            if target not in seen:
                seen.add(target)
                following += [(further, rule) for _, further, _ in sorted(hangs_on.get(target, ()))]
        frontier = following
    return None
