"""Any sequence of reservations, ends, movements and expiries agrees with a model that a child could check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from oms_core.fulfilment import book
from oms_core.fulfilment.book import Place
from oms_core.fulfilment.desk import apply, repeat
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.ledger import Answer, Change
from oms_core.fulfilment.movement import Movement
from oms_core.fulfilment.reservation import Ask
from oms_core.fulfilment.sweep import sweep
from oms_core.store.postgres import Database

SKUS = ("S1", "S2")
NODES = ("N1", "N2")
START = 6
T0 = datetime(2026, 1, 1, tzinfo=UTC)
ARRIVES = timedelta(days=3)


@dataclass
class Promise:
    """What the model remembers of a reservation: quantity by pool, there and under way, and whether it is only held."""

    ask: Ask
    quantities: dict[tuple[str, str], int]
    coming: dict[tuple[str, str], int] = field(default_factory=dict)
    is_held: bool = True
    is_over: bool = False


@dataclass
class Model:
    """Quantities on hand and still to arrive, and promises; nothing else."""

    on_hand: dict[tuple[str, str], int] = field(
        default_factory=lambda: {(s, n): START for s in SKUS for n in NODES}
    )
    arriving: dict[tuple[str, str], int] = field(default_factory=dict)
    promises: dict[str, Promise] = field(default_factory=dict)

    def waited_for(self, pool: tuple[str, str]) -> int:
        return sum(item.coming.get(pool, 0) for item in self.promises.values() if not item.is_over)

    def promised(self, pool: tuple[str, str]) -> int:
        return sum(item.quantities.get(pool, 0) for item in self.promises.values() if not item.is_over)

    def free(self, pool: tuple[str, str]) -> int:
        return self.on_hand[pool] - self.promised(pool)


class Machine(RuleBasedStateMachine):
    """Drives the real store and the model side by side."""

    database: ClassVar[Database]
    asking: ClassVar[Callable[..., Ask]]
    check_books: ClassVar[Callable[[Database], None]]
    examples: ClassVar[int] = 0
    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        type(self).examples += 1
        self.model = Model()
        self.moves = 0
        self.received: dict[tuple[str, str], int] = {}

    @initialize()
    def fill(self) -> None:
        with self.database.begin() as connection:
            for table in (
                "reservation_holds", "reservation_lines", "reservations", "stock_movements", "stock_inbound", "stock_positions", "stock_pools",
                "stock_nodes",
            ):  # fmt: skip
                connection.execute(text(f"DELETE FROM orderhub.{table}"))
            for node in NODES:
                connection.execute(
                    text("INSERT INTO orderhub.stock_nodes (location_id) VALUES (:n)"), {"n": node}
                )
            for sku in SKUS:
                for node in NODES:
                    values = {"s": sku, "n": node, "q": START}
                    connection.execute(
                        text(
                            "INSERT INTO orderhub.stock_pools (sku_id, location_id, uom, needs_expiry) "
                            "VALUES (:s, :n, 'C62', false)"
                        ),
                        values,
                    )
                    connection.execute(
                        text(
                            "INSERT INTO orderhub.stock_positions (sku_id, location_id, lot_number, on_hand_qty, base_qty) "
                            "VALUES (:s, :n, '', :q, :q)"
                        ),
                        values,
                    )

    def one(self, command: Any) -> Answer | FulfilmentError:
        (outcome,) = apply(self.database, [command])
        return outcome

    @rule(
        target=made,
        lines=st.lists(
            st.tuples(st.sampled_from(SKUS), st.integers(1, 7), st.sampled_from(NODES)),
            min_size=1,
            max_size=3,
        ),
        is_partial=st.booleans(),
        waits=st.booleans(),
    )
    def reserve(self, lines: list[tuple[str, int, str]], is_partial: bool, waits: bool) -> str:
        ask = self.asking(
            *lines,
            is_partial=is_partial,
            from_inbound=waits,
            promised_on=datetime.now(UTC).date() + ARRIVES if waits else None,
        )
        taken: dict[tuple[str, str], int] = {}
        coming: dict[tuple[str, str], int] = {}
        for sku, qty, node in lines:
            pool = (sku, node)
            there = min(qty, max(self.model.free(pool) - taken.get(pool, 0), 0))
            taken[pool] = taken.get(pool, 0) + there
            if waits:
                left = self.model.arriving.get(pool, 0) - self.model.waited_for(pool) - coming.get(pool, 0)
                coming[pool] = coming.get(pool, 0) + min(qty - there, left)
        granted = sum(taken.values()) + sum(coming.values())
        is_whole = granted == sum(qty for _, qty, _ in lines)
        outcome = self.one(ask)
        if granted and (is_partial or is_whole):
            assert isinstance(outcome, Answer), outcome
            key = outcome.reservation.reservation_id
            self.model.promises[key] = Promise(ask, taken, coming)
            return key
        assert isinstance(outcome, FulfilmentError) and outcome.code == "insufficient-stock"
        return ""

    @rule(key=made)
    def ask_again(self, key: str) -> None:
        if key:
            outcome = self.one(self.model.promises[key].ask)
            assert isinstance(outcome, Answer) and outcome.is_replayed
            assert outcome.reservation.reservation_id == key

    @rule(key=made)
    def release(self, key: str) -> None:
        if key:
            self.one(Change("release", "acme", key, "shop"))
            self.model.promises[key].is_over = True

    @rule(key=made)
    def allocate(self, key: str) -> None:
        if key:
            promise = self.model.promises[key]
            outcome = self.one(Change("allocate", "acme", key, "shop"))
            assert isinstance(outcome, Answer) != promise.is_over
            promise.is_held = promise.is_held and promise.is_over

    @rule(key=made)
    def steal(self, key: str) -> None:
        if key:
            outcome = self.one(Change("release", "globex", key, "thief"))
            assert isinstance(outcome, FulfilmentError) and outcome.code == "other-tenant"

    @rule(sku=st.sampled_from(SKUS), node=st.sampled_from(NODES), qty=st.integers(1, 4))
    def receive(self, sku: str, node: str, qty: int) -> None:
        self.move("receipt", sku, node, qty)
        self.model.on_hand[sku, node] += qty

    @rule(sku=st.sampled_from(SKUS), node=st.sampled_from(NODES))
    def sell_what_is_free(self, sku: str, node: str) -> None:
        free = self.model.free((sku, node))
        if free > 0:
            self.move("issue", sku, node, free)
            self.model.on_hand[sku, node] -= free

    @rule(sku=st.sampled_from(SKUS), node=st.sampled_from(NODES), qty=st.integers(0, 6))
    def announce(self, sku: str, node: str, qty: int) -> None:
        pool = (sku, node)
        total = self.received.get(pool, 0) + qty
        self.move(
            "announcement", sku, node, total, reference="PO", expected_on=datetime.now(UTC).date() + ARRIVES
        )
        self.model.arriving[pool] = qty
        self.settle(pool, max(self.model.waited_for(pool) - qty, 0))

    @rule(sku=st.sampled_from(SKUS), node=st.sampled_from(NODES), qty=st.integers(1, 4))
    def arrive(self, sku: str, node: str, qty: int) -> None:
        pool = (sku, node)
        qty = min(qty, self.model.arriving.get(pool, 0))
        if qty:
            self.move("receipt", sku, node, qty, reference="PO")
            self.received[pool] = self.received.get(pool, 0) + qty
            self.model.on_hand[pool] += qty
            self.model.arriving[pool] -= qty
            self.settle(pool, min(self.model.waited_for(pool), qty))

    def settle(self, pool: tuple[str, str], moved: int) -> None:
        """So much of what was waited for is held of what lies there, as far as that is free; the rest is lost to somebody."""
        there = self.model.promised(pool) + min(moved, self.model.free(pool))
        coming = self.model.waited_for(pool) - moved
        with self.database.begin() as connection:
            rows = connection.execute(
                text(
                    "SELECT h.reservation_id, sum(h.qty) FILTER (WHERE p.inbound = ''), sum(h.qty) FILTER (WHERE p.inbound <> '') "
                    "FROM orderhub.reservation_holds AS h JOIN orderhub.stock_positions AS p ON p.id = h.position_id "
                    "WHERE h.sku_id = :sku AND h.location_id = :node GROUP BY 1"
                ),
                {"sku": pool[0], "node": pool[1]},
            )
            held = {row[0]: (int(row[1] or 0), int(row[2] or 0)) for row in rows}
        for key, promise in self.model.promises.items():
            if not promise.is_over:
                before = promise.quantities.get(pool, 0), promise.coming.get(pool, 0)
                now = held.get(key, (0, 0))
                assert (
                    sum(now) <= sum(before) and now[0] >= before[0]
                )  # nobody gets more, or loses what lies there
                promise.quantities[pool], promise.coming[pool] = now
                promise.is_over = not any((*promise.quantities.values(), *promise.coming.values()))
        assert (self.model.promised(pool), self.model.waited_for(pool)) == (there, coming)

    @rule()
    def let_time_pass(self) -> None:
        with self.database.begin() as connection:
            for table in ("reservations", "reservation_holds"):
                connection.execute(
                    text(
                        f"UPDATE orderhub.{table} SET expires_at = clock_timestamp() - interval '1 second' "
                        "WHERE expires_at IS NOT NULL"
                    )
                )
        for promise in self.model.promises.values():
            promise.is_over = promise.is_over or promise.is_held

    @rule()
    def clean_up(self) -> None:
        sweep(self.database, by="root")

    def move(self, kind: str, sku: str, node: str, qty: int, **more: Any) -> None:
        self.moves += 1
        told = Movement(
            "wms",
            f"m{self.moves}",
            kind,
            sku,
            node,
            Decimal(qty),
            T0 + timedelta(seconds=self.moves),
            b"%d" % self.moves,
            **more,
        )
        places = [Place(sku, node, "C62", False)]
        outcome = repeat(
            self.database,
            lambda connection, also: book.record(
                connection, [told], places, by="wms", tenant="acme", also=also
            ),
        )
        assert outcome == ["applied"]

    @invariant()
    def agrees(self) -> None:
        self.check_books(self.database)
        with self.database.begin() as connection:
            rows = connection.execute(
                text(
                    "SELECT p.sku_id, p.location_id, p.on_hand_qty, coalesce(sum(h.qty) FILTER ("
                    "WHERE h.expires_at IS NULL OR h.expires_at > clock_timestamp()), 0), p.inbound FROM orderhub.stock_positions AS p "
                    "LEFT JOIN orderhub.reservation_holds AS h ON h.position_id = p.id GROUP BY p.id"
                )
            ).all()
        if rows:
            assert {(row[0], row[1]): (int(row[2]), int(row[3])) for row in rows if not row[4]} == {
                pool: (qty, self.model.promised(pool)) for pool, qty in self.model.on_hand.items()
            }
            assert {(row[0], row[1]): (int(row[2]), int(row[3])) for row in rows if row[4]} == {
                pool: (qty, self.model.waited_for(pool)) for pool, qty in self.model.arriving.items()
            }


@pytest.fixture
def machine(
    database: Database, asking: Callable[..., Ask], check_books: Callable[[Database], None]
) -> type[Machine]:
    """The machine, wired to a database of its own."""
    Machine.database, Machine.asking, Machine.check_books = (
        database,
        staticmethod(asking),
        staticmethod(check_books),
    )  # type: ignore[assignment]
    Machine.examples = 0
    return Machine


_QUICK = settings(
    max_examples=8,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


def test_the_store_agrees_with_the_model(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=_QUICK)
    assert machine.examples >= 6


@pytest.mark.slow
def test_the_store_agrees_with_the_model_at_length(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(_QUICK, max_examples=30, stateful_step_count=40, derandomize=False)
    )
    assert machine.examples >= 30
