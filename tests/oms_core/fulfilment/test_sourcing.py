"""Sourcing: the twelve parameters, what forbids a node, the best plan against every plan there is, and the reasons given."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oms_core.fulfilment.errors import FulfilmentError, RefusedError, RequestError, UnknownError
from oms_core.fulfilment.sourcing import parameters, policy
from oms_core.fulfilment.sourcing.batch import source_batch
from oms_core.fulfilment.sourcing.choose import best
from oms_core.fulfilment.sourcing.decide import review, source_order
from oms_core.fulfilment.sourcing.measure import Sent, measure
from oms_core.fulfilment.sourcing.network import Network, OrderLine
from oms_core.fulfilment.sourcing.parameters import PARAMETERS
from oms_core.fulfilment.sourcing.replay import compare, replay

_spec = importlib.util.spec_from_file_location("sourced", Path(__file__).with_name("sourced.py"))
assert _spec is not None and _spec.loader is not None
sourced: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sourced)

DEFAULT = policy.default()
INSTANCES = 400


def changed(**values: Any) -> policy.Policy:
    """The default policy with some of its fields changed."""
    return policy.load(json.dumps(DEFAULT.model_dump(mode="json") | values))


def weights(**said: float) -> dict[str, dict[str, float]]:
    """Parameters of a policy that counts only what is said."""
    return {
        name: {"weight": said.get(name, 0.0), "scale": rule.scale}
        for name, rule in DEFAULT.parameters.items()
    }


def ways(qty: int, held: list[int]) -> list[tuple[int, ...]]:
    """Every way of taking so many pieces from nodes that hold so many."""
    if len(held) == 1:
        return [(qty,)] if qty <= held[0] else []
    return [(take, *rest) for take in range(min(qty, held[0]) + 1) for rest in ways(qty - take, held[1:])]


def optimum(fixed: Any, line: Any, stock: Any, need: Any, split: float, most: int) -> float:
    """The least score over every assignment of every piece, tried one by one."""
    least = math.inf
    for takes in itertools.product(
        *(ways(int(need[number]), stock[:, number].tolist()) for number in range(need.size))
    ):
        sent = np.array(takes).T
        nodes = np.flatnonzero(sent.any(axis=1))
        if nodes.size <= most:
            score = fixed[nodes].sum() + split * (nodes.size - 1) + (sent / need * line).sum()
            least = min(least, float(score))
    return least


def test_400_small_orders_are_sourced_as_well_as_trying_everything_does() -> None:
    equal, gaps, fillable, splits = 0, [], 0, 0
    for seed in range(INSTANCES):
        draw = random.Random(seed)
        nodes, lines = draw.randint(2, 4), draw.randint(1, 3)
        network = sourced.network(seed, nodes, lines, 0.7, 4)
        wanted = {f"S{number:03}": draw.randint(1, 3) for number in range(lines)}
        cheap_split = draw.choice([0.0, 0.02, 0.12])
        rules = {name: rule.model_dump() for name, rule in DEFAULT.parameters.items()}
        rules["split_count"]["weight"] = cheap_split
        rules["shipping_cost"]["weight"] += 0.12 - cheap_split
        rules["days_of_cover"]["scale"] = draw.choice([2.0, 14.0])
        chosen = changed(parameters=rules, most_parcels=draw.randint(1, 4))
        decided = source_order(sourced.order("O", wanted), network, chosen)
        weighed = decided.weighed
        pieces, wanted_pieces = weighed.stock // 1_000_000, weighed.need // 1_000_000
        least = optimum(
            weighed.fixed, weighed.line, pieces, wanted_pieces, weighed.split, chosen.most_parcels
        )
        assert decided.is_filled == math.isfinite(least)
        if decided.plan is not None:
            fillable += 1
            splits += len(decided.plan.nodes) > 1
            gaps.append(decided.plan.score / least - 1)
            equal += gaps[-1] < 1e-9
            assert decided.is_best
    assert fillable >= 300 and splits >= 30
    assert equal / fillable >= 0.983
    assert sum(gaps) / fillable <= 0.005
    print(f"{equal} of {fillable} equal to the optimum ({splits} split), mean gap {sum(gaps) / fillable:.2%}")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_scores_give_the_best_plan(data: st.DataObject) -> None:
    nodes, lines = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 2))
    price = st.floats(0, 2, allow_subnormal=False)
    fixed = np.array(data.draw(st.lists(price, min_size=nodes, max_size=nodes)))
    line = np.array(data.draw(st.lists(price, min_size=nodes * lines, max_size=nodes * lines))).reshape(
        nodes, lines
    )
    need = np.array(data.draw(st.lists(st.integers(1, 4), min_size=lines, max_size=lines)), np.int64)
    held = data.draw(st.lists(st.integers(0, 4), min_size=nodes * lines, max_size=nodes * lines))
    stock = np.minimum(np.array(held, np.int64).reshape(nodes, lines), need)
    split, most = data.draw(price), data.draw(st.integers(1, 4))
    plan, bound = best(fixed, line, stock, need, split, most)
    least = optimum(fixed, line, stock, need, split, most)
    if plan is None:
        assert math.isinf(least) and math.isinf(bound)
        return
    assert plan.score == pytest.approx(least, abs=1e-9) == bound
    assert len(plan.nodes) <= most
    assert (plan.takes.sum(axis=0) == need).all()
    assert (plan.takes <= stock[list(plan.nodes)]).all() and plan.takes.any(axis=1).all()


@pytest.mark.parametrize("seed", range(3))
def test_too_many_sets_to_look_at_give_a_plan_and_an_honest_bound(seed: int) -> None:
    draw = np.random.default_rng(seed)
    need = np.full(6, 4, np.int64)
    stock = draw.integers(0, 3, (90, 6))  # two at most: no node and no pair fills a line of four but by luck
    plan, bound = best(draw.uniform(1, 2, 90), draw.uniform(0, 1, (90, 6)), stock, need, 0.1, 4)
    assert plan is not None and bound < plan.score
    assert (plan.takes.sum(axis=0) == need).all() and (plan.takes <= stock[list(plan.nodes)]).all()


def test_the_order_in_which_nodes_are_named_changes_nothing() -> None:
    twins = [sourced.node(name, random.Random(1)) for name in ("B", "A", "C")]
    shelves = [sourced.shelf("S1", name, 5) for name in ("C", "A", "B")]
    documents = [
        source_order(sourced.order(), Network.of(named, shelves), DEFAULT).document()
        for named in itertools.permutations(twins)
    ]
    assert all(document == documents[0] for document in documents)
    assert [parcel["node_id"] for parcel in documents[0]["parcels"]] == ["A"]
    assert (
        documents[0]["counterfactuals"][0]["because"]
        == "scores the same as A; ties go to the id that comes first"
    )
    json.dumps(documents[0], allow_nan=False)


# -- parameters --------------------------------------------------------------------------------------------------------


def test_twelve_parameters_have_a_unit_and_a_source() -> None:
    assert len(PARAMETERS) == 12 == len(DEFAULT.parameters)
    assert all(parameter.unit and parameter.source for parameter in PARAMETERS.values())


def test_parameters_say_what_their_definitions_say() -> None:
    one = np.array([1.0])
    berlin, madrid = np.radians([52.5200, 13.4050]), np.radians([40.4168, -3.7038])
    km = parameters.distance(berlin[:1], berlin[1:], *madrid)
    assert km[0] == pytest.approx(1869, abs=3)
    assert parameters.shipping_cost(one * 4, one * 0.01, one * 300)[0] == pytest.approx(7)
    assert parameters.shipping_cost_of_lines(one * 0.5, np.array([2.0, 4.0])).tolist() == [[1, 2]]
    travels = parameters.travel_time(one * 6, one * 50, np.array([100.0, 100.1]), one * 0.5, one * 100)
    assert parameters.transit_time(one * 90, travels).tolist() == pytest.approx([5.5, 9.502])
    assert parameters.capacity_left(one * 10, np.array([4]))[0] == 0.5
    assert parameters.workload(np.array([30]), one * 40)[0] == 0.75
    assert parameters.days_of_cover(np.array([6.0, 6.0]), np.array([2.0, 0.0])).tolist() == [3, math.inf]
    told = parameters.expiry(np.array([[110, -1], [-1, -1], [90, -1]]), 100)
    assert [str(days) for days in told.ravel()] == ["10.0", "0.0", "nan", "0.0", "0.0", "0.0"]
    assert [parameters.split_count(parcels) for parcels in (0, 1, 3)] == [0, 0, 2]
    pick, lines = parameters.pick_cost(one, one * 0.25, np.array([2.0, 4.0]))
    assert (pick.tolist(), lines.tolist()) == ([1], [[0.5, 1]])
    packing, moving = parameters.carbon(one * 0.2, one * 0.15, one * 400, np.array([5.0]))
    assert (packing[0], moving[0, 0]) == pytest.approx((0.2, 0.3))
    assert parameters.reliability(one * 0, one * 0, 0.05, 20)[0] == pytest.approx(0.05)
    assert parameters.reliability(one * 30, one * 180, 0.05, 20)[0] == pytest.approx(0.155)
    assert parameters.promise(np.array([40.0, 60.0]), 48, 1.5).tolist() == [0, 18]


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("shipping_cost", {"carrier": {"parcel_cost": Decimal(90)}}),
        ("distance", {"latitude": 30.0}),
        ("transit_time", {"handling_hours": 30.0}),
        ("capacity_left", {"parcels_taken": 90}),
        ("workload", {"lines_waiting": 900}),
        ("pick_cost", {"unit_pick_cost": Decimal(9)}),
        ("carbon", {"carrier": {"co2e_kg_per_tkm": 5.0}}),
        ("reliability", {"refused": 100}),
        ("promise", {"handling_hours": 200.0}),
    ],
)
def test_each_parameter_alone_can_decide_between_nodes(name: str, worse: dict[str, Any]) -> None:
    even = {"parcels_per_shift": 100, "parcels_taken": 0, "offered": 100, "refused": 0, "late": 0}
    good = sourced.node("Z", random.Random(3), **even)
    bad = replace(good, node_id="A", **{key: value for key, value in worse.items() if key != "carrier"})
    bad = replace(bad, carrier=replace(bad.carrier, **worse.get("carrier", {})))
    network = Network.of([good, bad], [sourced.shelf("S1", node, 9) for node in "AZ"])
    decided = source_order(sourced.order(), network, changed(parameters=weights(**{name: 1.0})))
    assert [parcel.node_id for parcel in decided.parcels] == ["Z"]
    (against,) = decided.counterfactuals
    assert (against.verdict, against.decided_by, against.instead_of) == ("worse", name, "Z")
    assert against.score_gap is not None and against.score_gap > 0 and against.input_gap


def test_goods_that_expire_first_leave_first_and_the_last_of_a_shelf_is_spared() -> None:
    nodes = [sourced.node(name, random.Random(1)) for name in "AB"]
    soon, later = date(2026, 12, 1), date(2027, 3, 1)
    network = Network.of(
        nodes, [sourced.shelf("S1", "A", 5, expires_on=later), sourced.shelf("S1", "B", 5, expires_on=soon)]
    )
    decided = source_order(sourced.order(), network, changed(parameters=weights(expiry=1.0)))
    assert [parcel.node_id for parcel in decided.parcels] == ["B"]
    network = Network.of(nodes, [sourced.shelf("S1", "A", 2), sourced.shelf("S1", "B", 50)])
    decided = source_order(sourced.order(), network, changed(parameters=weights(days_of_cover=1.0)))
    assert [parcel.node_id for parcel in decided.parcels] == ["B"]


def test_a_split_costs_what_the_policy_says() -> None:
    nodes = [sourced.node(name, random.Random(1)) for name in "AB"]
    network = Network.of(nodes, [sourced.shelf("S1", "A", 2), sourced.shelf("S2", "B", 1)])
    order = sourced.order("O", {"S1": 2, "S2": 1})
    decided = source_order(order, network, DEFAULT)
    assert [(parcel.node_id, dict(parcel.takes)) for parcel in decided.parcels] == [
        ("A", {"S1": Decimal(2)}),
        ("B", {"S2": Decimal(1)}),
    ]
    assert decided.plan is not None
    assert decided.plan.score == pytest.approx(0.12 + sum(parcel.score for parcel in decided.parcels))
    for parcel in decided.parcels:
        assert parcel.score == pytest.approx(sum(value.score for value in parcel.values.values()))
    assert not source_order(order, network, changed(most_parcels=1)).is_filled


# -- constraints -------------------------------------------------------------------------------------------------------


def _goods(**said: Any) -> tuple[OrderLine, ...]:
    return (OrderLine("S1", Decimal(2), 0.8, **said),)


@pytest.mark.parametrize(
    ("constraint", "node", "order", "words"),
    [
        ("node_closed", {"closed_reason": "flood"}, {}, "flood"),
        ("node_hours", {"hours": ((5, 600, 700),)}, {}, "opens in 120.5 h"),
        ("node_hours", {"hours": ()}, {}, "no opening hours"),
        ("carrier_cut_off", {"collections": ()}, {}, "no carrier collects"),
        (
            "carrier_cut_off",
            {"collections": ((3, 600),)},
            {"is_promise_firm": True, "promised_at": sourced.AT + timedelta(hours=30)},
            "late on a firm promise",
        ),
        ("capacity", {"parcels_per_shift": 3, "parcels_taken": 3}, {}, "all 3 parcels"),
        ("cold_chain", {}, {"lines": _goods(temperature_class="frozen")}, "cannot keep"),
        ("cold_chain", {"cold_chain_hours": 2.0}, {"lines": _goods(temperature_class="chilled")}, "for 2 h"),
        ("hazardous_goods", {}, {"lines": _goods(hazard_class="9")}, "UN class 9"),
        ("customs", {}, {"country": "GB", "lines": _goods(hs_code="420221")}, "clears no customs to GB"),
        ("customs", {}, {"country": "CH"}, "no HS code"),
        ("customs", {"country": "LI"}, {"country": "FR"}, "clears no customs to FR"),
        ("shelf_life", {}, {"lines": _goods(min_shelf_life_days=3)}, "nobody knows"),
    ],
)
def test_a_constraint_forbids_a_node_and_says_why(
    constraint: str, node: dict[str, Any], order: dict[str, Any], words: str
) -> None:
    own = {"time_zone": "Europe/London"}  # in winter, London time is UTC
    barred = sourced.node("N1", **(own | node))
    network = Network.of([barred, sourced.node("N2", **own)], [sourced.shelf("S1", "N1", 9)])
    decided = source_order(sourced.order(**order), network, DEFAULT)
    assert not decided.is_filled
    against = decided.counterfactuals[0]
    assert (against.verdict, against.decided_by) == ("forbidden", constraint)
    assert words in against.because
    lifted = [name for name in DEFAULT.constraints if name != constraint]
    assert source_order(sourced.order(**order), network, changed(constraints=lifted)).is_filled


def test_no_customs_are_cleared_inside_a_customs_union() -> None:
    shelves = [sourced.shelf("S1", "N1", 9)]
    for home, to in (("FR", "DE"), ("CH", "LI")):
        network = Network.of([sourced.node("N1", country=home, clears_customs_to=frozenset())], shelves)
        assert source_order(sourced.order(country=to), network, DEFAULT).is_filled


def test_goods_too_near_their_date_are_not_sent() -> None:
    promised = sourced.order().promised_at.date()
    network = Network.of(
        [sourced.node("N1")], [sourced.shelf("S1", "N1", 9, expires_on=promised + timedelta(days=2))]
    )
    assert source_order(sourced.order(lines=_goods(min_shelf_life_days=2)), network, DEFAULT).is_filled
    refused = source_order(sourced.order(lines=_goods(min_shelf_life_days=3)), network, DEFAULT)
    assert "good for 2 days after the promised date, 3 are asked" in refused.counterfactuals[0].because


def test_a_node_waits_for_its_hours_and_the_carrier_in_its_own_time() -> None:
    london, berlin = (
        sourced.node(name, time_zone=zone, handling_hours=1.0)
        for name, zone in (("L", "Europe/London"), ("B", "Europe/Berlin"))
    )
    network = Network.of([london, berlin], [])
    opening, leaving, is_open = network.minutes(datetime(2026, 11, 2, 7, 30, tzinfo=UTC), 600)
    assert opening.tolist() == [0, 30]  # B, L: 08:30 and 07:30, they open at 08:00
    assert leaving.tolist() == [8.5 * 60, 9.5 * 60]
    opening, _, is_open = network.minutes(datetime(2026, 11, 1, 7, 30, tzinfo=UTC), 600)  # a Sunday
    assert not is_open.any()
    opening, _, is_open = network.minutes(datetime(2026, 11, 7, 19, 30, tzinfo=UTC), 600)
    assert is_open.tolist() == [False, True]


# -- explained ---------------------------------------------------------------------------------------------------------


def test_every_node_not_chosen_has_a_reason() -> None:
    network = sourced.network(5, 40, 12, 0.4, 4)
    for order in sourced.orders(6, 40, 12, 3, 4):
        decided = source_order(order, network, DEFAULT)
        chosen = {parcel.node_id for parcel in decided.parcels}
        assert chosen | {item.node_id for item in decided.counterfactuals} == {
            item.node_id for item in network.nodes
        }
        assert len(decided.counterfactuals) == 40 - len(chosen)
        for item in decided.counterfactuals:
            assert item.verdict in ("forbidden", "short", "worse") and item.because
            if item.verdict == "worse":
                assert item.score_gap is not None and item.score_gap >= -1e-9
        json.dumps(decided.document(), allow_nan=False)


def test_a_plan_is_looked_at_again_before_picking() -> None:
    nodes = [sourced.node(name, random.Random(1)) for name in "AB"]
    network = Network.of(nodes, [sourced.shelf("S1", name, 5) for name in "AB"])
    decided = source_order(sourced.order(), network, DEFAULT)
    assert review(decided, sourced.order(), network, DEFAULT).keeps
    gone = Network.of(nodes, [sourced.shelf("S1", "A", 1), sourced.shelf("S1", "B", 5)])
    again = review(decided, sourced.order(), gone, DEFAULT)
    assert not again.keeps and again.score is None
    assert [parcel.node_id for parcel in again.fresh.parcels] == ["B"]
    busy = Network.of(
        [replace(nodes[0], lines_waiting=4_000), nodes[1]], [sourced.shelf("S1", name, 5) for name in "AB"]
    )
    again = review(decided, sourced.order(), busy, DEFAULT)
    assert not again.keeps and again.score is not None
    assert review(decided, sourced.order(), busy, changed(switch_gain=0.9)).keeps


# -- batches and days --------------------------------------------------------------------------------------------------


def _drawn(network: Network, decisions: Any) -> Network:
    left = network.copy()
    for decided in decisions:
        if decided.plan is not None:
            for node, takes in zip(decided.plan.nodes, decided.plan.takes, strict=True):
                left.draw(
                    node,
                    {
                        line.sku_id: int(qty)
                        for line, qty in zip(decided.order.lines, takes, strict=True)
                        if qty
                    },
                )
    return left


def test_a_batch_shares_what_one_by_one_would_spoil() -> None:
    # The first order is best served by the only node that can serve the second at all.
    near = sourced.node("A", random.Random(1), latitude=50.0, longitude=8.6)
    far = sourced.node("B", random.Random(1), latitude=52.5, longitude=13.4)
    network = Network.of(
        [near, far], [sourced.shelf("S1", "A", 2), sourced.shelf("S1", "B", 2), sourced.shelf("S2", "A", 1)]
    )
    first, second = sourced.order("O1"), sourced.order("O2", {"S1": 2, "S2": 1})
    whole = changed(most_parcels=1)
    batch = source_batch([first, second], network, whole)
    assert [[parcel.node_id for parcel in item.parcels] for item in batch.decisions] == [["B"], ["A"]]
    assert batch.gap <= 0.005 and batch.is_finished
    kept = batch.decisions[0].counterfactuals[0]
    assert (kept.node_id, kept.verdict) == ("A", "kept") and kept.score_gap is not None and kept.score_gap < 0
    json.dumps(batch.decisions[0].document(), allow_nan=False)
    assert not source_order(second, _drawn(network, [source_order(first, network, whole)]), whole).is_filled


@pytest.mark.parametrize("seed", range(6))
def test_a_small_batch_against_trying_everything(seed: int) -> None:
    draw = random.Random(seed)
    places = [sourced.node(f"N{number}", draw, parcels_per_shift=2, parcels_taken=0) for number in range(3)]
    network = Network.of(
        places,
        [sourced.shelf(f"S{sku}", place.node_id, draw.randint(0, 3)) for sku in range(2) for place in places],
    )
    asked = [
        sourced.order(f"O{number}", {f"S{draw.randint(0, 1)}": draw.randint(1, 2)}) for number in range(4)
    ]
    rules = changed(most_parcels=1)
    batch = source_batch(asked, network, rules, wanted_gap=0.0)
    weighed = [item.weighed for item in batch.decisions]
    least = math.inf
    for choice in itertools.product([None, 0, 1, 2], repeat=4):
        left = network.copy()
        score = 0.0
        try:
            for order, item, node in zip(asked, weighed, choice, strict=True):
                if node is None:
                    score += rules.unfilled_score
                    continue
                left.draw(node, {order.lines[0].sku_id: int(item.need[0])})
                score += float(item.fixed[node] + item.line[node].sum())
        except ValueError:
            continue
        if (left.taken <= 2).all():
            least = min(least, score)
    assert batch.bound <= least + 1e-6
    assert batch.score == pytest.approx(least, rel=0.005)
    _drawn(network, batch.decisions)


def test_a_batch_takes_no_more_than_there_is_and_says_how_good_it_is() -> None:
    network = sourced.network(3, 10, 12, 0.6, 9)
    asked = sourced.orders(4, 60, 12, 3, 3)
    batch = source_batch(asked, network, DEFAULT, time_limit_seconds=20)
    left = _drawn(network, batch.decisions)
    assert all((column.free >= 0).all() for column in left.stock.values())
    assert [item.order.order_id for item in batch.decisions] == [order.order_id for order in asked]
    assert batch.bound <= batch.score
    again = source_batch(asked, network, DEFAULT, time_limit_seconds=20)
    assert [item.document()["parcels"] for item in again.decisions] == [
        item.document()["parcels"] for item in batch.decisions
    ]


def test_a_day_is_replayed_under_other_weights_and_other_stock() -> None:
    day, stock = sourced.orders(8, 60, 10, 3, 3), sourced.network(7, 12, 10, 0.7, 12)
    before = stock.stock["S000"].free.copy()
    green = changed(version="green", parameters=weights(carbon=1.0))
    cheap = changed(version="cheap", parameters=weights(shipping_cost=0.5, pick_cost=0.5), currency="EUR")
    carbon, cost = compare(day, [green, cheap], stock)
    assert (stock.stock["S000"].free == before).all()
    assert carbon.policy_version == "green" and carbon.orders == 60 and carbon.currency == "EUR"
    assert carbon.co2e_kg / carbon.filled < cost.co2e_kg / cost.filled
    assert cost.cost_amount / cost.filled < carbon.cost_amount / carbon.filled
    plenty = replay(day, DEFAULT, sourced.network(7, 12, 10, 1.0, 400))
    assert plenty.fill_rate == 1.0 and plenty.shelves_emptied == 0 == plenty.stores_emptied
    assert plenty.filled > min(carbon.filled, cost.filled) or carbon.shelves_emptied
    assert plenty == replay(list(reversed(day)), DEFAULT, sourced.network(7, 12, 10, 1.0, 400))


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "error", "code"),
    [
        ({"wanted": {"NOPE": 1}}, UnknownError, "unknown-sku"),
        ({"wanted": {"S1": 0}}, RequestError, "bad-quantity"),
        ({"wanted": {"S1": -1}}, RequestError, "bad-quantity"),
        ({"wanted": {"S1": "0.5"}}, RequestError, "fractional-quantity"),
        ({"wanted": {"S1": "NaN"}}, RequestError, "bad-quantity"),
        ({"tier": "platinum"}, RequestError, "unknown-tier"),
        ({"latitude": 91.0}, RequestError, "bad-place"),
        ({"at": datetime(2026, 11, 2)}, RequestError, "no-offset"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(
    order: dict[str, Any], error: type[Exception], code: str
) -> None:
    network = Network.of([sourced.node("N1")], [sourced.shelf("S1", "N1", 9)])
    with pytest.raises(error) as caught:
        source_order(sourced.order("O1", **order), network, DEFAULT)
    assert isinstance(caught.value, FulfilmentError) and caught.value.code == code


def test_orders_without_lines_and_with_a_sku_twice_are_refused() -> None:
    network = Network.of([sourced.node("N1")], [sourced.shelf("S1", "N1", 9)])
    for lines, code in (((), "bad-request"), (_goods() * 2, "sku-twice")):
        with pytest.raises(RequestError) as caught:
            source_order(replace(sourced.order(), lines=lines), network, DEFAULT)
        assert caught.value.code == code
    with pytest.raises(RequestError) as caught:
        source_batch([sourced.order(), sourced.order()], network, DEFAULT)
    assert caught.value.code == "order-twice"
    with pytest.raises(RequestError) as caught:
        replay([], DEFAULT, network)
    assert caught.value.code == "no-orders"


def test_nodes_that_make_no_sense_are_refused() -> None:
    one = sourced.node("N1")
    for nodes, shelves, code in (
        ([], [], "no-nodes"),
        ([one, one], [], "node-twice"),
        ([one, sourced.node("N2", currency="CHF")], [], "other-currency"),
        ([sourced.node("N1", handling_hours=math.nan)], [], "bad-node"),
        ([sourced.node("N1", time_zone="Mars/Base")], [], "bad-node"),
        ([sourced.node("N1", hours=((7, 0, 10),))], [], "bad-node"),
        ([one], [sourced.shelf("S1", "N9", 1)], "unknown-node"),
        ([one], [sourced.shelf("S1", "N1", 1)] * 2, "shelf-twice"),
        ([one], [sourced.shelf("S1", "N1", -1)], "bad-quantity"),
    ):
        with pytest.raises(FulfilmentError) as caught:
            Network.of(nodes, shelves)
        assert caught.value.code == code
    shut = Network.of([sourced.node("N1", closed_reason="flood")], [sourced.shelf("S1", "N1", 9)])
    with pytest.raises(RefusedError) as closed:
        source_order(sourced.order(), shut, DEFAULT)
    assert closed.value.code == "node-closed"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad-policy"),
        ("[]", "bad-policy"),
        ('{"version": "1", "version": "2"}', "bad-policy"),
        ('{"version": NaN}', "bad-policy"),
        (json.dumps(DEFAULT.model_dump(mode="json") | {"parameters": weights(carbon=0.9)}), "bad-weights"),
        (
            json.dumps(DEFAULT.model_dump(mode="json") | {"parameters": weights(carbon=1.0) | {"luck": {"weight": 0, "scale": 1}}}),
            "unknown-parameter",
        ),
        (json.dumps(DEFAULT.model_dump(mode="json") | {"parameters": {}}), "unknown-parameter"),
        (json.dumps(DEFAULT.model_dump(mode="json") | {"constraints": ["luck"]}), "unknown-constraint"),
        (json.dumps(DEFAULT.model_dump(mode="json") | {"most_parcels": 0}), "bad-policy"),
        (json.dumps(DEFAULT.model_dump(mode="json") | {"customs_unions": {"A": ["DE"], "B": ["DE"]}}), "bad-policy"),
        (json.dumps(DEFAULT.model_dump(mode="json") | {"colour": "red"}), "bad-policy"),
    ],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused(text: str, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        policy.load(text)
    assert caught.value.code == code


def test_a_decision_names_the_policy_it_was_made_under() -> None:
    network = Network.of([sourced.node("N1")], [sourced.shelf("S1", "N1", 9)])
    decided = source_order(sourced.order(), network, DEFAULT)
    assert (decided.policy_version, decided.policy_sha256) == (DEFAULT.version, DEFAULT.sha256)
    assert changed(most_parcels=2).sha256 != DEFAULT.sha256 == policy.default().sha256


def test_a_node_that_delivers_by_courier_is_measured_as_far_as_it_was_seen_to_send() -> None:
    draw = random.Random(5)
    sent = [
        Sent(
            node_id, "CN", km, 1.0, None, None, None,
            (18 + km / 30) * factor * draw.uniform(0.8, 1.25) * (3.5 if draw.random() < 0.09 else 1), False,
        )
        for node_id, count, far, factor in (("W1", 90, 2000.0, 1), ("W2", 60, 1500.0, 1), ("D1", 6, 12.0, 0.4), ("D2", 1, 9.0, 0.4))
        for km in (draw.uniform(2, far) for _ in range(count))
    ]  # fmt: skip
    found = measure(sent)
    assert found.travel is not None
    assert found.near["W1"][0] == pytest.approx(1, abs=0.1)
    factor, km = found.near["D1"]
    assert 0.35 < factor < 0.65
    assert 2 < km < 20
    assert "D2" not in found.near  # one parcel says nothing
    alone = measure([one for one in sent if one.node_id == "W1"])
    assert (alone.travel is not None, alone.near) == (True, {})
