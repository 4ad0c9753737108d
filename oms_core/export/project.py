"""The dbt project as it was last built: its manifest, and the SQL each model was compiled to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


class ExportError(Exception):
    """Nothing was exported: the message says what is missing and what to do."""


@dataclass(frozen=True)
class Project:
    """dbt's target folder of one installation.

    Attributes:
        target: the folder that holds `manifest.json`, `run_results.json` and `compiled/`.
        manifest: dbt's manifest, version 12.
    """

    target: Path
    manifest: Mapping[str, Any]

    @classmethod
    def of(cls, home: Path) -> Project:
        """The project as built last under a home.

        Raises:
            ExportError: nothing was built there yet, or the manifest cannot be read.
        """
        target = home / "dbt" / "target"
        try:
            manifest = json.loads((target / "manifest.json").read_text())
        except FileNotFoundError:
            raise ExportError(f"nothing was built under {home} yet: run `orderhub run` first") from None
        except ValueError as error:
            raise ExportError(
                f"{target / 'manifest.json'} is not whole ({error}): run `orderhub unify`"
            ) from error
        return cls(target, manifest)

    @property
    def adapter(self) -> str:
        """The warehouse's kind as dbt names it: duckdb, postgres, spark."""
        return str(self.manifest["metadata"]["adapter_type"])

    @cached_property
    def nodes(self) -> Mapping[str, Any]:
        """Models, seeds, tests and sources by dbt's unique id."""
        return {**self.manifest["nodes"], **self.manifest["sources"]}

    def model(self, name: str) -> Mapping[str, Any] | None:
        """The model or seed of a name, or None."""
        package = self.manifest["metadata"]["project_name"]
        return self.nodes.get(f"model.{package}.{name}") or self.nodes.get(f"seed.{package}.{name}")

    def models(self) -> Iterator[Mapping[str, Any]]:
        """Models that stand in the warehouse as tables or views, sorted by id."""
        for _, node in sorted(self.nodes.items()):
            if node["resource_type"] == "model" and node["config"]["materialized"] != "ephemeral":
                yield node

    def tests_of(self, node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Generic tests attached to a model."""
        for other in self.nodes.values():
            if other["resource_type"] == "test" and other.get("attached_node") == node["unique_id"]:
                yield other

    def compiled(self, node: Mapping[str, Any]) -> str | None:
        """The SELECT a model was compiled to when it was last built, or None if it never was."""
        path = self.target / "compiled" / node["package_name"] / node["original_file_path"]
        return path.read_text() if path.is_file() else None

    def run_results(self) -> Mapping[str, Mapping[str, Any]]:
        """How each node of the last build went, by dbt's unique id; empty where none is recorded."""
        path = self.target / "run_results.json"
        if not path.is_file():
            return {}
        return {item["unique_id"]: item for item in json.loads(path.read_text())["results"]}
