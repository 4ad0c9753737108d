"""Every operation against its own contract: schemathesis asks what the OpenAPI document allows, and what it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from sqlalchemy import URL

from oms_core.api import keys
from oms_core.api.app import create_app
from oms_core.api.limits import Limit
from oms_core.store.embedded import SUPERUSER, EmbeddedServer
from oms_core.store.postgres import Database
from oms_core.store.tables import API_ROLES

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "3"))  # of each operation and kind of request
# The document that another test holds equal to the app's.
contract = schemathesis.openapi.from_path(Path(__file__).with_name("openapi.json"))
# What a schema cannot say, such as that a quantity is more than nothing, is refused with 422 and a code, as documented.
_UNSAID = schemathesis.checks.CHECKS.get_one("positive_data_acceptance")
# Addresses that stand in a wider route, too: asked with its method, they are an id of the entity "models", a kind of policy.
_METHODS = schemathesis.checks.CHECKS.get_one("unsupported_method")
_IN_A_WIDER_ROUTE = (
    "/identity/models/activations",
    "/identity/models/reports",
    "/sourcing/decisions",
    "/sourcing/what-if",
)
_ORDER = {
    "order_id": "order_a", "order_number": "1042", "order_type": "b2c", "channel": "web", "customer_id": "customer_w",
    "source_systems": '["shopify","tryton"]', "ordered_at": datetime(2026, 10, 31, 17), "promised_at": None, "currency": "EUR",
    "reporting_currency": "EUR", "net_amount": Decimal("49.9"), "is_test": False, "order_status": "paid", "ship_to_country": "DE",
    "ship_to_postcode": "50667", "loyalty_tier": None, "quality_flags": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def served(
    database_server: EmbeddedServer, publish_small: Any, serve_app: Any
) -> Iterator[tuple[str, dict[str, str]]]:
    """Address of the app over one small release, and a key of every role."""
    folder = str(database_server.socket_folder)
    with psycopg.connect(host=folder, user=SUPERUSER, dbname="postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE contract TEMPLATE orderhub")
    address = URL.create("postgresql+psycopg", SUPERUSER, database="contract", query={"host": folder})
    with Database(address) as database:
        publish_small(database, fct_orders=[_ORDER])
        with database.begin() as writing:
            made = {
                role: keys.make(
                    writing, role, role=role, by="test", tenant="shop" if role == keys.OMS_SERVICE else None
                )
                for role in API_ROLES
            }
        with serve_app(create_app(database, "k" * 32, limit=Limit(1e6, 1e6))) as base:
            yield base, made
    with psycopg.connect(host=folder, user=SUPERUSER, dbname="postgres", autocommit=True) as connection:
        connection.execute("DROP DATABASE contract WITH (FORCE)")


@pytest.mark.slow
@contract.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_no_operation_breaks_its_contract(case: Any, served: tuple[str, dict[str, str]]) -> None:
    base, made = served
    roles = case.operation.definition.raw.get("x-roles")
    for name in ("Authorization", "X-API-Key"):  # what was made up of them must not stand beside the true one
        case.headers.pop(name, None)
    excluded = [_UNSAID, _METHODS] if case.path in _IN_A_WIDER_ROUTE else [_UNSAID]
    case.call_and_validate(
        base_url=base, headers={"X-API-Key": made[roles[0]]} if roles else {}, excluded_checks=excluded
    )
