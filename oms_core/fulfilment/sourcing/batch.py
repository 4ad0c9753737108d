"""Source many orders at once against the stock and the capacity they share, with a bound on what better plans could gain.

Column generation: HiGHS solves the linear relaxation over the plans known so far; its prices for scarce stock and scarce
capacity are put onto every order's scores, the best plan under them is found as for a single order, and joins. The
prices also give a bound (Lagrange) that holds for all plans there are, known or not. At the end HiGHS chooses one plan
per order. What a node scores is taken as it is when the batch begins.

Source: Barnhart et al., Branch-and-price: column generation for solving huge integer programs, 1998.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_matrix, vstack

from oms_core.fulfilment.errors import RefusedError, RequestError
from oms_core.fulfilment.sourcing.choose import Plan, best
from oms_core.fulfilment.sourcing.decide import Decision, decision
from oms_core.fulfilment.sourcing.network import Flags, Floats, Integers, Network, Order
from oms_core.fulfilment.sourcing.parameters import split_count
from oms_core.fulfilment.sourcing.policy import Policy
from oms_core.fulfilment.sourcing.weigh import Weighed, weigh

_LEAST_GAIN = 1e-7
_MOST_PASSES = 10
# Of the time: when prices are known, when one plan per order is chosen, when as few as can be are left; exchanges take what
# is left, but for what is kept for settling and for what the solver takes beyond its limit.
_SHARE_FOR_PRICES = 0.35
_SHARE_FOR_CHOICE = 0.4
_SHARE_FOR_FEWEST = 0.7
_SHARE_FOR_REST = 0.07
_COVER_SECONDS = 3.0
_DEAR = 10.0  # times what an order costs unfilled, where it is not among those that are left
_MOST_EXCHANGES = 20_000  # in vain, one after the other


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
    limits = _Limits.of(weighed, nodes, policy)
    stop = started + time_limit_seconds * (1 - _SHARE_FOR_REST)
    first = started + time_limit_seconds * _SHARE_FOR_CHOICE
    solved = _solve(limits, started + time_limit_seconds * _SHARE_FOR_PRICES, first, wanted_gap / 2)
    plans, bound = solved.plans, solved.bound
    is_finished = solved.is_priced and solved.is_chosen
    score = limits.score(plans)
    if score - bound > wanted_gap * score and any(plan is None for plan in plans):
        fewest, counted, others = _leave_fewest(
            limits, solved, started + time_limit_seconds * _SHARE_FOR_FEWEST, wanted_gap
        )
        bound = max(bound, counted)
        plans = _exchange(limits, min((plans, others), key=limits.score), fewest, stop)
        score = limits.score(plans)
    bound = min(bound, score)
    decisions = tuple(
        decision(order, plan, None, item, policy)
        for order, plan, item in zip(orders, plans, weighed, strict=True)
    )
    reached = score - bound <= wanted_gap * score
    return Batch(decisions, score, bound, reached or is_finished, solved.rounds, time.monotonic() - started)


@dataclass(frozen=True, eq=False)
class _Solved:
    """Plans for orders that share stock, and the columns they were found with."""

    plans: list[Plan | None]
    bound: float
    columns: list[_Column]
    is_priced: bool
    is_chosen: bool
    rounds: int


def _solve(limits: _Limits, stop_pricing: float, stop: float, gap: float) -> _Solved:
    """Columns until no better one is found or the time is over, then one plan per order."""
    columns = [
        limits.column(number, plan) for number, plan in enumerate(limits.one_by_one()) if plan is not None
    ]
    bound, rounds, is_priced = -math.inf, 0, False
    prices = np.zeros(limits.size)
    values = np.full(len(limits.weighed), math.inf)  # every plan is welcome before the first program
    while True:
        floor, fresh = limits.look(prices, values, limits.policy.unfilled_score)
        bound = max(bound, floor)
        columns += fresh
        if rounds and not fresh:
            is_priced = True
            break
        relaxed = limits.relax(columns)
        objective, prices, values = relaxed.objective, relaxed.prices, relaxed.values
        rounds += 1
        if objective - bound <= gap / 2 * abs(objective):
            is_priced = True
            break
        if time.monotonic() > stop_pricing:
            break
    plans, is_chosen = limits.choose(columns, max(stop - time.monotonic(), 0.5), gap)
    return _Solved(limits.settle(plans), bound, columns, is_priced, is_chosen, rounds)


def _leave_fewest(
    limits: _Limits, solved: _Solved, stop: float, wanted_gap: float
) -> tuple[int, float, list[Plan | None]]:
    """Where goods are short, leave as few orders unfilled as their quantities allow: a bound that knows it, and such plans.

    Orders come whole, so that more of them stay unfilled than the linear program says. How many at least is a covering
    problem over the goods that are short, wherever they lie; the linear program with that many is the bound.
    """
    orders = len(limits.weighed)
    fewest, _ = limits.cover(np.ones(orders))
    count = math.ceil(fewest - 1e-6)
    columns, bound = list(solved.columns), -math.inf
    while True:
        relaxed = limits.relax(columns, count)
        price = limits.policy.unfilled_score - relaxed.extra
        floor, fresh = limits.look(relaxed.prices, relaxed.values, price)
        bound = max(bound, floor + relaxed.extra * count)
        columns += fresh
        if (
            not fresh
            or relaxed.objective - bound <= wanted_gap / 10 * relaxed.objective
            or time.monotonic() > stop
        ):
            break
    worth = np.array([min(limits.price(number, relaxed.prices)[1], price) for number in range(orders)])
    _, left = limits.cover(limits.policy.unfilled_score * orders + price - worth)
    kept = [number for number in range(orders) if not left[number]]
    dear = limits.policy.model_copy(update={"unfilled_score": limits.policy.unfilled_score * _DEAR})
    inner = _Limits([limits.weighed[number] for number in kept], limits.free, limits.room, dear)
    now = time.monotonic()
    filled = _solve(inner, now + max(stop - now, 1.0) / 2, stop, wanted_gap / 10)
    plans: list[Plan | None] = [None] * orders
    for number, plan in zip(kept, filled.plans, strict=True):
        plans[number] = plan
    return count, bound, plans


def _exchange(limits: _Limits, plans: list[Plan | None], fewest: int, stop: float) -> list[Plan | None]:
    """Fill orders that are left by taking from others, who are given something else; nobody who was filled is left for it."""
    draw = random.Random(len(plans))
    standing = _Standing(limits, plans)
    tries = 0
    while time.monotonic() < stop:
        score = limits.score(standing.plans)
        left = [number for number, plan in enumerate(standing.plans) if plan is None]
        if len(left) <= fewest or tries > _MOST_EXCHANGES:
            break
        tries += 1
        number = draw.choice(left)
        changed = standing.force(number, draw)
        if changed is None:
            continue
        if limits.score(standing.plans) > score - _LEAST_GAIN:
            standing.undo(changed)
        else:
            tries = 0
    return limits.settle(standing.plans)


class _Standing:
    """Plans that go together, what they leave, and who holds what."""

    def __init__(self, limits: _Limits, plans: list[Plan | None]) -> None:
        self.limits = limits
        self.plans = list(plans)
        self.free = {sku: column.copy() for sku, column in limits.free.items()}
        self.room = limits.room.copy()
        self.holders: dict[tuple[str, int], set[int]] = {}
        for number, plan in enumerate(plans):
            if plan is not None:
                self._put(number, plan)

    def force(self, number: int, draw: random.Random) -> dict[int, Plan | None] | None:
        """Give an order a plan as though it were first, and those it takes from another one each.

        Returns:
            What the plans were before; None: it did not work out, and nothing changed.
        """
        item = self.limits.weighed[number]
        noise = np.array([draw.uniform(0.0, 1.0) for _ in range(item.line.size)]).reshape(item.line.shape)
        plan, _ = best(
            item.fixed,
            item.line * noise,
            item.stock,
            item.need,
            item.split * draw.random(),
            self.limits.policy.most_parcels,
        )
        if plan is None:
            return None
        changed: dict[int, Plan | None] = {number: self.plans[number]}
        for node, takes in zip(plan.nodes, plan.takes, strict=True):
            for sku, qty in zip(self.limits.skus[number], takes, strict=True):
                while qty and self.free[sku][node] < qty:
                    others = sorted(self.holders.get((sku, node), set()) - changed.keys())
                    if not others:
                        self.undo(changed)
                        return None
                    # Whoever wants one thing only can take it anywhere.
                    other = min(others, key=lambda one: (len(self.limits.skus[one]), draw.random()))
                    changed[other] = self.plans[other]
                    self._take_away(other)
        self._put(number, self.limits.column(number, plan).plan)
        for other in sorted(changed, key=lambda one: -len(self.limits.skus[one])):
            if self.plans[other] is None:
                given, _ = self.limits.best_of(other, self.free, self.room)
                if given is None:
                    self.undo(changed)
                    return None
                self._put(other, given)
        if (self.room < 0).any():
            self.undo(changed)
            return None
        return changed

    def undo(self, changed: dict[int, Plan | None]) -> None:
        """Put plans back as they were."""
        for number in changed:
            if self.plans[number] is not None:
                self._take_away(number)
        for number, plan in changed.items():
            if plan is not None:
                self._put(number, plan)

    def _put(self, number: int, plan: Plan) -> None:
        self.plans[number] = plan
        self.limits.take(plan, self.limits.skus[number], self.free, self.room)
        for key in self._held(number, plan):
            self.holders.setdefault(key, set()).add(number)

    def _take_away(self, number: int) -> None:
        plan = self.plans[number]
        assert plan is not None
        self.limits.take(plan, self.limits.skus[number], self.free, self.room, back=True)
        for key in self._held(number, plan):
            self.holders[key].discard(number)
        self.plans[number] = None

    def _held(self, number: int, plan: Plan) -> Iterator[tuple[str, int]]:
        for node, takes in zip(plan.nodes, plan.takes, strict=True):
            for sku, qty in zip(self.limits.skus[number], takes, strict=True):
                if qty:
                    yield sku, node


@dataclass(frozen=True, eq=False)
class _Relaxed:
    """The linear program's value, the price of each row, what each order is worth to it, the price of the number left."""

    objective: float
    prices: Floats
    values: Floats
    extra: float


class _Limits:
    """What orders share: rows of the program for goods of which more is wanted than there is, and for nodes' parcels."""

    def __init__(
        self, weighed: list[Weighed], free: dict[str, Integers], room: Integers, policy: Policy
    ) -> None:
        self.weighed = weighed
        self.policy = policy
        self.skus = [[line.sku_id for line in item.situation.order.lines] for item in weighed]
        wanted: dict[str, Integers] = {}
        served = np.zeros(room.size, np.int64)
        for item, skus in zip(weighed, self.skus, strict=True):
            served += item.stock.any(axis=1)
            for number, sku in enumerate(skus):
                wanted[sku] = wanted.get(sku, np.int64(0)) + item.stock[:, number]
        self.free = {sku: free[sku] for sku in wanted}
        self.room = room
        rows = 0
        self.goods: dict[str, Integers] = {}
        supply: list[float] = []
        for sku, asked in wanted.items():
            scarce = np.flatnonzero(asked > self.free[sku])
            if scarce.size:
                self.goods[sku] = np.full(room.size, -1, np.int64)
                self.goods[sku][scarce] = np.arange(rows, rows + scarce.size)
                supply += (self.free[sku][scarce] / 1e6).tolist()
                rows += scarce.size
        self.parcels = np.full(room.size, -1, np.int64)
        scarce = np.flatnonzero(served > room)
        self.parcels[scarce] = np.arange(rows, rows + scarce.size)
        supply += room[scarce].astype(float).tolist()
        rows += scarce.size
        self.supply = np.array(supply)
        self.size = rows

    @classmethod
    def of(cls, weighed: list[Weighed], nodes: Network, policy: Policy) -> _Limits:
        """All that nodes have."""
        room = np.full(len(nodes.nodes), np.iinfo(np.int64).max)
        if "capacity" in policy.constraints:
            most = nodes.fixed["parcels_per_shift"]
            told = ~np.isnan(most)
            room[told] = np.maximum(most[told].astype(np.int64) - nodes.taken[told], 0)
        return cls(weighed, {sku: column.free for sku, column in nodes.stock.items()}, room, policy)

    def best_of(self, order: int, free: dict[str, Integers], room: Integers) -> tuple[Plan | None, float]:
        """The order's best plan of what is left."""
        item = self.weighed[order]
        held = np.minimum(item.stock, np.stack([free[sku] for sku in self.skus[order]], axis=1))
        held[room <= 0] = 0
        return best(item.fixed, item.line, held, item.need, item.split, self.policy.most_parcels)

    def score(self, plans: list[Plan | None]) -> float:
        """Sum of the plans' scores, unfilled orders included."""
        return math.fsum(self.policy.unfilled_score if plan is None else plan.score for plan in plans)

    def look(self, prices: Floats, values: Floats, unfilled: float) -> tuple[float, list[_Column]]:
        """A bound under prices (Lagrange), and the plans that are worth more to their orders than those known."""
        floor = 0.0
        fresh = []
        for number in range(len(self.weighed)):
            plan, least = self.price(number, prices)
            floor += min(least, unfilled)
            if plan is not None and plan.score < values[number] - _LEAST_GAIN:
                fresh.append(self.column(number, plan))
        return floor - float(prices @ self.supply), fresh

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

    def price(self, order: int, prices: Floats) -> tuple[Plan | None, float]:
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
            item.fixed + with_none[self.parcels],
            line,
            item.stock,
            item.need,
            item.split,
            self.policy.most_parcels,
        )

    def one_by_one(self) -> list[Plan | None]:
        """Plans that go together: each order's best of what those before it have left."""
        free = {sku: column.copy() for sku, column in self.free.items()}
        room = self.room.copy()
        plans = []
        for item, skus in zip(self.weighed, self.skus, strict=True):
            held = np.minimum(item.stock, np.stack([free[sku] for sku in skus], axis=1))
            held[room <= 0] = 0
            plan, _ = best(item.fixed, item.line, held, item.need, item.split, self.policy.most_parcels)
            if plan is not None:
                self.take(plan, skus, free, room)
            plans.append(plan)
        return plans

    def settle(self, plans: list[Plan | None]) -> list[Plan | None]:
        """Give each order the best of what is its own and what nobody took, until none gains by it.

        The solver stops within its gap; after this, a better node that an order did not get is one that others need.
        """
        free = {sku: column.copy() for sku, column in self.free.items()}
        room = self.room.copy()
        for plan, skus in zip(plans, self.skus, strict=True):
            if plan is not None:
                self.take(plan, skus, free, room)
        settled = list(plans)
        for _ in range(_MOST_PASSES):
            gained = False
            for number, (item, skus) in enumerate(zip(self.weighed, self.skus, strict=True)):
                own = settled[number]
                if own is not None:
                    self.take(own, skus, free, room, back=True)
                held = np.minimum(item.stock, np.stack([free[sku] for sku in skus], axis=1))
                held[room <= 0] = 0
                plan, _ = best(item.fixed, item.line, held, item.need, item.split, self.policy.most_parcels)
                if plan is not None and (own is None or plan.score < own.score - _LEAST_GAIN):
                    settled[number] = own = plan
                    gained = True
                if own is not None:
                    self.take(own, skus, free, room)
            if not gained:
                break
        return settled

    def relax(self, columns: list[_Column], count: int = 0) -> _Relaxed:
        """Solve the linear program with at least so many orders unfilled."""
        orders = len(self.weighed)
        matrix, once, costs = self._program(columns)
        counted = csr_matrix(np.concatenate([np.zeros(len(columns)), np.full(orders, -1.0)]))
        done = linprog(
            costs, A_ub=vstack([matrix, counted], format="csr"), b_ub=np.append(self.supply, -float(count)),
            A_eq=once, b_eq=np.ones(orders), method="highs",
        )  # fmt: skip
        if done.status != 0:
            raise RefusedError("solver-failed", f"the linear program over {orders} orders: {done.message}")
        prices = np.maximum(-done.ineqlin.marginals, 0.0)
        return _Relaxed(float(done.fun), prices[:-1], np.asarray(done.eqlin.marginals), float(prices[-1]))

    def cover(self, worth: Floats) -> tuple[float, Flags]:
        """Which orders to leave so that the others' goods are there somewhere: least sum of worths, a bound, and who."""
        orders = len(self.weighed)
        rows: list[int] = []
        places: list[int] = []
        amounts: list[float] = []
        short: list[float] = []
        asked: dict[str, list[tuple[int, int]]] = {}
        for number, (item, skus) in enumerate(zip(self.weighed, self.skus, strict=True)):
            for sku, need in zip(skus, item.need, strict=True):
                asked.setdefault(sku, []).append((number, int(need)))
        for sku in self.goods:
            missing = sum(need for _, need in asked[sku]) - int(self.free[sku].sum())
            if missing > 0:
                places += [number for number, _ in asked[sku]]
                amounts += [need / 1e6 for _, need in asked[sku]]
                rows += [len(short)] * len(asked[sku])
                short.append(missing / 1e6)
        if not short:
            return 0.0, np.zeros(orders, bool)
        matrix = csr_matrix((amounts, (rows, places)), shape=(len(short), orders))
        done = milp(
            worth, constraints=[LinearConstraint(matrix, short, np.inf)], integrality=np.ones(orders), bounds=Bounds(0, 1),
            options={"time_limit": _COVER_SECONDS},
        )  # fmt: skip
        if done.x is None:
            return 0.0, np.zeros(orders, bool)
        return float(done.mip_dual_bound), np.asarray(done.x > 0.5)

    def choose(self, columns: list[_Column], seconds: float, gap: float) -> tuple[list[Plan | None], bool]:
        """One plan or none per order, and whether the solver finished."""
        orders = len(self.weighed)
        matrix, once, costs = self._program(columns)
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
                self.take(column.plan, self.skus[column.order], free, room)
        if any((left < 0).any() for left in free.values()) or (room < 0).any():
            raise RefusedError(
                "solver-failed", "the solver's choice takes more than there is; decide one by one"
            )
        return plans, done.status == 0

    def _program(self, columns: list[_Column]) -> tuple[Any, Any, Floats]:
        orders = len(self.weighed)
        count = len(columns) + orders
        rows = [row for column in columns for row in column.rows]
        places = [number for number, column in enumerate(columns) for _ in column.rows]
        amounts = [amount for column in columns for amount in column.amounts]
        matrix = csr_matrix((amounts, (rows, places)), shape=(self.size, count))
        owners = [column.order for column in columns] + list(range(orders))
        once = csr_matrix((np.ones(count), (owners, np.arange(count))), shape=(orders, count))
        costs = np.array([column.plan.score for column in columns] + [self.policy.unfilled_score] * orders)
        return matrix, once, costs

    @staticmethod
    def take(
        plan: Plan, skus: list[str], free: dict[str, Integers], room: Integers, *, back: bool = False
    ) -> None:
        sign = -1 if back else 1
        for node, takes in zip(plan.nodes, plan.takes, strict=True):
            room[node] -= sign
            for sku, qty in zip(skus, takes, strict=True):
                free[sku][node] -= sign * qty
