"""What the dbt project promises, read from its files: no dbt run, no warehouse."""

from __future__ import annotations

import csv
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from oms_core.identity.golden.contradiction import COMPARABLE
from oms_core.identity.golden.survivorship import UNITS

PROJECT = Path(__file__).resolve().parents[2] / "dbt"
SOURCE_FOLDERS = sorted(path.name for path in (PROJECT / "models" / "staging").iterdir() if path.is_dir())

# Every attribute an order must have, by group; the order is the design's.
ATTRIBUTES = {
    "identity": """order_id order_number channel store_code order_type source_systems source_count customer_id
        bill_to_party_id is_test""",
    "life_cycle": """ordered_at payment_verified_at stock_reserved_at picked_at packed_at dispatched_at
        first_carrier_scan_at delivered_at cancelled_at closed_at promised_at order_status""",
    "timing": """dwell_hours dwell_step order_to_dispatch_hours order_to_delivery_hours promise_slip_hours
        cross_system_lag_seconds""",
    "money": """currency gross_amount discount_amount shipping_amount tax_amount duty_amount net_amount paid_amount
        refunded_amount channel_fee_amount payment_fee_amount dealer_rebate_amount cogs_amount logistics_cost_amount
        contribution_margin_amount""",
    "group_view": "reporting_currency fx_rate fx_rate_on fx_source net_reporting_amount margin_reporting_amount",
    "goods": """line_count unit_qty distinct_sku_count category_codes has_bundle needs_cold_chain gross_weight_kg
        volume_m3 package_count""",
    "fulfilment": """fulfilment_location_ids shipment_count is_split carrier_codes service_level tracking_numbers
        ship_to_country ship_to_region ship_to_city ship_to_postcode distance_km distance_method""",
    "origin": "origin_countries lot_numbers supplier_party_ids certificate_ids traceability_ratio",
    "cold_chain": """min_temperature_c max_temperature_c excursion_minutes excursion_count sensor_coverage_ratio
        is_cold_chain_intact""",
    "carbon": """transport_co2e_kg packaging_co2e_kg co2e_kg co2e_method co2e_factor_version co2e_uncertainty_ratio
        transport_modes""",
    "customer": "preference_tags loyalty_tier customer_segment is_first_order marketing_consent",
    "service": """return_count returned_unit_qty return_reasons ticket_count first_ticket_at has_open_ticket
        refund_gap_amount""",
    "quality": "quality_flags completeness_ratio first_seen_at last_changed_at release_id row_hash",
}
SUFFIX_TYPES = {
    "_at": "timestamp",
    "_on": "date",
    "_amount": "numeric(18,4)",
    "_qty": "numeric(18,6)",
    "_ratio": "numeric(7,4)",
    "_hours": "numeric(18,4)",
    "_km": "numeric(18,6)",
}


def parsed(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@lru_cache(maxsize=1)
def described() -> dict[str, dict[str, Any]]:
    files = sorted((PROJECT / "models").rglob("*.yml"))
    return {model["name"]: model for path in files for model in parsed(path).get("models", [])}


def seed(name: str) -> list[dict[str, str]]:
    with (PROJECT / "seeds" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_fct_orders_holds_every_attribute_in_its_group() -> None:
    columns = described()["fct_orders"]["columns"]
    found: dict[str, list[str]] = {}
    for column in columns:
        found.setdefault(column["config"]["meta"]["group"], []).append(column["name"])
    assert found == {group: names.split() for group, names in ATTRIBUTES.items()}


def test_fct_orders_is_contracted_and_described() -> None:
    model = described()["fct_orders"]
    assert model["config"]["contract"]["enforced"] is True
    for column in model["columns"]:
        assert column["description"].strip(), column["name"]
        for suffix, kind in SUFFIX_TYPES.items():
            if column["name"].endswith(suffix):
                assert column["data_type"] == kind, column["name"]


def test_an_attribute_is_fed_or_says_that_it_is_not() -> None:
    assembled = "\n".join(
        (PROJECT / "models" / "marts" / "core" / f"{name}.sql").read_text()
        for name in ("int_orders_assembled", "fct_orders")
    )
    for column in described()["fct_orders"]["columns"]:
        is_unfed = column["config"]["meta"].get("unfed", False)
        mentioned = re.search(rf"\b{column['name']}\b", assembled) is not None
        assert mentioned != is_unfed, column["name"]
        assert not is_unfed or "fed yet" in column["description"], column["name"]


def test_every_fact_and_dimension_is_contracted() -> None:
    models = described()
    for path in (PROJECT / "models" / "marts").rglob("*.sql"):
        if path.stem.startswith(("fct_", "dim_", "ops_", "order_attribute")) or path.stem.endswith("_xref"):
            assert models[path.stem]["config"]["contract"]["enforced"] is True, path.stem


def test_every_model_is_described_and_nothing_else() -> None:
    assert set(described()) == {path.stem for path in (PROJECT / "models").rglob("*.sql")}
    assert all(model["description"].strip() for model in described().values())


def test_sources_by_entity_names_exactly_the_conformed_models() -> None:
    declared = parsed(PROJECT / "dbt_project.yml")["vars"]["sources_by_entity"]
    built: dict[str, list[str]] = {entity: [] for entity in declared}
    for path in sorted((PROJECT / "models" / "staging").rglob("*__*.sql")):
        if not path.stem.startswith("stg_"):
            source, entity = path.stem.split("__", 1)
            built[entity].append(source)
    assert {entity: sorted(names) for entity, names in declared.items()} == built


def test_sources_without_rows_can_be_left_out_of_a_run() -> None:
    """Only the unions, which know of it, and files of unit tests, which no run looks at, reach into a source's models."""
    staging = PROJECT / "models" / "staging"
    homes = {path.stem: path.parent.name for path in staging.rglob("*.sql")}
    for path in [*(PROJECT / "models").rglob("*.sql"), *(PROJECT / "models").rglob("*.yml")]:
        if not path.name.endswith("__unit_tests.yml"):
            for name in re.findall(r"ref\(\s*['\"](\w+)['\"]", path.read_text()):
                assert homes.get(name) in (None, path.parent.name), (
                    f"{path} reaches {name} other than by union_sources"
                )


def test_every_source_folder_declares_fresh_landing_tables() -> None:
    for folder in SOURCE_FOLDERS:
        path = PROJECT / "models" / "staging" / folder / f"_{folder}__sources.yml"
        for source in parsed(path)["sources"]:
            assert source["name"] == source["schema"] == "landing", path
            assert source["config"]["loaded_at_field"] == "_extracted_at", path
            assert source["config"]["freshness"]["warn_after"], path
            for table in source["tables"]:
                assert table["name"].startswith(f"{folder}__"), path
                assert table["description"].strip(), table["name"]


def test_survivorship_rules_are_total_orders_over_known_kinds() -> None:
    kinds = {row["kind"] for row in seed("source_systems")}
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in seed("survivorship_rules"):
        assert row["source_kind"] in kinds, row
        groups.setdefault((row["entity"], row["attribute_group"]), []).append(row)
    for group, rows in groups.items():
        assert [int(row["priority"]) for row in rows] == list(range(1, len(rows) + 1)), group
        assert len({row["source_kind"] for row in rows}) == len(rows), group
        assert len({row["rule"] for row in rows}) == 1, group


def test_every_unit_that_survives_has_a_shipped_rule() -> None:
    ruled = {(row["entity"], row["attribute_group"]) for row in seed("survivorship_rules")}
    assert ruled == {(entity, unit.group) for entity, units in UNITS.items() for unit in units}
    steps = {row["event_type"]: row["attribute"] for row in seed("event_types") if row["attribute"]}
    by_name = {unit.name: unit for unit in UNITS["order"]}
    assert {step: by_name[step].attributes[0] for step in steps} == steps


def test_sources_must_agree_only_where_values_can_be_compared() -> None:
    for row in seed("survivorship_agreements"):
        assert row["attribute"] in COMPARABLE[row["entity"]], row
    for entity, comparisons in COMPARABLE.items():
        assert set(comparisons) <= {name for unit in UNITS[entity] for name in unit.attributes}, entity


def test_every_folder_of_staging_is_a_known_source_system() -> None:
    assert set(SOURCE_FOLDERS) <= {row["source_system"] for row in seed("source_systems")}


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        (r"::\s*[a-z]", "cast(x as type)"),
        (r"\bqualify\b", "row_number() in a subquery"),
        (r"\bdate_diff\(|\bdatediff\(|\bage\(", "macros/portable/time.sql"),
        (r"\bstring_agg\(|\blist\(|\barray_agg\(", "sorted_json_list"),
        (r"\barg_m(in|ax)\(|\bany_value\(", "row_number() in a subquery"),
        (r"\bexclude\s*\(", "a column list"),
        (r"\bsha256\(|\bmd5\(", "sha256_text"),
    ],
)
def test_models_use_portable_sql(pattern: str, instead: str) -> None:
    for path in (PROJECT / "models").rglob("*.sql"):
        code = re.sub(r"--.*|'[^']*'", "", path.read_text())
        assert not re.search(pattern, code), f"{path.name}: use {instead}"
