"""The model in Splink's terms, and the SQL that Splink makes of it."""

from __future__ import annotations

from typing import Any

from splink import SettingsCreator
from splink.internals.comparison_vector_values import compute_comparison_vector_values_from_id_pairs_sqls
from splink.internals.dialects import SplinkDialect
from splink.internals.pipeline import CTEPipeline
from splink.internals.predict import predict_from_comparison_vectors_sqls

from oms_core.identity.scoring.blocking import ROW, frequent_columns
from oms_core.identity.scoring.model import Model


def settings_of(model: Model, dialect: str) -> Any:
    """The model in Splink's own terms."""
    frequent = set(frequent_columns(model))
    comparisons: list[Any] = []
    for comparison in model.comparisons:
        levels: list[dict[str, Any]] = [
            {"sql_condition": comparison.unknown, "label_for_charts": "unknown", "is_null_level": True}
        ]
        for level in comparison.levels:
            entry: dict[str, Any] = {
                "sql_condition": level.test or "ELSE",
                "label_for_charts": level.label,
                "m_probability": level.u if level.neutral else level.m,
                "u_probability": level.u,
            }
            if level.frequency in frequent:
                entry |= {
                    "tf_adjustment_column": level.frequency,
                    "tf_adjustment_weight": 1.0,
                    "disable_tf_exact_match_detection": True,
                }
            levels.append(entry)
        comparisons.append({"output_column_name": comparison.field, "comparison_levels": levels})
    creator = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name=ROW,
        comparisons=comparisons,
        blocking_rules_to_generate_predictions=[],
        probability_two_random_records_match=model.prior,
        linker_uid="orderhub",
    )
    return creator.get_settings(dialect)


def level_columns(model: Model) -> list[str]:
    """Names of the columns in which Splink gives the level of each comparison."""
    return [f"gamma_{comparison.field}" for comparison in model.comparisons]


def scores_sql(model: Model, dialect: str, *, least_weight: float | None, parts: bool = False) -> str:
    """Splink's statement that compares and weighs table `pairs` over table `nodes`.

    Args:
        model: the model.
        dialect: duckdb, postgres or spark.
        least_weight: only pairs of at least this match weight.
        parts: with the weight of each comparison (`mw_…`, `mw_tf_adj_…`).
    """
    settings = settings_of(model, dialect)
    pipeline = _compare(settings, settings.column_info_settings.unique_id_input_columns)
    pipeline.enqueue_list_of_sqls(
        predict_from_comparison_vectors_sqls(
            unique_id_input_columns=settings.column_info_settings.unique_id_input_columns,
            core_model_settings=settings.core_model_settings,
            sql_dialect=SplinkDialect.from_string(dialect),
            threshold_match_weight=least_weight,
            retain_intermediate_calculation_columns=parts,
            training_mode=True,
        )
    )
    statement = str(pipeline.generate_cte_pipeline_sql())
    # Splink casts to a type that Spark knows by its other name alone.
    return statement.replace("as float8)", "as double)") if dialect == "spark" else statement


def patterns_sql(model: Model, dialect: str) -> str:
    """Splink's comparison of table `pairs` over table `nodes`, each combination of levels once with its number of pairs."""
    pipeline = _compare(settings_of(model, dialect), [])
    levels = ", ".join(level_columns(model))
    pipeline.enqueue_sql(
        f"select {levels}, count(*) as pairs from __splink__df_comparison_vectors group by {levels} order by {levels}",
        "patterns",
    )
    return str(pipeline.generate_cte_pipeline_sql())


def _compare(settings: Any, ids: list[Any]) -> CTEPipeline:
    pipeline = CTEPipeline()
    pipeline.enqueue_sql("select * from nodes", "__splink__df_concat_with_tf")
    pipeline.enqueue_sql("select * from pairs", "__splink__blocked_id_pairs")
    read = [
        column
        for comparison in settings.comparisons
        for column in comparison._columns_to_select_for_blocking()
    ]
    row = [f"l.{ROW} as {ROW}_l", f"r.{ROW} as {ROW}_r"]
    wanted = settings.columns_to_select_for_comparison_vector_values(
        unique_id_input_columns=ids,
        comparisons=settings.comparisons,
        retain_matching_columns=False,
        additional_columns_to_retain=[],
    )
    pipeline.enqueue_list_of_sqls(
        compute_comparison_vector_values_from_id_pairs_sqls(
            list(dict.fromkeys([*row, *read])),
            wanted,
            input_tablename_l="__splink__df_concat_with_tf",
            input_tablename_r="__splink__df_concat_with_tf",
            source_dataset_input_column=None,
            unique_id_input_column=settings.column_info_settings.unique_id_input_column,
            link_type="dedupe_only",
            sql_dialect_str=settings._sql_dialect_str,
        )
    )
    return pipeline
