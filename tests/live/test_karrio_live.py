"""A real karrio, pulled over HTTP, changed, pulled again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.registry import source

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


def test_everything_arrives_and_only_the_change_travels(
    karrio: Any, tmp_path: Path, unrecorded: Callable[[Landing, str], set[str]]
) -> None:
    with closing(Landing(tmp_path / "landing")) as landing:
        first = _pull(landing, karrio)
        shipments = karrio.company("tell")
        assert first["shipments"].changed == len(shipments)
        assert (first["pickups"].changed, first["carriers"].changed) == (0, 1)
        for shipment in shipments:
            assert {rate["service"] for rate in shipment["rates"]} == {"standard_service", "express_service"}
            bought = [rate for rate in shipment["rates"] if rate["id"] == shipment["selected_rate_id"]]
            assert [rate["total_charge"] for rate in bought] == [shipment["selected_rate"]["total_charge"]]
        changed = karrio.company("change")
        karrio.fetch(changed["new"])
        second = _pull(landing, karrio)
        assert second["shipments"].changed == len(changed)
        assert (second["pickups"].changed, second["carriers"].changed) == (1, 0)
        again = _pull(landing, karrio)
        assert {name: result.changed for name, result in again.items()} == dict.fromkeys(again, 0)
        assert unrecorded(landing, "karrio") == set()
    assert changed["cancelled"] != changed["new"]


def test_wrong_token_lands_nothing_and_says_what_to_do(karrio: Any, tmp_path: Path) -> None:
    values = {**karrio.values, "ORDERHUB_KARRIO_TOKEN": "key_of_nobody"}
    with closing(Landing(tmp_path / "landing")) as landing:
        (result,) = pull_source(source("karrio"), landing, values, streams=["shipments"])
        assert landing.batches() == []
    assert result.error is not None
    assert "ORDERHUB_KARRIO_TOKEN" in result.error
    assert "key_of_nobody" not in result.error


def _pull(landing: Landing, karrio: Any) -> dict[str, PullResult]:
    results = pull_source(source("karrio"), landing, karrio.values)
    assert [result.error for result in results if result.error] == []
    assert all(result.quarantined == 0 for result in results), results
    return {result.stream: result for result in results}
