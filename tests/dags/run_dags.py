"""Runs DAGs one after another, each with Airflow's own `dag.test`, and says what became of them.

    python run_dags.py DAG[=JSON-conf]... > log

Runs where AIRFLOW_HOME holds a migrated database. The last line on standard output is JSON:
{"errors": {file: error}, "pools": {dag: [pool]}, "runs": {dag: {"state", "tasks": {task: {label: state}}}},
"tries": {dag: {task: {label: attempts}}}, "assets": {name: events}, "queued": [dag the assets call for]}. Tasks are tried
again as often as RUN_DAGS_RETRIES says, not at all by default, and without a wait.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.models.asset import AssetDagRunQueue, AssetEvent, AssetModel
from airflow.utils.session import create_session
from sqlalchemy import func, select


def main(requests: list[str]) -> None:
    """Load the DAGs, run what is asked for, and print the outcome."""
    (bundle,) = DagBundlesManager().get_all_dag_bundles()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    again = {
        "retries": int(os.environ.get("RUN_DAGS_RETRIES", "0")), "retry_delay": timedelta(0),
        "retry_exponential_backoff": 0.0,
    }  # fmt: skip
    runs, tries = {}, {}
    for request in requests:
        dag_id, _, run_conf = request.partition("=")
        dag = bag.dags[dag_id]
        for operator in dag.tasks:
            (operator.partial_kwargs if operator.is_mapped else operator.__dict__).update(again)
        run = dag.test(run_conf=json.loads(run_conf or "{}"))
        tasks: dict[str, dict[str, str | None]] = {}
        attempts: dict[str, dict[str, int]] = {}
        for item in run.get_task_instances():
            label = item.rendered_map_index or str(item.map_index)
            tasks.setdefault(item.task_id, {})[label] = item.state
            attempts.setdefault(item.task_id, {})[label] = item.try_number
        runs[dag_id], tries[dag_id] = {"state": run.state, "tasks": tasks}, attempts
    with create_session() as session:
        query = select(AssetModel.name, func.count()).join(AssetEvent, AssetEvent.asset_id == AssetModel.id)
        assets = dict(session.execute(query.group_by(AssetModel.name)).all())
        queued = sorted(set(session.scalars(select(AssetDagRunQueue.target_dag_id))))
    pools = {dag_id: sorted({operator.pool for operator in dag.tasks}) for dag_id, dag in bag.dags.items()}
    outcome = {
        "errors": bag.import_errors, "pools": pools, "runs": runs, "tries": tries, "assets": assets, "queued": queued,
    }  # fmt: skip
    print("\n" + json.dumps(outcome))


if __name__ == "__main__":
    main(sys.argv[1:])
