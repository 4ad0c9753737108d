"""What the DAG files share: assets, pools, and where a task finds its settings.

Run as a script it prints the pools for `airflow pools import`.
"""

from __future__ import annotations

import json
import os

from airflow.sdk import Asset, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from connectors import registry
from oms_core.settings import Settings

WAREHOUSE_POOL = "orderhub_warehouse"


def landed(source: str) -> Asset:
    """The asset that stands for what a source has landed."""
    return Asset(name=f"orderhub_landing_{source}", uri=f"orderhub://landing/{source}", group="orderhub")


def source_pool(source: str) -> str:
    """Name of the pool in which a source's streams are pulled."""
    return f"orderhub_{source}"


def pools() -> dict[str, dict[str, object]]:
    """Every pool, in the form `airflow pools import` reads.

    One slot each: a source's streams share its request budget, which lives in the process that pulls, and the warehouse
    has one writer at a time.
    """
    descriptions = {
        source_pool(source.name): f"Pulls from {source.title}" for source in registry.sources().values()
    }
    descriptions[WAREHOUSE_POOL] = "Writes to the warehouse"
    return {
        name: {"slots": 1, "description": description, "include_deferred": False}
        for name, description in descriptions.items()
    }


def settings_for(source: str | None = None) -> Settings:
    """Settings from the environment, with the extras of the Airflow connection `orderhub_<source>` on top.

    The extra `token` of the connection `orderhub_square` counts as ORDERHUB_SQUARE_TOKEN. A source without a connection
    uses the environment alone.
    """
    values = dict(os.environ)
    if source is not None:
        try:
            extras = Connection.get(f"orderhub_{source}").extra_dejson
        except AirflowNotFoundException:
            extras = {}
        values |= {f"ORDERHUB_{source.upper()}_{name.upper()}": str(value) for name, value in extras.items()}
    return Settings.from_environment(values=values)


if __name__ == "__main__":
    print(json.dumps(pools(), indent=2))
