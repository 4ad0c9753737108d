"""The step between the two builds: resolve who is who over the staged records, or say what another model would make of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from oms_core.errors import PipelineError
from oms_core.identity import state
from oms_core.identity.golden import conflicts, rules
from oms_core.identity.resolve import Known, Resolved, resolve
from oms_core.identity.scoring.model import Model
from oms_core.identity.sku_relations import kept_apart, relate, relation_table
from oms_core.identity.stewardship import evidence, steward
from oms_core.identity.stewardship.activation import active_model
from oms_core.identity.stewardship.compare import compare as compare_ids
from oms_core.identity.stewardship.errors import ActivationRefusedError
from oms_core.identity.stewardship.queue import links, pair_tasks
from oms_core.identity.stewardship.worth import Worth, worth_by_record, worth_sql
from oms_core.identity.vanished import with_vanished
from oms_core.identity.weigh import SCORED_BY_MODEL, comparable_customers, weigh
from oms_core.settings import Settings
from oms_core.store.postgres import Database
from oms_core.warehouse import Warehouse, WarehouseError, open_warehouse, sole_writer

IDENTITY_COLUMNS = {
    "int_customer_records": "record_id, source_system, customer_type, full_name, company_name, email, phone, phone_e164, "
    "tax_number, street, city, region, postcode, country, marketplace_buyer_id, parent_key, _first_seen_at",
    "int_sku_records": "record_id, source_system, sku_code, title, brand, mpn, gtin14, size_qty, size_uom, pack_qty, "
    "parent_key, _first_seen_at",
    "int_sku_recipes": "kit_record_id, component_record_id, qty, uom",
    "int_location_records": "record_id, source_system, location_name, location_type, gln, location_code, street, postcode, "
    "country, latitude, longitude, _first_seen_at",
    "int_order_records": "record_id, source_system, source_key, document_role, order_number, channel, customer_key, "
    "ordered_at, currency, net_amount, ship_to_street, ship_to_postcode, _first_seen_at",
    "int_order_references": "order_record_id, reference_type, reference_value, target_system",
    "int_shipments": "order_record_id, tracking_number",
    "int_order_lots": "order_record_id, lot_id",
}


def identify(warehouse: Warehouse, database: Database) -> dict[str, Resolved]:
    """Resolve identities over the staged records, write the crosswalks to store and warehouse, fill the stewards' queue."""
    rows = _identity_rows(warehouse)
    at = state.now()
    with database.begin() as connection:
        state.lock(connection)
        known, changes = _recall(connection, rows)
        models = active_models(connection)
        outcome = _resolve(warehouse, rows, known, models)
        state.remember(connection, outcome, known, at, changes)
        tables = {f"{entity}_xref": state.crosswalk(connection, entity) for entity in sorted(outcome)}
        former = state.former_links(connection)
        tables["former_links"] = with_vanished(
            former, "customer", tables["customer_xref"], set(_gone(warehouse))
        )
        believed = rules.effective(connection)
        allocated = evidence.allocated_orders(connection)
    tables["survivorship_rules"] = rules.rule_table(believed)
    tables["order_orphans"] = state.orphan_table(outcome["order"].orphans)
    tables["order_shares"] = state.share_table(outcome["order"].shares)
    tables["sku_relations"] = relation_table(
        relate(rows["int_sku_records"], outcome["sku"].assignment.members, rows["int_sku_recipes"])
    )
    warehouse.replace("identity", tables)
    # Only now does the warehouse know which documents are one order. A run that dies before this does it all again.
    worth = worth_by_record(warehouse.read(worth_sql(allocated)).to_pylist())
    contradictions = conflicts.find(warehouse, believed)
    with database.begin() as connection:
        state.lock(connection)
        for entity, resolved in outcome.items():
            evidence.keep_records(connection, entity, rows[_RECORDS_OF[entity]], worth.get(entity))
            found = links(resolved.evidence, resolved.refusals, resolved.probabilities)
            evidence.keep_links(connection, entity, found)
            grey = [(pair.left, pair.right, pair.probability) for pair in resolved.doubtful]
            tasks = pair_tasks(entity, resolved.assignment.members, resolved.refusals, grey)
            tasks += steward.in_doubt(connection, entity)
            evidence.open_tasks(connection, entity, tasks, at)
        conflicts.raise_tasks(connection, contradictions, at)
    warehouse.replace("identity", {"survivorship_conflicts": conflicts.conflict_table(contradictions)})
    return outcome


@dataclass(frozen=True)
class Preview:
    """What runs would make of the records as they are, with the active model and with another: record -> golden id.

    `worth`: what hangs on each record.
    """

    before: Mapping[str, str]
    after: Mapping[str, str]
    worth: Mapping[str, Worth]


def preview(warehouse: Warehouse, connection: Connection, model: Model) -> Preview:
    """Resolve the records the warehouse holds under a candidate model; nothing is written.

    Args:
        connection: to the store; what is recalled of identity is as of this transaction.
        model: takes the place of the active model of its entity.

    Raises:
        PipelineError: nothing was staged and resolved yet.
    """
    if not {"int_customer_records", "int_order_records"} <= set(warehouse.tables("intermediate")):
        raise PipelineError("the warehouse holds no records yet: run `orderhub run` first")
    rows = _identity_rows(warehouse)
    known, _ = _recall(connection, rows)
    active = active_models(connection)
    # Beside a run with the model active now: what came in and was decided since the last run is not the model's doing.
    before, after = (
        _resolve(warehouse, rows, known, models)[model.entity].assignment.members
        for models in (active, active | {model.entity: model})
    )
    worth = worth_by_record(warehouse.read(worth_sql(evidence.allocated_orders(connection))).to_pylist())
    return Preview(before, after, worth.get(model.entity, {}))


def differing(settings: Settings) -> Callable[[Connection, Model], dict[str, Any]]:
    """What reports on models for a server beside the warehouse; while a run builds it, that is refused."""

    def differ(connection: Connection, model: Model) -> dict[str, Any]:
        try:
            with sole_writer(settings.home, wait_seconds=_WAIT_FOR_RUN):
                found = preview(open_warehouse(settings.home, settings.warehouse_url), connection, model)
        except (PipelineError, WarehouseError) as error:
            raise ActivationRefusedError(
                f"what the model would change cannot be told now: {error}"
            ) from error
        return compare_ids(found.before, found.after, found.worth).as_json()

    return differ


def train_customers(warehouse: Warehouse, version: str) -> Model:
    """Learn a customer model from the staged records, without labels.

    Raises:
        PipelineError: nothing was staged yet.
    """
    from oms_core.identity.scoring.training import train

    if "int_customer_records" not in warehouse.tables("intermediate"):
        raise PipelineError("the warehouse holds no records yet: run `orderhub run` first")
    rows = warehouse.read(
        f"select {IDENTITY_COLUMNS['int_customer_records']} from intermediate.int_customer_records"
    )
    return train(comparable_customers(rows.to_pylist()), entity="customer", version=version)


def active_models(connection: Connection) -> dict[str, Model]:
    """The model that scores each entity, by entity."""
    return {entity: active_model(connection, entity) for entity in SCORED_BY_MODEL}


_WAIT_FOR_RUN = 5.0  # seconds a request for a report on a model waits for a run to end
_RECORDS_OF = {entity: f"int_{entity}_records" for entity in ("customer", "sku", "location", "order")}


def _identity_rows(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    """Rows of the `int_` tables that identity reads, by table.

    A customer record that was deleted at its source is left out, as if it had vanished; one that was merged away there says
    into which. What was sold, where and in which document stays what it was.
    """
    rows = {
        name: warehouse.read(f"select {columns} from intermediate.{name}").to_pylist()
        for name, columns in IDENTITY_COLUMNS.items()
    }
    gone = _gone(warehouse)
    customers = {row["record_id"] for row in rows["int_customer_records"]}
    rows["int_customer_records"] = [
        {**row, "merged_into": gone[row["record_id"]]} if row["record_id"] in gone else row
        for row in rows["int_customer_records"]
        if row["record_id"] not in gone or gone[row["record_id"]] in customers
    ]
    return rows


def _gone(warehouse: Warehouse) -> dict[str, str | None]:
    """Records that are gone at their source: record id -> id of the record that took its place."""
    query = "select gone_record_id, merged_into_record_id from intermediate.int_tombstones where is_deleted"
    return {row["gone_record_id"]: row["merged_into_record_id"] for row in warehouse.read(query).to_pylist()}


def _recall(
    connection: Connection, rows: Mapping[str, list[dict[str, Any]]]
) -> tuple[Known, dict[str, state.Changes]]:
    """What earlier runs left, and which records have changed since."""
    comparable = {entity: rows[name] for entity, name in _RECORDS_OF.items()}
    comparable["order"] = [row for row in comparable["order"] if row["document_role"] == "order"]
    changes = {entity: state.compare(connection, entity, found) for entity, found in comparable.items()}
    known = state.recall(connection)
    return replace(known, rewritten={entity: found.rewritten for entity, found in changes.items()}), changes


def _order_lines(warehouse: Warehouse, records: Collection[str]) -> list[dict[str, Any]]:
    """Lines of some order records; all columns that identity compares, but rows of those records alone."""
    table = warehouse.read(
        "select order_record_id, sku_key, qty, is_return from intermediate.int_order_lines"
    )
    asked = pc.is_in(table["order_record_id"], value_set=pa.array(sorted(records), pa.string()))
    return table.filter(asked).to_pylist()


def _resolve(
    warehouse: Warehouse, rows: Mapping[str, list[dict[str, Any]]], known: Known, models: Mapping[str, Model]
) -> dict[str, Resolved]:
    costs = warehouse.read("select entity, wrong_merge, missed_match, review from seeds.match_costs")
    return resolve(
        rows["int_customer_records"],
        rows["int_sku_records"],
        rows["int_location_records"],
        rows["int_order_records"],
        rows["int_order_references"],
        known,
        rows["int_shipments"],
        partial(_order_lines, warehouse),
        weigh(rows["int_customer_records"], rows["int_sku_records"], models, costs.to_pylist()),
        kept_apart(rows["int_sku_recipes"]),
        rows["int_order_lots"],
    )
