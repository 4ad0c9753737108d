"""The one file that touches great-expectations: runs suites over data frames, keeps the results, builds the data docs.

Below the folder it is given:
    index.html                 the data docs; one page per suite, and one for its latest result
    .suites/, .results/        what the pages are made from

great-expectations takes seconds to import: it is imported by the first suite that runs.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations.suite import Expect, Finding, Given, Suite

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES = 5
_KEPT_ROWS = 20  # failed rows a result keeps for the data docs
_RESULT_FORMAT = {"result_format": "COMPLETE", "return_unexpected_index_query": False}


class GateContext:
    """A GX context whose data docs live in one folder. Not for several threads at once.

    Args:
        folder: `$ORDERHUB_HOME/data_docs`; made when the first suite runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._gx: Any = None
        self._asset: Any = None
        self._fresh: list[Any] = []
        self._marks: dict[Path, str] = {}

    @property
    def index(self) -> Path:
        """The data docs' first page; there once `build_docs` has run."""
        return self.folder / "index.html"

    def check(
        self, suite: Suite, frame: pd.DataFrame, run_name: str, given: Mapping[str, Any] | None = None
    ) -> list[Finding]:
        """Run a suite over a frame and keep the result for the data docs.

        Args:
            suite: columns it names must be in the frame.
            frame: (n,) rows; the labels of its index come back as `Finding.positions`.
            run_name: what was checked, such as a batch id.
            given: values of the suite's `Given` arguments.

        Returns:
            One finding per expectation, in the suite's order.
        """
        context = self._context()
        from great_expectations.core.expectation_suite import ExpectationSuite

        batch = self._asset.get_batch(self._asset.build_batch_request(options={"dataframe": frame}))
        built = ExpectationSuite(
            name=suite.name,
            expectations=[_expectation(expect, position) for position, expect in enumerate(suite.expects)],
        )
        # What its libraries deprecate is GX's affair: where warnings are errors, it would pass for a failed expectation.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = batch.validate(
                built, result_format=_RESULT_FORMAT, expectation_parameters=dict(given or {})
            )
        by_position = {result.expectation_config.meta["position"]: result for result in outcome.results}
        findings = [
            _finding(suite.name, expect, by_position[position])
            for position, expect in enumerate(suite.expects)
        ]
        self._keep_suite(context, suite, built)
        self._keep_result(context, suite.name, outcome, run_name)
        return findings

    def build_docs(self) -> Path:
        """Write the pages of what was checked since the last call, and the index; return the index."""
        context = self._context()
        fresh, self._fresh = self._fresh, []
        context.build_data_docs(resource_identifiers=fresh)
        for mark, text in self._marks.items():
            mark.write_text(text, "utf-8")
        self._marks.clear()
        return self.index

    def _context(self) -> Any:
        if self._gx is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            os.environ["GX_ANALYTICS_ENABLED"] = "false"
            import great_expectations as gx
            from great_expectations.data_context.types.base import (
                DataContextConfig,
                InMemoryStoreBackendDefaults,
                ProgressBarsConfig,
            )

            defaults = InMemoryStoreBackendDefaults()
            stores = dict(defaults.stores)
            for name, folder in (
                (defaults.expectations_store_name, ".suites"),
                (defaults.validation_results_store_name, ".results"),
            ):
                stores[name] = {**stores[name], "store_backend": _folder_backend(self.folder / folder)}
            config = DataContextConfig(
                store_backend_defaults=defaults,
                stores=stores,
                analytics_enabled=False,
                progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
                data_docs_sites={
                    "local_site": {
                        "class_name": "SiteBuilder",
                        "show_how_to_buttons": False,
                        "store_backend": _folder_backend(self.folder),
                        "site_section_builders": {"profiling": "none"},
                    }
                },
            )
            self._gx = gx.get_context(mode="ephemeral", project_config=config)
            # One for all suites: GX writes out every asset whenever one is added, and keeps the frame last seen of each.
            self._asset = self._gx.data_sources.add_pandas("orderhub").add_dataframe_asset("frame")
        return self._gx

    def _keep_suite(self, context: Any, suite: Suite, built: Any) -> None:
        from great_expectations.data_context.types.resource_identifiers import ExpectationSuiteIdentifier

        # A page per suite is slow to render: only when the suite is new or has changed.
        mark = self.folder / ".suites" / f"{suite.name}.mark"
        if mark.exists() and mark.read_text("utf-8") == repr(suite):
            return
        key: Any = ExpectationSuiteIdentifier(name=suite.name)
        content = json.dumps(built.to_json_dict(), sort_keys=True)
        context.expectations_store.store_backend.set(key.to_tuple(), content)
        self._marks[mark] = repr(suite)
        self._fresh.append(key)

    def _keep_result(self, context: Any, suite_name: str, outcome: Any, run_name: str) -> None:
        from great_expectations.core.run_identifier import RunIdentifier
        from great_expectations.data_context.types.resource_identifiers import (
            ExpectationSuiteIdentifier,
            ValidationResultIdentifier,
        )

        run = RunIdentifier(run_name=run_name, run_time=datetime.now(UTC))
        outcome.meta["run_id"] = run
        for result in outcome.results:
            _shorten(result.result)
        key = ValidationResultIdentifier(ExpectationSuiteIdentifier(name=suite_name), run, suite_name)
        # The data docs show the latest result of each suite; the manifest and the release keep the history.
        shutil.rmtree(self.folder / ".results" / Path(*suite_name.split(".")), ignore_errors=True)
        self._fresh = [item for item in self._fresh if getattr(item, "batch_identifier", None) != suite_name]
        context.validation_results_store.set(key, outcome)
        self._fresh.append(key)


def _folder_backend(folder: Path) -> dict[str, Any]:
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}


def _expectation(expect: Expect, position: int) -> Any:
    from great_expectations.expectations.registry import get_expectation_impl
    from great_expectations.expectations.row_conditions import Column

    arguments: dict[str, Any] = {
        name: {"$PARAMETER": value.name} if isinstance(value, Given) else value
        for name, value in expect.arguments.items()
    }
    if expect.column is not None:
        arguments["column"] = expect.column
    if expect.where is not None:
        column, values = expect.where
        arguments["row_condition"] = (
            Column(column).is_in(list(values)) if values else Column(column).is_not_null()
        )
    implementation: Any = get_expectation_impl(expect.type)
    return implementation(
        severity=expect.severity.value, meta={"position": position, "fault": expect.fault}, **arguments
    )


def _finding(table: str, expect: Expect, result: Any) -> Finding:
    error = _error(result.exception_info)
    if error is not None:
        return Finding(table, expect, passed=False, error=error)
    details: Mapping[str, Any] = result.result
    positions = details.get("unexpected_index_list") or ()
    observed = details.get("observed_value")
    seen = [value for value in details.get("partial_unexpected_list") or () if not _is_null(value)]
    examples = list(dict.fromkeys(map(_plain, seen)))[:_EXAMPLES]
    return Finding(
        table,
        expect,
        passed=bool(result.success),
        element_count=int(details.get("element_count", 0)),
        unexpected_count=int(details.get("unexpected_count", 0)),
        positions=tuple(int(label) for label in positions),
        observed=str(observed) if observed is not None else ", ".join(examples),
    )


def _error(info: Mapping[str, Any]) -> str | None:
    """First message of GX's exception info, which is flat or one entry per metric."""
    entries: Sequence[Any] = [info] if "raised_exception" in info else list(info.values())
    for entry in entries:
        if entry["raised_exception"]:
            return str(entry["exception_message"]).strip()
    return None


def _is_null(value: Any) -> bool:
    return value is None or value != value


def _plain(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _shorten(details: dict[str, Any]) -> None:
    for name in ("unexpected_list", "unexpected_index_list"):
        if name in details:
            details[name] = details[name][:_KEPT_ROWS]
