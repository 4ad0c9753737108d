"""Streams that ask by the values of another: what a value that is new to them is asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from connectors.declare import Ask, Bounds, Source
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing

Pull = Callable[..., dict[str, PullResult]]
_AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
_OLD, _NEW = _AT - timedelta(days=300), _AT + timedelta(days=1)


def _ask(bounds: Bounds) -> Ask:
    since = {} if bounds.since is None else {"since": bounds.since.isoformat()}
    until = {} if bounds.until is None else {"until": bounds.until.isoformat()}
    return Ask(params={"shops": ",".join(bounds.keys), **since, **until})


class Company:
    """Two shops' orders, by shop; it answers as it is asked."""

    def __init__(self, desk: Any, kit: SimpleNamespace) -> None:
        self.desk, self.kit = desk, kit
        self.shops: dict[str, list[datetime]] = {}
        desk.routes["/items"] = lambda query: kit.Reply({"items": [{"id": name} for name in self.shops]})
        desk.routes["/orders"] = self._orders

    def _orders(self, query: dict[str, str]) -> Any:
        rows = [
            self.kit.order(f"-{name}-{number}", updated_at=at.isoformat())
            for name in query["shops"].split(",")
            for number, at in enumerate(self.shops[name])
            if query.get("since", "") <= at.isoformat() < query.get("until", "9")
        ]
        return self.kit.Reply({"orders": rows})

    def asked(self) -> list[tuple[str, str | None]]:
        """(shops, since) of every request for orders so far; then forgotten."""
        found = [
            (query["shops"], query.get("since")) for path, query, _ in self.desk.seen if path == "/orders"
        ]
        self.desk.seen.clear()
        return found


@pytest.fixture
def company(desk: Any, kit: SimpleNamespace) -> Company:
    opened = Company(desk, kit)
    opened.shops = {"a": [_AT], "b": [_AT, _OLD]}
    return opened


def _by_shop(kit: SimpleNamespace, **changes: Any) -> Source:
    orders, items = kit.SHOP.streams
    changed = {"fan_out": ("items", "item_id"), "ask": _ask, "lag": timedelta(minutes=10), **changes}
    source: Source = kit.SHOP.model_copy(update={"streams": (items, orders.model_copy(update=changed))})
    return source


def _orders_landed(landing: Landing) -> set[str]:
    return set(landing.values("shop", "orders", "order_id"))


def test_a_value_that_appears_between_pulls_is_asked_for_from_the_beginning(
    company: Company, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    source = _by_shop(kit)
    assert pull_shop(source=source)["orders"].error is None
    assert company.asked() == [("a,b", None)]

    company.shops |= {"c": [_OLD, _NEW], "d": [_OLD]}
    company.shops["a"].append(_NEW)
    assert pull_shop(source=source)["orders"].error is None
    assert company.asked() == [("a,b", (_AT - timedelta(minutes=10)).isoformat()), ("c,d", None)]
    assert _orders_landed(landing) == {"o-a-0", "o-a-1", "o-b-0", "o-b-1", "o-c-0", "o-c-1", "o-d-0"}

    pull_shop(source=source)
    assert company.asked() == [("a,b,c,d", (_NEW - timedelta(minutes=10)).isoformat())], (
        "by now all are known"
    )


def test_the_beginning_of_a_stream_with_windows_is_its_look_back(
    company: Company, kit: SimpleNamespace, pull_shop: Pull
) -> None:
    history = timedelta(days=1000)
    source = _by_shop(kit, window=timedelta(days=5000), history=history)
    pull_shop(source=source)
    company.shops["c"] = [_OLD]
    company.asked()
    assert pull_shop(source=source)["orders"].landed == 3 * 3
    (_, known), (shops, since) = company.asked()
    assert known == (_AT - timedelta(minutes=10)).isoformat()
    assert shops == "c" and since is not None
    assert abs(datetime.now(UTC) - history - datetime.fromisoformat(since)) < timedelta(minutes=1)


def test_neither_a_back_fill_nor_a_failed_pull_makes_a_value_known(
    company: Company, kit: SimpleNamespace, pull_shop: Pull, landing: Landing, desk: Any
) -> None:
    source = _by_shop(kit)
    pull_shop(source=source)
    company.shops["c"] = [_OLD]
    pull_shop(source=source, since=_AT - timedelta(days=2), until=_AT)
    pull_shop(source=source, since=_AT - timedelta(days=2))
    right, desk.routes["/orders"] = desk.routes["/orders"], kit.Reply({}, 403)
    assert pull_shop(source=source)["orders"].error is not None
    assert "o-c-0" not in _orders_landed(landing)
    desk.routes["/orders"] = right
    pull_shop(source=source)
    assert "o-c-0" in _orders_landed(landing)


def test_a_full_pull_makes_every_value_known(
    company: Company, kit: SimpleNamespace, landing: Landing, desk: Any, pull_shop: Pull
) -> None:
    source = _by_shop(kit)
    pull_source(source, landing, desk.env)
    company.shops["c"] = [_OLD]
    pull_shop(source=source, full=True)
    company.asked()
    pull_shop(source=source)
    assert [shops for shops, _ in company.asked()] == ["a,b,c"]
