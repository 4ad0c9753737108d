"""Which source is believed for which value: the rules that ship, overridden by what stewards set. Pure.

Values survive in units: attributes that come whole from one record (an address, an amount with its currency). Units belong
to attribute groups. A rule names a group, or one attribute that is a unit by itself and then overrides its group's.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

RULES = ("source_priority", "most_recent", "most_frequent", "most_complete")
SHIPPED = "shipped"


class RuleError(ValueError):
    """A rule that cannot be: the message says what is wrong with it and what there is instead."""


@dataclass(frozen=True)
class Unit:
    """Attributes that survive together.

    Attributes:
        name: as in the macros `golden_units`, `counted_children` and `source_priorities` and in `int_orders_survived`.
        group: attribute group whose rule it follows.
        attributes: columns of the dimension or of `fct_orders` that it decides.
        by_priority: whether priority alone can decide: a whole set of payments, a step of the life cycle.
        shares: it decides its attributes together with another unit, so that no rule may name them alone.
    """

    name: str
    group: str
    attributes: tuple[str, ...] = ()
    by_priority: bool = False
    shares: bool = False


def _steps() -> tuple[Unit, ...]:
    instants = {
        "created": "ordered_at", "payment_verified": "payment_verified_at", "stock_reserved": "stock_reserved_at",
        "picked": "picked_at", "packed": "packed_at", "dispatched": "dispatched_at",
        "carrier_scanned": "first_carrier_scan_at", "delivered": "delivered_at", "cancelled": "cancelled_at",
        "closed": "closed_at",
    }  # fmt: skip
    return tuple(Unit(step, step, (attribute,), by_priority=True) for step, attribute in instants.items())


_ADDRESS = ("street", "city", "region", "postcode", "country")

UNITS: Mapping[str, tuple[Unit, ...]] = {
    "order": (
        Unit("order_number", "identity", ("order_number",)),
        Unit("channel", "identity", ("channel",)),
        Unit("order_type", "identity", ("order_type",)),
        Unit("store", "identity", ("store_code",)),
        Unit("customer", "identity", ("customer_id",)),
        Unit("bill_to", "identity", ("bill_to_party_id",)),
        Unit("ordered", "identity"),
        Unit("status", "status", ("order_status",)),
        Unit("promise", "promise", ("promised_at",)),
        Unit(
            "money",
            "money",
            (
                "currency", "gross_amount", "discount_amount", "shipping_amount", "tax_amount", "duty_amount",
                "net_amount",
            ),
        ),
        Unit("payments", "payments", by_priority=True),
        Unit("paid", "payments", ("paid_amount",), by_priority=True, shares=True),
        Unit("payment_fee", "payments", ("payment_fee_amount",), by_priority=True, shares=True),
        Unit("refunds", "refunds", by_priority=True),
        Unit("refunded", "refunds", ("refunded_amount",), by_priority=True, shares=True),
        Unit("channel_fee", "channel_fee", ("channel_fee_amount",)),
        Unit("cogs", "cost", ("cogs_amount",)),
        Unit("logistics_cost", "logistics_cost", ("logistics_cost_amount",)),
        Unit("lines", "lines", ("line_count", "unit_qty", "distinct_sku_count", "lot_numbers")),
        Unit("address", "address", ("ship_to_country", "ship_to_region", "ship_to_city", "ship_to_postcode")),
        Unit("service_level", "service_level", ("service_level",)),
        Unit("shipments", "shipments", by_priority=True),
        Unit("returns", "returns", by_priority=True),
        *_steps(),
    ),
    "customer": (
        Unit("name", "name", ("full_name", "given_name", "family_name", "company_name")),
        Unit("type", "name", ("customer_type",)),
        Unit("email", "email", ("email",)),
        Unit("phone", "phone", ("phone", "phone_e164")),
        Unit("tax_number", "tax_number", ("tax_number",)),
        Unit("address", "address", _ADDRESS),
        Unit("language", "profile", ("language",)),
        Unit("loyalty", "profile", ("loyalty_tier",)),
        Unit("segment", "profile", ("customer_segment",)),
        Unit("preference", "profile", ("preference_tags",)),
        Unit("consent", "consent", ("marketing_consent",)),
    ),
    "sku": (
        Unit("code", "title", ("sku_code",)),
        Unit("title", "title", ("title",)),
        Unit("brand", "title", ("brand",)),
        Unit("gtin", "identifier", ("gtin14",)),
        Unit("mpn", "identifier", ("mpn",)),
        Unit("category", "category", ("category_code",)),
        Unit("size", "size", ("size_qty", "size_uom", "pack_qty")),
        Unit("weight", "measure", ("weight_kg",)),
        Unit("volume", "measure", ("volume_m3",)),
        Unit("cold_chain", "handling", ("needs_cold_chain",)),
        Unit("bundle", "handling", ("is_bundle",)),
        Unit("cost", "cost", ("unit_cost_amount", "cost_currency")),
        Unit("origin", "origin", ("origin_country",)),
    ),
    "location": (
        Unit("name", "name", ("location_name",)),
        Unit("type", "type", ("location_type",)),
        Unit("gln", "identifier", ("gln",)),
        Unit("code", "identifier", ("location_code",)),
        Unit("address", "address", _ADDRESS),
        Unit("position", "position", ("latitude", "longitude")),
        Unit("timezone", "position", ("timezone",)),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """One rule, as it ships or as a steward set it.

    Attributes:
        name: attribute group, or one attribute.
        rule: one of RULES; None where only `must_agree` is said.
        sources: kinds of system and single systems, most trusted first; those left out answer last. None with `rule`.
        must_agree: whether two listed sources that differ contradict each other; None where nothing is said.
        version: "shipped", or the number of what a steward set.
        set_by, set_at, reason: who set it, when (aware UTC) and why; None when shipped.
    """

    entity: str
    name: str
    rule: str | None
    sources: tuple[str, ...] | None
    must_agree: bool | None = None
    version: str = SHIPPED
    set_by: str | None = None
    set_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True)
class System:
    """A source system: its kind, and its place among the systems of that kind (1 is believed first)."""

    name: str
    kind: str
    authority: int


@dataclass(frozen=True)
class Shipped:
    """What ships with the project: the systems there are, and the rules that hold until a steward sets others."""

    systems: Mapping[str, System]
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class InForce:
    """The rule that one unit follows.

    Attributes:
        priorities: source system -> priority, 1 first; systems that the rule does not list are missing.
        named_by: the group or attribute whose rule it is.
        must_agree: attributes of the unit about which two listed sources must not differ.
    """

    entity: str
    unit: Unit
    rule: str
    sources: tuple[str, ...]
    priorities: Mapping[str, int]
    version: str
    named_by: str
    must_agree: tuple[str, ...] = ()


def read_shipped(
    systems: Iterable[Mapping[str, str]],
    rules: Iterable[Mapping[str, str]],
    agreements: Iterable[Mapping[str, str]],
) -> Shipped:
    """Read the seeds `source_systems`, `survivorship_rules` and `survivorship_agreements`, one mapping per row."""
    ranked: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for row in rules:
        ranked.setdefault((row["entity"], row["attribute_group"]), []).append(row)
    found = [
        Rule(
            entity,
            group,
            rows[0]["rule"],
            tuple(row["source_kind"] for row in sorted(rows, key=lambda row: int(row["priority"]))),
        )
        for (entity, group), rows in ranked.items()
    ]
    found += [Rule(row["entity"], row["attribute"], None, None, must_agree=True) for row in agreements]
    known = [System(row["source_system"], row["kind"], int(row["authority"])) for row in systems]
    return Shipped({system.name: system for system in known}, tuple(found))


def groups(entity: str) -> tuple[str, ...]:
    """Attribute groups of an entity."""
    return tuple(dict.fromkeys(unit.group for unit in UNITS[entity]))


def attributes(entity: str) -> dict[str, Unit]:
    """Every attribute that survives by a rule, with its unit."""
    return {attribute: unit for unit in UNITS[entity] for attribute in unit.attributes}


def check(rule: Rule, systems: Mapping[str, System], comparable: Iterable[str]) -> None:
    """Refuse a rule that names what does not exist, or asks what cannot be.

    Args:
        rule: as a steward wants it; `rule` and `sources` both given or both None.
        systems: the source systems there are.
        comparable: attributes whose values can be compared beyond their spelling.

    Raises:
        RuleError: with a sentence that says what there is.
    """
    if rule.entity not in UNITS:
        raise RuleError(f"there is no entity {rule.entity!r}; there are {', '.join(UNITS)}")
    known = attributes(rule.entity)
    if rule.name not in {*groups(rule.entity), *known}:
        near = difflib.get_close_matches(rule.name, [*groups(rule.entity), *known], 1)
        raise RuleError(
            f"{rule.entity} has no attribute group or attribute {rule.name!r}"
            + (f"; did you mean {near[0]}?" if near else "")
            + f" Groups: {', '.join(groups(rule.entity))}. Attributes: {', '.join(known)}"
        )
    if rule.rule is not None:
        _check_order(rule, systems)
    if rule.must_agree is not None:
        covered = {attribute for attribute, unit in known.items() if rule.name in (attribute, unit.group)}
        can = [attribute for attribute in known if attribute in set(comparable)]
        if not covered & set(can):
            raise RuleError(
                f"values of {rule.entity} {rule.name} cannot be told apart from other spellings of themselves; must_agree "
                f"is there for {', '.join(can)}"
            )
    if rule.rule is None and rule.must_agree is None:
        raise RuleError(
            "the rule says nothing: give a rule, an order of sources, or whether sources must agree"
        )


def _check_order(rule: Rule, systems: Mapping[str, System]) -> None:
    assert rule.rule is not None
    assert rule.sources is not None
    units = _units_named(rule.entity, rule.name)
    if rule.name not in groups(rule.entity):
        unit = units[0]
        if unit.shares or len(unit.attributes) > 1:
            raise RuleError(
                f"{rule.name} survives whole with the rest of {unit.group}, from one source: set the rule of {unit.group}"
            )
    if rule.rule not in RULES:
        raise RuleError(f"there is no rule {rule.rule!r}; there are {', '.join(RULES)}")
    if rule.rule != "source_priority" and any(unit.by_priority for unit in units):
        raise RuleError(
            f"{rule.entity} {rule.name} is told as a whole by one source, so only source_priority can choose; "
            "change the order of the sources instead"
        )
    kinds = dict.fromkeys(system.kind for system in systems.values())
    unknown = [name for name in rule.sources if name not in kinds and name not in systems]
    if unknown:
        raise RuleError(
            f"there is no kind of system or system {', '.join(map(repr, unknown))}; kinds: {', '.join(kinds)}; "
            f"systems: {', '.join(systems)}"
        )
    if len(set(rule.sources)) != len(rule.sources):
        twice = sorted({name for name in rule.sources if rule.sources.count(name) > 1})
        raise RuleError(f"{', '.join(twice)} is listed twice: an order names each source once")
    if not rule.sources:
        raise RuleError("the order of sources is empty: name at least one kind of system or system")


def _units_named(entity: str, name: str) -> list[Unit]:
    if name in groups(entity):
        return [unit for unit in UNITS[entity] if unit.group == name]
    return [attributes(entity)[name]]


def in_force(shipped: Shipped, standing: Sequence[Rule]) -> list[InForce]:
    """The rule of every unit.

    What stewards set outranks what ships. Then what names the attribute outranks what names its group, and the later rule
    the earlier one.

    Args:
        shipped: what ships.
        standing: what stewards set and nobody withdrew, oldest first.
    """
    found = []
    for entity, units in UNITS.items():
        for unit in units:
            alone = unit.attributes if len(unit.attributes) == 1 and not unit.shares else ()
            rule = _outranking(entity, (*alone, unit.group), shipped.rules, standing, "rule")
            if rule is None or rule.rule is None or rule.sources is None:
                raise RuleError(
                    f"no rule ships for {entity} {unit.group}: add it to the seed survivorship_rules"
                )
            agreeing = tuple(
                attribute
                for attribute in unit.attributes
                if (
                    says := _outranking(
                        entity, (attribute, unit.group), shipped.rules, standing, "must_agree"
                    )
                )
                is not None
                and says.must_agree
            )
            found.append(
                InForce(
                    entity,
                    unit,
                    rule.rule,
                    rule.sources,
                    priorities(rule.sources, shipped.systems),
                    rule.version,
                    rule.name,
                    agreeing,
                )
            )
    return found


def _outranking(
    entity: str, names: Sequence[str], shipped: Sequence[Rule], standing: Sequence[Rule], says: str
) -> Rule | None:
    for rules in (standing, shipped):
        for name in names:
            for rule in reversed(rules):
                if rule.entity == entity and rule.name == name and getattr(rule, says) is not None:
                    return rule
    return None


def priorities(sources: Sequence[str], systems: Mapping[str, System]) -> dict[str, int]:
    """Priority of each system: the place of its own name in the order or, without one, of its kind."""
    places = {name: place for place, name in enumerate(sources, start=1)}
    found = {}
    for system in systems.values():
        place = places.get(system.name, places.get(system.kind))
        if place is not None:
            found[system.name] = place
    return found
