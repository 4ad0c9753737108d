"""Counts of sources are asked around a pull and read beside the pages; what is missing or was deleted shows."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from connectors import quarantine, registry
from connectors.extract import pull_source
from connectors.landing import Landing
from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox, serving

COUNTED = ("odoo", "tryton", "hubspot", "karrio", "sap_s4", "vendure", "shopify", "wechat_shop")


def test_every_count_of_a_dirty_company_is_what_landed_or_waits(tmp_path: Path) -> None:
    with (
        serving(Sandbox(generate(7, 20), level="heavy")) as served,
        closing(Landing(tmp_path)) as landing,
    ):
        for name in (*COUNTED, "lazada"):
            source = registry.source(name)
            streams = ("orders", "products") if name == "lazada" else None
            assert [
                r.error for r in pull_source(source, landing, served.env, streams=streams) if r.error
            ] == []
        told = landing.control_counts()
    whole = {(item.source, item.stream): item for item in told if item.scope == "stream"}
    assert {source for source, _ in whole} == set(COUNTED)
    with closing(Landing(tmp_path)) as landing:
        for (name, stream_name), item in whole.items():
            stream = registry.source(name).stream(stream_name)
            landed = len(landing.values(name, stream_name, stream.key[0]))
            here = landed + quarantine.waiting_records(landing, name, stream)
            assert item.least == item.most == here, item
    pulls = [item for item in told if item.scope == "pull" and item.source == "lazada"]
    assert len(pulls) == 2 and all(item.least == item.received for item in pulls)
    assert not [item for item in told if item.scope == "window"]
