"""Notifications over HTTP: a source's twin tells what changed, the API keeps it, a pull brings just that record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI

from connectors.extract import PullResult
from connectors.landing import Landing
from connectors.notification import tallies, waiting
from connectors.sandbox.generate import generate
from connectors.sandbox.notify import Notification
from connectors.sandbox.server import Sandbox
from connectors.sandbox.server import serving as sandbox_serving
from oms_core import intake, pipeline
from oms_core.api import hooks, problems
from oms_core.api.edge import Edge
from oms_core.settings import Settings

STREAMS = {
    "shopify": ("orders", "order_id"),
    "square": ("orders", "order_id"),
    "stripe": ("charges", "charge_id"),
    "hubspot": ("contacts", "id"),
    "zendesk": ("tickets", "id"),
    "karrio": ("trackers", "id"),
    "lazada": ("orders", "order_id"),
    "douyin": ("orders", "order_id"),
    "wechat_shop": ("orders", "order_id"),
    "vendure": ("orders", "order_id"),
    "xiaohongshu": ("orders", "order_id"),
}


@pytest.fixture(scope="module")
def company() -> Iterator[Any]:
    """Ten systems of one small company."""
    with sandbox_serving(Sandbox(generate(7, 150), sources=list(STREAMS), level="none")) as served:
        yield served


@dataclass
class Hub:
    """The API with its hooks, and the pulls behind it."""

    client: httpx.Client
    settings: Settings
    company: Any

    def address(self, source: str) -> str:
        return f"http://hub.example/hooks/{source}"

    def told(self, source: str, *changes: tuple[str, str]) -> Notification:
        [notification] = self.company.sandbox.notifications(source, self.address(source), changes)
        return notification

    def send(self, source: str, notification: Notification, **changed: Any) -> httpx.Response:
        body = changed.pop("body", notification.body)
        headers = {"Content-Type": "application/json", **notification.headers, **changed}
        return self.client.post(f"/hooks/{source}", content=body, headers=headers, params=notification.params)

    def pull(self, source: str, **options: Any) -> list[PullResult]:
        return intake.pull(self.settings, [source], **options)

    def landing(self) -> Landing:
        return Landing(self.settings.landing)

    def rows(self, stream: str) -> list[dict[str, Any]]:
        landing = self.landing()
        files = [batch.files[stream] for batch in landing.batches() if stream in batch.files]
        landing.close()
        return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture
def hub(tmp_path: Path, company: Any, serving: Callable[[FastAPI], httpx.Client]) -> Iterator[Hub]:
    addresses = {
        f"ORDERHUB_{name.upper()}_WEBHOOK_URL": f"http://hub.example/hooks/{name}" for name in STREAMS
    }
    settings = Settings(tmp_path, {**company.env, **addresses})
    with intake.receiving(settings) as hear:
        app = FastAPI()
        problems.install(app)
        app.add_middleware(Edge, bodies={"/hooks/": hooks.MOST_BODY})
        app.include_router(hooks.router(hear))
        yield Hub(serving(app), settings, company)


def _a_change(hub: Hub, source: str) -> tuple[str, str]:
    world = hub.company.sandbox.world
    found: tuple[str, str] = hub.company.sandbox.changed(source, world.now - timedelta(days=90))[-1]
    return found


@pytest.mark.parametrize("source", STREAMS)
def test_what_a_source_tells_of_is_pulled_and_nothing_else(hub: Hub, source: str) -> None:
    stream, key = STREAMS[source]
    change = _a_change(hub, source)
    notification = hub.told(source, change)
    answer = hub.send(source, notification)
    assert answer.is_success, answer.text
    assert hub.rows(stream) == [], "nothing is pulled before somebody pulls"
    results = hub.pull(source, notified=True)
    assert [item.error for item in results if item.error] == []
    assert {str(row[key]) for row in hub.rows(stream)} == {change[1]}
    landing = hub.landing()
    assert waiting(landing) == []
    assert {count.stream: count.pulled - count.landed - count.quarantined for count in landing.counts()} == {
        name: 0 for item in results for name in pipeline.registry.source(source).stream(item.stream).tables
    }
    [kept] = [page for batch in landing.batches() for page in _hook_pages(landing, batch.batch_id)][:1]
    assert landing.read_page(kept) == notification.body, "the bytes as received are part of the batch"
    landing.close()
    assert hub.pull(source, notified=True) == [], "a notification is acted on once"


def _hook_pages(landing: Landing, batch_id: str) -> list[str]:
    import sqlalchemy as sa

    from connectors.landing import PAGES

    with landing.transaction() as connection:
        rows = connection.execute(sa.select(PAGES).where(PAGES.c.batch_id == batch_id))
        return [row.page_sha256 for row in rows if row.origin.startswith("POST /hooks/")]


@pytest.mark.parametrize("source", STREAMS)
def test_forged_and_unsigned_notifications_leave_nothing(hub: Hub, source: str) -> None:
    notification = hub.told(source, _a_change(hub, source))
    unsigned = Notification({}, notification.body)
    forged = Notification(
        {name: value[::-1] for name, value in notification.headers.items()},
        notification.body,
        {name: value[::-1] for name, value in notification.params.items()},
    )
    for attempt in (unsigned, forged):
        answer = hub.send(source, attempt)
        assert answer.status_code == 401, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:orderhub:problem:unauthorized"
    landing = hub.landing()
    assert waiting(landing) == []
    assert not list((hub.settings.landing / "pages").rglob("*.zst"))
    landing.close()


def test_a_notification_played_back_and_one_sent_twice_do_no_harm(hub: Hub) -> None:
    notification = hub.told("shopify", _a_change(hub, "shopify"))
    for _ in range(3):
        assert hub.send("shopify", notification).status_code == 202
    landing = hub.landing()
    assert len(waiting(landing)) == 1
    hub.pull("shopify", notified=True)
    assert hub.send("shopify", notification).status_code == 202
    assert waiting(landing) == [], "the vendor named the delivery, and it is done"
    landing.close()
    unnamed = hub.told("vendure", _a_change(hub, "vendure"))
    hub.send("vendure", unnamed)
    hub.pull("vendure", notified=True)
    hub.send("vendure", unnamed)
    again = hub.pull("vendure", notified=True)
    assert [item.changed for item in again] == [0], (
        "without a name it may be another change: asked for, and the same"
    )


def test_what_is_refused_is_counted_and_said_plainly(hub: Hub) -> None:
    good = hub.told("stripe", _a_change(hub, "stripe"))
    old = good.headers["Stripe-Signature"]
    assert hub.send("nobody", good).status_code == 404
    assert hub.send("ecb_fx", good).json()["type"] == "urn:orderhub:problem:unknown-source"
    assert hub.send("stripe", good, **{"Content-Type": "text/html"}).status_code == 415
    assert hub.send("stripe", good, body=b"x" * (hooks.MOST_BODY + 1)).status_code == 413
    assert (
        hub.send(
            "stripe", Notification({"Stripe-Signature": old.replace("t=", "t=1")}, good.body)
        ).status_code
        == 401
    )
    assert hub.client.get("/hooks/stripe").status_code == 404
    [other] = hub.company.sandbox.notifications("stripe", "", [("customer.created", "cus_1")])
    assert hub.send("stripe", other).status_code == 202
    without = pipeline.Settings(hub.settings.home, {})
    with intake.receiving(without) as hear:
        heard = hear("stripe", hooks.Said("POST", {"stripe-signature": old}, {}, good.body))
    assert heard.outcome == "unknown"
    assert "ORDERHUB_STRIPE_WEBHOOK_SECRET is not set" in heard.detail


def test_outcomes_are_counted(tmp_path: Path, company: Any) -> None:
    with intake.receiving(Settings(tmp_path, company.env)) as hear:
        for source in ("nobody", "anybody", "stripe", "stripe"):
            hear(source, hooks.Said("POST", {}, {}, b"{}"))
    landing = Landing(tmp_path / "landing")
    found = {(item.source, item.outcome): item.count for item in tallies(landing)}
    landing.close()
    assert found == {("(unknown)", "unknown"): 2, ("stripe", "forged"): 2}


def test_a_signed_message_of_another_shape_is_malformed(hub: Hub) -> None:
    notification = hub.told("hubspot", _a_change(hub, "hubspot"))
    event = json.loads(notification.body)
    del event[0]["objectId"]
    from connectors.sandbox import notify

    body = json.dumps(event).encode()
    sent_at = notification.headers["X-HubSpot-Request-Timestamp"]
    letter = notify._Letter(
        "", "", "", hub.address("hubspot"), notify.secret(hub.company.sandbox.credentials, "hubspot"),
        hub.company.sandbox.credentials, {},
    )  # fmt: skip
    signed = notify._b64(letter.mac(b"POST", hub.address("hubspot").encode(), body, sent_at.encode()))
    answer = hub.send("hubspot", notification, body=body, **{"X-HubSpot-Signature-v3": signed})
    assert answer.status_code == 422
    assert "names no record" in answer.json()["detail"]


def test_a_test_of_the_address_is_answered(hub: Hub) -> None:
    secrets = hub.company.env
    token = secrets["ORDERHUB_WECHAT_SHOP_WEBHOOK_TOKEN"]
    import hashlib

    signed = hashlib.sha1("".join(sorted([token, "1714036504", "15"])).encode()).hexdigest()
    query = {"signature": signed, "timestamp": "1714036504", "nonce": "15", "echostr": "4375"}
    answer = hub.client.get("/hooks/wechat_shop", params=query)
    assert (answer.status_code, answer.text) == (200, "4375")
    assert hub.client.get("/hooks/wechat_shop", params=query | {"nonce": "16"}).status_code == 401


def test_a_pull_that_fails_leaves_the_notification_waiting(hub: Hub) -> None:
    hub.send("karrio", hub.told("karrio", _a_change(hub, "karrio")))
    down = Settings(hub.settings.home, {**hub.settings.values, "ORDERHUB_KARRIO_TOKEN": "wrong"})
    [failed] = intake.pull(down, ["karrio"], notified=True)
    assert failed.error is not None
    landing = hub.landing()
    [left] = waiting(landing)
    landing.close()
    assert left.error == failed.error
    [done] = hub.pull("karrio", notified=True)
    assert done.landed > 0


def test_any_pull_drains_what_waits(hub: Hub) -> None:
    change = _a_change(hub, "stripe")
    hub.send("stripe", hub.told("stripe", change))
    results = hub.pull("stripe", streams=["disputes"])
    assert [item.stream for item in results] == ["disputes", "charges"]
    assert [row["charge_id"] for row in hub.rows("charges")] == [change[1]]
