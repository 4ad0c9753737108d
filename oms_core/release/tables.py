"""Which marts are released, what identifies a row of each, and what readers look rows up by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oms_core.release.errors import RejectedError
from oms_core.store.released import SOURCE_KEY

# A release writes these itself: what a mart offers under the same names is left out.
OWNED_COLUMNS = ("row_hash", "release_id")
PERSONAL_COLUMNS = (
    "full_name", "given_name", "family_name", "email", "phone", "phone_e164", "tax_number", "street", "postcode",
)  # fmt: skip


@dataclass(frozen=True)
class ReleasedTable:
    """One mart that readers see.

    Attributes:
        key: columns that identify a row; never null, unique within a release.
        lookups: further columns or expressions that rows are found by; each gets an index.
        personal: columns that tell who a person is or how to reach one; text.
        person: columns that tell whose they are, the first with a value counts.
    """

    name: str
    key: tuple[str, ...]
    lookups: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    person: tuple[str, ...] = ()


RELEASED_TABLES: Mapping[str, ReleasedTable] = {
    table.name: table
    for table in (
        ReleasedTable(
            "fct_orders",
            ("order_id",),
            ("customer_id", "order_number"),
            ("ship_to_postcode",),
            ("customer_id", "order_id"),
        ),
        ReleasedTable(
            "fct_order_addresses",
            ("order_id",),
            personal=("ship_to_name", "ship_to_street", "ship_to_postcode"),
            person=("customer_id", "order_id"),
        ),
        ReleasedTable("fct_order_lines", ("order_line_id",), ("order_id", "sku_id")),
        ReleasedTable("fct_order_events", ("event_id",), ("order_id",)),
        ReleasedTable("fct_shipments", ("shipment_id",), ("order_id",)),
        ReleasedTable("fct_payments", ("payment_id",), ("order_id",)),
        ReleasedTable("fct_refunds", ("refund_id",), ("order_id",)),
        ReleasedTable("fct_returns", ("return_id",), ("order_id",)),
        ReleasedTable("fct_order_lots", ("order_lot_id",), ("order_id", "lot_id", "lot_number")),
        ReleasedTable("fct_tickets", ("ticket_id",), ("order_id", "customer_id")),
        ReleasedTable("fct_inventory_positions", ("position_id",), ("sku_id", "location_id")),
        ReleasedTable("fct_rebates", ("rebate_id",)),
        ReleasedTable("fct_temperature_readings", ("reading_id",), ("order_id",)),
        ReleasedTable("dim_customers", ("customer_id",), personal=PERSONAL_COLUMNS, person=("customer_id",)),
        ReleasedTable("dim_skus", ("sku_id",), ("sku_code", "gtin14")),
        ReleasedTable(
            "sku_relations", ("relation_kind", "from_sku_id", "to_sku_id"), ("from_sku_id", "to_sku_id")
        ),
        ReleasedTable("dim_locations", ("location_id",)),
        ReleasedTable("dim_dates", ("date_on",)),
        # A sum names every record it is made of, so one attribute may have several rows.
        ReleasedTable(
            "order_attribute_provenance", ("order_id", "attribute", "source_system", "stream", "record_key")
        ),
        ReleasedTable("golden_attribute_provenance", ("entity", "golden_id", "attribute"), ("golden_id",)),
        ReleasedTable(
            "survivorship_conflicts",
            ("entity", "golden_id", "attribute", "record_id"),
            personal=("value", "normal_value"),
            person=("golden_id",),
        ),
        ReleasedTable("order_numbers", ("order_number", "order_id", "record_id"), ("order_id",)),
        ReleasedTable("sku_numbers", ("sku_number", "sku_id", "record_id"), ("sku_id",)),
        ReleasedTable("location_numbers", ("location_number", "location_id", "record_id"), ("location_id",)),
        ReleasedTable("order_xref", ("record_id", "order_id", "valid_from"), ("order_id", SOURCE_KEY)),
        ReleasedTable("customer_xref", ("record_id", "valid_from"), ("customer_id", SOURCE_KEY)),
        ReleasedTable("sku_xref", ("record_id", "valid_from"), ("sku_id", SOURCE_KEY)),
        ReleasedTable("location_xref", ("record_id", "valid_from"), ("location_id", SOURCE_KEY)),
        ReleasedTable("fin_order_ledger", ("posting_id",), ("order_id",)),
        ReleasedTable("fin_settlements", ("settlement_line_id",), ("order_id",)),
        ReleasedTable("fin_reconciliation", ("difference_id",), ("order_id",)),
        ReleasedTable("fin_reconciliation_totals", ("total_id",)),
        ReleasedTable("fin_refunds", ("refund_id",), ("order_id",)),
        ReleasedTable("fin_rebates", ("rebate_id",), ("order_id",)),
        ReleasedTable("fin_measures", ("measure_id",)),
        ReleasedTable("ops_conservation", ("source_system", "currency")),
        ReleasedTable("ops_orphans", ("record_id",)),
    )
}


def declared(name: str) -> ReleasedTable:
    """The declaration of a mart.

    Raises:
        RejectedError: it has none.
    """
    table = RELEASED_TABLES.get(name)
    if table is None:
        raise RejectedError(
            f"table {name} is not declared as released: add its key to RELEASED_TABLES, or leave it out"
        )
    return table
