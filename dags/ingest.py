"""One DAG per declared source: pull every stream, then say so with an asset.

A scheduled run continues from the cursors. A back-fill run reads what changed in its data interval; so does a run started
with the parameters `since` and `until`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import (
    DAG,
    Context,
    CronDataIntervalTimetable,
    Param,
    TriggerRule,
    get_current_context,
    task,
)
from airflow.sdk.exceptions import AirflowFailException
from wiring import landed, settings_for, source_pool

from connectors import registry
from connectors.declare import Source


def ingest(source: Source) -> DAG:
    """The DAG of one source."""
    # A source of files has no streams to ask for: one task reads its inbox.
    leaders = (
        [""] if source.reads_files else [stream.name for stream in source.streams if stream.fan_out is None]
    )
    followers = [stream.name for stream in source.streams if stream.fan_out is not None]
    with DAG(
        f"ingest_{source.name}",
        description=f"Pull {source.title} into landing",
        schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags=["orderhub", source.kind.value],
        params={
            name: Param(
                None, type=["null", "string"], format="date-time", description="ISO 8601 with its offset"
            )
            for name in ("since", "until")
        },
        default_args={"owner": source.owner},
    ) as dag:
        pulled = [
            pull.override(pool=source_pool(source.name)).partial(source=source.name).expand(stream=leaders)
        ]
        if followers:
            # They ask by keys that another stream landed; one that failed is no reason not to ask.
            later = pull.override(
                task_id="pull_followers", pool=source_pool(source.name), trigger_rule=TriggerRule.ALL_DONE
            )
            pulled.append(later.partial(source=source.name).expand(stream=followers))
            pulled[0] >> pulled[1]
        # The asset goes out when any stream came in; `every_stream_pulled` still fails the run for one that did not.
        pulled >> announce.override(outlets=[landed(source.name)])()
        pulled >> every_stream_pulled()
    return dag


@task(
    map_index_template="{{ task.op_kwargs['stream'] or 'files' }}",
    retries=3,
    retry_delay=timedelta(minutes=1),
    retry_exponential_backoff=2.0,
    max_retry_delay=timedelta(minutes=30),
)
def pull(source: str, stream: str) -> dict[str, int]:
    """Pull one stream; answers the rows pulled, landed and quarantined."""
    from oms_core import intake

    since, until = window(get_current_context())
    results = intake.pull(
        settings_for(source), [source], streams=[stream] if stream else None, since=since, until=until
    )
    if failed := [result for result in results if result.error]:
        told = "\n".join(str(result.error) for result in failed)
        # A wrong password asked again and again may lock the account: only what may pass by itself is asked again.
        if any(result.is_retryable for result in failed):
            raise RuntimeError(told)
        raise AirflowFailException(told)
    return {
        name: sum(getattr(result, name) for result in results) for name in ("pulled", "landed", "quarantined")
    }


@task(trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)
def announce() -> None:
    """Emit the source's asset, the outlet of this task."""


@task
def every_stream_pulled() -> None:
    """Succeeds only when every stream did."""


def window(context: Context) -> tuple[datetime | None, datetime | None]:
    """What a run should read: (None, None) from the cursors on, else half-open bounds."""
    since, until = (context["params"][name] for name in ("since", "until"))
    if since or until:
        return (since and datetime.fromisoformat(since)), (until and datetime.fromisoformat(until))
    if context["dag_run"].run_type == "backfill":
        return context["data_interval_start"], context["data_interval_end"]
    return None, None


for declared in registry.sources().values():
    globals()[f"ingest_{declared.name}"] = ingest(declared)
