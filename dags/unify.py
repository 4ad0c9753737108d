"""From landing to release, whenever a source has landed something."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, AssetAny, task
from wiring import WAREHOUSE_POOL, landed, settings_for

from connectors import registry

with DAG(
    "unify",
    description="Gate, stage, identify, build and release what has landed",
    schedule=AssetAny(*(landed(name) for name in registry.sources())),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["orderhub"],
) as dag:

    @task(pool=WAREHOUSE_POOL, retries=1, retry_delay=timedelta(minutes=5))
    def unify() -> dict[str, int | bool | None]:
        """Run the steps of `orderhub unify`; answers the release."""
        from oms_core import pipeline

        result = pipeline.unify(settings_for(), say=print)
        return {"release_id": result.release_id, "is_new": result.is_new, "orders": result.orders}

    unify()
