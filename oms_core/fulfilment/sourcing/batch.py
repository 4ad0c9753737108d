"""Source many orders at once against the stock and the capacity they share, with a bound on what better plans could gain.

Column generation: HiGHS solves the linear relaxation over the plans known so far; its prices for scarce stock and scarce
capacity are put onto every order's scores, the best plan under them is found as for a single order, and joins. The
prices also give a bound (Lagrange) that holds for all plans there are, known or not. At the end HiGHS chooses one plan
per order. What a node scores is taken as it is when the batch begins.

Source: Barnhart et al., Branch-and-price: column generation for solving huge integer programs, 1998.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_matrix

from oms_core.fulfilment.errors import RefusedError, RequestError
from oms_core.fulfilment.sourcing.choose import Plan, best
from oms_core.fulfilment.sourcing.decide import Decision, decision
from oms_core.fulfilment.sourcing.network import Floats, Integers, Network, Order
from oms_core.fulfilment.sourcing.parameters import split_count
from oms_core.fulfilment.sourcing.policy import Policy
from oms_core.fulfilment.sourcing.weigh import Weighed, weigh

_LEAST_GAIN = 1e-7
_MOST_PASSES = 10
_SHARE_FOR_CHOICE = 0.4  # of the time, kept for choosing one plan per order
_SHARE_FOR_REST = 0.03  # of the time, kept for settling and for what the solver takes beyond its limit


@dataclass(frozen=True, eq=False)
class Batch:
    """What was decided for a batch.

    Attributes:
        decisions: one per order, in the order they were given.
        score: sum of the plans' scores, an unfilled order counting the policy's unfilled_score.
        bound: no way of sourcing the batch scores less.
        is_finished: the wanted gap was reached, or one plan per order was chosen as well as the plans found allow; False:
            the time was over before. `gap` says what was reached.
        rounds: linear programs solved.
        seconds: wall clock.
    """

    decisions: tuple[Decision, ...]
    score: float
    bound: float
    is_finished: bool
    rounds: int
    seconds: float

    @property
    def gap(self) -> float:
        """How much of the score a better way could save at most, as a share; zero: proven best."""
        return max(self.score - self.bound, 0.0) / self.score if self.score else 0.0


@dataclass(frozen=True, eq=False)
class _Column:
    order: int
    plan: Plan
    rows: list[int]
    amounts: list[float]


def source_batch(
    orders: Sequence[Order],
    nodes: Network,
    policy: Policy,
    *,
    time_limit_seconds: float = 60.0,
    wanted_gap: float = 0.005,
) -> Batch:
    """Source orders together: the least sum of scores that shared stock and capacity allow.

    Args:
        nodes: unchanged.
        time_limit_seconds: wall clock. When it is over, the best found so far is given, with its gap.
        wanted_gap: as a share of the score; the search ends when it is reached.

    Raises:
        RequestError, UnknownError, RefusedError: an order makes no sense, or two have one id; see `weigh`.
        RefusedError: "solver-failed", the solver gave no answer, or one that breaks a limit; nothing is decided.
    """
    started = time.monotonic()
    if not 0 < time_limit_seconds < math.inf or not 0 <= wanted_gap < 1:
        raise RequestError(
            "bad-request", "a batch needs a time limit above zero, and a gap from 0 to below 1"
        )
    if not orders:
        return Batch((), 0.0, 0.0, True, 0, 0.0)
    if len({order.order_id for order in orders}) < len(orders):
        raise RequestError("order-twice", "an order stands in the batch twice")
    weighed = [weigh(order, nodes, policy) for order in orders]
    limits = _Limits(weighed, nodes, policy)
    columns: list[_Column] = []
    for number, plan in enumerate(limits.one_by_one(policy)):
        if plan is not None:
            columns.append(limits.column(number, plan))
    stop = started + time_limit_seconds * (1 - _SHARE_FOR_CHOICE)
    bound, rounds, is_priced = -math.inf, 0, False
    prices = np.zeros(limits.size)
    values = np.full(len(orders), math.inf)  # every plan is welcome before the first program
    while True:
        floor = 0.0
        fresh = []
        for number in range(len(orders)):
            plan, least = limits.price(number, prices, policy)
            floor += min(least, policy.unfilled_score)
            if plan is not None and plan.score < values[number] - _LEAST_GAIN:
                fresh.append(limits.column(number, plan))
        bound = max(bound, floor - float(prices @ limits.supply))
        columns += fresh
        if rounds and not fresh:
            is_priced = True
            break
        objective, prices, values = limits.relax(columns, policy.unfilled_score)
        rounds += 1
        if objective - bound <= wanted_gap / 4 * abs(objective):
            is_priced = True
            break
        if time.monotonic() > stop:
            break
    spent = time.monotonic() - started
    left = max(time_limit_seconds * (1 - _SHARE_FOR_REST) - spent, time_limit_seconds * 0.05)
    chosen, is_chosen = limits.choose(columns, policy.unfilled_score, left, wanted_gap / 2)
    chosen = limits.settle(chosen, policy)
    score = math.fsum(policy.unfilled_score if plan is None else plan.score for plan in chosen)
    bound = min(bound, score)
    decisions = tuple(
        decision(order, plan, None, item, policy)
        for order, plan, item in zip(orders, chosen, weighed, strict=True)
    )
    reached = score - bound <= wanted_gap * score
    return Batch(
        decisions, score, bound, reached or (is_priced and is_chosen), rounds, time.monotonic() - started
    )


class _Limits:
    """What orders share: rows of the program for goods of which more is wanted than there is, and for nodes' parcels."""

    def __init__(self, weighed: list[Weighed], nodes: Network, policy: Policy) -> None:
        self.weighed = weighed
        self.skus = [[line.sku_id for line in item.situation.order.lines] for item in weighed]
        wanted: dict[str, Integers] = {}
        served = np.zeros(len(nodes.nodes), np.int64)
        for item, skus in zip(weighed, self.skus, strict=True):
            served += item.stock.any(axis=1)
            for number, sku in enumerate(skus):
                wanted[sku] = wanted.get(sku, np.int64(0)) + item.stock[:, number]
        self.free = {sku: nodes.stock[sku].free for sku in wanted}
        rows = 0
        self.goods: dict[str, Integers] = {}
        supply: list[float] = []
        for sku, asked in wanted.items():
            scarce = np.flatnonzero(asked > self.free[sku])
            if scarce.size:
                self.goods[sku] = np.full(len(nodes.nodes), -1, np.int64)
                self.goods[sku][scarce] = np.arange(rows, rows + scarce.size)
                supply += (self.free[sku][scarce] / 1e6).tolist()
                rows += scarce.size
        self.room = np.full(len(nodes.nodes), np.iinfo(np.int64).max)
        self.parcels = np.full(len(nodes.nodes), -1, np.int64)
        if "capacity" in policy.constraints:
            self.room = np.maximum(nodes.fixed["parcels_per_shift"].astype(np.int64) - nodes.taken, 0)
            scarce = np.flatnonzero(served > self.room)
            self.parcels[scarce] = np.arange(rows, rows + scarce.size)
            supply += self.room[scarce].astype(float).tolist()
            rows += scarce.size
        self.supply = np.array(supply)
        self.size = rows

    def column(self, order: int, plan: Plan) -> _Column:
        """A plan as a column, scored without prices."""
        item = self.weighed[order]
        score = item.split * split_count(len(plan.nodes))
        rows: list[int] = []
        amounts: list[float] = []
        for node, takes in zip(plan.nodes, plan.takes, strict=True):
            score += float(item.fixed[node] + (item.line[node] * (takes / item.need)).sum())
            if self.parcels[node] >= 0:
                rows.append(int(self.parcels[node]))
                amounts.append(1.0)
            for sku, qty in zip(self.skus[order], takes, strict=True):
                if qty and sku in self.goods and self.goods[sku][node] >= 0:
                    rows.append(int(self.goods[sku][node]))
                    amounts.append(int(qty) / 1e6)
        return _Column(order, replace(plan, score=score), rows, amounts)

    def price(self, order: int, prices: Floats, policy: Policy) -> tuple[Plan | None, float]:
        """The order's best plan when scarce goods and parcels have a price, and a bound on all its plans."""
        item = self.weighed[order]
        with_none = np.append(prices, 0.0)  # row -1: not scarce, no price
        line = item.line
        goods = [self.goods.get(sku) for sku in self.skus[order]]
        if any(rows is not None for rows in goods):
            line = line.copy()
            for number, rows in enumerate(goods):
                if rows is not None:
                    line[:, number] += with_none[rows] * (item.need[number] / 1e6)
        return best(
            item.fixed + with_none[self.parcels], line, item.stock, item.need, item.split, policy.most_parcels
        )

    def one_by_one(self, policy: Policy) -> list[Plan | None]:
        """Plans that go together: each order's best of what those before it have left."""
        free = {sku: column.copy() for sku, column in self.free.items()}
        room = self.room.copy()
        plans = []
        for item, skus in zip(self.weighed, self.skus, strict=True):
            held = np.minimum(item.stock, np.stack([free[sku] for sku in skus], axis=1))
            held[room <= 0] = 0
            plan, _ = best(item.fixed, item.line, held, item.need, item.split, policy.most_parcels)
            if plan is not None:
                self._take(plan, skus, free, room)
            plans.append(plan)
        return plans

    def settle(self, plans: list[Plan | None], policy: Policy) -> list[Plan | None]:
        """Give each order the best of what is its own and what nobody took, until none gains by it.

        The solver stops within its gap; after this, a better node that an order did not get is one that others need.
        """
        free = {sku: column.copy() for sku, column in self.free.items()}
        room = self.room.copy()
        for plan, skus in zip(plans, self.skus, strict=True):
            if plan is not None:
                self._take(plan, skus, free, room)
        settled = list(plans)
        for _ in range(_MOST_PASSES):
            gained = False
            for number, (item, skus) in enumerate(zip(self.weighed, self.skus, strict=True)):
                own = settled[number]
                if own is not None:
                    self._take(own, skus, free, room, back=True)
                held = np.minimum(item.stock, np.stack([free[sku] for sku in skus], axis=1))
                held[room <= 0] = 0
                plan, _ = best(item.fixed, item.line, held, item.need, item.split, policy.most_parcels)
                if plan is not None and (own is None or plan.score < own.score - _LEAST_GAIN):
                    settled[number] = own = plan
                    gained = True
                if own is not None:
                    self._take(own, skus, free, room)
            if not gained:
                break
        return settled

    def relax(self, columns: list[_Column], unfilled: float) -> tuple[float, Floats, Floats]:
        """Solve the linear program: its value, the price of each row, and what each order is worth to it."""
        orders = len(self.weighed)
        matrix, once, costs = self._program(columns, unfilled)
        done = linprog(
            costs, A_ub=matrix if self.size else None, b_ub=self.supply if self.size else None,
            A_eq=once, b_eq=np.ones(orders), method="highs",
        )  # fmt: skip
        if done.status != 0:
            raise RefusedError("solver-failed", f"the linear program over {orders} orders: {done.message}")
        prices = np.maximum(-done.ineqlin.marginals, 0.0) if self.size else np.zeros(0)
        return float(done.fun), prices, np.asarray(done.eqlin.marginals)

    def choose(
        self, columns: list[_Column], unfilled: float, seconds: float, gap: float
    ) -> tuple[list[Plan | None], bool]:
        """One plan or none per order, and whether the solver finished."""
        orders = len(self.weighed)
        matrix, once, costs = self._program(columns, unfilled)
        limits = [LinearConstraint(once, 1, 1)]
        if self.size:
            limits.append(LinearConstraint(matrix, -np.inf, self.supply))
        done = milp(
            costs, constraints=limits, integrality=np.ones(costs.size), bounds=Bounds(0, 1),
            options={"time_limit": seconds, "mip_rel_gap": gap},
        )  # fmt: skip
        if done.x is None:
            raise RefusedError(
                "solver-failed",
                f"no choice for {orders} orders within {seconds:.0f} s: {done.message}; give it more time",
            )
        plans: list[Plan | None] = [None] * orders
        free = {sku: column.copy() for sku, column in self.free.items()}
        room = self.room.copy()
        for column, value in zip(columns, done.x, strict=False):  # behind them stand the unfilled orders
            if value > 0.5:
                plans[column.order] = column.plan
                self._take(column.plan, self.skus[column.order], free, room)
        if any((left < 0).any() for left in free.values()) or (room < 0).any():
            raise RefusedError(
                "solver-failed", "the solver's choice takes more than there is; decide one by one"
            )
        return plans, done.status == 0

    def _program(self, columns: list[_Column], unfilled: float) -> tuple[Any, Any, Floats]:
        orders = len(self.weighed)
        count = len(columns) + orders
        rows = [row for column in columns for row in column.rows]
        places = [number for number, column in enumerate(columns) for _ in column.rows]
        amounts = [amount for column in columns for amount in column.amounts]
        matrix = csr_matrix((amounts, (rows, places)), shape=(self.size, count))
        owners = [column.order for column in columns] + list(range(orders))
        once = csr_matrix((np.ones(count), (owners, np.arange(count))), shape=(orders, count))
        costs = np.array([column.plan.score for column in columns] + [unfilled] * orders)
        return matrix, once, costs

    @staticmethod
    def _take(
        plan: Plan, skus: list[str], free: dict[str, Integers], room: Integers, *, back: bool = False
    ) -> None:
        sign = -1 if back else 1
        for node, takes in zip(plan.nodes, plan.takes, strict=True):
            room[node] -= sign
            for sku, qty in zip(skus, takes, strict=True):
                free[sku][node] -= sign * qty
